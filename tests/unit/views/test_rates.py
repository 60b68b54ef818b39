"""Rates between two readings."""

from __future__ import annotations

from dataclasses import replace

from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.rates import with_rates
from unit.views.test_listing import SIX, WEB


def rates(before: list[Flow], now: list[Flow], seconds: float) -> list[int | None]:
    then, later = FlowTable.from_flows(before), FlowTable.from_flows(now)
    return [flow.rate for flow in with_rates(then, later, seconds)]


def test_a_rate_is_bytes_both_ways_over_the_time() -> None:
    later = replace(WEB, orig_bytes=2_000, reply_bytes=1_203_000)
    assert rates([WEB, SIX], [later, SIX], 2.0) == [2_000, None]


def test_a_new_flow_and_one_that_began_again_have_no_rate() -> None:
    again = replace(WEB, orig_bytes=0, reply_bytes=0)
    other = replace(WEB, id=99)
    assert rates([WEB], [again, other], 2.0) == [None, None]


def test_without_counters_there_are_no_rates() -> None:
    assert rates([SIX], [SIX], 1.0) == [None]
