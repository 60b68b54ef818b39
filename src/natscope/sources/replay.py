"""The frames of a recording, played: events, and the table they lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from natscope.codec.recorded import Header, PayloadDecoder, decode_header, decode_totals
from natscope.codec.recording import Frame, FrameKind
from natscope.errors import DecodeError, NatscopeError
from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.live import LiveRows, flow_keys


class Replay:
    """Follows a recording frame by frame.

    Args:
        problem: told of frames that cannot be decoded, and left out, and of a
            table that is not there as a whole.
        until_ns: nothing that happened later is applied; ns since 1970.

    ``header`` is the last that was read, ``lost`` how many events are missing: the
    recorder could not receive them, or their frames are damaged; ``last_ns`` the
    time of the last frame that counted, ``dumped_ns`` that of the last whole dump,
    0 without one, ``ended`` the reason an END frame gave, ``passed`` whether it went
    on after ``until_ns``.
    """

    def __init__(
        self, problem: Callable[[NatscopeError], None], *, until_ns: int | None = None
    ) -> None:
        self._problem = problem
        self._until_ns = until_ns
        self._decoder = PayloadDecoder()
        self._rows = LiveRows()
        self._dump: _Dump | None = None
        self._dumped = False
        self._events = 0
        self.header = Header()
        self.lost = 0
        self.last_ns = 0
        self.dumped_ns = 0
        self.ended: str | None = None
        self.passed = False

    def table(self) -> FlowTable:
        """The entries as they are known to be now."""
        return self._rows.table()

    @property
    def silent(self) -> int:
        """Entries that no event told of, so that their end may send none either."""
        return self._rows.silent

    def feed(self, frame: Frame) -> Iterator[Events]:
        """Play one frame; what it tells, with all that is known of the flows."""
        late = self._until_ns is not None and frame.time_ns > self._until_ns
        self.passed |= late
        if not late:
            self.last_ns = max(self.last_ns, frame.time_ns)
        try:
            match frame.kind:
                case FrameKind.HEADER:
                    yield from self.end()
                    self.header, self.ended = decode_header(frame.payload), None
                    self._events = 0
                case FrameKind.DUMP_BEGIN:
                    yield from self.end()
                    if not late or not self._dumped:
                        self._dump = _Dump()
                case FrameKind.DUMP if self._dump is not None:
                    self._dump.flows.append(self._decoder.dump(frame))
                case FrameKind.DUMP_END if self._dump is not None:
                    yield from self._take_dump(self._dump, frame)
                case FrameKind.EVENTS:
                    batches = self._decoder.events(frame)
                    self._events += frame.count
                    for batch in batches:
                        yield from self._take(batch)
                case FrameKind.LOSS:
                    yield self._loss(frame.lost, frame.time_ns)
                case FrameKind.END if not late:
                    yield from self.end()
                    totals = decode_totals(frame.payload)
                    self.ended = totals.reason
                    if totals.events > self._events:
                        missing = totals.events - self._events
                        yield self._loss(missing, frame.time_ns)
        except DecodeError as error:
            self.damaged()
            self._problem(
                DecodeError(error.reason, path=error.path, offset=frame.offset)
            )

    def damaged(self) -> None:
        """Something is missing here: a dump that is under way is not whole."""
        if self._dump is not None:
            self._dump.whole = False

    def end(self) -> Iterator[Events]:
        """No more of this file: what a dump that broke off did tell."""
        if self._dump is not None:
            self._dump.whole = False
            yield from self._take_dump(self._dump, None)

    def _loss(self, lost: int, time_ns: int) -> Events:
        self.lost += lost
        return Events.none(received_ns=time_ns, lost=lost)

    def _take(self, batch: Events) -> Iterator[Events]:
        if self._until_ns is not None:
            batch = batch.mask(when(batch) <= np.uint64(self._until_ns))
        if self._dump is not None:
            self._dump.meanwhile.append(batch)
        elif len(batch):
            yield self._rows.apply(batch)

    def _take_dump(self, dump: _Dump, end: Frame | None) -> Iterator[Events]:
        """Join a dump and the events that came while it was made."""
        self._dump = None
        table = FlowTable.concat(dump.flows)
        now_ns = self.last_ns if end is None else end.time_ns
        whole = dump.whole and end is not None and end.count == len(table)
        meanwhile = _joined(dump.meanwhile, now_ns)
        if whole:
            self.dumped_ns = now_ns
        elif not self.dumped_ns:
            self._problem(
                NatscopeError(
                    f"the table was not read to its end, only {len(table)} of its "
                    "flows are there"
                )
            )
        if not self._dumped:
            # a flow born while the dump was made is listed, and told as well
            self._dumped = True
            told = self._rows.repair(table, meanwhile)[1]
            if len(told):
                yield told
            return
        if not whole:
            # only a whole dump proves that what it lacks is gone
            born = flow_keys(meanwhile.flows)[meanwhile.kinds == EventKind.NEW]
            self._rows.put(table.mask(~np.isin(flow_keys(table), born)))
            told = self._rows.apply(meanwhile)
            if len(told):
                yield told
            return
        repair, told = self._rows.repair(table, meanwhile)
        yield from _repaired(repair.born, EventKind.NEW, now_ns)
        yield from _repaired(repair.changed, EventKind.UPDATE, now_ns)
        if len(told):
            yield told
        yield from _repaired(repair.gone, EventKind.DESTROY, now_ns)


class _Dump:
    """A dump while it is read."""

    def __init__(self) -> None:
        self.flows: list[FlowTable] = []
        self.meanwhile: list[Events] = []
        self.whole = True


def when(events: Events) -> NDArray[np.uint64]:
    """When each happened: the end of a flow by its stop time where that is told.

    Garbage collection sends a DESTROY long after (nf_conntrack_gc_work).
    """
    ended = (events.kinds == EventKind.DESTROY) & events.flows.has("stop_ns")
    times: NDArray[np.uint64] = np.where(
        ended, events.flows["stop_ns"], events.times_ns()
    )
    return times


def _joined(batches: list[Events], now_ns: int) -> Events:
    return Events.concat(batches) if batches else Events.none(received_ns=now_ns)


def _repaired(flows: FlowTable, kind: EventKind, now_ns: int) -> Iterator[Events]:
    if len(flows):
        kinds = np.full(len(flows), kind, np.uint8)
        flows = flows.without("event_ns")
        yield Events(flows, kinds, received_ns=now_ns, repaired=True)
