"""The messages of what was received that a recording is to hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from natscope.codec.events import EventDecoder
from natscope.codec.vector import Decoder, message_starts
from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.sources.subscription import SLOT
from natscope.table.live import flow_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from natscope.filter import Filter
    from natscope.sources.receiver import Datagrams
    from natscope.sources.subscription import Received
    from natscope.table.events import Events
    from natscope.table.flowtable import FlowTable


class Chosen:
    """Takes messages out of buffers, decoding them only to ask a filter.

    A flow that matched once is kept until its end: what it tells when it no longer
    matches (another state, mark, label) is how a reader knows that it changed.

    Args:
        filter: which flows; None is all.
        evidence: of the box, for filters that need it.
    """

    def __init__(self, filter: Filter | None, evidence: Evidence) -> None:
        self._filter = filter
        self._evidence = evidence
        self._events = EventDecoder()
        self._entries = Decoder()
        self._followed: set[int] = set()
        self._unseen: set[int] = set()

    def begin_dump(self) -> None:
        """A dump of the whole table follows."""
        self._unseen = self._followed.copy()

    def end_dump(self) -> None:
        """The dump was whole: what it did not show has ended in silence."""
        self._followed -= self._unseen
        self._unseen = set()

    def events(self, received: Received) -> list[memoryview]:
        """The event messages to keep, each padded to a multiple of four.

        Raises:
            DecodeError: a filter is to judge what is no event.
        """
        buffer, lengths = received.buffer, received.lengths
        starts = range(0, len(lengths) * SLOT, SLOT)
        if self._filter is not None:
            ends = (at + length for at, length in zip(starts, lengths, strict=True))
            whole = message_starts(buffer, zip(starts, ends, strict=True))
            told = self._events.decode(
                buffer, np.array(whole, np.intp), received_ns=received.received_ns
            )
            # were there one that is no event, rows and messages would not pair
            if len(told) == len(whole):
                keep = self._kept_events(self._filter, told)
                return _messages(buffer, np.array(whole, np.intp)[keep].tolist())
        pairs = zip(starts, lengths, strict=True)
        return [buffer[at : at + (length + 3 & ~3)] for at, length in pairs]

    def entries(self, datagrams: Datagrams, size: int) -> Iterator[tuple[bytes, int]]:
        """The entries of a dump to keep, and how many they are.

        Args:
            datagrams: of a dump.
            size: bytes at which a piece ends; a datagram more at the most.

        Raises:
            DecodeError: the datagrams hold something else.
        """
        pieces: list[memoryview] = []
        filled = count = 0
        for at, end in datagrams.extents:
            starts = message_starts(datagrams.buffer, [(at, end)])
            if self._filter is None:
                found = [datagrams.buffer[at : end + 3 & ~3]]
                count += len(starts)
            else:
                found = self._wanted(self._filter, datagrams.buffer, starts)
                count += len(found)
            pieces += found
            filled += sum(map(len, found))
            if filled >= size:
                yield b"".join(pieces), count
                pieces, filled, count = [], 0, 0
        if count:
            yield b"".join(pieces), count

    def _wanted(
        self, wanted: Filter, buffer: memoryview, starts: list[int]
    ) -> list[memoryview]:
        flows = self._entries.decode_at(buffer, np.array(starts, np.intp))
        keep = self._kept_entries(wanted, flows)
        return _messages(buffer, np.array(starts, np.intp)[keep].tolist())

    def _kept_events(self, wanted: Filter, events: Events) -> list[int]:
        """The rows of events that match, and of those of flows that did."""
        matches = wanted.mask(events.flows, self._evidence).tolist()
        keys = flow_keys(events.flows).tolist()
        ends = (events.kinds == EventKind.DESTROY).tolist()
        kept: list[int] = []
        for row, key in enumerate(keys):
            if not (matches[row] or key in self._followed):
                continue
            kept.append(row)
            self._unseen.discard(key)
            if ends[row]:
                self._followed.discard(key)
            else:
                self._followed.add(key)
        return kept

    def _kept_entries(self, wanted: Filter, flows: FlowTable) -> NDArray[np.bool_]:
        """Which entries match, or are of flows that did."""
        keys = flow_keys(flows).tolist()
        followed = np.array([key in self._followed for key in keys], np.bool_)
        keep = wanted.mask(flows, self._evidence) | followed
        shown = {key for key, kept in zip(keys, keep.tolist(), strict=True) if kept}
        self._followed |= shown
        self._unseen -= shown
        return keep


def _messages(buffer: memoryview, starts: list[int]) -> list[memoryview]:
    words = buffer.cast("I")
    return [buffer[at : at + (words[at >> 2] + 3 & ~3)] for at in starts]
