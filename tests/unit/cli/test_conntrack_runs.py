"""Lines of ``conntrack -R`` that may be sent together."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.cli.conntrack.load import runs
from natscope.codec.text.bulk_save import save_table

_UDP = "-t 9 -s {} -d {} -r {} -q {} -p udp --sport {} --dport {}"
_PORTS = "--reply-port-src {} --reply-port-dst {}"


def line(command: str, one: tuple[str, int], other: tuple[str, int]) -> str:
    (src, sport), (dst, dport) = one, other
    ends = _UDP.format(src, dst, dst, src, sport, dport)
    return f"{command} {ends} {_PORTS.format(dport, sport)}"


A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
A6, B6 = ("fd00::1", 1), ("fd00::2", 2)


@dataclass(frozen=True)
class Case:
    id: str
    lines: tuple[str, ...]
    lengths: tuple[int, ...]


CASES = [
    Case("nothing in common", (line("-I", A, B), line("-I", A6, B6)), (2,)),
    Case("one end in common", (line("-A", A, B), line("-A", A, C)), (2,)),
    Case("another command", (line("-A", A, B), line("-I", A, C)), (1, 1)),
    Case("the same tuple", (line("-A", A, B), line("-A", A, B)), (1, 1)),
    Case("the other direction", (line("-A", A, B), line("-A", B, A)), (1, 1)),
    Case(
        "the same again and again",
        (line("-A", A, B), line("-A", A, C), line("-A", A, B), line("-A", A, C)),
        (2, 2),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_lines_are_sent_together_if_their_order_does_not_matter(case: Case) -> None:
    saved = save_table("\n".join(case.lines).encode())
    assert saved.rest == []
    found = list(runs(saved.table, saved.add))
    assert tuple(run.stop - run.start for run in found) == case.lengths
    assert [row for run in found for row in range(run.start, run.stop)] == list(
        range(len(case.lines))
    )
