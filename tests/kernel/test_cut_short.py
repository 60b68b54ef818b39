"""Work that a signal cuts short: nothing is half done, and that is said.

With NATSCOPE_DEBUG=wire a program tells every datagram on standard error.  A
pipe that nobody reads holds it in the middle of its dump: it cannot be over
before the signal comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel import crowd
from natscope.sources.kernel import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]


@contextmanager
def held(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command of natscope, held in the middle of its dump."""
    crowd.insert(crowd.flows(1, 2000))
    environment = {"NATSCOPE_DEBUG": "wire", "XDG_STATE_HOME": str(directory)}
    with subprocess.Popen(
        [sys.executable, "-m", "natscope", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        assert process.stderr is not None
        while "CTA_TUPLE_ORIG" not in process.stderr.readline():
            assert process.poll() is None
        yield process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and the last line of what was said."""
    _, said = process.communicate()
    return process.returncode, said.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_save_that_is_cut_short_leaves_no_half_file(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "flows.jsonl"
    file.write_text("as it was\n")
    with held(tmp_path / "state", "save", str(file)) as process:
        process.send_signal(number)
        code, said = ended(process)
    assert (code, said) == (130, "interrupted: nothing was written")
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    assert file.read_text() == "as it was\n"


PLANNED = ("delete ip or ip6", "update tcp --mark 7", "flush --yes", "delete -n udp")


@pytest.mark.parametrize("words", PLANNED)
def test_a_plan_that_is_cut_short_changes_nothing_and_says_so(
    tmp_path: Path, words: str
) -> None:
    with held(tmp_path, *words.split()) as process:
        before = list(Kernel().flows())
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "interrupted: nothing was changed")
    after = [flow.mark for flow in Kernel().flows()]
    assert after == [flow.mark for flow in before]
    assert not list(tmp_path.rglob("*.jsonl"))
