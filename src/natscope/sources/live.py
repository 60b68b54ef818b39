"""The table of a box, kept current: a dump, and every change from then on.

The subscription stands before the dump begins, so that nothing falls between
them.  When events are lost, another dump tells what they would have.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.live import LiveRows

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.evidence import Evidence
    from natscope.sources.events import EventStream

DUMP_EVERY_S = 10.0
DUMP_SHARE = 20
"""Dumps for flows that send no events take at most a twentieth of the time."""


class LiveTable:
    """Every entry as it is now, and the changes that made it so.

    Made by ``Kernel.live``.  Iterating, or :meth:`read`, gives batches of events
    whose flows hold all that is known of them: a DESTROY tells the helper and,
    where the kernel kept no time, when the NEW was seen.  What a loss hid comes
    as a batch that is ``repaired``: flows born, changed and gone meanwhile, one
    that was born and is gone again only as a number in ``lost``.  The end of
    flows that never send events (see ``LiveRows.silent``) is found the same
    way, by a dump now and then while there are any.

    Args:
        dump: reads the whole table, in pieces.
        stream: all its events, without a filter.
        filter: which flows are told and listed; those of the rest are followed
            all the same, for they may come to match.
    """

    def __init__(
        self,
        dump: Callable[[], Iterator[FlowTable]],
        stream: EventStream,
        filter: Filter | None = None,
    ) -> None:
        self._read_table = dump
        self._stream = stream
        self._filter = filter
        self._rows = LiveRows()
        self._ready: deque[Events] = deque()
        self._behind = False
        self._closed = False
        self._dump_at = 0.0
        # a flow born while the dump was made is listed, and told as well
        shown, meanwhile = self._dump()
        self._behind = meanwhile.lost > 0
        self._tell(self._rows.repair(shown, meanwhile)[1])

    def __enter__(self) -> LiveTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop following; the table stays as it is."""
        self._closed = True
        self._stream.close()

    def __len__(self) -> int:
        """How many entries there are, whatever the filter."""
        return len(self._rows)

    @property
    def lost(self) -> int:
        """Events the socket dropped so far."""
        return self._stream.lost

    @property
    def count(self) -> int:
        """Events received so far, told or not."""
        return self._stream.count

    @property
    def true(self) -> bool:
        """Whether no loss is waiting for its repair."""
        return not self._behind

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._stream.fileno()

    def evidence(self) -> Evidence:
        """What the box told when this began."""
        return self._stream.evidence()

    def table(self) -> FlowTable:
        """The entries the filter keeps, as of the last event read.

        Counters and timeouts are those of the last dump: see :meth:`refresh`.
        """
        table = self._rows.table()
        if self._filter is None:
            return table
        return table.mask(self._filter.mask(table, self.evidence()))

    def read(self, timeout: float | None = None) -> Events | None:
        """The next batch; None when there was nothing within ``timeout`` seconds.

        Raises:
            KernelError: the socket or a dump failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            now = time.monotonic()
            left = max(0.0, (self._dump_at if until is None else until) - now)
            batch = self._stream.read(min(left, max(0.0, self._dump_at - now)))
            if batch is not None:
                self._apply(batch)
            if self._stream.drained and (self._behind or self._dump_is_due()):
                self.refresh()
            if batch is None and until is not None and time.monotonic() >= until:
                break
        return self._ready.popleft() if self._ready else None

    def __iter__(self) -> Iterator[Events]:
        while not self._closed:
            batch = self.read()
            if batch is not None and (len(batch) or batch.lost):
                yield batch

    async def __aiter__(self) -> AsyncIterator[Events]:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.fileno(), ready.set)
        try:
            while not self._closed:
                await ready.wait()
                ready.clear()
                while (batch := self.read(0)) is not None:
                    if len(batch) or batch.lost:
                        yield batch
        finally:
            if not self._closed:
                loop.remove_reader(self.fileno())

    def refresh(self) -> None:
        """Dump the table again: counters are new, and what was missed is told.

        Raises:
            KernelError: the dump was refused or broke off.
        """
        for batch in self._waiting():
            self._apply(batch)
        dump, meanwhile = self._dump()
        now = time.time_ns()
        repair, told = self._rows.repair(dump, meanwhile)
        # what was lost while dumping is not in the dump for certain
        self._behind = meanwhile.lost > 0
        self._tell_repaired(repair.born, EventKind.NEW, now)
        self._tell_repaired(repair.changed, EventKind.UPDATE, now)
        self._tell(told)
        self._tell_repaired(repair.gone, EventKind.DESTROY, now)

    def _dump_is_due(self) -> bool:
        """Whether to look for flows that end in silence."""
        if time.monotonic() < self._dump_at:
            return False
        self._dump_at = time.monotonic() + DUMP_EVERY_S
        return self._rows.silent > 0

    def _dump(self) -> tuple[FlowTable, Events]:
        """The whole table, and the events that came while it was read."""
        began = time.monotonic()
        chunks: list[FlowTable] = []
        batches: list[Events] = []
        for chunk in self._read_table():
            chunks.append(chunk)
            batches += self._waiting()
        batches += self._waiting()
        ended = time.monotonic()
        self._dump_at = ended + max(DUMP_EVERY_S, DUMP_SHARE * (ended - began))
        return FlowTable.concat(chunks), Events.concat(batches)

    def _waiting(self) -> Iterator[Events]:
        """What is there now."""
        while True:
            yield self._stream.take()
            if self._stream.drained:
                break

    def _apply(self, batch: Events) -> None:
        self._behind |= batch.lost > 0
        self._tell(self._rows.apply(batch))

    def _tell(self, events: Events) -> None:
        if self._filter is not None and len(events):
            events = events.mask(self._filter.mask(events.flows, self.evidence()))
        if len(events) or events.lost:
            self._ready.append(events)

    def _tell_repaired(self, flows: FlowTable, kind: EventKind, now_ns: int) -> None:
        if len(flows):
            kinds = np.full(len(flows), kind, np.uint8)
            flows = flows.without("event_ns")
            self._tell(Events(flows, kinds, received_ns=now_ns, repaired=True))
