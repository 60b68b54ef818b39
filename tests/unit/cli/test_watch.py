"""What ``natscope watch`` refuses before it asks the kernel."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.cli import watch
from natscope.cli.diagnostics import UsageError


@dataclass(frozen=True)
class Case:
    id: str
    words: tuple[str, ...]
    said: str


CASES = [
    Case("an event there is none of", ("--events", "born"), "not 'born'"),
    Case("no event at all", ("--events", ","), "not nothing"),
    Case("ends without ends", ("--lifecycle", "--events", "new"), "destroy"),
    Case("no line", ("--count", "0"), "--count"),
    Case("no time", ("--for", "0"), "--for"),
    Case("time standing still", ("--speed", "0"), "--speed"),
    Case("a speed of the kernel", ("--speed", "2"), "recordings"),
    Case("a file without events", ("-r", __file__), "no recording"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_command_line_that_makes_no_sense_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match=case.said):
        watch.run(list(case.words))
