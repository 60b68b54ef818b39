"""``natscope demo``, as root and as somebody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from kernel.test_commands import NATSCOPE, run
from natscope.lab.traffic import EXAMPLES

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def test_the_demo_shows_and_explains_every_example() -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    for example in EXAMPLES:
        assert f"# {example.explanation}\n" in done.stdout


def test_the_demo_gives_programs_what_the_kernel_says() -> None:
    rows = [json.loads(line) for line in run("demo", "--json").stdout.splitlines()]
    kinds = [(row["example"], row["kind"]) for row in rows]
    assert kinds == [(example.name, example.kind) for example in EXAMPLES]
    assert all(row["orig_bytes"] > 0 for row in rows)


def test_the_demo_needs_no_root_where_user_namespaces_are_allowed() -> None:
    possible = run_as_nobody("unshare", "-Urn", "true")
    if possible.returncode != 0:
        unavailable(f"no user namespace for an ordinary user: {possible.stderr}")
    done = run_as_nobody(*NATSCOPE, "demo")
    assert done.returncode == 0, done.stderr
    assert "without root" in done.stdout
    assert done.stdout.count("\n# ") == len(EXAMPLES)


def test_a_shell_opens_on_the_box_and_sees_its_table() -> None:
    program = f"exec {sys.executable} -m natscope count\n"
    done = subprocess.run(
        [*NATSCOPE, "demo", "--shell"],
        input=program,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SHELL": "/bin/sh"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= len(EXAMPLES)


def test_a_missing_program_is_named_with_its_package() -> None:
    hidden = {**os.environ, "PATH": "/nonexistent"}
    hiding = (
        "import natscope.sources.tools as tools; tools._PLACES = ()\n"
        "from natscope.cli import main; raise SystemExit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", hiding],
        capture_output=True,
        text=True,
        check=False,
        env=hidden,
    )
    assert done.returncode == 3
    assert "apt-get install" in done.stderr
    assert "Traceback" not in done.stderr
