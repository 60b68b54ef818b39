"""What every program does: fill a record in its stack frame, and send it.

The frame of 512 bytes holds the record at RECORD; below it stands what helpers
need an address of.
"""

from __future__ import annotations

from dataclasses import dataclass

from natscope.trace import records
from natscope.trace.bpf.assembler import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R7,
    R10,
    Assembly,
    Helper,
    If,
    Label,
    Register,
)
from natscope.trace.layout import Layout
from natscope.trace.records import At

LIMIT, ADMITTED, LOST = 0, 8, 16
"""Offsets of the counters in the map they stand in."""
NOTED_SKB, NOTED_COUNT, NOTED = 0, 8, 16
"""The notebook: the packet, how many records, and these."""
MOST_NOTED = 10
REFUSED = 1 << 20
"""In place of the count: the packet is not meant, wherever it goes."""
NOTEBOOK = NOTED + MOST_NOTED * records.SIZE
SEEN_VALUE = 16
RECORD = -records.SIZE
KEY = RECORD - 8
NUMBER = KEY - 16
"""The value of a packet in the hash: its number, and its struct net."""
NET = NUMBER + 8
PORTS = NUMBER - 8
POINTER = PORTS - 8


@dataclass(frozen=True, slots=True)
class Maps:
    """Descriptors of what the programs share."""

    ring: int
    seen: int
    """Hash of skb pointers: the packets admitted, SEEN_VALUE bytes for each."""
    counters: int
    notebook: int
    """Array with an element for each CPU, of NOTEBOOK bytes: what is known of the
    packet that is under way there, should it be admitted later."""


class Recorder:
    """A program that fills a record; R7 is the skb."""

    def __init__(self, layout: Layout, maps: Maps) -> None:
        self.code = Assembly()
        self.layout = layout
        self.maps = maps
        self.out = Label()

    def look_up(self) -> None:
        """R0 = address of the packet's number, or 0; the key is R7."""
        self.code.store(8, R10, KEY, R7)
        self.hash(Helper.MAP_LOOKUP_ELEM)

    def hash(self, helper: Helper) -> None:
        """Call a helper of the hash of packets with the key."""
        self.code.map_fd(R1, self.maps.seen)
        self.frame(R2, KEY)
        self.code.call(helper)

    def frame(self, register: Register, offset: int) -> None:
        """register = an address in the stack frame."""
        self.code.move(register, R10)
        self.code.add(register, offset)

    def read(self, to: int, size: int, base: Register, offset: int) -> None:
        """Copy kernel memory at base + offset into the frame."""
        if base != R3:
            self.code.move(R3, base)
        if offset:
            self.code.add(R3, offset)
        self.frame(R1, to)
        self.code.move(R2, size)
        self.code.call(Helper.PROBE_READ_KERNEL)

    def put(self, size: int, field: int, value: Register | int) -> None:
        """A field of the record = value."""
        self.code.store(size, R10, RECORD + field, value)

    def stamp(self) -> None:
        """The time of the record is now."""
        self.code.call(Helper.KTIME_GET_NS)
        self.put(8, At.TIME, R0)

    def send(self) -> None:
        """Write the record to the ring; one that finds it full is counted."""
        self.frame(R2, RECORD)
        self.send_from_r2()

    def send_from_r2(self) -> None:
        """The same with a record at the address in R2."""
        sent = Label()
        self.code.map_fd(R1, self.maps.ring)
        self.code.move(R3, records.SIZE)
        self.code.move(R4, 0)
        self.code.call(Helper.RINGBUF_OUTPUT)
        self.code.branch(If.EQUAL, R0, 0, sent)
        self.code.map_value(R1, self.maps.counters)
        self.code.move(R2, 1)
        self.code.fetch_add(R1, LOST, R2)
        self.code.place(sent)
