"""Capture files, pcap and pcapng, and the IP packets in them.

The formats are draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; link types are
those of tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from natscope.codec import packets
from natscope.errors import DecodeError
from natscope.model.packet import Packet

_NS = 1_000_000_000
_LONGEST = 1 << 24
"""Bytes no frame or block has; a greater length is damage."""
_PCAP = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
"""Magic numbers, and the nanoseconds of a unit of time."""
_PCAPNG = b"\n\r\r\n"
_BYTE_ORDER = 0x1A2B3C4D
_INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 1, 2, 3, 6
"""Block types."""
_IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 2, 9, 14


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame as it was captured.

    ``length`` is what it had on the wire; ``data`` may be less of it.
    """

    time_ns: int | None
    """Nanoseconds since the epoch; a simple packet block of pcapng tells none."""
    linktype: int
    data: bytes
    length: int
    interface: str | None = None
    """Its name, where the file tells it (pcapng)."""

    @property
    def is_cut(self) -> bool:
        """Whether the capture kept its beginning alone (snaplen)."""
        return len(self.data) < self.length


def read(source: bytes | BinaryIO) -> Iterator[Captured]:
    """The frames of a capture file, in its order.

    Raises:
        DecodeError: no capture file, or a damaged one, after the frames before the
            damage; the offset is the file's.
    """
    file = _File(io.BytesIO(source) if isinstance(source, bytes) else source)
    magic = file.take(4, "magic number")
    if magic == _PCAPNG:
        yield from _Sections(file).frames()
        return
    for order in ("<", ">"):
        unit = _PCAP.get(struct.unpack(f"{order}I", magic)[0])
        if unit is not None:
            yield from _pcap(file, order, unit)
            return
    reason = f"neither pcap nor pcapng begins with {magic.hex()}"
    raise DecodeError(reason, path=("magic number",), offset=0)


class _File:
    """A file read from its beginning to its end, which knows where it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.at = 0

    def take(self, size: int, what: str) -> bytes:
        found = self.take_or_end(size, what)
        if len(found) < size:
            raise self.error(f"needs {size} bytes, has 0", what)
        return found

    def take_or_end(self, size: int, what: str) -> bytes:
        """As many bytes, or none where the file ends."""
        if size > _LONGEST:
            raise self.error(f"tells {size} bytes, the most is {_LONGEST}", what)
        found = self._file.read(size)
        while 0 < len(found) < size and (more := self._file.read(size - len(found))):
            found += more  # a pipe gives what it has
        if 0 < len(found) < size:
            raise self.error(f"needs {size} bytes, has {len(found)}", what)
        self.at += len(found)
        return found

    def error(self, reason: str, what: str) -> DecodeError:
        return DecodeError(reason, path=(what,), offset=self.at)


def _pcap(file: _File, order: str, unit: int) -> Iterator[Captured]:
    linktype = struct.unpack(f"{order}16xI", file.take(20, "file header"))[0] & 0xFFFF
    record = struct.Struct(f"{order}IIII")
    while head := file.take_or_end(record.size, "packet header"):
        seconds, fraction, size, length = record.unpack(head)
        data = file.take(size, "packet") if size else b""
        yield Captured(seconds * _NS + fraction * unit, linktype, data, length)


@dataclass(frozen=True, slots=True)
class _Interface:
    """What an interface description block tells."""

    linktype: int
    snaplen: int
    name: str | None
    units: int
    """Of time in a second."""
    offset_s: int

    def time_ns(self, high: int, low: int) -> int:
        return (high << 32 | low) * _NS // self.units + self.offset_s * _NS


class _Sections:
    """The blocks of a pcapng file whose first four bytes are read."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def frames(self) -> Iterator[Captured]:
        kind = _PCAPNG
        while kind:
            number, body = self._block(kind)
            frame = self._frame(number, body)
            if frame is not None:
                yield frame
            kind = self._file.take_or_end(4, "block type")

    def _block(self, kind: bytes) -> tuple[int, bytes]:
        """A block's type and body; a section header tells the byte order."""
        size = self._file.take(4, "block length")
        before = b""
        if kind == _PCAPNG:
            before = self._file.take(4, "byte order")
            self._interfaces = []
            self._order = self._ordered(before)
        (total,) = struct.unpack(f"{self._order}I", size)
        left = total - 8 - len(before)
        if left < 4 or total % 4:
            raise self._file.error(f"{total} bytes", "block length")
        rest = self._file.take(left, "block")
        if rest[-4:] != size:
            raise self._file.error("the two lengths of the block differ", "block")
        return struct.unpack(f"{self._order}I", kind)[0], rest[:-4]

    def _ordered(self, told: bytes) -> str:
        for order in ("<", ">"):
            if struct.unpack(f"{order}I", told)[0] == _BYTE_ORDER:
                return order
        raise self._file.error(f"{told.hex()} is none", "byte order")

    def _frame(self, kind: int, body: bytes) -> Captured | None:
        forms = {_OLD_PACKET: "HxxIIII", _ENHANCED: "IIIII"}
        try:
            if kind == _INTERFACE:
                self._interfaces.append(self._interface(body))
            elif kind == _SIMPLE:
                return self._simple(body)
            elif kind in forms:
                return self._packet(*self._unpack(forms[kind], body), rest=body[20:])
        except struct.error:
            raise self._file.error("too short", f"block of type {kind}") from None
        return None

    def _unpack(self, form: str, body: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, body)

    def _packet(
        self, index: int, high: int, low: int, size: int, length: int, *, rest: bytes
    ) -> Captured:
        interface = self._described(index)
        if size > len(rest):
            raise self._file.error(f"needs {size} bytes, has {len(rest)}", "packet")
        time_ns = interface.time_ns(high, low)
        data = rest[:size]
        return Captured(time_ns, interface.linktype, data, length, interface.name)

    def _simple(self, body: bytes) -> Captured:
        (length,) = self._unpack("I", body)
        interface = self._described(0)
        size = min(length, interface.snaplen or length)
        data = body[4 : 4 + size]
        return Captured(None, interface.linktype, data, length, interface.name)

    def _described(self, index: int) -> _Interface:
        if index >= len(self._interfaces):
            raise self._file.error(f"interface {index} is not described", "packet")
        return self._interfaces[index]

    def _interface(self, body: bytes) -> _Interface:
        linktype, snaplen = self._unpack("HxxI", body)
        options = dict(self._options(body, 8))
        name = options.get(_IF_NAME)
        offset = options.get(_IF_TSOFFSET, bytes(8))
        (offset_s,) = struct.unpack(f"{self._order}q", offset)
        resolution = (options.get(_IF_TSRESOL) or b"\6")[0]
        base = 2 if resolution & 0x80 else 10
        text = None if name is None else name.decode(errors="replace")
        units = base ** (resolution & 0x7F)
        return _Interface(linktype, snaplen, text, units, offset_s)

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= len(body):
            code, size = struct.unpack_from(f"{self._order}HH", body, at)
            if code == 0:
                return
            yield code, body[at + 4 : at + 4 + size]
            at += 4 + (size + 3 & ~3)


_IPV4, _IPV6 = 0x0800, 0x86DD
_VLANS = frozenset({0x8100, 0x88A8, 0x9100})
_NULL_FAMILIES = frozenset({2, 10, 24, 28, 30})
"""AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD and macOS."""


def _ethernet(data: bytes) -> bytes | None:
    return _after_vlans(data, 12)


def _after_vlans(data: bytes, at: int, header: int = 0) -> bytes | None:
    """What follows an EtherType, when it is IP; VLAN tags are passed over.

    Args:
        data: a frame.
        at: where its EtherType stands.
        header: where its payload begins, when not behind the EtherType.
    """
    kind, at = int.from_bytes(data[at : at + 2], "big"), header or at + 2
    while kind in _VLANS:
        kind, at = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
    return data[at:] if kind in (_IPV4, _IPV6) else None


def _null(data: bytes) -> bytes | None:
    """The address family is in the byte order of the box that captured."""
    families = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return data[4:] if families & _NULL_FAMILIES else None


def _raw(data: bytes) -> bytes | None:
    return data if data[:1] and data[0] >> 4 in (4, 6) else None


LINK_TYPES: dict[int, Callable[[bytes], bytes | None]] = {
    0: _null,  # NULL
    1: _ethernet,
    12: _raw,  # DLT_RAW of most systems, which belongs in no file, and of OpenBSD
    14: _raw,
    101: _raw,  # RAW
    108: _null,  # LOOP
    113: lambda data: _after_vlans(data, 14),  # LINUX_SLL
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: lambda data: _after_vlans(data, 0, 20),  # LINUX_SLL2
}
"""Link types whose IP packets are found, each with what finds them."""


def ip_packet(frame: Captured) -> bytes | None:
    """The IP packet in a frame, with whatever pads it; None: it carries none.

    Raises:
        DecodeError: a link type nothing is known of.
    """
    find = LINK_TYPES.get(frame.linktype)
    if find is None:
        reason = f"nothing is known of link type {frame.linktype}"
        raise DecodeError(reason, path=("link type",), offset=0)
    return find(frame.data)


def to_packet(frame: Captured) -> Packet | None:
    """The IP packet in a frame; None: it carries none.

    Raises:
        DecodeError: a link type nothing is known of, or an IP packet that is not
            whole although the frame is; the offset counts from the IP header.
    """
    data = ip_packet(frame)
    return None if data is None else packets.decode(data, cut=frame.is_cut)


def to_packets(
    frames: Iterable[Captured],
) -> Iterator[tuple[Captured, Packet | DecodeError | None]]:
    """Each frame with its IP packet, why that cannot be read, or None: it has none."""
    for frame in frames:
        try:
            yield frame, to_packet(frame)
        except DecodeError as error:
            yield frame, error
