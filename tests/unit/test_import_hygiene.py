"""What must not be imported, proved where it counts: in a new process.

Reading the source cannot prove that a late import is late.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

from unit.sourcetree import ROOT

HEAVY = frozenset({"numpy", "pyarrow", "pandas", "polars", "textual", "starlette"})
NETWORK = frozenset({"socket", "ctypes", "subprocess"})

WATCHED = """
import json, os, sys
code = 0
{body}
loaded = sorted({{name.partition(".")[0] for name in sys.modules}})
os.write(2, json.dumps([code, loaded]).encode())
os._exit(0)
"""
COMMAND = """
from natscope.cli import main
try:
    code = main({words!r})
except SystemExit as left:
    code = left.code or 0
"""


@dataclass(frozen=True)
class Case:
    id: str
    body: str
    absent: frozenset[str]


def _command(*words: str) -> Case:
    body = COMMAND.format(words=list(words))
    return Case(" ".join(("natscope", *words)), body, HEAVY)


CASES = [
    Case("import natscope", "import natscope", HEAVY | NETWORK),
    Case("import natscope.cli", "import natscope.cli", HEAVY | NETWORK),
    Case("a record", "import natscope; natscope.Flow", HEAVY | NETWORK),
    _command("--help"),
    _command("--version"),
    _command("list", "--help"),
    Case(
        "a table needs NumPy and nothing else",
        "import natscope; natscope.FlowTable.empty()",
        (HEAVY | NETWORK) - {"numpy", "ctypes", "subprocess", "socket"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_not_needed_is_not_imported(case: Case) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(body=case.body)],
        capture_output=True,
        check=True,
        cwd=ROOT / "src",
    )
    code, loaded = json.loads(done.stderr)
    assert code == 0
    assert case.absent & set(loaded) == set()
