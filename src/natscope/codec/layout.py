"""The layout of a message: its bytes, and where in them each value stands.

Messages about flows of one shape differ only in their values, so a layout is
made once and then filled, for one flow here and for thousands in ``requests``.
"""

from __future__ import annotations

import sys

from natscope import uapi
from natscope.codec import nla
from natscope.codec.schema import (
    BE32S,
    IP4,
    IP6,
    LABELS,
    PAD,
    SIZES,
    STRING,
    Leaf,
    Nest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from natscope.codec.scalar import Cells

_ADDRESSES = (IP4, IP6)
SEQ_AT = 8
"""Where struct nlmsghdr holds the sequence number."""


class Slot:
    """Where a value stands: ``size`` bytes at ``at``, of a leaf's ``kind``."""

    __slots__ = ("at", "column", "kind", "size")

    def __init__(self, at: int, size: int, column: str, kind: str) -> None:
        self.at = at
        self.size = size
        self.column = column
        self.kind = kind


class Layout:
    """The bytes of a message with zeros for values, and the slots of those."""

    __slots__ = ("slots", "template")

    def __init__(self, template: bytes, slots: list[Slot]) -> None:
        self.template = template
        self.slots = slots

    def fill(self, cells: Cells, seq: int = 0) -> bytes:
        """The message about one flow."""
        message = bytearray(self.template)
        message[SEQ_AT : SEQ_AT + 4] = seq.to_bytes(4, sys.byteorder)
        for slot in self.slots:
            value = cells[slot.column]
            message[slot.at : slot.at + slot.size] = pack(slot.kind, value)
        return bytes(message)


class Writer:
    """Writes attributes in order and remembers where their values go."""

    def __init__(self, start: bytes = b"") -> None:
        self._data = bytearray(start)
        self._slots: list[Slot] = []

    def constant(self, kind: int, payload: bytes) -> None:
        """An attribute that is the same for every flow of the shape."""
        self._data += nla.build(kind, payload)

    def value(self, kind: int, leaf_kind: str, column: str) -> None:
        """An attribute whose value differs from flow to flow."""
        size = SIZES[leaf_kind]
        at = len(self._data) + nla.HEADER.size
        self._slots.append(Slot(at, size, column, leaf_kind))
        self._data += nla.build(kind, bytes(size))

    def nest(self, kind: int, inside: Callable[[], None]) -> None:
        """An attribute of the attributes that ``inside`` writes; none, no nest."""
        at = len(self._data)
        self._data += nla.HEADER.pack(0, kind | uapi.NLA_F_NESTED)
        inside()
        length = len(self._data) - at
        if length == nla.HEADER.size:
            del self._data[at:]
        else:
            self._data[at : at + 2] = length.to_bytes(2, sys.byteorder)

    def branch(self, kind: int, branch: Leaf | Nest, shape: Shape) -> None:
        """A branch of the schema, as far as the shape has values for it."""
        if isinstance(branch, Nest):
            self.nest(kind, lambda: self.children(branch, shape))
        elif branch.kind == PAD or not shape.has(branch):
            return
        elif branch.kind == STRING:
            self.constant(kind, shape.texts[branch.column].encode() + b"\0")
        else:
            self.value(kind, branch.kind, branch.column)

    def children(self, nest: Nest, shape: Shape) -> None:
        """The children of a nest, in the schema's order."""
        for kind, child in nest.children.items():
            self.branch(kind, child, shape)

    def layout(self) -> Layout:
        """What was written; the length of the message is set."""
        template = bytearray(self._data)
        template[0:4] = len(template).to_bytes(4, sys.byteorder)
        return Layout(bytes(template), self._slots)

    def filled(self, cells: Cells) -> bytes:
        """The attributes alone, about one flow."""
        data = bytearray(self._data)
        for slot in self._slots:
            data[slot.at : slot.at + slot.size] = pack(slot.kind, cells[slot.column])
        return bytes(data)


class Shape:
    """What messages about flows have in common: family, protocol, what is told.

    Texts (the helper's name) are part of the shape, as they change its length.
    """

    __slots__ = ("columns", "family", "proto", "texts")

    def __init__(
        self, family: int, proto: int, columns: set[str], texts: Mapping[str, str]
    ) -> None:
        self.family = family
        self.proto = proto
        self.columns = columns
        self.texts = texts

    @classmethod
    def of(cls, cells: Cells) -> Shape:
        """The shape of one flow."""
        texts = {name: cells[name] for name in TEXTS if name in cells}
        return cls(cells["family"], cells["proto"], set(cells), texts)

    def has(self, leaf: Leaf) -> bool:
        """Whether flows of this shape fill a leaf."""
        if leaf.column not in self.columns:
            return False
        if leaf.kind in _ADDRESSES:
            return (leaf.kind == IP4) == (self.family == uapi.AF_INET)
        if "_ICMPV6_" in leaf.name:
            return self.proto == uapi.IPPROTO_ICMPV6
        if "_ICMP_" in leaf.name:
            return self.proto != uapi.IPPROTO_ICMPV6
        return True


TEXTS = ("helper", "secctx")
"""Columns that are text."""


def pack(kind: str, value: Any) -> bytes:
    """A value as its leaf holds it."""
    if kind in _ADDRESSES:
        packed: bytes = value
        return packed
    if kind == LABELS:
        words = (value & (1 << 64) - 1, value >> 64)
        return b"".join(word.to_bytes(8, sys.byteorder) for word in words)
    number: int = value
    return number.to_bytes(SIZES[kind], "big", signed=kind == BE32S)
