"""The flows of a bundle: columns, each packed into a line of text.

A column is its values in little-endian order, byte by byte: the lowest byte of every
row, then the next (Blosc and HDF5 call it shuffling), compressed by zlib (RFC 1950),
in base64 (RFC 4648).  High bytes are alike, so a million flows take some 40 MB and are
read in half a second.  ``docs/reference/bundle-format`` is the schema.
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.errors import DocumentError
from natscope.model.bundle import FlowColumn, FlowColumns
from natscope.table.columns import ADDRESS, BIT, BY_NAME, COLUMNS, Column
from natscope.table.flowtable import FlowTable
from natscope.uapi import AF_INET, AF_INET6

Array = NDArray[Any]
Bytes = NDArray[np.uint8]

LARGEST = 1 << 30
"""Bytes of unpacked flows, some seven million: what a small file of a stranger may
grow to."""
_FASTEST = 1
"""Of zlib: after shuffling, a higher level gains 3 % in three times the time."""
_WIDEST = 4096
"""Bytes of a text, be it a security context."""
_PRESENT = 8
"""Bytes of a row's presence word."""


def pack(table: FlowTable) -> FlowColumns:
    """A table as a bundle holds it; attributes without a column are left out."""
    columns = (BY_NAME[name] for name in table.columns)
    return FlowColumns(
        len(table), tuple(_packed(table, one) for one in columns if one.dtype != "O")
    )


def unpack(flows: FlowColumns) -> FlowTable:
    """The table a bundle holds.

    Columns of a newer natscope are passed over.

    Raises:
        DocumentError: a column is not what it should be, or one is missing.
    """
    known = [
        _Told(BY_NAME[told.name], told, ("flows", "columns", str(at)))
        for at, told in enumerate(flows.columns)
        if told.name in BY_NAME and BY_NAME[told.name].dtype != "O"
    ]
    if flows.count * (_PRESENT + sum(one.width for one in known)) > LARGEST:
        reason = f"is of more than {LARGEST >> 20} MiB"
        raise DocumentError(reason, path=("flows", "columns"))
    data: dict[str, Array] = {}
    present = np.zeros(flows.count, np.uint64)
    for one in known:
        data[one.column.name] = one.values(flows.count)
        if one.column.name in BIT:
            bit = np.uint64(1 << BIT[one.column.name])
            present[one.rows(flows.count)] |= bit
    _check(data)
    return FlowTable(data, present)


@dataclass(frozen=True)
class _Told:
    """A column as a bundle has it."""

    column: Column
    packed: FlowColumn
    path: tuple[str, ...]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""
        if self.column.dtype != "S":
            return np.dtype(self.column.dtype).newbyteorder("<")
        width = self.packed.width
        if width is None or not 0 < width <= _WIDEST:
            wanted = f"needs a width of 1 to {_WIDEST} bytes"
            raise DocumentError(wanted, path=(*self.path, "width"))
        return np.dtype(f"S{width}")

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * self.column.width

    def values(self, count: int) -> Array:
        """Its values, by row."""
        path = (*self.path, "data")
        shuffled = _bytes(self.packed.data, count * self.width, path)
        rows = np.ascontiguousarray(shuffled.reshape(self.width, count).T)
        values = rows.reshape(-1).view(self.dtype)
        values = values.astype(self.dtype.newbyteorder("="), copy=False)
        return (
            values
            if self.column.width == 1
            else values.reshape(count, self.column.width)
        )

    def rows(self, count: int) -> NDArray[np.bool_]:
        """Which rows have it."""
        if self.packed.rows is None:
            return np.ones(count, np.bool_)
        bits = _bytes(self.packed.rows, (count + 7) // 8, (*self.path, "rows"))
        return np.unpackbits(bits, count=count).view(np.bool_)


def _check(data: dict[str, Array]) -> None:
    """No column is missing, every family is one, and addresses are of it."""
    path = ("flows", "columns")
    for column in COLUMNS:
        if column.always and column.name not in data:
            raise DocumentError(f"has no column {column.name}", path=path)
    family = data["family"]
    if not np.isin(family, (AF_INET, AF_INET6)).all():
        raise DocumentError("family needs 2 (IPv4) or 10 (IPv6)", path=path)
    short = family == AF_INET
    for name, words in data.items():
        if BY_NAME[name].unit != ADDRESS:
            continue
        if words[short, 0].any() or (words[short, 1] >> np.uint64(32)).any():
            raise DocumentError(f"{name} has more than 32 bits of IPv4", path=path)


def _packed(table: FlowTable, column: Column) -> FlowColumn:
    values, has = table[column.name], table.has(column.name)
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    width = little.itemsize * column.width
    shuffled = little.view(np.uint8).reshape(len(table), width).T
    return FlowColumn(
        column.name,
        _text(shuffled.tobytes()),
        width=values.dtype.itemsize if column.dtype == "S" else None,
        rows=None if has.all() else _text(np.packbits(has).tobytes()),
    )


def _text(data: bytes) -> str:
    packed = zlib.compress(data, _FASTEST)
    return binascii.b2a_base64(packed, newline=False).decode()


def _bytes(text: str, size: int, path: tuple[str, ...]) -> Bytes:
    """What was packed, if it is so many bytes."""
    try:
        packed = binascii.a2b_base64(text, strict_mode=True)
        unzip = zlib.decompressobj()
        data = unzip.decompress(packed, size + 1)
    except (ValueError, zlib.error) as error:
        raise DocumentError(f"cannot be unpacked: {error}", path=path) from None
    if len(data) != size or not unzip.eof:
        raise DocumentError(f"is not of {size} bytes", path=path)
    return np.frombuffer(data, np.uint8)
