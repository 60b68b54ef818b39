"""Which lines of the kernel's log are about a namespace."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.sources import kmsg
from natscope.sources.snapshot import is_about

OWN = 4026533044


@dataclass(frozen=True)
class Case:
    id: str
    line: str
    is_initial: bool
    is_ours: bool


FULL = "nf_conntrack: nf_conntrack: table full"
CASES = [
    Case("its own table", f"{FULL} in netns {OWN}, dropping packet", False, True),
    Case(
        "another's table", f"{FULL} in netns 4026539999, dropping packet", False, False
    ),
    Case(
        "another's, seen from the first",
        f"{FULL} in netns 4026539999, dropping packet",
        True,
        False,
    ),
    Case("the first one's", f"{FULL}, dropping packet", True, True),
    Case(
        "the first one's, seen from another", f"{FULL}, dropping packet", False, False
    ),
    Case("of no table", "IPv4: martian source 10.0.0.1", False, True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_full_table_is_that_of_the_namespace_it_names(case: Case) -> None:
    assert is_about(case.line, OWN, is_initial=case.is_initial) is case.is_ours


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (
            b"4,339,5140900,-;nf_conntrack: table full\n SUBSYSTEM=x\n",
            (5.1409, b"nf_conntrack: table full"),
        ),
        (b"6,1,7000000,c,caller=T1;text; more\n", (7.0, b"text; more")),
        (b"no record", None),
    ],
)
def test_a_record_of_the_log_is_its_time_and_its_text(
    record: bytes, told: tuple[float, bytes] | None
) -> None:
    assert kmsg.parsed(record) == told
