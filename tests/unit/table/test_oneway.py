"""Which flows send in vain, from two tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.table.oneway import tally, unanswered

A, B, C = map(ip_address, ("10.0.0.2", "198.51.100.9", "203.0.113.1"))
ORIG, REPLY = FlowTuple(A, B, 17, 7000, 5000), FlowTuple(B, C, 17, 5000, 7000)
HEARD = uapi.Status.CONFIRMED | uapi.Status.SEEN_REPLY | uapi.Status.SRC_NAT


def _flow(sent: int, got: int, status: int = HEARD) -> Flow:
    return Flow(ORIG, REPLY, status=status, id=7, orig_packets=sent, reply_packets=got)


@dataclass(frozen=True)
class Case:
    id: str
    before: Flow
    now: Flow
    is_in_vain: bool


CASES = [
    Case("sends, and nobody answers", _flow(3, 3), _flow(6, 3), True),
    Case("is answered", _flow(3, 3), _flow(6, 4), False),
    Case("may be about to be answered", _flow(3, 3), _flow(4, 3), False),
    Case("is silent", _flow(3, 3), _flow(3, 3), False),
    Case("began again", _flow(9, 3), _flow(4, 3), False),
    Case("was never answered", _flow(3, 0, uapi.Status.SRC_NAT),
         _flow(6, 0, uapi.Status.SRC_NAT), False),
    Case("is not translated", _flow(3, 3, uapi.Status.SEEN_REPLY),
         _flow(6, 3, uapi.Status.SEEN_REPLY), False),
    Case("is another", _flow(3, 3), replace(_flow(6, 3), id=8), False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_flow_sends_in_vain_or_does_not(case: Case) -> None:
    before, now = (
        tally(FlowTable.from_flows([one])) for one in (case.before, case.now)
    )
    assert before is not None
    assert now is not None
    assert unanswered(before, now) == ([7] if case.is_in_vain else [])


def test_without_packet_counters_nothing_is_known() -> None:
    uncounted = replace(_flow(1, 1), orig_packets=None, reply_packets=None)
    assert tally(FlowTable.from_flows([uncounted])) is None
    assert tally(FlowTable.empty()) is not None
