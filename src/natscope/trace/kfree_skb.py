"""The program at the tracepoint kfree_skb, where the kernel tells why it drops."""

from __future__ import annotations

from natscope.trace import records
from natscope.trace.bpf.assembler import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    R8,
    R9,
    R10,
    Helper,
    If,
    Label,
)
from natscope.trace.layout import Layout
from natscope.trace.recorder import KEY, NET, NUMBER, POINTER, RECORD, Maps, Recorder
from natscope.trace.records import At


def drop_program(layout: Layout, maps: Maps) -> bytes:
    """The program of the tracepoint kfree_skb: (skb, location, reason, ...).

    It runs for the whole machine, and records the packets admitted alone, while they
    are in the namespace that admitted them: a veth takes the same skb to another.
    """
    writer = _Drop(layout, maps)
    writer.recognise()
    writer.stay_here()
    writer.fill()
    writer.send()
    writer.code.place(writer.out)
    writer.code.move(R0, 0)
    writer.code.exit()
    return writer.code.code()


class _Drop(Recorder):
    """R6 are the tracepoint's arguments, R8 the packet's struct net, R9 its number."""

    def recognise(self) -> None:
        """Leave if the packet is not admitted; it is no more from now on."""
        code = self.code
        code.move(R6, R1)
        code.load(8, R7, R6, 0)
        self.look_up()
        code.branch(If.EQUAL, R0, 0, self.out)
        code.load(4, R9, R0, 0)
        code.load(8, R8, R0, NET - NUMBER)
        self.hash(Helper.MAP_DELETE_ELEM)

    def stay_here(self) -> None:
        """Leave if the packet is in another namespace; where it is not known, stay.

        A packet in a queue may have no device, or something else in its place.
        """
        code, here = self.code, Label()
        for field in range(0, records.SIZE, 8):
            self.put(8, field, 0)
        self.read(KEY, 8, R7, self.layout.skb_dev)
        code.load(8, R3, R10, KEY)
        self.read(POINTER, 8, R3, self.layout.device_net)
        code.branch(If.NOT_EQUAL, R0, 0, here)
        code.load(8, R1, R10, POINTER)
        code.branch(If.NOT_EQUAL, R1, R8, self.out)
        code.load(8, R3, R10, KEY)
        self.read(RECORD + At.IIF, 4, R3, self.layout.ifindex)
        code.place(here)

    def fill(self) -> None:
        """The record; what is not told is 0."""
        code, layout = self.code, self.layout
        self.put(8, At.SKB, R7)
        self.put(4, At.NUMBER, R9)
        self.put(1, At.HOOK, records.DROPPED)
        code.load(8, R1, R6, 8)
        self.put(8, At.CT, R1)
        code.load(8, R1, R6, 16)
        self.put(4, At.MARK, R1)
        self.read(POINTER, 8, R7, layout.skb_head)
        code.store(8, R10, NUMBER, 0)
        self.read(NUMBER, 2, R7, layout.skb_network)
        self.read(RECORD + At.HEADED, 4, R7, layout.skb_tail)
        code.load(4, R1, R10, RECORD + At.HEADED)
        code.load(8, R2, R10, NUMBER)
        code.subtract(R1, R2)
        self.put(4, At.HEADED, R1)
        code.load(8, R3, R10, POINTER)
        code.add(R3, R2)
        self.read(RECORD + At.HEADERS, records.HEADERS, R3, 0)
        self.stamp()
