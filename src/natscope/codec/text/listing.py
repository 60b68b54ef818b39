"""A whole saved listing: lines in, tables out, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo

import numpy as np

from natscope.codec.text import bulk, lines, save, xml
from natscope.codec.text.cells import Cells, Unreadable
from natscope.errors import ParseError
from natscope.table.flowtable import FlowTable

ROWS_AT_ONCE = 8192
PLAIN, EXTENDED, SAVE, XML, EVENTS = (
    "conntrack -L",
    "conntrack -L -o extended, or /proc/net/nf_conntrack",
    "conntrack -L -o save",
    "conntrack -L -o xml",
    "conntrack -E",
)
_NOISE = ("conntrack v", "#", "$ ")
"""Beginnings of lines that are not part of a listing: its own stderr, comments."""


class Reader:
    """Reads one listing, noting what it is and what could not be read.

    Args:
        source: its name, for messages.
        problem: called with each line that cannot be read; may raise.
        zone: the time zone of the box, for ``[start=…]``.
    """

    def __init__(
        self,
        source: str,
        problem: Callable[[ParseError], None],
        zone: tzinfo | None = None,
    ) -> None:
        self._source = source
        self._problem = problem
        self._zone = zone
        self._elements = xml.Elements()
        self.format: str | None = None
        self.seen: set[str] = set()
        """Columns any flow of the listing had."""

    def tables(self, text: Iterable[str]) -> Iterator[FlowTable]:
        """The flows, in tables of bounded size and in the order of the lines."""
        piece = _Piece()
        number = 0
        for number, line in enumerate(text, 1):
            bare = line.rstrip("\r\n")
            parts = None if self._elements.open() else bulk.fields(bare)
            if parts is not None:
                piece.quick.append((number, bare, parts.groups()))
                self.format = self.format or _line_format(bare)
            else:
                piece.rows += [(number, row) for row in self._rows(bare, number)]
            if len(piece) >= ROWS_AT_ONCE:
                yield from self._table(piece)
                piece = _Piece()
        if self._elements.open():
            at = self._elements.started_at
            self._report(f"the flow that begins on line {at} has no end", number)
        yield from self._table(piece)

    def _table(self, piece: _Piece) -> Iterator[FlowTable]:
        tables: list[FlowTable] = []
        places: list[int] = []
        if piece.quick:
            quick, good = bulk.table([parts for _, _, parts in piece.quick])
            tables.append(quick.mask(good))
            for (number, line, _), sound in zip(
                piece.quick, good.tolist(), strict=True
            ):
                if sound:
                    places.append(number)
                else:
                    piece.rows += [(number, row) for row in self._rows(line, number)]
        if piece.rows:
            tables.append(FlowTable.from_cells([row for _, row in piece.rows]))
            places += [number for number, _ in piece.rows]
        if places:
            table = FlowTable.concat(tables)
            if len(tables) > 1:
                table = table.take(np.argsort(np.array(places), kind="stable"))
            self.seen.update(table.columns)
            yield table

    def _rows(self, line: str, number: int) -> Iterator[Cells]:
        if self._elements.open() or xml.looks_like(line):
            yield from self._flows(line, number)
            return
        stripped = line.strip()
        if not stripped or stripped.startswith(_NOISE):
            return
        try:
            if save.looks_like(stripped):
                yield save.parse_line(stripped)
                self.format = self.format or SAVE
            else:
                yield lines.parse_line(stripped, self._zone)
                self.format = self.format or _line_format(stripped)
        except Unreadable as error:
            self._report(str(error), number)

    def _flows(self, line: str, number: int) -> Iterator[Cells]:
        try:
            elements = self._elements.feed(line, number)
        except xml.CutOff as error:
            self._report(str(error), number)
            elements = error.done
        for element in elements:
            try:
                yield xml.parse_flow(element)
                self.format = self.format or XML
            except Unreadable as error:
                self._report(str(error), number)

    def _report(self, reason: str, line: int) -> None:
        self._problem(ParseError(reason, line=line, source=self._source))


@dataclass(slots=True)
class _Piece:
    """Lines on their way into one table, each with its number."""

    quick: list[tuple[int, str, tuple[str | None, ...]]] = field(default_factory=list)
    """Those of the common shape: the line and its parts."""
    rows: list[tuple[int, Cells]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.quick) + len(self.rows)


def _line_format(line: str) -> str:
    if line.startswith("["):
        return EVENTS
    return EXTENDED if line.startswith(("ipv4", "ipv6")) else PLAIN
