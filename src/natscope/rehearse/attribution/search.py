"""Of many flows, which rule may have given what one end has: found by sorted columns.

A rule names addresses, so that of a million flows some hundred come into question:
flows stand in the order of the address they had, and where a rule leaves that open, of
the one they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natmatch import Asked
from natscope.codec.text.natrule import Span
from natscope.model.journey import Rule
from natscope.rehearse.attribution.fitting import (
    Expected,
    Side,
    destination,
    fits,
    is_moved,
    source,
    within,
)
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

UNMOVED, BY_NONE = -2, -1
"""In place of a rule's number."""
VERSIONS = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_MOST_SPANS = 64
"""Of a rule that asks for more addresses, the rows are not found by these."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a rule asks and gives."""

    rule: Rule
    is_source: bool
    asked: Asked
    expected: Mapping[int, Expected]
    """By IP version; of one the rule is not for there is none."""

    def was(self) -> tuple[Span, ...]:
        """The addresses it translates; empty: any."""
        return self.asked.src if self.is_source else self.asked.dst


def giving(table: FlowTable, shapes: Sequence[Shape], *, is_source: bool) -> Rows:
    """Of each row, the number of a rule that may have given what one end has.

    Args:
        table: flows of the box.
        shapes: of its rules.
        is_source: the end.

    Returns:
        UNMOVED of what is not translated there, BY_NONE of what none gives.
    """
    side = source(table) if is_source else destination(table)
    found = np.full(len(table), UNMOVED, np.intp)
    moved = _is_moved(side, is_source=is_source)
    for version, family in VERSIONS.items():
        rows = np.flatnonzero(moved & (table["family"] == family))
        known = [
            (number, shape, shape.expected[version])
            for number, shape in enumerate(shapes)
            if shape.is_source is is_source and version in shape.expected
        ]
        if len(rows):
            packets = _Packets.of(table, side, is_source=is_source)
            found[rows] = BY_NONE
            _search(found, known, packets, rows, version)
    return found


def _is_moved(side: Side, *, is_source: bool) -> Mask:
    """A source's port alone needs no rule: the kernel moves one that is taken."""
    if is_source:
        return ~fits(side, Expected(None, is_free=True))
    return is_moved(side)


@dataclass(frozen=True, slots=True)
class _Packets:
    """First packets of flows as they come to rules, and what they became."""

    is_source: bool
    proto: Array
    src: Array
    dst: Array
    dport: Array
    has_dport: Mask
    now: Array
    """The source or the destination, after the rule."""
    was_port: Array
    now_port: Array
    has_port: Mask

    @classmethod
    def of(cls, table: FlowTable, side: Side, *, is_source: bool) -> _Packets:
        """Those that come to rules for the source are translated already."""
        dst, dport = (
            ("reply_src", "reply_sport") if is_source else ("orig_dst", "orig_dport")
        )
        return cls(
            is_source,
            *(table["proto"], table["orig_src"], table[dst], table[dport]),
            *(table.has(dport), side.now, side.was_port, side.now_port, side.has_port),
        )

    @property
    def side(self) -> Side:
        """The end that is translated."""
        was = self.src if self.is_source else self.dst
        return Side(was, self.now, self.was_port, self.now_port, self.has_port)

    def take(self, rows: Rows | slice) -> _Packets:
        """Some of them; of a slice, nothing is copied."""
        return _Packets(
            self.is_source,
            *(self.proto[rows], self.src[rows], self.dst[rows], self.dport[rows]),
            *(self.has_dport[rows], self.now[rows], self.was_port[rows]),
            *(self.now_port[rows], self.has_port[rows]),
        )

    def may_meet(self, what: Asked) -> Mask:
        """Which of them nothing in a rule's text keeps out."""
        found = np.ones(len(self.proto), np.bool_)
        if what.protos:
            told = [self.proto == one for one in what.protos]
            found &= np.logical_or.reduce(told)
        for spans, words in ((what.src, self.src), (what.dst, self.dst)):
            if spans:
                found &= within(words, spans)
        if what.dports:
            ports = self.dport
            told = [(ports >= first) & (ports <= last) for first, last in what.dports]
            found &= np.logical_or.reduce(told) | ~self.has_dport
        return found


def _search(
    found: Rows,
    shapes: Sequence[tuple[int, Shape, Expected]],
    packets: _Packets,
    rows: Rows,
    version: int,
) -> None:
    """Put the number of the first rule that may have made them into rows of a family.

    Args:
        found: of each flow; changed.
        shapes: rules, each with its number and what it gives.
        packets: of all flows.
        rows: those of the family.
        version: of IP.
    """
    by_was = _Ordered(packets, rows, packets.side.was, version)
    by_now = _Ordered(packets, rows, packets.side.now, version)
    was = by_was.slices([shape.was() for _, shape, _ in shapes])
    now = by_now.slices([expected.spans or () for _, _, expected in shapes])
    for (number, shape, expected), *places in zip(shapes, was, now, strict=True):
        is_now = _size(places[1]) < _size(places[0])
        ordered = by_now if is_now else by_was
        for part in places[is_now]:
            if part.start == part.stop:
                continue
            some = ordered.packets.take(part)
            fitting = some.may_meet(shape.asked) & fits(some.side, expected)
            at = ordered.rows[part][fitting]
            found[at[found[at] == BY_NONE]] = number


def _size(slices: list[slice]) -> int:
    return sum(one.stop - one.start for one in slices)


class _Ordered:
    """Packets in the order of one address they have.

    Args:
        packets: of all flows.
        rows: those that count, of one family.
        words: the address of each.
        version: of IP.
    """

    def __init__(
        self, packets: _Packets, rows: Rows, words: Array, version: int
    ) -> None:
        # of 128 bits the first 64: what is found is looked at again
        word, self._shift = (0, 64) if version == 6 else (1, 0)
        column = words[rows, word]
        order = np.argsort(column)
        self.rows = rows[order]
        self._column, self._all = column[order], packets

    @cached_property
    def packets(self) -> _Packets:
        """Those of the rows."""
        return self._all.take(self.rows)

    def slices(self, asked: Sequence[tuple[Span, ...]]) -> list[list[slice]]:
        """Where addresses within some spans stand; without spans, all.

        Args:
            asked: of each rule the spans.
        """
        told = [spans if len(spans) <= _MOST_SPANS else () for spans in asked]
        every = [
            (a >> self._shift, b >> self._shift) for spans in told for a, b in spans
        ]
        ends = np.array(every, np.uint64).reshape(-1, 2)
        starts = self._column.searchsorted(ends[:, 0], side="left").tolist()
        stops = self._column.searchsorted(ends[:, 1], side="right").tolist()
        places = iter([slice(*two) for two in zip(starts, stops, strict=True)])
        whole = slice(0, len(self.rows))
        return [list(islice(places, len(spans))) or [whole] for spans in told]
