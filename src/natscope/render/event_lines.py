"""Events as lines for people, thousands at a time.

The columns are wide enough for IPv4; what is wider pushes what follows, so that
a line depends on nothing before it.  The arrows point the way the flow was opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.model.labelmap import BITS, LabelMap
from natscope.model.nat import INWARD, KIND_LETTERS, ROLES, End
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.render.events import NO_PROGRAMS
from natscope.render.format import duration, human, quantity
from natscope.render.text import BOLD, CYAN, GREEN, RED, RESET, YELLOW
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.uapi import protocol_name
from natscope.views.fields import Reading
from natscope.views.lifecycle import WORDS, Told
from natscope.views.remembered import UNKNOWN

Mask = NDArray[np.bool_]
_Remark: TypeAlias = tuple[Cell, Mask]
"""What stands at the end of some lines, and of which."""

GAP = 2
WHAT, LASTED, ENDED, PROTO, KIND, END = 22, 6, 10, 6, 2, 21
"""Widths; an IPv4 address with its port has at most 21 characters."""
NARROW_WHAT, NARROW_PROTO = 13, 4
MOMENT = len("2026-11-21 12:00:00.000")
LINES_AT_ONCE = 4096
"""So that a piece of text under construction fits the cache."""
_MS, _S = 10**6, 10**9
_COLOURS = {EventKind.NEW: GREEN, EventKind.UPDATE: CYAN, EventKind.DESTROY: YELLOW}
_WORDS = [word.encode() for word in WORDS]
_THIRD = np.array([role.outside or role.target for role in ROLES], np.uint8)
_FOURTH = np.array(
    [role.target if role.outside and role.target != role.inside else End.NONE
     for role in ROLES], np.uint8)  # fmt: skip
"""The target of a flow whose third column is not it already."""
_PROTOCOLS = [protocol_name(number).encode() for number in range(256)]
_KINDS = [letters.encode() for letters in KIND_LETTERS]
_TOLD_OF = {
    EventKind.NEW: "opened",
    EventKind.UPDATE: "updated",
    EventKind.DESTROY: "gone",
}


@dataclass(slots=True)
class EventLines:
    """Writes batches of events, a line each.

    Attributes:
        zone: of the times shown; None is the machine's own.
        colour: a colour a kind of event.
        labels: names of labels; without, their bits are shown.
        programs: names of programs by netlink port.
        lifecycle: one line a finished flow, in place of one an event.
        narrow: columns as narrow as they can be, for a terminal that is.
        dated: the first line tells the day, not only one that brings another day.
    """

    zone: tzinfo | None = None
    colour: bool = False
    labels: LabelMap | None = None
    programs: Mapping[int, str] = field(default_factory=lambda: NO_PROGRAMS)
    lifecycle: bool = False
    narrow: bool = False
    dated: bool = True
    _day: str = ""

    def write(self, told: Told, evidence: Evidence) -> bytes:
        """What a batch has to say: its losses, then its lines."""
        events = told.events
        out = [self.remarks(events)]
        for start in range(0, len(told), LINES_AT_ONCE):
            piece = told.take(slice(start, start + LINES_AT_ONCE))
            if self.lifecycle:
                piece = piece.mask(piece.events.kinds == EventKind.DESTROY)
            if len(piece):
                out.append(self._lines(piece, evidence))
        return b"".join(out)

    def remarks(self, events: Events) -> bytes:
        """Lines that are no events: the day, a loss, what a dump found."""
        out = []
        moment = datetime.fromtimestamp(events.received_ns // _S, self.zone)
        if (len(events) or events.lost) and not self.lifecycle:
            day = f"{moment:%Y-%m-%d}"
            if day != self._day and (self._day or self.dated):
                out.append(f"-- {day}")
            self._day = day
        if events.lost:
            out.append(f"-- {events.lost} events lost")
        if events.repaired and len(events):
            counts = np.bincount(events.kinds, minlength=4).tolist()
            found = [f"{counts[k]} {word}" for k, word in _TOLD_OF.items() if counts[k]]
            out.append(f"-- found by a dump: {', '.join(found)}")
        return b"".join(self._remark(line.encode()) for line in out)

    def _remark(self, line: bytes) -> bytes:
        if self.colour:
            line = (RED if b"lost" in line else BOLD) + line + RESET
        return line + b"\n"

    def _lines(self, told: Told, evidence: Evidence) -> bytes:
        reading = Reading(told.events.flows, evidence)
        leading = self._ending if self.lifecycle else self._happening
        remarks = [
            self._sizes(told, reading),
            self._by(told.events.portids),
            _where(told.events.flows),
        ]
        remarks = [remark for remark in remarks if remark[1].any()]
        ends = _ends(reading, remarks, 0 if self.narrow else END)
        parts = [*leading(told), *ends]
        parts.append(cells.literal(b"\n", len(told)))
        return cells.lines(parts)

    def _happening(self, told: Told) -> list[Cell]:
        """Time and what happened."""
        times = told.events.times_ns().astype(np.int64)
        what = cells.ljust(self._what(told), NARROW_WHAT if self.narrow else WHAT)
        gap = cells.literal(b" " * (1 if self.narrow else GAP), len(told))
        return [
            moments(times, "%H:%M:%S", self.zone),
            gap,
            *self._coloured(told.events, what),
            gap,
        ]

    def _ending(self, told: Told) -> list[Cell]:
        """Beginning, duration and end of flows."""
        n, began, lasted = len(told), told.began_ns, told.lasted_ns
        start = moments(np.maximum(began, 0), "%Y-%m-%d %H:%M:%S", self.zone)
        known = lasted != UNKNOWN
        how = cells.ljust(self._how(told), ENDED)
        return [
            cells.ljust(start.otherwise(began != UNKNOWN, b"-"), MOMENT + GAP),
            cells.rjust(_span(lasted).otherwise(known, b"-"), LASTED),
            cells.literal(b" " * GAP, n),
            *self._coloured(told.events, how),
            cells.literal(b" " * GAP, n),
        ]

    def _coloured(self, events: Events, cell: Cell) -> list[Cell]:
        if not self.colour:
            return [cell]
        texts = [b"", *(_COLOURS[kind] for kind in EventKind)]
        before = cells.lookup(events.kinds, texts, [0] * len(texts))
        return [before, cell, cells.literal(RESET, len(events))]

    def _what(self, told: Told) -> Cell:
        """``established, mark 5``, ``closed after 3m12s``, ``deleted by nft``."""
        parts = self._changes(told)
        known = told.lasted_ns != UNKNOWN
        if known.any():
            after = cells.literal(b" after ", len(told))
            parts += [after.only(known), _span(told.lasted_ns).only(known)]
        return cells.concat(parts)

    def _how(self, told: Told) -> Cell:
        return cells.concat(self._changes(told))

    def _changes(self, told: Told) -> list[Cell]:
        events, n = told.events, len(told)
        parts = [cells.lookup(told.words, _WORDS)]
        begun = told.words != 0
        for name, rows in (("mark", told.marked), ("labels", told.labelled)):
            if rows.any():
                parts.append(
                    cells.lookup(begun.astype(np.intp), [b"", b", "]).only(rows)
                )
                parts.append(self._change(name, events.flows).only(rows))
                begun = begun | rows
        if events.repaired:
            parts.append(cells.literal(b", repaired", n))
        return parts

    def _change(self, name: str, flows: FlowTable) -> Cell:
        """``mark 5`` or ``label web``."""
        if name == "mark":
            mark = cells.literal(b"mark ", len(flows))
            return cells.concat([mark, cells.decimal(flows["mark"])])
        distinct, codes = np.unique(flows["labels"], axis=0, return_inverse=True)
        texts = [self._labels(high << 64 | low) for high, low in distinct.tolist()]
        return cells.lookup(codes.ravel(), texts)

    def _labels(self, bits: int) -> bytes:
        left, names = bits, []
        for bit in range(BITS if bits else 0):
            if left >> bit & 1:
                known = self.labels.names(1 << bit) if self.labels else []
                names += known or [str(bit)]
        return f"label {','.join(names) or 'none'}".encode()

    def _by(self, portids: NDArray[np.uint32]) -> _Remark:
        """``by conntrack``: the program, or its port where that is all we have."""
        distinct, codes = np.unique(portids, return_inverse=True)
        texts = []
        for port in distinct.tolist():
            name = self.programs.get(port) or f"portid {port}"
            text = "".join(c if c.isprintable() else "?" for c in f"by {name}")
            texts.append(text.encode() if port else b"")
        return cells.lookup(codes, texts or [b""]), portids != 0

    def _sizes(self, told: Told, reading: Reading) -> _Remark:
        """``1.2MB down / 80kB up``, as the inside host sees it."""
        table, n = reading.table, len(told)
        known = told.events.kinds == EventKind.DESTROY
        known &= table.has("orig_bytes") & table.has("reply_bytes")
        if not known.any() or told.events.repaired:
            return cells.literal(b"", n), np.zeros(n, np.bool_)
        inward = reading.nat.role == INWARD
        parts: list[Cell] = []
        for way, other, word in (
            ("reply", "orig", b" down / "),
            ("orig", "reply", b" up"),
        ):
            for what, unit in (("bytes", b"B"), ("packets", b"p"))[
                : 1 + self.lifecycle
            ]:
                there, back = table[f"{way}_{what}"], table[f"{other}_{what}"]
                parts += [cells.literal(b" ", n)] if what == "packets" else []
                parts.append(quantity(np.where(inward, back, there)))
                parts.append(cells.literal(unit, n))
            parts.append(cells.literal(word, n))
        return cells.concat(parts).only(known), known


def _where(flows: FlowTable) -> _Remark:
    """``in NAME``: the network namespace, where several are followed."""
    distinct, codes = np.unique(flows["netns"], return_inverse=True)
    texts = [b"in " + name if name else name for name in distinct.tolist()]
    return cells.lookup(codes, texts or [b""]), flows.has("netns")


def _ends(reading: Reading, remarks: list[_Remark], width: int) -> list[Cell]:
    """Protocol, kind, the parts with arrows between them, and remarks.

    Args:
        reading: of the flows.
        remarks: for the ends of lines.
        width: of a part, blanks included; 0 is as wide as each is.
    """
    table, nat = reading.table, reading.nat
    n = len(table)
    arrow = cells.lookup((nat.role == INWARD).astype(np.intp), [b" -> ", b" <- "])
    fourth = _FOURTH[nat.role]
    further = fourth != End.NONE
    remarked = np.zeros(n, np.bool_)
    for _, rows in remarks:
        remarked = remarked | rows
    parts = [
        cells.ljust(
            cells.lookup(table["proto"], _PROTOCOLS),
            PROTO + 1 if width else NARROW_PROTO,
        ),
        cells.ljust(cells.lookup(nat.kind, _KINDS), KIND + (GAP if width else 1)),
        cells.ljust(human(reading.part("inside")), width),
        arrow,
        cells.ljust(human(reading.part("public")), width),
        arrow,
        _padded(human(reading.end(_THIRD[nat.role])), width, remarked | further),
    ]
    if further.any():
        target = _padded(human(reading.end(fourth)), width, remarked)
        parts += [cells.literal(b" -> ", n).only(further), target.only(further)]
    for cell, rows in remarks:
        parts += [cells.literal(b" " * GAP, n).only(rows), cell]
    return parts


def _padded(cell: Cell, width: int, rows: Mask) -> Cell:
    """Padded with blanks where something follows."""
    if width == 0 or not rows.any():
        return cell
    length = np.where(rows, cell.length, max(width, int(cell.length.max(initial=0))))
    return cells.ljust(Cell(cell.parts, length), width)


def _span(lasted_ns: NDArray[np.int64]) -> Cell:
    """``85ms``, ``3m12s``: milliseconds below a second."""
    short = lasted_ns < _S
    ms = cells.decimal((np.maximum(lasted_ns, 0) // _MS % 1000).astype(np.uint64))
    brief = cells.concat([ms, cells.literal(b"ms", len(lasted_ns))])
    if short.all():
        return brief
    return cells.concat([brief.only(short), duration(lasted_ns // _S).only(~short)])


def moments(times_ns: NDArray[np.int64], style: str, zone: tzinfo | None) -> Cell:
    """Times to the millisecond; ``style`` is of strftime(3), to the second."""
    seconds, codes = np.unique(times_ns // _S, return_inverse=True)
    texts = [
        datetime.fromtimestamp(second, zone).strftime(style).encode()
        for second in seconds.tolist()
    ]
    fraction = _milliseconds()[times_ns // _MS % 1000]
    text = fraction.view(np.uint8).reshape(len(times_ns), fraction.dtype.itemsize)
    thousandths = Cell((text,), np.full(len(times_ns), 4))
    return cells.concat([cells.lookup(codes, texts or [b""]), thousandths])


@cache
def _milliseconds() -> NDArray[np.uint64]:
    """``.000`` to ``.999``, a word each."""
    texts = b"".join(b".%03d" % value + bytes(4) for value in range(1000))
    return np.frombuffer(texts, np.uint64)
