"""Cells of text as byte matrices: a million lines without a Python loop.

A Cell holds one text per row in a matrix of bytes; zero bytes are gaps that
vanish when lines are put together.  Numbers and addresses are looked up in
tables of eight-byte words, so that a cell costs a few gathers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi

Matrix = NDArray[np.uint8]
Lengths = NDArray[np.intp]
Mask = NDArray[np.bool_]

_WORD = 8
FEW = 256
"""Up to this many values are formatted one by one: sooner done than the tables."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One text a row: matrices of bytes with gaps, and its width on screen.

    The matrices stand side by side and are put together once, by ``lines``.
    """

    parts: tuple[Matrix, ...]
    length: Lengths

    def only(self, rows: Mask) -> Cell:
        """The cell with the other rows empty."""
        if rows.all():
            return self
        keep = rows[:, None]
        return Cell(tuple(part * keep for part in self.parts), self.length * rows)

    def otherwise(self, rows: Mask, text: bytes) -> Cell:
        """The cell where ``rows``, elsewhere a fixed text."""
        if rows.all():
            return self
        return concat([self.only(rows), literal(text, len(rows)).only(~rows)])


def lines(cells: Sequence[Cell]) -> bytes:
    """The rows of parallel cells, one after the other, gaps removed."""
    parts = [part for cell in cells for part in cell.parts]
    n, width = len(parts[0]), sum(part.shape[1] for part in parts)
    whole = bytearray(n * width)
    # bytearray.translate spares the copy that ndarray.tobytes would make
    np.concatenate(parts, axis=1, out=np.frombuffer(whole, np.uint8).reshape(n, width))
    return bytes(whole.translate(None, b"\0"))


def concat(cells: Sequence[Cell]) -> Cell:
    """Cells side by side as one."""
    length = cells[0].length
    for cell in cells[1:]:
        length = length + cell.length
    return Cell(tuple(part for cell in cells for part in cell.parts), length)


def literal(text: bytes, n: int) -> Cell:
    """The same text in every row."""
    row = np.frombuffer(text, np.uint8)
    rows = np.broadcast_to(row, (n, len(row)))
    return Cell((rows,), np.broadcast_to(np.intp(len(row)), (n,)))


def lookup(
    codes: NDArray[Any], texts: Sequence[bytes], widths: Sequence[int] | None = None
) -> Cell:
    """The text each code stands for; ``widths`` where they differ from the bytes."""
    table = _words(list(texts))
    lengths = np.array([len(t) for t in texts] if widths is None else widths, np.intp)
    text = table[codes].view(np.uint8).reshape(len(codes), table.dtype.itemsize)
    return Cell((text,), lengths[codes])


def _one_by_one(texts: list[bytes]) -> Cell:
    return lookup(np.arange(len(texts)), texts or [b""])


def strings(values: NDArray[np.bytes_]) -> Cell:
    """A column of byte strings."""
    width = max(1, values.dtype.itemsize)
    text = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), width)
    return Cell((text,), np.char.str_len(values).astype(np.intp))


def ljust(cell: Cell, width: int) -> Cell:
    """Pad with blanks on the right."""
    padded = (*cell.parts, _padding(cell.length, width))
    return Cell(padded, np.maximum(cell.length, width))


def rjust(cell: Cell, width: int) -> Cell:
    """Pad with blanks on the left."""
    padded = (_padding(cell.length, width), *cell.parts)
    return Cell(padded, np.maximum(cell.length, width))


def _padding(length: Lengths, width: int) -> Matrix:
    missing = np.clip(width - length, 0, None)
    most = int(missing.max(initial=0))
    blanks = np.where(np.tri(most + 1, most, -1, dtype=np.bool_), ord(" "), 0)
    return blanks.astype(np.uint8)[missing]


def decimal(values: NDArray[Any]) -> Cell:
    """Whole numbers, signed or not, of any size."""
    if len(values) <= FEW:
        return _one_by_one([b"%d" % value for value in values.tolist()])
    if values.dtype.kind == "i":
        negative = values < 0
        sign = literal(b"-", len(values)).only(negative)
        size = np.abs(values.astype(np.int64)).astype(np.uint64)
        return concat([sign, decimal(size)])
    if values.max() < 1 << 16:
        return _number(values, _numbers())
    low_table = _numbers()
    high, low = np.divmod(values, values.dtype.type(10_000))
    small = high == 0
    index = low.astype(np.intp)
    words = np.where(small, low_table.words[index], _zero_filled()[index])
    text = words.view(np.uint8).reshape(len(values), _WORD)
    tail = Cell((text,), np.where(small, low_table.lengths[index], 4))
    return concat([decimal(high).only(~small), tail])


def hexadecimal(values: NDArray[Any]) -> Cell:
    """Hexadecimal digits of 16-bit values, as ``%x``."""
    table = _hexes()
    return _number(values, table)


def ports(values: NDArray[np.uint16]) -> Cell:
    """``:443`` for each port."""
    if len(values) <= FEW:
        return _one_by_one([b":%d" % value for value in values.tolist()])
    return _number(values, _ports())


def addresses(family: NDArray[np.uint8], words: NDArray[np.uint64]) -> Cell:
    """Addresses as inet_ntop(3) prints them."""
    v6 = family == uapi.AF_INET6
    if not v6.any():
        return _ipv4(words[:, 1])
    if v6.all():
        return _ipv6(words)
    text = np.zeros((len(words), 8 * _WORD), np.uint8)
    length = np.zeros(len(words), np.intp)
    for rows, cell in ((~v6, _ipv4(words[~v6, 1])), (v6, _ipv6(words[v6]))):
        (numeric,) = cell.parts
        text[rows, : numeric.shape[1]] = numeric
        length[rows] = cell.length
    return Cell((text,), length)


def _ipv4(low: NDArray[np.uint64]) -> Cell:
    if len(low) <= FEW:
        octets = low.astype(">u4").view(np.uint8).reshape(-1, 4)
        return _one_by_one([b"%d.%d.%d.%d" % tuple(row) for row in octets.tolist()])
    first, last = _octet_pairs()
    value = low.astype(np.uint32)
    high_half, low_half = value >> np.uint32(16), value & np.uint32(0xFFFF)
    text = np.empty((len(value), 2), np.uint64)
    text[:, 0] = first.words[high_half]
    text[:, 1] = last.words[low_half]
    length = first.lengths[high_half] + last.lengths[low_half]
    return Cell((text.view(np.uint8),), length)


def _ipv6(words: NDArray[np.uint64]) -> Cell:
    groups = words.astype(">u8").view(">u2").astype(np.uint16)
    pattern = np.packbits(groups == 0, axis=1)[:, 0]
    shape, hexes = _ipv6_shapes(), _hexes()
    shown = shape.shown[pattern]
    # two bytes of separators, then the digits, in one word a group
    digits = hexes.words[groups] << np.uint64(16) & shown
    text = (digits | shape.separators[pattern]).view(np.uint8)
    length = (hexes.lengths[groups] * (shown != 0)).sum(axis=1)
    length += shape.separator_lengths[pattern]
    cell = Cell((text,), length)
    dotted = np.flatnonzero((words[:, 0] == 0) & _embeds_ipv4(words[:, 1]))
    return _with_dots(cell, dotted, words) if len(dotted) else cell


def _embeds_ipv4(low: NDArray[np.uint64]) -> Mask:
    """glibc's inet_ntop: ``::a.b.c.d`` and ``::ffff:a.b.c.d``."""
    top = low >> np.uint64(32)
    compatible = (top == 0) & (low >> np.uint64(16) != 0)
    mapped: Mask = compatible | (top == 0xFFFF)
    return mapped


def _with_dots(cell: Cell, rows: Lengths, words: NDArray[np.uint64]) -> Cell:
    low = words[rows, 1]
    mapped = low >> np.uint64(32) != 0
    prefix = lookup(mapped.astype(np.intp), [b"::", b"::ffff:"])
    dotted = concat([prefix, _ipv4(low & np.uint64(0xFFFF_FFFF))])
    whole = np.concatenate(dotted.parts, axis=1)
    text, length = cell.parts[0].copy(), cell.length.copy()
    text[rows] = 0
    text[rows, : whole.shape[1]] = whole
    length[rows] = dotted.length
    return Cell((text,), length)


@dataclass(frozen=True, slots=True)
class _Table:
    words: NDArray[np.uint64]
    lengths: Lengths


def _number(values: NDArray[Any], table: _Table) -> Cell:
    index = values.astype(np.intp)
    text = table.words[index].view(np.uint8).reshape(len(values), _WORD)
    return Cell((text,), table.lengths[index])


def _words(texts: list[bytes]) -> NDArray[Any]:
    """Texts as rows of whole eight-byte words."""
    width = max(1, *(-(-len(text) // _WORD) for text in texts)) * _WORD
    padded = b"".join(text.ljust(width, b"\0") for text in texts)
    return np.frombuffer(padded, f"V{width}")


def _table(texts: list[bytes]) -> _Table:
    words = np.frombuffer(b"".join(t.ljust(_WORD, b"\0") for t in texts), np.uint64)
    return _Table(words, np.array([len(text) for text in texts], np.intp))


def _pairs(high: _Table, low: _Table) -> _Table:
    """Every text of one table followed by every text of another."""
    shift = (high.lengths * 8).astype(np.uint64)[:, None]
    words = high.words[:, None] | low.words << shift
    lengths = high.lengths[:, None] + low.lengths
    return _Table(words.ravel(), lengths.ravel())


def _without_zeros(pairs: _Table, low: _Table) -> _Table:
    """Pairs whose first part is zero as the second part alone."""
    for whole, part in ((pairs.words, low.words), (pairs.lengths, low.lengths)):
        whole[: len(part)] = part
    return pairs


@cache
def _numbers() -> _Table:
    high = _table([b"%d" % value for value in range(66)])
    low = _table([b"%03d" % value for value in range(1000)])
    bare = _table([b"%d" % value for value in range(1000)])
    return _without_zeros(_pairs(high, low), bare)


@cache
def _zero_filled() -> NDArray[np.uint64]:
    two = _table([b"%02d" % value for value in range(100)])
    return _pairs(two, two).words


@cache
def _hexes() -> _Table:
    bare = _table([b"%x" % value for value in range(256)])
    low = _table([b"%02x" % value for value in range(256)])
    return _without_zeros(_pairs(bare, low), bare)


@cache
def _ports() -> _Table:
    table = _numbers()
    return _Table(table.words << np.uint64(8) | np.uint64(ord(":")), table.lengths + 1)


@cache
def _octet_pairs() -> tuple[_Table, _Table]:
    """``a.b.`` and ``c.d`` for every pair of octets."""
    dotted = _table([b"%d." % value for value in range(256)])
    bare = _table([b"%d" % value for value in range(256)])
    return _pairs(dotted, dotted), _pairs(dotted, bare)


@dataclass(frozen=True, slots=True)
class _Shapes:
    """For every set of zero groups: what is shown and what stands between."""

    shown: NDArray[np.uint64]
    separators: NDArray[np.uint64]
    separator_lengths: Lengths


@cache
def _ipv6_shapes() -> _Shapes:
    shown = np.zeros((256, 8), np.uint64)
    separators = np.zeros((256, 8), np.uint64)
    for pattern in range(256):
        start, stop = _longest_run(pattern)
        for group in range(8):
            if group == start:
                separators[pattern, group] = 0x3A3A  # "::"
            elif not start < group < stop:
                shown[pattern, group] = 0xFFFF_FFFF << 16
                if group not in (0, stop):
                    separators[pattern, group] = 0x3A
    lengths = (separators == 0x3A3A) * 2 + (separators == 0x3A)
    return _Shapes(shown, separators, lengths.sum(axis=1).astype(np.intp))


def _longest_run(pattern: int) -> tuple[int, int]:
    """RFC 5952: the first longest run of at least two zero groups."""
    best = (-1, -1)
    for start in range(8):
        stop = start
        while stop < 8 and pattern >> (7 - stop) & 1:
            stop += 1
        if stop - start >= 2 and stop - start > best[1] - best[0]:
            best = (start, stop)
    return best
