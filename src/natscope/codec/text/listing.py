"""A whole saved listing: lines in, tables out, whatever the format."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import islice

import numpy as np

from natscope.codec.text import bulk, bulk_json, bulk_save, lines, ndjson, save, xml
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
SAVED = "natscope save"
JSON_LINES = "natscope list --ndjson"

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


@dataclass(slots=True)
class _Found:
    """What was read together of some lines."""

    rest: Sequence[int]
    """The lines that are left, ascending."""
    tables: list[FlowTable] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """The line of each flow of the tables."""

    def take(self, part: bulk.Bulk, lines: Sequence[int]) -> None:
        """Add what was made of some of the lines."""
        if len(part.table):
            places = [lines[row] for row in part.rows.tolist()]
            self.add(part.table, places)
            self.rest = sorted(set(self.rest).difference(places))

    def add(self, table: FlowTable, places: list[int]) -> None:
        """Add flows and their lines."""
        self.tables.append(table)
        self.places += places


class Reader:
    """Reads one listing, noting what it is and what could not be read.

    Args:
        source: its name, for messages.
        problem: called with each line that cannot be read; may raise.
        zone: the time zone of the box, for ``[start=…]`` and ``<when>``, which
            conntrack(8) prints in local time; None is that of this machine.
        expectation: given the object and the line of each expectation a saved
            table holds; without it they are passed over.
    """

    def __init__(
        self,
        source: str,
        problem: Callable[[ParseError], None],
        zone: tzinfo | None = None,
        expectation: ndjson.Expectation | None = None,
    ) -> None:
        self._source = source
        self._problem = problem
        self._zone = zone
        self._elements = xml.Elements()
        self._objects = ndjson.Objects(self._report, expectation)
        self.format: str | None = None
        """What printed the first flow."""
        self.seen: set[str] = set()
        """Columns any flow of the listing had."""

    @property
    def begun(self) -> bool:
        """Whether natscope wrote this, be it in a version that is not known."""
        return self._objects.begun

    @property
    def header(self) -> ndjson.Header | None:
        """The first line of a saved table, once it is read."""
        return self._objects.header

    def tables(self, text: Iterable[str]) -> Iterator[FlowTable]:
        """The flows, in tables of bounded size and in the order of the lines."""
        remaining, first = iter(text), 1
        while block := list(islice(remaining, LINES_AT_ONCE)):
            yield from self._table([line.rstrip("\r\n") for line in block], first)
            first += len(block)
        for element in self._elements.cut_off():
            self._report(element.reason, element.line)
        self._objects.end(first - 1)

    def _table(self, block: list[str], first: int) -> Iterator[FlowTable]:
        """The flows of some lines; ``first`` is the number of the first one."""
        found = self._quick(block)
        rows = self._slowly(block, first, found)
        if rows:
            cells = [row for _, row in rows]
            found.add(FlowTable.from_cells(cells), [at for at, _ in rows])
        if not found.places:
            return
        table = FlowTable.concat(found.tables)
        if len(found.tables) > 1:
            table = table.take(np.argsort(found.places, kind="stable"))
        self.format = self.format or self._format(block[min(found.places)].strip())
        self.seen.update(table.columns)
        yield table

    def _quick(self, block: list[str]) -> _Found:
        """The flows of the lines of common shapes."""
        found = _Found(range(len(block)))
        if self._elements.open():
            return found
        plain = bulk.parse(block, self._zone)
        # an element may go over many lines, and what is among them matters
        if any(xml.looks_like(block[at]) for at in plain.rest):
            return found
        found.take(plain, found.rest)
        for begins, parse in (("-", bulk_save.parse), ("{", bulk_json.parse)):
            lines = [at for at in found.rest if block[at].startswith(begins)]
            if lines:
                part = parse([block[at] for at in lines])
                if not self._objects.foreign(block[lines[at]] for at in part.rest):
                    found.take(part, lines)
        return found

    def _slowly(
        self, block: list[str], first: int, found: _Found
    ) -> list[tuple[int, Cells]]:
        """The flows of the lines that are left, read one by one, and their lines.

        The objects among those read together count where they stand.
        """
        together = sorted(at for at in found.places if block[at].startswith("{"))
        rows, counted = [], 0
        for at in found.rest:
            before = bisect(together, at)
            self._objects.count(before - counted)
            rows += [(at, row) for row in self._rows(block[at], first + at)]
            counted = before
        self._objects.count(len(together) - counted)
        return rows

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
            if ndjson.looks_like(stripped):
                row = self._objects.read(stripped, number)
                if row is not None:
                    yield row
            elif save.looks_like(stripped):
                yield save.parse_line(stripped)
            elif self._objects.begun and not lines.looks_like(stripped):
                self._objects.read(stripped, number)
            else:
                yield lines.parse_line(stripped, self._zone)
        except Unreadable as error:
            self._report(str(error), number)

    def _is_xml(self, line: str) -> bool:
        if xml.looks_like(line):
            return True
        # a value may stand on a line of its own
        others = (lines, save, ndjson)
        return self._elements.open() and not any(o.looks_like(line) for o in others)

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

    def _format(self, line: str) -> str:
        """What printed a line that holds a flow."""
        if ndjson.looks_like(line):
            return JSON_LINES if self.header is None else SAVED
        if save.looks_like(line):
            listed = line.startswith("-A") and "[USER" not in line
            return SAVE if listed else SAVE_EVENTS
        if lines.looks_like(line):
            if lines.is_event(line):
                return EVENTS
            return EXTENDED if line.startswith(("ipv4", "ipv6")) else PLAIN
        return XML_EVENTS if "<flow type=" in line else XML
