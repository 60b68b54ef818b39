"""The table of a box, kept current: a dump, and every change from then on.

The subscription stands before the dump begins, so that nothing falls between
them.  When events are lost, another dump tells what they would have.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from natscope.model.event import EventKind
from natscope.sources.closing import Closing
from natscope.sources.events import PACE_S
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
REPAIR_SHARE = 5
"""Dumps that repair a loss, where one loss follows the other, at most a sixth."""

RELIABLE_S = 60.0
"""A DESTROY the kernel sends again is waited for so long (nf_conntrack_ecache.c)."""


class LiveTable(Closing):
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
        reliable: a DESTROY that was lost comes again, with its counters; a dump
            tells an end only when it has not come for a minute.
    """

    def __init__(
        self,
        dump: Callable[[], Iterator[FlowTable]],
        stream: EventStream,
        filter: Filter | None = None,
        *,
        reliable: bool = False,
    ) -> None:
        self._read_table = dump
        self._reliable = reliable
        self._stream = stream
        self._filter = filter
        self._rows = LiveRows()
        self._ready: deque[Events] = deque()
        self._behind = False
        self._closed = False
        self._dump_at = self._repair_at = 0.0
        # a flow born while the dump was made is listed, and told as well
        shown, meanwhile = self._dump()
        self._behind = meanwhile.lost > 0
        self._tell(self._rows.repair(shown, meanwhile)[1])

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
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._ready:
            left = min(until, self._due()) - time.monotonic()
            batch = self._stream.read(max(0.0, left) if left < math.inf else None)
            self._advance(batch)
            if batch is None and time.monotonic() >= until:
                break
        return self._ready.popleft() if self._ready else None

    def __iter__(self) -> Iterator[Events]:
        while not self._closed:
            batch = self.read()
            if batch is not None and (len(batch) or batch.lost):
                yield batch

    async def __aiter__(self) -> AsyncIterator[Events]:
        with self._stream.readiness() as ready:
            while not self._closed:
                while self._ready:
                    yield self._ready.popleft()
                due = self._due()
                left = None if due == math.inf else max(0.0, due - time.monotonic())
                await ready.wait(left)
                await asyncio.sleep(PACE_S)
                if not self._closed:
                    self._advance(self._stream.take())

    def _advance(self, batch: Events | None) -> None:
        """Apply what came, and dump the table when it is time."""
        if batch is not None:
            self._apply(batch)
        if not self._stream.drained or time.monotonic() < self._due():
            return
        if self._hidden():
            self.refresh()
        else:
            self._dump_at = math.inf

    def _hidden(self) -> bool:
        """Whether there may be ends that no event will tell, but a dump."""
        return self._behind or self._rows.silent > 0 or self._rows.missing > 0

    def _due(self) -> float:
        """When a dump is wanted, on the monotonic clock."""
        return self._repair_at if self._behind else self._dump_at

    def refresh(self) -> None:
        """Dump the table again: counters are new, and what was missed is told.

        Raises:
            KernelError: the dump was refused or broke off.
        """
        self._take_waiting()
        self._repair(RELIABLE_S if self._reliable else 0)

    def settle(self) -> None:
        """Tell all that has happened: for who reads what is there and then no more.

        A dump that would be made later, or an end awaited from the kernel once
        more, would come too late.

        Raises:
            KernelError: the dump was refused or broke off.
        """
        self._take_waiting()
        if self._hidden():
            self._repair(wait_s=0)

    def _take_waiting(self) -> None:
        for batch in self._waiting():
            self._apply(batch)

    def _repair(self, wait_s: float) -> None:
        dump, meanwhile = self._dump()
        now = time.time_ns()
        repair, told = self._rows.repair(
            dump, meanwhile, now_s=time.monotonic(), wait_s=wait_s
        )
        # what was lost while dumping is not in the dump for certain
        self._behind = meanwhile.lost > 0
        self._tell_repaired(repair.born, EventKind.NEW, now)
        self._tell_repaired(repair.changed, EventKind.UPDATE, now)
        self._tell(told)
        self._tell_repaired(repair.gone, EventKind.DESTROY, now)

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
        took = ended - began
        self._dump_at = ended + max(DUMP_EVERY_S, DUMP_SHARE * took)
        self._repair_at = ended + REPAIR_SHARE * took
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
