"""Records to IPFIX messages.

A message belongs to a transport session: its sequence number counts the data
records sent before it there, and the templates it needs must have gone ahead.
So records are packed into parcels that fit a message, and a Session makes the
messages when they are about to be sent, to whichever session there is then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from natscope.render.ipfix import templates
from natscope.render.ipfix.elements import VERSION
from natscope.render.ipfix.records import Records
from natscope.render.ipfix.templates import Template, template

_MESSAGE = struct.Struct("!HHIII")
_SET = struct.Struct("!HH")
HEADER = _MESSAGE.size
SMALLEST = 512
"""The least a path carries (RFC 7011 section 10.3.3); room for any template."""
LARGEST = 0xFFFF
AGAIN_MESSAGES = 1000
"""Templates sent again after a time are sent again after so many messages, too."""
_SEQUENCE = 0xFFFF_FFFF
_NS_PER_S, _NS_PER_MS = 10**9, 10**6


@dataclass(frozen=True, slots=True)
class Parcel:
    """Sets that go into one message.

    Attributes:
        sets: their bytes.
        records: data records in them.
        templates: numbers of the templates they need.
        flows: data records that tell of flows; the rest are statistics.
    """

    sets: bytes
    records: int
    templates: frozenset[int]
    flows: int

    def __len__(self) -> int:
        return len(self.sets)


class Packer:
    """Packs records into parcels, full ones first, the rest when asked.

    Args:
        limit: octets of the longest message, its header included.
    """

    def __init__(self, limit: int) -> None:
        self._room = limit - HEADER
        self._sets: list[bytes] = []
        self._length = 0
        self._records = 0
        self._templates: set[int] = set()

    def __len__(self) -> int:
        """Records waiting for their parcel to fill."""
        return self._records

    def pack(self, batch: Iterable[Records]) -> Iterator[Parcel]:
        """Take records; the parcels that are full by them."""
        for records in batch:
            size = records.template.dtype.itemsize
            whole = memoryview(records.values.tobytes())
            at, end = 0, len(whole)
            while at < end:
                fit = (self._room - self._length - _SET.size) // size * size
                if fit <= 0:
                    yield from self.flush()
                    continue
                self._add(records.template.number, whole[at : at + fit], size)
                at += fit

    def flush(self) -> Iterator[Parcel]:
        """The parcel that is not full, if there is anything in it."""
        if not self._records:
            return
        needed = frozenset(self._templates)
        yield Parcel(b"".join(self._sets), self._records, needed, self._records)
        self._sets, self._length, self._records = [], 0, 0
        self._templates = set()

    def _add(self, number: int, data: memoryview, size: int) -> None:
        self._sets += [_SET.pack(number, _SET.size + len(data)), bytes(data)]
        self._length += _SET.size + len(data)
        self._records += len(data) // size
        self._templates.add(number)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the exporter says of itself.

    Attributes:
        began_ns: when it began, ns since 1970; everything is counted from then.
        messages: messages sent.
        records: records of flows sent.
        not_sent: records that could not be sent.
        lost: events the kernel had no room to tell.
    """

    began_ns: int
    messages: int = 0
    records: int = 0
    not_sent: int = 0
    lost: int = 0

    def parcel(self, domain: int, now_ns: int) -> Parcel:
        """The options record of RFC 7011 section 4: what arrived, what did not."""
        made = template(templates.STATISTICS)
        value = np.zeros(1, made.dtype)
        value["observationDomainId"] = domain
        value["observationTimeMilliseconds"] = now_ns // _NS_PER_MS
        value["systemInitTimeMilliseconds"] = self.began_ns // _NS_PER_MS
        value["exportedMessageTotalCount"] = self.messages
        value["exportedFlowRecordTotalCount"] = self.records
        value["notSentFlowTotalCount"] = self.not_sent
        value["ignoredPacketTotalCount"] = self.lost
        data = value.tobytes()
        head = _SET.pack(made.number, _SET.size + len(data))
        return Parcel(head + data, 1, frozenset({made.number}), 0)


class Session:
    """The messages of one exporter, through its transport sessions.

    Args:
        domain: the observation domain.
        limit: octets of the longest message.
        again_ns: templates are sent again after so long, or AGAIN_MESSAGES, as
            UDP needs; None is once a transport session.
    """

    def __init__(self, domain: int, limit: int, again_ns: int | None = None) -> None:
        self._domain = domain
        self._limit = limit
        self._again_ns = again_ns
        self._due_ns = 0
        self._due_messages = 0
        self._announced: set[int] = set()
        self._sequence = 0
        self.messages = 0
        """Messages made, in all sessions."""

    def begin(self) -> None:
        """A new transport session: the collector knows nothing."""
        self._announced.clear()
        self._sequence = 0

    def wrap(self, parcel: Parcel, now_ns: int) -> list[bytes]:
        """The messages of a parcel, in order: templates, where due, come first."""
        needed = set(parcel.templates - self._announced)
        if self._again_ns is not None and self._is_due(now_ns):
            needed = self._announced | parcel.templates
            self._due_ns = now_ns + self._again_ns
            self._due_messages = self.messages + AGAIN_MESSAGES
        made = [self._message(sets, now_ns) for sets in self._announcements(needed)]
        made.append(self._message(parcel.sets, now_ns))
        self._announced |= needed
        self._sequence = self._sequence + parcel.records & _SEQUENCE
        return made

    def _is_due(self, now_ns: int) -> bool:
        return now_ns >= self._due_ns or self.messages >= self._due_messages

    def _message(self, sets: bytes, now_ns: int) -> bytes:
        self.messages += 1
        length, seconds = HEADER + len(sets), now_ns // _NS_PER_S & 0xFFFF_FFFF
        head = _MESSAGE.pack(VERSION, length, seconds, self._sequence, self._domain)
        return head + sets

    def _announcements(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """Template sets, as many as fit into a message together."""
        room, together = self._limit - HEADER, b""
        for number in sorted(numbers):
            made: Template = template(number)
            record = made.announcement
            one = _SET.pack(made.set, _SET.size + len(record)) + record
            if together and len(together) + len(one) > room:
                yield together
                together = b""
            together += one
        if together:
            yield together
