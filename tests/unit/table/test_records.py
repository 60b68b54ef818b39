"""A record is what a row says, and a row what a record says."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.table.records import BATCH, address_at, address_words
from unit.table.flows import FLOWS, MASQUERADED, PING, PLAIN_V6


@pytest.mark.parametrize("flow", FLOWS, ids=["masqueraded", "plain v6", "ping"])
def test_a_record_comes_back_as_it_went(flow: Flow) -> None:
    assert [flow] == list(FlowTable.from_flows([flow]))


def test_records_of_different_shapes_share_a_table() -> None:
    assert list(FlowTable.from_flows(FLOWS)) == FLOWS


def test_zero_is_kept_and_is_not_absent() -> None:
    table = FlowTable.from_flows([MASQUERADED, PING])
    assert table["mark"].tolist() == [0, 0]
    assert table.has("mark").tolist() == [True, False]
    assert [flow.mark for flow in table] == [0, None]


def test_a_column_nobody_fills_is_not_stored() -> None:
    table = FlowTable.from_flows([PING])
    assert "mark" not in table.columns
    assert table["mark"].tolist() == [0]


def test_a_name_that_is_not_utf8_is_shown_escaped() -> None:
    table = FlowTable.from_flows([PLAIN_V6])
    helper = table["helper"].copy()
    helper[0] = b"f\xff"
    assert [flow.helper for flow in table.with_column("helper", helper)] == ["f\\xff"]


def test_rows_come_out_whole_across_batches() -> None:
    one = FlowTable.from_flows([PING]).take(np.zeros(BATCH + 1, np.intp))
    table = one.with_column("timeout", np.arange(BATCH + 1, dtype=np.uint32))
    assert list(range(BATCH + 1)) == [flow.timeout for flow in table]


def test_an_address_is_two_words_high_first() -> None:
    six = IPv6Address("2001:db8::1")
    assert address_words(six) == (0x2001_0DB8 << 32, 1)
    assert six == address_at(uapi.AF_INET6, *address_words(six))
    four = IPv4Address("10.0.0.1")
    assert address_words(four) == (0, 0x0A00_0001)
    assert four == address_at(uapi.AF_INET, *address_words(four))
