"""The test a program makes of a packet: has it one needle of each group?"""

from __future__ import annotations

from collections.abc import Iterable

from natscope import uapi
from natscope.trace.bpf.assembler import R1, R2, R3, R7, R10, If, Label
from natscope.trace.needles import Needles
from natscope.trace.recorder import PORTS, RECORD, Recorder
from natscope.trace.records import At

_V4_PROTO, _V6_NEXT_HEADER = 9, 6
_EXTENSIONS = (0, 43, 44, 51, 60, 135)
"""Hop-by-hop, routing, fragment, AH, destination options, mobility."""
_V4_ADDRESSES, _V6_ADDRESSES = (12, 16), (8, 24)
_TUPLE_ADDRESSES, _TUPLE_PORTS, _TUPLE_PROTO = (0, 20), (16, 36), 38
"""Offsets in the IP headers, and in struct nf_conntrack_tuple."""


class Matching:
    """Writes the test, once the record is filled; R7 is the skb."""

    def __init__(self, recorder: Recorder, family: int) -> None:
        self.recorder = recorder
        self.code = recorder.code
        self.family = family

    def test(self, needles: Needles, unfit: Label) -> None:
        """Jump unless the packet has one needle of each group."""
        groups = needles.of(self.family)
        if needles.protocols:
            found = Label()
            self._protocol(needles.protocols, found)
            self._extended(found)
            self.code.goto(unfit)
            self.code.place(found)
        for group in groups:
            found = Label()
            for needle in group:
                self._address(needle.words(), found)
            self.code.goto(unfit)
            self.code.place(found)
        if needles.ports:
            self._read_ports()
        for spans in needles.ports:
            found = Label()
            self._port(spans, found)
            self._extended(found)
            self.code.goto(unfit)
            self.code.place(found)

    def _protocol(self, protocols: Iterable[int], found: Label) -> None:
        at = _V4_PROTO if self.family == uapi.AF_INET else _V6_NEXT_HEADER
        entry = At.ENTRY + self.recorder.layout.entry.orig
        for field in (At.HEADERS + at, entry + _TUPLE_PROTO):
            self.code.load(1, R1, R10, RECORD + field)
            for protocol in protocols:
                self.code.branch(If.EQUAL, R1, protocol, found)

    def _extended(self, found: Label) -> None:
        """What stands behind IPv6 extension headers may be anything."""
        if self.family == uapi.AF_INET6:
            self.code.load(1, R1, R10, RECORD + At.HEADERS + _V6_NEXT_HEADER)
            for header in _EXTENSIONS:
                self.code.branch(If.EQUAL, R1, header, found)

    def _address(self, words: list[tuple[int, int]], found: Label) -> None:
        v4 = self.family == uapi.AF_INET
        ends = [At.HEADERS + at for at in (_V4_ADDRESSES if v4 else _V6_ADDRESSES)]
        entry = self.recorder.layout.entry
        for start in (entry.orig, entry.reply):
            ends += [At.ENTRY + start + at for at in _TUPLE_ADDRESSES]
        for end in ends:
            other = Label()
            for index, (value, mask) in enumerate(words):
                if not mask:
                    continue
                self.code.load(4, R1, R10, RECORD + end + 4 * index)
                self.code.mask(R1, _swapped(mask))
                self.code.branch(If.NOT_EQUAL, R1, _swapped(value), other, bits=32)
            self.code.goto(found)
            self.code.place(other)

    def _read_ports(self) -> None:
        self.code.load(8, R3, R7, self.recorder.layout.skb_head)
        self.code.load(2, R2, R7, self.recorder.layout.skb_transport)
        self.code.add(R3, R2)
        self.recorder.read(PORTS, 4, R3, 0)

    def _port(self, spans: Iterable[tuple[int, int]], found: Label) -> None:
        ends = [PORTS, PORTS + 2]
        entry = self.recorder.layout.entry
        for start in (entry.orig, entry.reply):
            ends += [RECORD + At.ENTRY + start + at for at in _TUPLE_PORTS]
        for end in ends:
            # big-endian, whatever the machine
            self.code.load(1, R1, R10, end)
            self.code.shift_left(R1, 8)
            self.code.load(1, R2, R10, end + 1)
            self.code.add(R1, R2)
            for low, high in spans:
                beyond = Label()
                self.code.branch(If.LESS, R1, low, beyond)
                self.code.branch(If.NOT_GREATER, R1, high, found)
                self.code.place(beyond)


def _swapped(word: int) -> int:
    """A big-endian word as a little-endian machine loads it."""
    return int.from_bytes(word.to_bytes(4, "big"), "little")
