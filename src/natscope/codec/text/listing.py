"""A whole saved listing: lines in, tables out, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from itertools import islice

import numpy as np

from natscope.codec.text import bulk, lines, save, xml
from natscope.codec.text.cells import Cells, Unreadable
from natscope.errors import ParseError
from natscope.table.flowtable import FlowTable

LINES_AT_ONCE = 8192
PLAIN = "conntrack -L"
EXTENDED = "conntrack -L -o extended, or /proc/net/nf_conntrack"
SAVE = "conntrack -L -o save"
XML = "conntrack -L -o xml"
EVENTS = "conntrack -E"
SAVE_EVENTS = "conntrack -E -o save"
XML_EVENTS = "conntrack -E -o xml"

_REMARK = re.compile(r"#|nfct_labelmap_new: |conntrack v\S+ \(conntrack-tools\): ")
"""Beginnings of lines beside the flows: comments, what conntrack(8) says on stderr."""
_FAILURE = re.compile(r"conntrack v\S+ \(conntrack-tools\): (Operation failed.*)")


def parse_listing(
    text: Iterable[str],
    *,
    problem: Callable[[ParseError], None] | None = None,
    source: str = "listing",
    zone: tzinfo | None = None,
) -> Iterator[FlowTable]:
    """The flows of a listing, in tables of some thousand rows.

    Args:
        text: the lines, with or without newlines.
        problem: called with each line that cannot be read; None raises it.
        source: the name of the listing, for messages.
        zone: as of :class:`Reader`.

    Raises:
        ParseError: a line cannot be read and ``problem`` is None.
    """
    yield from Reader(source, problem or _refuse, zone).tables(text)


def _refuse(error: ParseError) -> None:
    raise error


class Reader:
    """Reads one listing, noting what it is and what could not be read.

    Args:
        source: its name, for messages.
        problem: called with each line that cannot be read; may raise.
        zone: the time zone of the box, for ``[start=…]`` and ``<when>``, which
            conntrack(8) prints in local time; None is that of this machine.
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
        """What printed the first flow."""
        self.seen: set[str] = set()
        """Columns any flow of the listing had."""

    def tables(self, text: Iterable[str]) -> Iterator[FlowTable]:
        """The flows, in tables of bounded size and in the order of the lines."""
        remaining, first = iter(text), 1
        while block := list(islice(remaining, LINES_AT_ONCE)):
            yield from self._table([line.rstrip("\r\n") for line in block], first)
            first += len(block)
        for element in self._elements.cut_off():
            self._report(element.reason, element.line)

    def _table(self, block: list[str], first: int) -> Iterator[FlowTable]:
        """The flows of some lines; ``first`` is the number of the first one."""
        tables: list[FlowTable] = []
        places: list[int] = []
        rest: Iterable[int] = range(len(block))
        if not self._elements.open():
            quick = bulk.parse(block, self._zone)
            # an element may go over many lines, and what is among them matters
            if not any(xml.looks_like(block[at]) for at in quick.rest):
                tables, places, rest = [quick.table], quick.rows.tolist(), quick.rest
        rows = [(at, row) for at in rest for row in self._rows(block[at], first + at)]
        if rows:
            tables.append(FlowTable.from_cells([row for _, row in rows]))
            places += [at for at, _ in rows]
        if not places:
            return
        table = FlowTable.concat([table for table in tables if len(table)])
        if rows and len(rows) < len(places):
            table = table.take(np.argsort(places, kind="stable"))
        self.format = self.format or _format(block[min(places)])
        self.seen.update(table.columns)
        yield table

    def _rows(self, line: str, number: int) -> Iterator[Cells]:
        """The flows that end on a line, read one by one."""
        if not line.isascii():  # what is no Unicode is shown as what it is
            line = line.encode("utf-8", "backslashreplace").decode()
        stripped = line.strip()
        if not stripped or _REMARK.match(stripped):
            if failure := _FAILURE.match(stripped):
                self._report(f"conntrack(8) says: {failure[1]}", number)
            return
        if self._is_xml(stripped):
            yield from self._flows(line, number)
            return
        for element in self._elements.cut_off():
            self._report(element.reason, element.line)
        try:
            if save.looks_like(stripped):
                yield save.parse_line(stripped)
            else:
                yield lines.parse_line(stripped, self._zone)
        except Unreadable as error:
            self._report(str(error), number)

    def _is_xml(self, line: str) -> bool:
        if xml.looks_like(line):
            return True
        # a value may stand on a line of its own
        inside = self._elements.open()
        return inside and not (lines.looks_like(line) or save.looks_like(line))

    def _flows(self, line: str, number: int) -> Iterator[Cells]:
        for element in self._elements.feed(line, number):
            if element.reason:
                self._report(element.reason, element.line)
                continue
            try:
                yield xml.parse_flow(element.text, self._zone)
            except Unreadable as error:
                self._report(str(error), element.line)

    def _report(self, reason: str, line: int) -> None:
        self._problem(ParseError(reason, line=line, source=self._source))


def _format(line: str) -> str:
    """What printed a line that holds a flow."""
    line = line.strip()
    if save.looks_like(line):
        return SAVE if line.startswith("-A") and "[USER" not in line else SAVE_EVENTS
    if lines.looks_like(line):
        if lines.is_event(line):
            return EVENTS
        return EXTENDED if line.startswith(("ipv4", "ipv6")) else PLAIN
    return XML_EVENTS if "<flow type=" in line else XML
