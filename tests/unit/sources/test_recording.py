"""A recording as a source: the table at a moment, the events, and what is amiss."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

import natscope
from natscope import uapi
from natscope.codec import nlmsg
from natscope.codec.encode import encode_flow
from natscope.codec.recorded import (
    ROTATED,
    Header,
    Totals,
    encode_header,
    encode_totals,
)
from natscope.codec.recording import FrameKind, Packer, Packing, time_message
from natscope.errors import NatscopeError
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources.recording import Recording
from natscope.sources.recordingfiles import is_recording

S = 10**9
START = 1_795_262_400 * S
PUBLIC = IPv4Address("203.0.113.7")


def _flow(number: int, **columns: int) -> Flow:
    """A host behind the public address; its number is its port's."""
    inside, outside = IPv4Address(f"10.0.0.{number}"), IPv4Address("198.51.100.53")
    orig = FlowTuple(inside, outside, uapi.IPPROTO_UDP, 5353, 53)
    reply = FlowTuple(outside, PUBLIC, uapi.IPPROTO_UDP, 53, 4000 + number)
    flow = Flow(orig=orig, reply=reply)
    status = uapi.Status.SRC_NAT | uapi.Status.SRC_NAT_DONE | uapi.Status.CONFIRMED
    return replace(flow, id=number, status=int(status), **columns)  # type: ignore[arg-type]


def _message(kind: EventKind, flow: Flow) -> bytes:
    command = uapi.CtMsg.DELETE if kind == EventKind.DESTROY else uapi.CtMsg.NEW
    flags = uapi.NLM_F_CREATE if kind == EventKind.NEW else 0
    payload = nlmsg.NFGENMSG.pack(flow.family, 0, 0) + encode_flow(flow)
    return nlmsg.build(uapi.NFNL_SUBSYS_CTNETLINK << 8 | command, flags, 0, payload)


class Tape:
    """A recording made by hand; times are seconds from its start."""

    def __init__(self, begun: float = 0, **header: object) -> None:
        self._packer = Packer(Packing.ZLIB)
        told = Header(start_ns=_ns(begun), hostname="gw1", **header)  # type: ignore[arg-type]
        self.frames: list[bytes] = []
        self.frame(FrameKind.HEADER, begun, encode_header(told))

    def frame(
        self,
        kind: FrameKind,
        at: float,
        payload: bytes = b"",
        *,
        count: int = 0,
        lost: int = 0,
    ) -> None:
        self.frames.append(
            self._packer.frame(kind, payload, time_ns=_ns(at), count=count, lost=lost)
        )

    def dump(self, at: float, *numbers: int, said: int | None = None) -> None:
        """The table, all at one moment."""
        self.frame(FrameKind.DUMP_BEGIN, at)
        for number in numbers:
            self.frame(FrameKind.DUMP, at, _message(EventKind.UPDATE, _flow(number)))
        count = len(numbers) if said is None else said
        self.frame(FrameKind.DUMP_END, at, count=count)

    def event(self, at: float, kind: EventKind, flow: Flow) -> None:
        payload = time_message(_ns(at)) + _message(kind, flow)
        # frames are closed a little after what is in them
        self.frame(FrameKind.EVENTS, at + 0.2, payload, count=1)

    def end(self, at: float, reason: str = "SIGTERM", events: int = 0) -> None:
        self.frame(FrameKind.END, at, encode_totals(Totals(reason, events, 0, 0)))

    def save(self, path: Path) -> Path:
        path.write_bytes(b"".join(self.frames))
        return path


def _ns(at: float) -> int:
    return START + round(at * S)


def _hour() -> Tape:
    """Hosts 1 and 2 are there; 3 comes at 10 and goes at 20; 1 goes at 30."""
    tape = Tape()
    tape.dump(1, 1, 2)
    tape.event(10, EventKind.NEW, _flow(3))
    tape.event(20, EventKind.DESTROY, _flow(3, orig_bytes=500))
    tape.event(30, EventKind.DESTROY, _flow(1))
    tape.end(40)
    return tape


def _hosts(recording: Recording, words: str | None = None) -> list[int]:
    return sorted(int(flow.orig.src) & 0xFF for flow in recording.flows(words))


@pytest.mark.parametrize(
    ("at", "there"),
    [(2, [1, 2]), (9.9, [1, 2]), (10, [1, 2, 3]), (20, [1, 2]), (30, [2]), (39, [2])],
)
def test_the_table_is_that_of_the_moment(
    tmp_path: Path, at: float, there: list[int]
) -> None:
    file = _hour().save(tmp_path / "r")
    recording = Recording(file, at_ns=_ns(at))
    assert _hosts(recording) == there
    assert recording.evidence().now_ns == _ns(at)
    assert recording.problems == []


def test_who_had_a_port_then_is_found_after_the_flow_is_gone(tmp_path: Path) -> None:
    file = _hour().save(tmp_path / "r")
    asked = "public 203.0.113.7:4003"
    assert _hosts(Recording(file, at_ns=_ns(15)), asked) == [3]
    assert _hosts(Recording(file), asked) == []


def test_a_destroy_that_came_late_counts_from_the_flows_stop(tmp_path: Path) -> None:
    tape = Tape()
    tape.dump(1, 1)
    tape.event(50, EventKind.DESTROY, _flow(1, stop_ns=_ns(20)))
    file = tape.save(tmp_path / "r")
    assert _hosts(Recording(file, at_ns=_ns(19))) == [1]
    assert _hosts(Recording(file, at_ns=_ns(21))) == []


def test_what_goes_stale_is_not_told(tmp_path: Path) -> None:
    tape = Tape()
    tape.frame(FrameKind.DUMP_BEGIN, 1)
    old = _flow(1, timeout=30, orig_bytes=9, reply_bytes=9, use=1)
    tape.frame(FrameKind.DUMP, 1, _message(EventKind.UPDATE, old))
    tape.frame(FrameKind.DUMP_END, 1, count=1)
    (flow,) = Recording(tape.save(tmp_path / "r")).flows()
    assert (flow.timeout, flow.orig_bytes, flow.use) == (None, None, None)


def test_events_are_told_with_what_the_table_knew(tmp_path: Path) -> None:
    recording = Recording(_hour().save(tmp_path / "r"))
    told = [event for batch in recording.events() for event in batch]
    assert [(event.kind, event.flow.id) for event in told] == [
        (EventKind.NEW, 3),
        (EventKind.DESTROY, 3),
        (EventKind.DESTROY, 1),
    ]
    assert told[1].flow.start_ns == _ns(10)
    assert (told[1].flow.orig_bytes, told[1].time_ns) == (500, _ns(20))


def test_events_are_those_of_a_span_and_a_filter(tmp_path: Path) -> None:
    recording = Recording(_hour().save(tmp_path / "r"))
    span = recording.events(since_ns=_ns(15), until_ns=_ns(25))
    assert [len(batch) for batch in span] == [1]
    (batch,) = recording.events("src host 10.0.0.1")
    assert batch.kinds.tolist() == [EventKind.DESTROY]


def test_a_loss_is_told_and_the_dump_after_it_repairs_it(tmp_path: Path) -> None:
    tape = Tape()
    tape.dump(1, 1, 2)
    tape.frame(FrameKind.LOSS, 5, lost=9)
    tape.frame(FrameKind.DUMP_BEGIN, 6)
    tape.frame(FrameKind.DUMP, 6, _message(EventKind.UPDATE, _flow(2)))
    tape.event(6, EventKind.NEW, _flow(4))
    tape.frame(FrameKind.DUMP, 6, _message(EventKind.UPDATE, _flow(3)))
    tape.frame(FrameKind.DUMP_END, 7, count=2)
    recording = Recording(tape.save(tmp_path / "r"))
    told = [
        (batch.lost, batch.repaired, [(e.kind, e.flow.id) for e in batch])
        for batch in recording.events()
    ]
    assert told == [
        (9, False, []),
        (0, True, [(EventKind.NEW, 3)]),
        (0, False, [(EventKind.NEW, 4)]),
        (0, True, [(EventKind.DESTROY, 1)]),
    ]
    assert recording.lost == 9
    assert _hosts(recording) == [2, 3, 4]


def test_a_dump_that_is_not_whole_proves_no_end(tmp_path: Path) -> None:
    tape = Tape()
    tape.dump(1, 1, 2)
    tape.dump(5, 3, said=9)
    tape.frame(FrameKind.DUMP_BEGIN, 6)
    recording = Recording(tape.save(tmp_path / "r"))
    assert _hosts(recording) == [1, 2, 3]


def test_a_torn_end_is_told_and_what_is_before_it_is_read(tmp_path: Path) -> None:
    tape = _hour()
    file = tmp_path / "r"
    torn = b"".join(tape.frames[:-2]) + tape.frames[-2][:-5]
    file.write_bytes(torn)
    recording = Recording(file)
    assert _hosts(recording) == [1, 2]
    (problem,) = recording.problems
    assert "cut off" in str(problem)


def test_damage_in_the_middle_is_told_and_read_past(tmp_path: Path) -> None:
    tape = _hour()
    tape.frames[5] = bytes(len(tape.frames[5]))  # the NEW of host 3
    recording = Recording(tape.save(tmp_path / "r"))
    assert _hosts(recording) == [2]
    assert [str(p).split(": ")[1] for p in recording.problems] == [
        f"{len(tape.frames[5])} bytes at byte {sum(map(len, tape.frames[:5]))} left out",
        f"1 frame missing before byte {sum(map(len, tape.frames[:6]))}",
    ]


def test_a_frame_that_holds_no_messages_is_told_and_read_past(tmp_path: Path) -> None:
    tape = Tape()
    tape.dump(1, 1)
    tape.frame(FrameKind.EVENTS, 2, b"\1\0\0\0" * 9)
    tape.event(3, EventKind.NEW, _flow(2))
    recording = Recording(tape.save(tmp_path / "r"))
    assert _hosts(recording) == [1, 2]
    assert recording.problem_count == 1


def test_the_file_of_the_moment_is_chosen_among_those_set_aside(tmp_path: Path) -> None:
    first = _hour()
    first.frames.pop()
    first.end(40, ROTATED)
    first.save(tmp_path / "r.20261121T120000Z")
    second = Tape(begun=40, continues_ns=_ns(0))
    second.dump(41, 2, 7)
    second.event(50, EventKind.NEW, _flow(8))
    path = second.save(tmp_path / "r")
    assert _hosts(Recording(path, at_ns=_ns(15))) == [1, 2, 3]
    assert _hosts(Recording(path, at_ns=_ns(45))) == [2, 7]
    assert _hosts(Recording(path)) == [2, 7, 8]
    told = [(e.kind, e.flow.id) for b in Recording(path).events() for e in b]
    new, destroy = EventKind.NEW, EventKind.DESTROY
    assert told == [
        (new, 3), (destroy, 3), (destroy, 1), (new, 7), (new, 8),
    ]  # fmt: skip
    alone = Recording(tmp_path / "r.20261121T120000Z")
    assert _hosts(alone) == [2]
    both = Recording([path, tmp_path / "r.20261121T120000Z"], at_ns=_ns(15))
    assert _hosts(both) == [1, 2, 3]


@pytest.mark.parametrize(("at", "words"), [(-5, "begins at"), (60, "ends at")])
def test_a_moment_outside_is_refused(tmp_path: Path, at: float, words: str) -> None:
    recording = Recording(_hour().save(tmp_path / "r"), at_ns=_ns(at))
    with pytest.raises(NatscopeError, match=words):
        recording.table()


def test_after_a_recorder_was_killed_nothing_is_known(tmp_path: Path) -> None:
    tape = _hour()
    tape.frames.pop()
    file = tape.save(tmp_path / "r")
    assert _hosts(Recording(file, at_ns=_ns(30.5))) == [2]
    with pytest.raises(NatscopeError, match="ends at"):
        Recording(file, at_ns=_ns(33)).table()
    with file.open("rb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        assert _hosts(Recording(file, at_ns=_ns(33))) == [2]
    later = Tape(begun=50)
    later.dump(51, 7)
    file.rename(tmp_path / "r.20261121T120000Z")
    later.save(file)
    with pytest.raises(NatscopeError, match="ends at"):
        Recording(file, at_ns=_ns(33)).table()


@pytest.mark.parametrize("continues", [False, True])
def test_a_file_set_aside_is_trusted_until_the_one_that_continues_it(
    tmp_path: Path, continues: bool
) -> None:
    first = _hour()
    first.frames.pop()
    first.end(40, ROTATED)
    first.save(tmp_path / "r.20261121T120000Z")
    second = Tape(begun=60, continues_ns=_ns(0) if continues else 0)
    second.dump(61, 7)
    recording = Recording(second.save(tmp_path / "r"), at_ns=_ns(50))
    if continues:
        assert _hosts(recording) == [2]
    else:
        with pytest.raises(NatscopeError, match="ends at"):
            recording.table()


def test_a_first_dump_that_was_cut_off_is_told(tmp_path: Path) -> None:
    tape = Tape()
    tape.dump(1, 1, 2)
    tape.frames.pop()
    recording = Recording(tape.save(tmp_path / "r"))
    assert _hosts(recording) == [1, 2]
    (problem,) = recording.problems
    assert "not read to its end" in str(problem)
    assert recording.lacks[1:] == ("whether 2 that send no events ended",)


def test_flows_born_while_the_first_dump_is_made_are_told(tmp_path: Path) -> None:
    tape = Tape()
    tape.frame(FrameKind.DUMP_BEGIN, 1)
    tape.event(1.1, EventKind.NEW, _flow(2))
    for number in (1, 2):
        tape.frame(FrameKind.DUMP, 1.5, _message(EventKind.UPDATE, _flow(number)))
    tape.frame(FrameKind.DUMP_END, 1.6, count=2)
    recording = Recording(tape.save(tmp_path / "r"))
    told = [(event.kind, event.flow.id) for b in recording.events() for event in b]
    assert told == [(EventKind.NEW, 2)]
    assert _hosts(recording) == [1, 2]


def test_events_in_a_frame_that_is_damaged_count_as_lost(tmp_path: Path) -> None:
    tape = _hour()
    tape.frames.pop()
    tape.end(40, events=3)
    tape.frames[5] = bytes(len(tape.frames[5]))
    recording = Recording(tape.save(tmp_path / "r"))
    assert sum(batch.lost for batch in recording.events()) == 1
    assert recording.lost == 1


@dataclass(frozen=True)
class Span:
    id: str
    since: float
    until: float
    there: list[int]
    outside: int = 0


SPANS = [
    Span("within a flow", 11, 12, [1, 2, 3]),
    Span("around a flow", 9, 21, [1, 2, 3]),
    Span("from its end on", 20, 25, [1, 2, 3]),
    Span("after it", 20.5, 25, [1, 2]),
    Span("from before the recording", -5, 5, [1, 2], outside=1),
    Span("beyond its end", 25, 60, [1, 2], outside=1),
]


@pytest.mark.parametrize("case", SPANS, ids=lambda case: case.id)
def test_the_flows_of_a_span_are_all_there_were_in_it(
    tmp_path: Path, case: Span
) -> None:
    file = _hour().save(tmp_path / "r")
    recording = Recording(file, at_ns=_ns(case.since), until_ns=_ns(case.until))
    assert _hosts(recording) == case.there
    ends = {flow.id: flow.stop_ns for flow in recording.flows()}
    known = {1: _ns(30), 3: _ns(20)}
    assert ends == {
        n: known[n] if n in known and known[n] <= _ns(case.until) else None
        for n in case.there
    }
    assert sum("anything" in word for word in recording.lacks) == case.outside


def test_a_span_over_a_gap_begins_where_something_is_known(tmp_path: Path) -> None:
    first = _hour()
    first.save(tmp_path / "r.20261121T120000Z")
    second = Tape(begun=50)
    second.dump(51, 7)
    path = second.save(tmp_path / "r")
    whole = Recording(path, at_ns=_ns(35), until_ns=_ns(51))
    late = Recording(path, at_ns=_ns(45), until_ns=_ns(51))
    assert (_hosts(whole), _hosts(late)) == ([2, 7], [7])


def test_flows_that_may_have_ended_in_silence_are_counted(tmp_path: Path) -> None:
    path = _hour().save(tmp_path / "r")
    at_once, later = Recording(path, at_ns=_ns(1.5)), Recording(path, at_ns=_ns(15))
    assert len(at_once.table()) == 2
    assert len(at_once.lacks) == 1
    assert len(later.table()) == 3
    assert "whether 2 that send no events ended after" in later.lacks[1]


def test_what_is_no_recording_is_told_apart(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("udp      17 29 src=10.0.0.1\n")
    path = _hour().save(tmp_path / "r")
    assert (is_recording(path), is_recording(text)) == (True, False)
    assert not is_recording(tmp_path / "missing")
    with pytest.raises(NatscopeError, match="no whole frame"):
        Recording(text).table()
    with pytest.raises(NatscopeError, match="No such file"):
        Recording(tmp_path / "missing").table()
    with pytest.raises(NatscopeError, match="a recording, not a listing"):
        natscope.read(str(path)).table()
