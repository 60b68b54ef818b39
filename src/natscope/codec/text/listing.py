"""A whole saved listing: lines in, tables out, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo

from natscope.codec.text import lines, save, xml
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
        """The flows, in tables of bounded size."""
        rows: list[Cells] = []
        number = 0
        for number, line in enumerate(text, 1):
            rows.extend(self._rows(line.rstrip("\r\n"), number))
            if len(rows) >= ROWS_AT_ONCE:
                yield self._table(rows)
                rows = []
        if self._elements.open():
            at = self._elements.started_at
            self._report(f"the flow that begins on line {at} has no end", number)
        if rows:
            yield self._table(rows)

    def _table(self, rows: list[Cells]) -> FlowTable:
        table = FlowTable.from_cells(rows)
        self.seen.update(table.columns)
        return table

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
                self._note(SAVE)
            else:
                yield lines.parse_line(stripped, self._zone)
                self._note(_line_format(stripped))
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
                self._note(XML)
            except Unreadable as error:
                self._report(str(error), number)

    def _note(self, name: str) -> None:
        if self.format is None:
            self.format = name

    def _report(self, reason: str, line: int) -> None:
        self._problem(ParseError(reason, line=line, source=self._source))


def _line_format(line: str) -> str:
    if line.startswith("["):
        return EVENTS
    return EXTENDED if line.startswith(("ipv4", "ipv6")) else PLAIN
