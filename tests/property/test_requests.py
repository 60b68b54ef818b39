"""Requests about many entries are those about one, many times over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import strategies
from natscope.actions.settings import Settings
from natscope.codec import nlmsg, request, requests
from natscope.codec.encode import cells_of
from natscope.codec.requests import Batch, Columns
from natscope.codec.scalar import decode_cells
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable

Cells = dict[str, Any]
FLOWS = st.lists(strategies.flows(), min_size=1, max_size=6)


def by_row(batches: Iterator[Batch]) -> dict[int, bytes]:
    return {
        row: bytes(message)
        for batch in batches
        for row, message in zip(batch.rows.tolist(), batch.messages, strict=True)
    }


def same(
    flows: list[Flow], many: Iterator[Batch], one: Callable[[Cells, int], bytes]
) -> None:
    found = by_row(many)
    expected = {row: one(cells_of(flow), row) for row, flow in enumerate(flows)}
    assert found == expected


@given(FLOWS)
def test_deletions(flows: list[Flow]) -> None:
    table = FlowTable.from_flows(flows)
    same(
        flows,
        requests.deletions(table),
        lambda cells, row: request.delete(cells, seq=row, ack=False),
    )


@given(FLOWS)
def test_lookups(flows: list[Flow]) -> None:
    table = FlowTable.from_flows(flows)
    same(
        flows,
        requests.lookups(table),
        lambda cells, row: request.get(cells, seq=row),
    )


@given(FLOWS)
def test_insertions(flows: list[Flow]) -> None:
    alone = {}
    for row, flow in enumerate(flows):
        (batch,) = requests.insertions(FlowTable.from_flows([flow]), seq=row)
        alone[row] = bytes(batch.messages[0])
    assert by_row(requests.insertions(FlowTable.from_flows(flows))) == alone


@given(FLOWS)
def test_what_is_asked_for_after_an_insertion(flows: list[Flow]) -> None:
    """In the same breath: both messages, each whole, under the row's number."""
    table = FlowTable.from_flows(flows)
    both = by_row(requests.insertions(table, then_get=True))
    first, second = by_row(requests.insertions(table)), by_row(requests.lookups(table))
    assert both == {row: first[row] + second[row] for row in first}


@given(FLOWS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_updates_of_the_mark(flows: list[Flow], mark: int, mask: int) -> None:
    table = FlowTable.from_flows(flows)
    columns = Columns(table, ())
    columns.constant("mark", mark)
    columns.constant(request.MARK_MASK, mask)
    wanted = Settings({"mark": mark}, mask)

    def one(cells: Cells, row: int) -> bytes:
        key = {"family", "proto", "zone"}
        kept = {k: v for k, v in cells.items() if k in key or k.startswith("orig_")}
        dropped = {"orig_packets", "orig_bytes"}
        kept = {k: v for k, v in kept.items() if k not in dropped}
        kept |= {**wanted.values, request.MARK_MASK: mask}
        return request.update(kept, seq=row, ack=False)

    same(flows, requests.updates(table, columns), one)


@given(strategies.flows())
def test_an_insert_says_what_the_flow_is(flow: Flow) -> None:
    """Read back as a message, it has the tuples untranslated and the rest."""
    cells = cells_of(flow)
    (batch,) = requests.insertions(FlowTable.from_flows([flow]))
    message = bytes(batch.messages[0])
    (header,) = nlmsg.split(message)
    assert header.end == len(message)
    told = decode_cells(message)
    for name in ("orig_src", "orig_dst", "orig_sport", "zone", "timeout", "mark"):
        assert told.get(name) == cells.get(name)
    assert told.get("helper") == cells.get("helper")
