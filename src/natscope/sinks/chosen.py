"""The messages of what was received that a recording is to hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from natscope.codec.events import EventDecoder
from natscope.codec.vector import Decoder, message_starts
from natscope.model.evidence import Evidence
from natscope.sources.subscription import SLOT

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.sources.receiver import Datagrams
    from natscope.sources.subscription import Received


class Chosen:
    """Takes messages out of buffers, decoding them only to ask a filter.

    Args:
        filter: which flows; None is all.
        evidence: of the box, for filters that need it.
    """

    def __init__(self, filter: Filter | None, evidence: Evidence) -> None:
        self._filter = filter
        self._evidence = evidence
        self._events = EventDecoder()
        self._entries = Decoder()

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
                keep = self._filter.mask(told.flows, self._evidence)
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
        keep = wanted.mask(flows, self._evidence)
        return _messages(buffer, np.array(starts, np.intp)[keep].tolist())


def _messages(buffer: memoryview, starts: list[int]) -> list[memoryview]:
    words = buffer.cast("I")
    return [buffer[at : at + (words[at >> 2] + 3 & ~3)] for at in starts]
