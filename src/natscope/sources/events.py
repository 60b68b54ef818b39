"""Events as columns: what a subscription receives, decoded and filtered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from natscope import uapi
from natscope.codec.events import EventDecoder
from natscope.codec.vector import message_starts
from natscope.errors import NatscopeError
from natscope.model.event import EventKind
from natscope.sources.closing import Closing
from natscope.sources.subscription import SLOT, SLOTS, Received, Subscription
from natscope.table.events import Events

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.evidence import Evidence

GROUPS = {
    EventKind.NEW: uapi.Group.CONNTRACK_NEW,
    EventKind.UPDATE: uapi.Group.CONNTRACK_UPDATE,
    EventKind.DESTROY: uapi.Group.CONNTRACK_DESTROY,
}
PACE_S = 0.02
"""Under a trickle, events are gathered for so long: a batch costs more than its
events, and nobody sees a hundredth of a second."""
FULL = SLOTS // 2
_SLOT_STARTS = np.arange(SLOTS, dtype=np.intp) * SLOT


class EventStream(Closing):
    """Batches of events in the order the kernel sent them.

    Made by ``Kernel.events``.  Iterating gives batches for ever, ``for`` and
    ``async for`` alike; :meth:`read` waits no longer than it is told.  A batch
    may be empty and tell of a loss alone.

    Args:
        subscription: where they come from; closed with this.
        filter: which events, by what each tells; None is every one.
        evidence: of the box, for filters that need it.
    """

    def __init__(
        self, subscription: Subscription, filter: Filter | None, evidence: Evidence
    ) -> None:
        self._subscription = subscription
        self._filter = filter
        self._evidence = evidence
        self._decoder = EventDecoder()
        self._gather_until = 0.0
        self.drained = True
        """Whether the last batch was all there was."""
        self._closed = False
        self._readiness: Readiness | None = None
        self.count = 0
        """Events received so far; the kernel may leave out what the filter does."""
        self.lost = 0
        """Events the socket dropped so far: its own count."""

    def close(self) -> None:
        """Stop listening; iteration ends."""
        self._closed = True
        if self._readiness is not None:
            self._readiness.close()
        self._subscription.close()

    def fileno(self) -> int:
        """The descriptor to wait on: readable when there are events."""
        return self._subscription.fileno()

    def evidence(self) -> Evidence:
        """What the box told when the stream began."""
        return self._evidence

    def read(self, timeout: float | None = None) -> Events | None:
        """The next batch; None when there was nothing within ``timeout`` seconds.

        Raises:
            KernelError: the socket failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        if self._closed:
            raise NatscopeError("this stream of events is closed")
        if not self._subscription.wait(timeout):
            self.drained = True
            return None
        early = self._gather_until - time.monotonic()
        if early > 0:
            time.sleep(early)
        return self.take()

    def take(self) -> Events:
        """What is there now, perhaps nothing.

        Raises:
            KernelError: the socket failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        received = self._subscription.receive()
        self.drained = len(received.lengths) < FULL
        self._gather_until = time.monotonic() + PACE_S if self.drained else 0.0
        self.lost += received.lost
        batch = decoded(self._decoder, received)
        self.count += len(batch)
        if self._filter is None or len(batch) == 0:
            return batch
        return batch.mask(self._filter.mask(batch.flows, self._evidence))

    def __iter__(self) -> Iterator[Events]:
        while not self._closed:
            batch = self.read()
            if batch is not None and (len(batch) or batch.lost):
                yield batch

    async def __aiter__(self) -> AsyncIterator[Events]:
        with self.readiness() as ready:
            while not self._closed:
                await ready.wait()
                await asyncio.sleep(max(0.0, self._gather_until - time.monotonic()))
                batch = self.take()
                if len(batch) or batch.lost:
                    yield batch

    def readiness(self) -> Readiness:
        """What wakes the running coroutine when there are events."""
        self._readiness = Readiness(self.fileno())
        return self._readiness


class Readiness(Closing):
    """Wakes a coroutine when a descriptor is readable, until it is left.

    A generator that was broken off is left late, when its descriptor may be
    another's already; so who closes the descriptor leaves it.
    """

    def __init__(self, fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd: int | None = fd
        self._event = asyncio.Event()
        self._loop.add_reader(fd, self._event.set)

    def close(self) -> None:
        """Look at the descriptor no more."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None
            self._event.set()

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until it is readable, or for so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        self._event.clear()


def groups(kinds: Iterable[EventKind | str] | None) -> list[int]:
    """The groups that send these kinds; all of them for None."""
    return [GROUPS[_kind(kind)] for kind in (kinds or EventKind)]


def _kind(told: EventKind | str) -> EventKind:
    known = {kind.name.lower(): kind for kind in EventKind}
    if told not in {*known, *EventKind}:
        raise NatscopeError(
            f"{told!r} is no kind of event", hint=f"there are {', '.join(known)}"
        )
    return known[told] if isinstance(told, str) else EventKind(told)


def decoded(decoder: EventDecoder, received: Received) -> Events:
    """The events of what was received.

    Raises:
        DecodeError: bytes that are not what the kernel documents.
    """
    count = len(received.lengths)
    now, lost = received.received_ns, received.lost
    if count == 0:
        return Events.none(received_ns=now, lost=lost)
    starts = _SLOT_STARTS[:count]
    told = np.frombuffer(received.buffer, np.uint32)[starts >> 2]
    if not np.array_equal(told, np.array(received.lengths, np.uint32)):
        extents = zip(
            starts.tolist(), (starts + received.lengths).tolist(), strict=True
        )
        starts = np.array(message_starts(received.buffer, extents), np.intp)
    return decoder.decode(received.buffer, starts, received_ns=now, lost=lost)
