"""Events in bulk say and write what they do one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.render.event_lines import EventLines
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views.lifecycle import WORDS, Lifecycle
from natscope.views.remembered import UNKNOWN
from property import crowd, slow_events

NOW = 1_795_265_192_358_607_493
PROGRAMS = {7: "conntrack", 9: "a\x1bb"}

_times = st.sampled_from([None, NOW - 5 * 10**6, NOW - 75 * 10**9, NOW - 10**14])
_counters = st.sampled_from([None, 0, 999, 1000, 9_990, 12_345, 10**9, 2**64 - 1])


@st.composite
def told(draw: st.DrawFn, flow: Flow) -> Flow:
    """The same entry with other things said of it."""
    tcp = flow.proto == uapi.IPPROTO_TCP
    bits = st.sampled_from([None, 0, 2, 6, 0x19E, 0x39, 0x4006])
    return replace(
        flow,
        status=draw(st.just(flow.status) | bits),
        tcp_state=draw(st.none() | st.integers(0, 11)) if tcp else None,
        mark=draw(st.sampled_from([None, 0, 5, 2**32 - 1])),
        labels=draw(st.sampled_from([None, 0, 1, 3 << 64, 5])),
        timeout=draw(st.sampled_from([None, 0, 30])),
        start_ns=draw(_times),
        stop_ns=draw(_times),
        event_ns=draw(st.sampled_from([None, NOW, NOW - 10**9])),
        label_names=None,
        delta_time=None,
        orig_bytes=draw(_counters),
        orig_packets=draw(_counters),
        reply_bytes=draw(_counters),
        reply_packets=draw(_counters),
    )


@st.composite
def batches(draw: st.DrawFn) -> list[Events]:
    """Events of a few entries, so that they meet, cut into batches anywhere."""
    entries = draw(st.lists(crowd.flows(), min_size=1, max_size=4))
    found: list[Events] = []
    for _ in range(draw(st.integers(1, 4))):
        flows = draw(st.lists(st.sampled_from(entries).flatmap(told), max_size=10))
        kinds = [draw(st.sampled_from(EventKind)) for _ in flows]
        ports = [draw(st.sampled_from([0, 0, 7, 8, 9])) for _ in flows]
        found.append(
            Events(
                FlowTable.from_flows(flows) if flows else FlowTable.empty(),
                np.array(kinds, np.uint8),
                np.array(ports, np.uint32),
                received_ns=NOW + len(found),
                repaired=draw(st.booleans()),
            )
        )
    return found


@given(batches())
def test_what_happened_is_told_as_one_by_one(found: list[Events]) -> None:
    quick, slow = Lifecycle(), slow_events.SlowLifecycle()
    for batch in found:
        told = quick.tell(batch)
        expected = [slow.tell(event) for event in batch]
        assert [WORDS[word] for word in told.words] == [one.word for one in expected]
        assert told.marked.tolist() == [one.marked for one in expected]
        assert told.labelled.tolist() == [one.labelled for one in expected]
        assert _known(told.lasted_ns) == [one.lasted_ns for one in expected]
        assert _known(told.began_ns) == [one.began_ns for one in expected]
    assert len(quick) == len(slow.flows)


def _known(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in values.tolist()]


@given(batches(), crowd.evidence)
def test_lines_are_what_they_are_one_by_one(
    found: list[Events], evidence: Evidence
) -> None:
    quick, slow = Lifecycle(), slow_events.SlowLifecycle()
    programs = {7: "conntrack", 9: "a?b"}
    every = EventLines(UTC, programs=PROGRAMS)
    ended = EventLines(UTC, programs=PROGRAMS, lifecycle=True)
    for batch in found:
        told = quick.tell(batch)
        said = [slow.tell(event) for event in batch]
        lines = [slow_events.line(one, evidence, programs) for one in said]
        assert _shown(every.write(told, evidence)) == lines
        gone = [one for one in said if one.event.kind == EventKind.DESTROY]
        lines = [slow_events.ending(one, evidence, programs) for one in gone]
        assert _shown(ended.write(told, evidence)) == lines


def _shown(data: bytes) -> list[str]:
    """The lines of events, without remarks between them."""
    return [s for s in data.decode().splitlines() if not s.startswith("-- ")]
