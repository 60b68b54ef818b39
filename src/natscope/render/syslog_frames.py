"""Syslog lines as what a collector takes: RFC 5426 datagrams, RFC 6587 frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = 16 << 10


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines, and how many tell of flows."""

    text: bytes
    flows: int

    def __len__(self) -> int:
        return len(self.text)


def pieces(text: bytes) -> Iterator[Lines]:
    """Lines in pieces that a queue can drop one by one."""
    at = 0
    while at < len(text):
        end = text.rfind(b"\n", at, at + _PIECE) + 1
        end = end or text.find(b"\n", at) + 1 or len(text)
        piece = text[at:end]
        yield Lines(piece, piece.count(b"\n"))
        at = end


class Datagrams:
    """Each line a datagram (RFC 5426)."""

    def begin(self) -> None:
        """Nothing goes ahead of the lines."""

    def wrap(self, parcel: Lines, now_ns: int) -> list[bytes]:
        """The datagrams of some lines."""
        return parcel.text.splitlines()


class Counted:
    """Each line after the count of its octets (RFC 6587 section 3.4.1)."""

    def begin(self) -> None:
        """Nothing goes ahead of the lines."""

    def wrap(self, parcel: Lines, now_ns: int) -> list[bytes]:
        """The frames of some lines, together."""
        framed = (b"%d %s" % (len(line), line) for line in parcel.text.splitlines())
        return [b"".join(framed)]
