"""What every operation of a FlowTable keeps and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from natscope.table.columns import COLUMNS
from natscope.table.flowtable import FlowTable
from unit.table.flows import FLOWS, MASQUERADED, PING, PLAIN_V6, tcp

TABLE = FlowTable.from_flows(FLOWS)


@dataclass(frozen=True)
class Refused:
    id: str
    make: Callable[[], object]
    error: type[Exception]
    says: str


REFUSED = [
    Refused(
        "a column nobody knows",
        lambda: FlowTable({"family": np.zeros(1, "u1"), "colour": np.zeros(1)}),
        KeyError,
        "colour",
    ),
    Refused(
        "columns of unequal length",
        lambda: FlowTable({"family": np.zeros(2, "u1"), "mark": np.zeros(1, "u4")}),
        ValueError,
        "mark",
    ),
    Refused(
        "a presence word too few",
        lambda: FlowTable({"family": np.zeros(2, "u1")}, np.zeros(1, np.uint64)),
        ValueError,
        "present",
    ),
    Refused("reading an unknown column", lambda: TABLE["colour"], KeyError, "colour"),
    Refused("asking for its presence", lambda: TABLE.has("colour"), KeyError, "colour"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_makes_no_sense_is_refused(case: Refused) -> None:
    with pytest.raises(case.error, match=case.says):
        case.make()


def test_columns_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TABLE["timeout"][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        TABLE.present[0] = 1


def test_the_callers_own_array_stays_writable() -> None:
    family = np.full(1, 2, np.uint8)
    data = {name: TABLE[name][:1] for name in TABLE.columns}
    FlowTable({**data, "family": family})
    family[0] = 10
    assert family.tolist() == [10]


def test_an_empty_table_answers_every_question() -> None:
    empty = FlowTable.empty()
    assert len(empty) == 0
    assert list(empty) == []
    assert len(empty.sort("timeout")) == 0
    assert len(empty.dedupe()) == 0
    assert [len(part) for part in empty.group("orig_src", "zone")] == [0, 0]
    for column in COLUMNS:
        assert empty[column.name].shape[0] == len(empty.has(column.name)) == 0


def test_without_presence_words_every_given_column_is_present() -> None:
    table = FlowTable({**FlowTable.empty()._data, "mark": np.zeros(0, "u4")})
    assert table.columns[-1] == "mark"
    one = FlowTable({name: TABLE[name][:1] for name in ("family", "mark")})
    assert one.has("mark").all()
    assert not one.has("timeout").any()


def test_concat_keeps_rows_and_leaves_what_one_side_lacks_absent() -> None:
    parts = [FlowTable.from_flows([flow]) for flow in FLOWS]
    assert list(FlowTable.concat(parts)) == FLOWS
    assert len(FlowTable.concat([])) == 0
    assert FlowTable.concat(parts[:1]) is parts[0]


def test_take_gives_rows_in_the_order_asked() -> None:
    assert list(TABLE.take(np.array([2, 0]))) == [PING, MASQUERADED]
    assert list(TABLE.take(slice(1, None))) == [PLAIN_V6, PING]
    assert list(TABLE.take(np.array([False, True, False]))) == [PLAIN_V6]


def test_a_mask_that_keeps_all_costs_nothing() -> None:
    assert TABLE.mask(np.ones(3, np.bool_)) is TABLE
    assert list(TABLE.mask(TABLE["proto"] == 1)) == [PING]


def test_a_column_can_be_set_for_some_rows() -> None:
    rate = np.array([1, 2, 3], np.uint64)
    some = TABLE.with_column("rate", rate, np.array([True, False, True]))
    assert [flow.rate for flow in some] == [1, None, 3]
    assert [flow.rate for flow in some.with_column("rate", rate)] == [1, 2, 3]
    assert list(TABLE) == FLOWS


def test_sorting_puts_absent_last_both_ways() -> None:
    assert [f.timeout for f in TABLE.sort("timeout")] == [29, 431_999, None]
    down = TABLE.sort("timeout", descending=True)
    assert [flow.timeout for flow in down] == [431_999, 29, None]


@dataclass(frozen=True)
class Sort:
    id: str
    column: str
    up: list[int]
    down: list[int]


SORTS = [
    Sort("addresses by value, v4 before v6", "orig_src", [0, 2, 1], [1, 0, 2]),
    Sort("numbers", "orig_dport", [1, 0, 2], [0, 1, 2]),
    Sort("signed numbers", "seqadj_orig_before", [1, 0, 2], [1, 0, 2]),
    Sort("text", "netns", [0, 1, 2], [0, 1, 2]),
    Sort("128-bit labels", "labels", [0, 1, 2], [0, 1, 2]),
]


@pytest.mark.parametrize("case", SORTS, ids=lambda case: case.id)
def test_sorting_is_by_value_and_stable(case: Sort) -> None:
    assert case.up == TABLE.order([case.column]).tolist()
    assert case.down == TABLE.order([case.column], descending=True).tolist()


def test_the_first_column_sorts_first() -> None:
    flows = [
        replace(PING, mark=mark, timeout=timeout)
        for mark, timeout in ((2, 1), (1, 2), (1, 1))
    ]
    table = FlowTable.from_flows(flows)
    assert table.order(["mark", "timeout"]).tolist() == [2, 1, 0]
    assert table.order(["timeout", "mark"]).tolist() == [2, 0, 1]
    assert table.order([]).tolist() == [0, 1, 2]


def test_text_sorts_downwards_too() -> None:
    names = ["a", "c", "b"]
    table = FlowTable.from_flows([replace(PING, netns=name) for name in names])
    assert table.order(["netns"], descending=True).tolist() == [1, 2, 0]


def test_signed_numbers_sort_downwards_too() -> None:
    flows = [replace(PING, seqadj_orig_after=n) for n in (-1, 5, -7)]
    table = FlowTable.from_flows(flows)
    assert table.order(["seqadj_orig_after"], descending=True).tolist() == [1, 0, 2]


def test_groups_are_numbered_in_order_of_appearance() -> None:
    flows = [replace(PING, mark=mark) for mark in (7, None, 3, 7, 0)]
    first, of_row = FlowTable.from_flows(flows).group("mark")
    assert first.tolist() == [0, 1, 2, 4]
    assert of_row.tolist() == [0, 1, 2, 0, 3]


def test_grouping_by_nothing_gives_one_group() -> None:
    first, of_row = TABLE.group()
    assert first.tolist() == [0]
    assert of_row.tolist() == [0, 0, 0]


DIFFERENT = [
    replace(MASQUERADED, zone=1),
    replace(MASQUERADED, id=1),
    replace(MASQUERADED, netns="core"),
    replace(MASQUERADED, orig=tcp(sport=40_001)),
    replace(MASQUERADED, orig=replace(MASQUERADED.orig, zone=2)),
]


def test_a_dump_is_freed_of_entries_that_came_twice() -> None:
    again = replace(MASQUERADED, timeout=1, orig_packets=9)
    flows = [MASQUERADED, *DIFFERENT, PING, again, PING]
    unique = FlowTable.from_flows(flows).dedupe()
    assert [MASQUERADED, *DIFFERENT, PING] == list(unique)


def test_a_dump_without_doubles_is_left_alone() -> None:
    assert TABLE.dedupe() is TABLE


def test_a_table_says_how_big_it_is() -> None:
    assert repr(TABLE).startswith("<FlowTable: 3 flows, ")
