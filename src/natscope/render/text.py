"""Aligned text for people.

Columns are as wide as the widest value seen so far, so that a listing of any
size streams: a later, wider value widens the lines after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natscope.render import cells
from natscope.render.cells import Cell
from natscope.render.format import NameBook, human
from natscope.views import values as v
from natscope.views.listing import Page

GAP = 2
BOLD, DIM, RED, YELLOW, GREEN, CYAN, RESET = (
    b"\x1b[1m",
    b"\x1b[2m",
    b"\x1b[31m",
    b"\x1b[33m",
    b"\x1b[32m",
    b"\x1b[36m",
    b"\x1b[0m",
)
_COLOURS = {
    "ESTABLISHED": GREEN,
    "ASSURED": GREEN,
    "UNREPLIED": YELLOW,
    "SYN_SENT": YELLOW,
    "TIME_WAIT": DIM,
    "CLOSE": DIM,
    "CLOSE_WAIT": DIM,
    "LAST_ACK": DIM,
    "FIN_WAIT": DIM,
    "h": CYAN,
    "r": CYAN,
    "d": CYAN,
    "sd": CYAN,
}
LINES_AT_ONCE = 4096
"""So that a piece of text under construction fits the cache."""


@dataclass(slots=True)
class TextTable:
    """Writes pages one after the other under one heading."""

    colour: bool = False
    heading: bool = True
    names: NameBook | None = None
    _widths: list[int] | None = None
    _headings: list[str] | None = None

    def at_least(self, widths: Sequence[int]) -> None:
        """Give columns room for what is yet to come."""
        self._widths = [
            max(w) for w in zip(widths, self._widths or widths, strict=True)
        ]

    def end(self) -> bytes:
        """What follows the last line: nothing."""
        return b""

    def write(self, page: Page) -> bytes:
        """The lines of a page, after the heading if it is the first."""
        out = [self.head(page)]
        for start in range(0, page.rows, LINES_AT_ONCE):
            rows = slice(start, start + LINES_AT_ONCE)
            out.append(self._lines([v.take(c, rows) for c in page.columns]))
        return b"".join(out)

    def head(self, page: Page) -> bytes:
        """The heading, once, and again when there are more columns to it."""
        headings = [field.heading for field in page.fields]
        if headings == self._headings:
            return b""
        if self._headings is not None:
            self._widths = None
        self._headings = headings
        self.at_least([len(heading) for heading in headings])
        self._measure(page)
        return self._heading_line(page) if self.heading else b""

    def _measure(self, page: Page) -> None:
        """Fit the columns to the first rows, so that few lines stand out."""
        rows = slice(0, LINES_AT_ONCE)
        self._grow([self._cell(v.take(c, rows)) for c in page.columns])

    def _grow(self, row: list[Cell]) -> list[int]:
        widths = self._widths or [0] * len(row)
        for position, cell in enumerate(row):
            widest = int(cell.length.max(initial=0))
            widths[position] = max(widths[position], widest)
        self._widths = widths
        return widths

    def _lines(self, columns: list[v.Values]) -> bytes:
        n = len(columns[0].valid)
        row = [self._cell(values) for values in columns]
        widths = self._grow(row)
        parts: list[Cell] = []
        last = len(row) - 1
        for position, (cell, values) in enumerate(zip(row, columns, strict=True)):
            gap = GAP if position < last else 0
            if _right(values):
                parts += [cells.rjust(cell, widths[position])]
                parts += [cells.literal(b" " * gap, n)] if gap else []
            elif position < last:
                parts.append(cells.ljust(cell, widths[position] + gap))
            else:
                parts.append(cell)
        parts.append(cells.literal(b"\n", n))
        return cells.lines(parts)

    def _cell(self, values: v.Values) -> Cell:
        if self.colour and isinstance(values, v.Names):
            return _coloured(values)
        return human(values, self.names)

    def _heading_line(self, page: Page) -> bytes:
        widths = self._widths or []
        words = [
            field.heading.rjust(width) if _right(values) else field.heading.ljust(width)
            for field, values, width in zip(
                page.fields, page.columns, widths, strict=True
            )
        ]
        line = (" " * GAP).join(words).rstrip().encode()
        return (BOLD + line + RESET if self.colour else line) + b"\n"


def _right(values: v.Values) -> bool:
    return isinstance(values, v.Numbers)


def _coloured(values: v.Names) -> Cell:
    used, codes = np.unique(values.codes, return_inverse=True)
    words = [values.words[code] for code in used.tolist()] or [""]
    texts = []
    for word in words:
        colour = _COLOURS.get(word)
        text = word.encode()
        texts.append(colour + text + RESET if colour else text)
    cell = cells.lookup(codes, texts, [len(word) for word in words])
    return cell.otherwise(values.valid, b"-")
