"""A data frame says of every row what the record says."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from natscope.model.flow import Flow, Unknown
from natscope.table.columns import ADDRESS, BY_NAME
from natscope.table.flowtable import FlowTable
from natscope.table.interchange import NAMED, to_arrow
from property.crowd import cell, crowds
from strategies import flows


def told(value: Any, name: str) -> object:
    """A cell of a data frame as the record would say it."""
    if value is None:
        return None
    if BY_NAME[name].unit == ADDRESS:
        return int(ip_address(value))
    if name == "labels":
        assert len(value) == len("0x") + 32
        return int(value, 16)
    if name == "extra":
        return tuple(Unknown(**one) for one in value)
    return value


@given(crowds | st.lists(flows(), max_size=6))
def test_every_cell_is_the_records(rows: list[Flow]) -> None:
    table = FlowTable.from_flows(rows)
    arrow = to_arrow(table)
    for name in table.columns:
        got = [told(value, name) for value in arrow[name].to_pylist()]
        assert got == [cell(flow, name) for flow in rows]


@given(crowds | st.lists(flows(), max_size=6))
def test_a_name_is_there_where_its_number_is(rows: list[Flow]) -> None:
    arrow = to_arrow(FlowTable.from_flows(rows))
    for name in NAMED:
        if name in arrow.column_names:
            there = arrow[name].is_valid().to_pylist()
            assert arrow[f"{name}_name"].is_valid().to_pylist() == there
