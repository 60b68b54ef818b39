"""Netlink attributes: walking a run of them, and building one.

Sans-IO.  The header is two host-order shorts; whether an attribute is nested
is known from the schema, not from NLA_F_NESTED, which old senders leave out.
"""

from __future__ import annotations

import struct

from natscope import uapi
from natscope.errors import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Bytes = bytes | bytearray | memoryview
HEADER = struct.Struct("=HH")  # struct nlattr


class Attribute:
    """One attribute: its type without flag bits, its payload's extent."""

    __slots__ = ("end", "start", "type")

    def __init__(self, kind: int, start: int, end: int) -> None:
        self.type = kind
        self.start = start
        self.end = end


def walk(
    buffer: Bytes, at: int, end: int, path: tuple[str, ...]
) -> Iterator[Attribute]:
    """The attributes between two offsets, in order.

    Raises:
        DecodeError: a header that is cut off, or a length that does not fit.
    """
    while at < end:
        if end - at < HEADER.size:
            reason = f"an attribute needs {HEADER.size} bytes, has {end - at}"
            raise DecodeError(reason, path=path, offset=at)
        length, kind = HEADER.unpack_from(buffer, at)
        if length < HEADER.size or length > end - at:
            reason = f"nla_len is {length}, between 4 and {end - at} was needed"
            raise DecodeError(reason, path=path, offset=at)
        yield Attribute(kind & uapi.NLA_TYPE_MASK, at + HEADER.size, at + length)
        at += (length + 3) & ~3


def build(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    length = HEADER.size + len(payload)
    return HEADER.pack(length, kind) + payload + bytes(-length & 3)


def nest(kind: int, *children: bytes) -> bytes:
    """An attribute that holds attributes."""
    return build(kind | uapi.NLA_F_NESTED, b"".join(children))
