"""The programs at positions: what runs in the kernel for each packet there.

A packet is known by its skb.  The first position it matches at admits it, and from
then on it is recorded wherever it goes, whatever is rewritten in it.  What was seen
of it before stands in a notebook until then: most packets go their whole way on one
CPU, one after the other.  Once as many are admitted as were asked for, the others
cost a lookup.
"""

from __future__ import annotations

from natscope import uapi
from natscope.model.journey import Hook
from natscope.trace import records
from natscope.trace.bpf.assembler import (
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    R10,
    Helper,
    If,
    Label,
)
from natscope.trace.layout import ENTRY, Layout
from natscope.trace.matching import Matching
from natscope.trace.needles import Needles
from natscope.trace.recorder import (
    ADMITTED,
    KEY,
    LIMIT,
    MOST_NOTED,
    NET,
    NOTED,
    NOTED_COUNT,
    NOTED_SKB,
    NUMBER,
    POINTER,
    RECORD,
    REFUSED,
    Maps,
    Recorder,
)
from natscope.trace.records import BEHIND_CONNTRACK, At

_LOOPBACK = 1
"""LOOPBACK_IFINDEX, in every network namespace."""
_ENTRY_MASK = ~7


def position_program(
    layout: Layout,
    maps: Maps,
    needles: Needles,
    *,
    family: int,
    place: int,
) -> bytes:
    """The program of one place, first, second, ... of all hooks of a family.

    The context tells the hook and not the priority.  A program for each priority
    would do too, but to load one takes 7 ms, since the verifier looks the types of
    the context up by their names.

    Args:
        layout: of the running kernel.
        maps: see :class:`Maps`.
        needles: what a packet must have to be admitted.
        family: AF_INET or AF_INET6.
        place: counted from 0 at each hook; it stands in the record.
    """
    writer = _Position(layout, maps, family)
    admitted = Label()
    writer.begin()
    writer.recognise(admitted, is_first=place == 0)
    writer.judge(needles, place)
    writer.code.place(admitted)
    writer.fill(place)
    writer.tell()
    writer.code.place(writer.out)
    writer.code.move(R0, 1)  # NF_ACCEPT
    writer.code.exit()
    return writer.code.code()


class _Position(Recorder):
    """R8 is struct nf_hook_state, R9 the packet's number."""

    def __init__(self, layout: Layout, maps: Maps, family: int) -> None:
        super().__init__(layout, maps)
        self.family = family

    def begin(self) -> None:
        """The context's two pointers."""
        self.code.move(R6, R1)
        self.code.load(8, R7, R6, self.layout.context_skb)
        self.code.load(8, R8, R6, self.layout.context_state)

    def judge(self, needles: Needles, place: int) -> None:
        """Admit a packet that is not known, or note it; then leave."""
        code, full, unfit = self.code, Label(), Label()
        self._spare(full)
        if not needles.is_empty(self.family):
            self._pass_by(is_first=place == 0)
        self.fill(place)
        Matching(self, self.family).test(needles, unfit)
        self._admit()
        self._recall()
        self.tell()
        code.goto(self.out)
        if not needles.is_empty(self.family):
            code.place(unfit)
            self._note()
            code.goto(self.out)
        code.place(full)
        if place == 0:
            self._forget()
        code.goto(self.out)

    def tell(self) -> None:
        """Send the record, as one of packet R9."""
        self.put(4, At.NUMBER, R9)
        self.send()

    def recognise(self, admitted: Label, *, is_first: bool) -> None:
        """Jump if the packet is admitted already, with its number in R9.

        Where a packet's way begins, one that is known is another packet in the
        memory of a former one.
        """
        code, new = self.code, Label()
        code.map_value(R1, self.maps.counters)
        code.load(8, R1, R1, ADMITTED)
        code.branch(If.EQUAL, R1, 0, new)  # none was admitted so far
        self.look_up()
        code.branch(If.EQUAL, R0, 0, new)
        code.load(4, R9, R0, 0)
        if is_first:
            other = Label()
            code.load(1, R1, R8, self.layout.state_hook)
            code.branch(If.EQUAL, R1, Hook.OUTPUT, other)
            code.branch(If.NOT_EQUAL, R1, Hook.PREROUTING, admitted)
            # through the loopback goes the same skb, from POSTROUTING to here
            code.load(8, R1, R8, self.layout.state_in)
            code.branch(If.EQUAL, R1, 0, other)
            code.load(4, R1, R1, self.layout.ifindex)
            code.branch(If.EQUAL, R1, _LOOPBACK, admitted)
            code.place(other)
            self.hash(Helper.MAP_DELETE_ELEM)
        else:
            code.goto(admitted)
        code.place(new)

    def _spare(self, full: Label) -> None:
        """Jump if there are as many packets as were asked for."""
        self.code.map_value(R1, self.maps.counters)
        self.code.load(8, R2, R1, LIMIT)
        self.code.load(8, R3, R1, ADMITTED)
        self.code.branch(If.NOT_LESS, R3, R2, full)

    def _headers(self, place: int) -> None:
        """Copy the packet's headers and its entry.

        Without an entry behind conntrack, the list of hooks in its place tells
        whether conntrack is among them at all: it is not before a rule needs it.
        """
        code, layout = self.code, self.layout
        code.load(8, R3, R7, layout.skb_head)
        code.load(2, R2, R7, layout.skb_network)
        code.add(R3, R2)
        self.read(RECORD + At.HEADERS, records.HEADERS, R3, 0)
        code.load(8, R3, R7, layout.skb_nfct)
        self.put(8, At.CT, R3)
        untracked, done = Label(), Label()
        code.mask(R3, _ENTRY_MASK)
        code.branch(If.EQUAL, R3, 0, untracked)
        self.read(RECORD + At.ENTRY, ENTRY, R3, layout.entry.start)
        code.goto(done)
        code.place(untracked)
        if place == BEHIND_CONNTRACK:
            self._hooks()
        else:
            for at in range(0, ENTRY, 8):
                self.put(8, At.ENTRY + at, 0)
        code.place(done)

    def _hooks(self) -> None:
        code, layout = self.code, self.layout
        code.load(8, R3, R8, layout.state_net)
        code.load(1, R1, R8, layout.state_hook)
        code.shift_left(R1, 3)
        code.add(R3, R1)
        self.read(POINTER, 8, R3, layout.net_hooks[self.family])
        code.load(8, R3, R10, POINTER)
        self.read(RECORD + At.ENTRY, ENTRY, R3, 0)

    def _admit(self) -> None:
        """Give the packet a number, R9, if one is left."""
        code = self.code
        code.map_value(R1, self.maps.counters)
        code.load(8, R3, R1, LIMIT)
        code.move(R9, 1)
        code.fetch_add(R1, ADMITTED, R9)
        code.branch(If.NOT_LESS, R9, R3, self.out)
        code.add(R9, 1)
        code.store(8, R10, NUMBER, R9)
        code.load(8, R1, R8, self.layout.state_net)
        code.store(8, R10, NET, R1)
        code.store(8, R10, KEY, R7)
        code.map_fd(R1, self.maps.seen)
        self.frame(R2, KEY)
        self.frame(R3, NUMBER)
        code.move(R4, 0)
        code.call(Helper.MAP_UPDATE_ELEM)

    def _open_notebook(self, none: Label) -> None:
        """R0 = this CPU's notebook."""
        self.code.store(4, R10, NUMBER, 0)
        self.code.map_fd(R1, self.maps.notebook)
        self.frame(R2, NUMBER)
        self.code.call(Helper.MAP_LOOKUP_ELEM)
        self.code.branch(If.EQUAL, R0, 0, none)

    def _where_it_begins(self, here: Label) -> None:
        """At the first place of a hook: jump if a packet's way begins at it."""
        self.code.load(1, R1, R8, self.layout.state_hook)
        self.code.branch(If.EQUAL, R1, Hook.OUTPUT, here)
        self.code.branch(If.EQUAL, R1, Hook.PREROUTING, here)

    def _pass_by(self, *, is_first: bool) -> None:
        """Leave if this packet was refused before; where it begins, begin its notes.

        What stands there is of another then, in the same memory as likely as not.
        """
        code, new = self.code, Label()
        self._open_notebook(self.out)
        if is_first:
            begins, on = Label(), Label()
            self._where_it_begins(begins)
            code.goto(on)
            code.place(begins)
            code.store(8, R0, NOTED_SKB, R7)
            code.store(8, R0, NOTED_COUNT, 0)
            code.goto(new)
            code.place(on)
        code.load(8, R1, R0, NOTED_SKB)
        code.branch(If.NOT_EQUAL, R1, R7, new)
        code.load(8, R1, R0, NOTED_COUNT)
        code.branch(If.EQUAL, R1, REFUSED, self.out)
        code.place(new)

    def _note(self) -> None:
        """Keep the record, in case the packet is admitted later.

        Once its entry is confirmed both tuples are final: then it never will be.
        """
        code = self.code
        refused = Label()
        self._open_notebook(self.out)
        code.load(8, R1, R0, NOTED_SKB)
        code.branch(If.NOT_EQUAL, R1, R7, self.out)
        code.load(4, R1, R10, RECORD + At.ENTRY + self.layout.entry.status)
        code.mask(R1, uapi.Status.CONFIRMED)
        code.branch(If.NOT_EQUAL, R1, 0, refused)
        self._append()
        code.goto(self.out)
        code.place(refused)
        code.store(8, R0, NOTED_COUNT, REFUSED)

    def _append(self) -> None:
        """Copy the record into the notebook at R0, if there is room."""
        code = self.code
        code.load(8, R1, R0, NOTED_COUNT)
        code.branch(If.NOT_LESS, R1, MOST_NOTED, self.out)
        code.move(R2, R1)
        code.add(R2, 1)
        code.store(8, R0, NOTED_COUNT, R2)
        code.multiply(R1, records.SIZE)
        code.add(R0, R1)
        code.add(R0, NOTED)
        code.move(R1, R0)
        code.move(R2, records.SIZE)
        self.frame(R3, RECORD)
        code.call(Helper.PROBE_READ_KERNEL)

    def _forget(self) -> None:
        """Empty the notebook: what comes by is not noted."""
        self._open_notebook(self.out)
        self.code.store(8, R0, NOTED_SKB, 0)

    def _recall(self) -> None:
        """Send what was noted of the packet before it was admitted, once."""
        code, none, sent = self.code, Label(), Label()
        self._open_notebook(none)
        code.load(8, R1, R0, NOTED_SKB)
        code.branch(If.NOT_EQUAL, R1, R7, none)
        code.store(8, R10, POINTER, R0)
        for index in range(MOST_NOTED):
            code.load(8, R2, R10, POINTER)
            code.load(8, R1, R2, NOTED_COUNT)
            code.branch(If.NOT_GREATER, R1, index, sent)
            code.add(R2, NOTED + index * records.SIZE)
            code.store(4, R2, At.NUMBER, R9)
            self.send_from_r2()
        code.place(sent)
        code.load(8, R2, R10, POINTER)
        code.store(8, R2, NOTED_SKB, 0)
        code.place(none)

    def fill(self, place: int) -> None:
        """The record, all but the packet's number."""
        code, layout = self.code, self.layout
        self.stamp()
        self._headers(place)
        self.put(8, At.SKB, R7)
        self.put(4, At.NUMBER, 0)
        self.put(4, At.PLACE, place)
        code.load(1, R1, R8, layout.state_hook)
        self.put(1, At.HOOK, R1)
        self.put(1, At.FAMILY, self.family)
        self.put(2, At.FAMILY + 1, 0)
        code.load(4, R1, R7, layout.skb_mark)
        self.put(4, At.MARK, R1)
        # on 64-bit machines both are offsets from the head
        code.load(4, R1, R7, layout.skb_tail)
        code.load(2, R2, R7, layout.skb_network)
        code.subtract(R1, R2)
        self.put(4, At.HEADED, R1)
        self._interface(At.IIF, layout.state_in)
        self._interface(At.OIF, layout.state_out)
        self.put(4, At.OIF + 4, 0)

    def _interface(self, field: int, device: int) -> None:
        none = Label()
        self.put(4, field, 0)
        self.code.load(8, R1, R8, device)
        self.code.branch(If.EQUAL, R1, 0, none)
        self.code.load(4, R1, R1, self.layout.ifindex)
        self.put(4, field, R1)
        self.code.place(none)
