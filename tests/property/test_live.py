"""A table kept by events is what a dictionary kept one by one would be."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.index import GONE, NONE, KeyIndex
from natscope.table.live import LiveRows, flow_keys
from property.crowd import flows

NOW = 1_700_000_000_000_000_000
_CHANGING = (
    *("status", "mark", "timeout", "helper", "labels", "orig_bytes", "extra"),
    "seqadj_reply_after",
)
Told = tuple[EventKind, Flow]


def entry(flow: Flow) -> int:
    """The identity of an entry."""
    return int(flow_keys(FlowTable.from_flows([flow]))[0])


@st.composite
def storms(draw: st.DrawFn) -> tuple[list[Flow], list[list[Told]]]:
    """Entries that are there at first, and batches of events of a few entries."""
    made = draw(st.lists(flows(), min_size=1, max_size=4))
    entries = list({entry(flow): flow for flow in made}.values())
    events = st.tuples(
        st.sampled_from(EventKind), st.sampled_from(entries), flows()
    ).map(lambda told: (told[0], varied(told[1], told[2])))
    first = draw(st.lists(st.sampled_from(entries), max_size=3, unique_by=entry))
    return first, draw(st.lists(st.lists(events, max_size=8), max_size=3))


def could_be(kind: EventKind, flow: Flow, alive: set[int]) -> bool:
    """Whether a kernel sends this next: a life begins with NEW, ends with DESTROY."""
    key = entry(flow)
    if (kind == EventKind.NEW) == (key in alive):
        return False
    (alive.discard if kind == EventKind.DESTROY else alive.add)(key)
    return True


def varied(flow: Flow, other: Flow) -> Flow:
    """The same entry, told with another's changing parts."""
    return replace(flow, **{name: getattr(other, name) for name in _CHANGING})


def batch(told: list[Told]) -> Events:
    table = FlowTable.from_flows([flow for _, flow in told])
    kinds = np.array([kind for kind, _ in told], np.uint8)
    return Events(table, kinds, received_ns=NOW)


class Model:
    """One entry after the other."""

    def __init__(self, first: list[Flow]) -> None:
        self.alive = {entry(flow): flow for flow in first}
        self.gone: set[int] = set()

    def apply(self, kind: EventKind, flow: Flow) -> Flow | None:
        key = entry(flow)
        if key in self.alive:
            if kind == EventKind.NEW:
                return None
            self.alive[key] = told = merged(self.alive[key], flow)
        elif kind == EventKind.DESTROY:
            return None if key in self.gone else flow
        elif kind == EventKind.UPDATE and key in self.gone:
            return None
        else:
            start = NOW if kind == EventKind.NEW else None
            told = flow if flow.start_ns else replace(flow, start_ns=start)
            self.alive[key] = told
            self.gone.discard(key)
        if kind == EventKind.DESTROY:
            # the time left is told where there was any: a flow that expired has none
            told = replace(told, timeout=flow.timeout)
            del self.alive[key]
            self.gone.add(key)
        return told


def merged(before: Flow, now: Flow) -> Flow:
    told = {f.name: getattr(now, f.name) for f in fields(now)}
    return replace(before, **{k: v for k, v in told.items() if v is not None})


@given(storms())
def test_events_do_what_they_would_do_one_by_one(
    storm: tuple[list[Flow], list[list[Told]]],
) -> None:
    first, batches = storm
    rows, model = LiveRows(), Model(first)
    rows.put(FlowTable.from_flows(first))
    for told in batches:
        expected = [(kind, model.apply(kind, flow)) for kind, flow in told]
        heard = rows.apply(batch(told))
        assert [(event.kind, event.flow) for event in heard] == [
            (kind, flow) for kind, flow in expected if flow is not None
        ]
        assert {entry(flow): flow for flow in rows.table()} == model.alive
        assert len(rows) == len(model.alive)


@given(storms(), storms())
def test_a_dump_puts_right_what_events_did_not_tell(
    storm: tuple[list[Flow], list[list[Told]]],
    truth: tuple[list[Flow], list[list[Told]]],
) -> None:
    rows = LiveRows()
    rows.put(FlowTable.from_flows(storm[0]))
    before = {entry(flow): flow for flow in rows.table()}
    dump = {entry(flow): flow for flow in truth[0]}
    repair, _ = rows.repair(
        FlowTable.from_flows(dump.values()), Events.none(received_ns=NOW)
    )
    assert {entry(flow): flow for flow in rows.table()} == dump
    assert {entry(flow) for flow in repair.born} == dump.keys() - before.keys()
    assert {entry(flow) for flow in repair.gone} == before.keys() - dump.keys()
    assert {entry(flow) for flow in repair.changed} <= dump.keys() & before.keys()


@given(st.data())
def test_what_happens_during_the_dump_is_told_once(data: st.DataObject) -> None:
    first, batches = data.draw(storms())
    rows, model = LiveRows(), Model(first)
    rows.put(FlowTable.from_flows(first))
    alive = {entry(flow) for flow in first}
    told = [one for batch_ in batches for one in batch_ if could_be(*one, alive)]
    seen = data.draw(st.integers(0, len(told)))  # the dump shows so many of them
    shown = dict(model.alive)
    for number, (kind, flow) in enumerate(told):
        model.apply(kind, flow)
        if number < seen:
            shown = dict(model.alive)
    if told:
        rows.repair(FlowTable.from_flows(shown.values()), batch(told))
    assert {entry(flow) for flow in rows.table()} == model.alive.keys()


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sets(st.integers(0, 40), max_size=12),
        ),
        max_size=12,
    )
)
def test_an_index_is_a_dictionary(steps: list[tuple[bool, set[int]]]) -> None:
    index, known = KeyIndex(), dict[int, int]()
    crowded = 1 << 20  # keys that meet in a few slots
    everything = np.array([key * crowded for key in range(41)], np.uint64)
    for number, (put, picked) in enumerate(steps):
        keys = np.array([key * crowded for key in sorted(picked)], np.uint64)
        if put:
            index.put(keys, np.full(len(keys), number, np.int64))
            known.update(dict.fromkeys(keys.tolist(), number))
        else:
            index.drop(keys)
            known.update({key: GONE for key in keys.tolist() if key in known})
    found = index.find(everything).tolist()
    assert found == [known.get(key, NONE) for key in everything.tolist()]
