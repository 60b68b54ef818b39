"""The same rows for programs: JSON, JSON lines, CSV and TSV.

JSON is made of the same cells as text; a field the source did not tell is left
out of its object, never null.  ``docs/reference/formats`` is the schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope.render import cells
from natscope.render.cells import Cell
from natscope.render.format import plain
from natscope.views import values as v
from natscope.views.listing import Page

SCHEMAS = {
    "flows": "natscope.list/1",
    "groups": "natscope.groups/1",
    "events": "natscope.event/1",
}
"""The schema a document names, by what its rows are."""
ROWS_AT_ONCE = 4096
_NO_BREAKS = bytes.maketrans(b"\t\n\r", b"   ")


@dataclass(slots=True)
class JsonLines:
    """One JSON object a line."""

    def write(self, page: Page) -> bytes:
        """The objects of a page."""
        return b"".join(_objects(page, b"\n"))

    def end(self) -> bytes:
        """What closes the document: nothing."""
        return b""


@dataclass(slots=True)
class JsonDocument:
    """One JSON document: the schema's name, then the rows."""

    rows: str = "flows"
    _begun: bool = False

    def write(self, page: Page) -> bytes:
        """The objects of a page, after what opens the document."""
        body = b"".join(_objects(page, b",\n"))
        if not body:
            return b""
        head = b",\n" if self._begun else self._head()
        self._begun = True
        return head + body.removesuffix(b",\n")

    def end(self) -> bytes:
        """What closes the document."""
        opened = b"" if self._begun else self._head()
        return opened + b"\n]}\n"

    def _head(self) -> bytes:
        schema, rows = json.dumps(SCHEMAS[self.rows]), json.dumps(self.rows)
        return f'{{"schema": {schema}, {rows}: [\n'.encode()


@dataclass(slots=True)
class Separated:
    """CSV (RFC 4180) or TSV, with a heading line of field names."""

    separator: bytes = b","
    heading: bool = True
    _begun: bool = False

    def write(self, page: Page) -> bytes:
        """The lines of a page."""
        out = []
        if not self._begun and self.heading:
            names = (field.name.encode() for field in page.fields)
            out.append(self.separator.join(names) + b"\n")
        self._begun = True
        out += [self._lines(columns) for columns in _batches(page)]
        return b"".join(out)

    def end(self) -> bytes:
        """What closes the document: nothing."""
        return b""

    def _lines(self, columns: list[v.Values]) -> bytes:
        n = len(columns[0].valid)
        parts: list[Cell] = []
        for values in columns:
            if isinstance(values, v.Texts):
                cell = _distinct(values, self._quote).only(values.valid)
            elif isinstance(values, v.Names):
                quoted = (self._quote(word.encode()) for word in values.words)
                words = tuple(word.decode() for word in quoted)
                cell = plain(v.Names(values.codes, words, values.valid))
            else:
                cell = plain(values)
            parts += [cell, cells.literal(self.separator, n)]
        parts[-1] = cells.literal(b"\n", n)
        return cells.lines(parts)

    def _quote(self, text: bytes) -> bytes:
        if self.separator == b"\t":
            return text.translate(_NO_BREAKS)
        if any(mark in text for mark in (b",", b'"', b"\n", b"\r")):
            return b'"' + text.replace(b'"', b'""') + b'"'
        return text


def _batches(page: Page) -> list[list[v.Values]]:
    starts = range(0, page.rows, ROWS_AT_ONCE)
    spans = [slice(start, start + ROWS_AT_ONCE) for start in starts]
    return [[v.take(column, rows) for column in page.columns] for rows in spans]


def _objects(page: Page, ending: bytes) -> list[bytes]:
    return [
        cells.lines(_object([f.name for f in page.fields], columns, ending))
        for columns in _batches(page)
    ]


def _object(names: list[str], columns: list[v.Values], ending: bytes) -> list[Cell]:
    """The cells of one object a row; commas stand before all but the first."""
    n = len(columns[0].valid)
    parts = [cells.literal(b"{", n)]
    begun = np.zeros(n, np.bool_)
    for name, values in zip(names, columns, strict=True):
        valid = values.valid
        if not valid.any():
            continue
        comma = cells.literal(b", ", n).only(begun & valid)
        label = cells.literal(json.dumps(name).encode() + b": ", n).only(valid)
        parts += [comma, label, *_json(values)]
        begun = begun | valid
    parts.append(cells.literal(b"}" + ending, n))
    return parts


def _json(values: v.Values) -> list[Cell]:
    n, valid = len(values.valid), values.valid
    match values:
        case v.Numbers():
            return [plain(values)]
        case v.Names():
            used, codes = np.unique(values.codes, return_inverse=True)
            words = [json.dumps(values.words[c]).encode() for c in used.tolist()]
            return [cells.lookup(codes, words or [b""]).only(valid)]
        case v.Texts():
            return [_distinct(values, _json_string).only(valid)]
        case v.Addresses():
            return [_quoted(plain(values), valid)]
        case v.Endpoints():
            address = cells.addresses(values.family, values.words).only(valid)
            opening = cells.literal(b'{"address": "', n).only(valid)
            closing = cells.literal(b'"', n).only(valid)
            return [opening, address, closing, *_json_port(values)]


def _json_port(values: v.Endpoints) -> list[Cell]:
    n, there = len(values.valid), values.valid & values.has_port
    labels = [f', "{word}": '.encode() for word in v.PORT_WORDS]
    return [
        cells.lookup(values.meaning, labels).only(there),
        cells.decimal(values.port).only(there),
        cells.literal(b"}", n).only(values.valid),
    ]


def _quoted(cell: Cell, valid: NDArray[np.bool_]) -> Cell:
    mark = cells.literal(b'"', len(valid)).only(valid)
    return cells.concat([mark, cell, mark])


def _distinct(values: v.Texts, text: Callable[[bytes], bytes]) -> Cell:
    """Texts that need a closer look, each distinct one once."""
    distinct, codes = np.unique(values.values, return_inverse=True)
    return cells.lookup(codes, [text(value) for value in distinct.tolist()] or [b""])


def _json_string(text: bytes) -> bytes:
    return json.dumps(text.decode("utf-8", "backslashreplace")).encode()
