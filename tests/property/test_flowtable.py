"""A table obeys the laws of the list of records it stands for."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope.model.flow import Flow
from natscope.table.columns import COLUMNS
from natscope.table.flowtable import DUPLICATE_KEY, FlowTable
from property.crowd import cell, crowds
from strategies import flows

SORTABLE = [column.name for column in COLUMNS if column.dtype != "O"]
names = st.lists(st.sampled_from(SORTABLE), max_size=3, unique=True)


def keyed(flow: Flow, by: tuple[str, ...] | list[str]) -> tuple[object, ...]:
    """A record's cells as a comparable key, absent apart from zero."""
    return tuple((cell(flow, name) is None, cell(flow, name)) for name in by)


@given(crowds | st.lists(flows(), max_size=6))
def test_records_come_back_as_they_went(rows: list[Flow]) -> None:
    assert list(FlowTable.from_flows(rows)) == rows


@given(st.lists(crowds, max_size=4))
def test_concat_is_one_list_after_the_other(parts: list[list[Flow]]) -> None:
    table = FlowTable.concat([FlowTable.from_flows(part) for part in parts])
    assert list(table) == [flow for part in parts for flow in part]


@given(crowds, st.data())
def test_take_picks_by_position(rows: list[Flow], data: st.DataObject) -> None:
    position = st.integers(0, len(rows) - 1)
    picked = data.draw(st.lists(position, max_size=20)) if rows else []
    table = FlowTable.from_flows(rows).take(np.array(picked, np.intp))
    assert list(table) == [rows[row] for row in picked]


@given(crowds, st.data())
def test_mask_keeps_what_it_says(rows: list[Flow], data: st.DataObject) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    table = FlowTable.from_flows(rows).mask(np.array(keep, np.bool_))
    assert list(table) == [f for f, kept in zip(rows, keep, strict=True) if kept]


@given(crowds)
def test_presence_is_what_the_records_say(rows: list[Flow]) -> None:
    table = FlowTable.from_flows(rows)
    for column in COLUMNS:
        has = [cell(flow, column.name) is not None for flow in rows]
        assert table.has(column.name).tolist() == has
        assert (column.name in table.columns) >= any(has)


def _sort(rows: list[Flow], name: str, *, descending: bool) -> list[Flow]:
    """Stable, absent last both ways."""

    def word(flow: Flow) -> Any:
        value = cell(flow, name)
        return value.encode() if isinstance(value, str) else value

    ordered = sorted((f for f in rows if cell(f, name) is not None), key=word)
    if descending:
        runs = [list(run) for _, run in groupby(ordered, key=word)]
        ordered = [flow for run in reversed(runs) for flow in run]
    return ordered + [flow for flow in rows if cell(flow, name) is None]


@given(crowds, names, st.booleans())
def test_sorting_is_sorting_the_records(
    rows: list[Flow], by: list[str], descending: bool
) -> None:
    want = rows
    for name in reversed(by):
        want = _sort(want, name, descending=descending)
    table = FlowTable.from_flows(rows).sort(*by, descending=descending)
    assert list(table) == want


@given(crowds, names)
def test_rows_of_one_group_agree_and_groups_differ(
    rows: list[Flow], by: list[str]
) -> None:
    first, of_row = FlowTable.from_flows(rows).group(*by)
    keys = [keyed(flow, by) for flow in rows]
    distinct = list(dict.fromkeys(keys))
    assert [keys[row] for row in first.tolist()] == distinct
    assert [distinct[group] for group in of_row.tolist()] == keys


@given(crowds)
def test_dedupe_keeps_the_first_of_each_entry_in_order(rows: list[Flow]) -> None:
    table = FlowTable.from_flows(rows + rows[::-1])
    unique = table.dedupe()
    kept: dict[tuple[object, ...], Flow] = {}
    for flow in rows + rows[::-1]:
        kept.setdefault(keyed(flow, DUPLICATE_KEY), flow)
    assert list(unique) == list(kept.values())
    assert list(unique.dedupe()) == list(unique)
