"""The fast decoder: many conntrack messages to columns, with NumPy.

Messages of one length whose attribute headers are equal word for word have the
same layout; one of them is walked, and each of its values is then one gather
over all.  A real dump has a few dozen layouts, kept between batches.  It says
exactly what ``scalar`` says of each message (a property test), or fails with
the error of the first bad one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec import nla, nlmsg
from natscope.codec.schema import (
    BE16,
    BE32,
    BE32S,
    BE64,
    FLOW,
    IP4,
    IP6,
    LABELS,
    PAD,
    SIZES,
    STRING,
    U8,
    Leaf,
    Nest,
    address_family,
)
from natscope.errors import DecodeError
from natscope.table.columns import BIT, BY_NAME
from natscope.table.flowtable import FlowTable

Rows = NDArray[np.intp]
LAYOUTS_PER_LENGTH = 64
"""Beyond this many layouts of one length, messages are decoded one by one."""


@dataclass(slots=True)
class _Layout:
    """Where the values of all messages alike lie."""

    header_words: Rows
    """Offsets of the attribute headers, in 32-bit words from the message."""
    headers: NDArray[np.uint32]
    fields: dict[str, tuple[str, int, int]]
    """Column to kind, offset and size of its payload."""
    extra: list[tuple[str, int, int]]
    family: int
    present: int = field(init=False)

    def __post_init__(self) -> None:
        names = set(self.fields) | ({"extra"} if self.extra else set())
        self.present = sum(1 << BIT[name] for name in names if name in BIT)


class Decoder:
    """Decodes buffers of messages; remembers the layouts it has met."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def decode(self, buffer: nlmsg.Bytes) -> FlowTable:
        """Decode a buffer that holds nothing but flow messages.

        Raises:
            DecodeError: of the first bad message; its offset counts from that
                message, an error in the framing from the buffer.
        """
        starts = [message.start for message in nlmsg.split(buffer)]
        return self.decode_at(buffer, np.array(starts, np.intp))

    def decode_at(self, buffer: nlmsg.Bytes, starts: Rows) -> FlowTable:
        """Decode the messages that start at these offsets, multiples of four."""
        batch = _Batch(buffer, starts)
        lengths = batch.words[starts >> 2] if len(starts) else np.zeros(0, np.uint32)
        for length in np.flatnonzero(np.bincount(lengths)).tolist():
            self._same_length(batch, length, np.flatnonzero(lengths == length))
        return batch.table()

    def _same_length(self, batch: _Batch, length: int, rows: Rows) -> None:
        known = self._layouts.setdefault(length, [])
        for layout in known:
            rows = batch.fill(layout, rows)
            if len(rows) == 0:
                return
        while len(rows):
            if len(known) >= LAYOUTS_PER_LENGTH:
                batch.one_by_one(length, rows)
                return
            try:
                layout = _layout(batch.message(rows[0], length))
            except DecodeError as error:
                batch.failed(int(rows[0]), error)
                rows = rows[1:]
                continue
            known.append(layout)
            rows = batch.fill(layout, rows)


class _Batch:
    """The columns of one buffer while its layouts are gathered."""

    def __init__(self, buffer: nlmsg.Bytes, starts: Rows) -> None:
        if len(buffer) % 4:
            buffer = bytes(buffer) + bytes(-len(buffer) & 3)
        self.buffer = buffer
        self.starts = starts
        self.words = np.frombuffer(buffer, np.uint32)
        self._bytes = np.frombuffer(buffer, np.uint8)
        self._be16 = np.frombuffer(buffer, ">u2")
        self._be32 = np.frombuffer(buffer, ">u4")
        self._data: dict[str, NDArray[Any]] = {}
        self._strings: dict[str, list[tuple[Rows, NDArray[np.bytes_]]]] = {}
        self._present = np.zeros(len(starts), np.uint64)
        self._error: tuple[int, DecodeError] | None = None
        self._singles: list[tuple[int, FlowTable]] = []

    def message(self, row: int, length: int) -> bytes:
        start = int(self.starts[row])
        return bytes(memoryview(self.buffer)[start : start + length])

    def failed(self, row: int, error: DecodeError) -> None:
        if self._error is None or row < self._error[0]:
            self._error = (row, error)

    def fill(self, layout: _Layout, rows: Rows) -> Rows:
        """Take the rows that have this layout; the others are returned."""
        first = self.starts[rows] >> 2
        headers = self.words[first[:, None] + layout.header_words]
        same = (headers == layout.headers).all(axis=1)
        if same.all():
            rest = rows[:0]
        else:
            rest, rows, first = rows[~same], rows[same], first[same]
        if len(rows):
            self._gather(layout, rows, first)
        return rest

    def _gather(self, layout: _Layout, rows: Rows, first: Rows) -> None:
        self._column("family")[rows] = layout.family
        self._present[rows] = layout.present
        for name, (kind, offset, size) in layout.fields.items():
            if kind == STRING:
                found = self._string(first, offset, size)
                self._strings.setdefault(name, []).append((rows, found))
            else:
                self._number(name, kind, rows, first, offset)
        if layout.extra:
            self._extra(layout, rows)

    def _number(
        self, name: str, kind: str, rows: Rows, first: Rows, offset: int
    ) -> None:
        column = self._column(name)
        word = first + (offset >> 2)
        if kind == BE32:
            column[rows] = self._be32[word]
        elif kind == BE32S:
            column[rows] = self._be32[word].astype(np.uint32).view(np.int32)
        elif kind == BE16:
            column[rows] = self._be16[word * 2]
        elif kind == U8:
            column[rows] = self._bytes[word * 4]
        elif kind == BE64:
            column[rows] = self._be64(word)
        elif kind == IP4:
            column[rows, 1] = self._be32[word]
        elif kind == IP6:
            column[rows, 0] = self._be64(word)
            column[rows, 1] = self._be64(word + 2)
        elif kind == LABELS:
            at = (word * 4)[:, None] + np.arange(16)
            longs = self._bytes[at].view(np.uint64)
            column[rows] = longs[:, ::-1]

    def _be64(self, word: Rows) -> NDArray[np.uint64]:
        high = self._be32[word].astype(np.uint64)
        return high << np.uint64(32) | self._be32[word + 1].astype(np.uint64)

    def _string(self, first: Rows, offset: int, size: int) -> NDArray[np.bytes_]:
        """C strings: what stands before the first NUL."""
        if size == 0:
            return np.zeros(len(first), "S1")
        text = self._bytes[(first * 4 + offset)[:, None] + np.arange(size)]
        text[~np.logical_and.accumulate(text != 0, axis=1)] = 0
        strings: NDArray[np.bytes_] = text.view(f"S{size}")[:, 0]
        return strings

    def _extra(self, layout: _Layout, rows: Rows) -> None:
        from natscope.model.flow import Unknown

        column = self._column("extra")
        view = memoryview(self.buffer)
        for row in rows.tolist():
            start = int(self.starts[row])
            column[row] = tuple(
                Unknown(path, bytes(view[start + at : start + at + size]))
                for path, at, size in layout.extra
            )

    def one_by_one(self, length: int, rows: Rows) -> None:
        """Decode messages of too many layouts with the reference decoder."""
        from natscope.codec.scalar import decode_flow

        for row in rows.tolist():
            try:
                flow = decode_flow(self.message(row, length))
            except DecodeError as error:
                self.failed(row, error)
                continue
            self._singles.append((row, FlowTable.from_flows([flow])))

    def _column(self, name: str) -> NDArray[Any]:
        column = self._data.get(name)
        if column is None:
            schema = BY_NAME[name]
            shape = (len(self.starts), schema.width)[: 1 if schema.width == 1 else 2]
            column = np.zeros(shape, schema.dtype)
            if schema.dtype == "O":
                column[:] = None
            self._data[name] = column
        return column

    def table(self) -> FlowTable:
        """The columns of every message, in the order of the buffer."""
        if self._error is not None:
            raise self._error[1]
        if len(self.starts) == 0:
            return FlowTable.empty()
        if self._singles:
            self._place_singles()
        for name, parts in self._strings.items():
            width = max(part.dtype.itemsize for _, part in parts)
            column = np.zeros(len(self.starts), f"S{width}")
            for rows, part in parts:
                column[rows] = part
            self._data[name] = column
        return FlowTable(self._data, self._present)

    def _place_singles(self) -> None:
        rows = np.array([row for row, _ in self._singles], np.intp)
        together = FlowTable.concat([table for _, table in self._singles])
        self._present[rows] = together.present
        for name in together.columns:
            values = together[name]
            if BY_NAME[name].dtype == "S":
                self._strings.setdefault(name, []).append((rows, values))
            else:
                self._column(name)[rows] = values


def decode_flows(buffer: nlmsg.Bytes) -> FlowTable:
    """Decode a buffer of flow messages once; see :meth:`Decoder.decode`."""
    return Decoder().decode(buffer)


def _layout(message: bytes) -> _Layout:
    """Walk one message by the schema, noting places instead of values."""
    reading = _Places(message)
    nlmsg.see_header(message)
    reading.walk(FLOW, nlmsg.ATTRIBUTES_AT, len(message), ())
    kinds = {column: kind for column, (kind, _, _) in reading.fields.items()}
    words = np.array(reading.headers, np.intp)
    padded = message + bytes(-len(message) & 3)
    return _Layout(
        header_words=words,
        headers=np.frombuffer(padded, np.uint32)[words],
        fields=reading.fields,
        extra=reading.extra,
        family=address_family(kinds, nlmsg.ATTRIBUTES_AT),
    )


class _Places:
    def __init__(self, message: bytes) -> None:
        self.message = message
        self.headers: list[int] = []
        self.fields: dict[str, tuple[str, int, int]] = {}
        self.extra: list[tuple[str, int, int]] = []

    def walk(self, nest: Nest, start: int, end: int, path: tuple[str, ...]) -> None:
        for attribute in nla.walk(self.message, start, end, path or (nest.name,)):
            self.headers.append((attribute.start - nla.HEADER.size) >> 2)
            child = nest.children.get(attribute.type)
            here = (*path, child.name if child else nest.child_name(attribute.type))
            if isinstance(child, Nest):
                self.walk(child, attribute.start, attribute.end, here)
            else:
                self.place(child, attribute, here)

    def place(
        self, leaf: Leaf | None, attribute: nla.Attribute, path: tuple[str, ...]
    ) -> None:
        has = attribute.end - attribute.start
        needs = has if leaf is None else SIZES.get(leaf.kind, has)
        if has < needs:
            reason = f"needs {needs} bytes, has {has}"
            raise DecodeError(reason, path=path, offset=attribute.start)
        if leaf is None or has > needs:
            self.extra.append((".".join(path), attribute.start, has))
        elif leaf.kind != PAD:
            self.fields[leaf.column] = (leaf.kind, attribute.start, has)


def message_starts(buffer: memoryview, extents: Iterable[tuple[int, int]]) -> list[int]:
    """Offsets of the messages in datagrams that start at multiples of four.

    The fast form of ``nlmsg.split`` for buffers the kernel filled; lengths are
    read from the headers and trusted to stay in their datagram, which is
    checked at each datagram's end.

    Raises:
        DecodeError: the lengths do not add up.
    """
    words = buffer.cast("I")
    starts: list[int] = []
    note = starts.append
    for start, end in extents:
        at, stop = start >> 2, (end + 3) >> 2
        while at < stop:
            length = words[at]
            if length < nlmsg.HEADER.size:
                reason = f"nlmsg_len is {length}, at least 16 was needed"
                raise DecodeError(reason, path=("nlmsghdr",), offset=at * 4)
            note(at << 2)
            at += (length + 3) >> 2
        if at > stop:
            reason = "the last message is longer than its datagram"
            raise DecodeError(reason, path=("nlmsghdr",), offset=starts[-1])
    return starts
