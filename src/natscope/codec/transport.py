"""Transport headers: a packet's fields to bytes and back.

Of a header that is cut off, what is there is read, and as much is written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from natscope import uapi
from natscope.codec.checksum import crc32c, internet_checksum, pseudo_header
from natscope.errors import DecodeError
from natscope.model.packet import (
    GRE_IPV4,
    GRE_KEY,
    ICMP_REPLIES,
    WINDOW,
    Chunk,
    Packet,
)

Fields = dict[str, Any]
"""Fields of a Packet by name."""


@dataclass(frozen=True, slots=True)
class Field:
    """An integer of a header; without a default, a packet must say it."""

    name: str
    at: int
    size: int
    default: int | None = 0


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed part of a transport header."""

    name: str
    size: int
    fields: tuple[Field, ...]
    checksum_at: int | None = None


_PORTS = (Field("sport", 0, 2, None), Field("dport", 2, 2, None))
_ICMP = (Field("icmp_type", 0, 1, None), Field("icmp_code", 1, 1))
_QUERY = (*_ICMP, Field("icmp_id", 4, 2), Field("icmp_seq", 6, 2))
_REST = (*_ICMP, Field("icmp_rest", 4, 4))
_TCP = (
    *_PORTS,
    Field("seq", 4, 4),
    Field("ack", 8, 4),
    Field("tcp_flags", 13, 1, None),
    Field("window", 14, 2, WINDOW),
)
_HEADERS = {
    uapi.IPPROTO_TCP: Header("TCP", 20, _TCP, 16),
    uapi.IPPROTO_UDP: Header("UDP", 8, _PORTS, 6),
    uapi.IPPROTO_UDPLITE: Header("UDPLITE", 8, _PORTS, 6),
    uapi.IPPROTO_DCCP: Header("DCCP", 4, _PORTS),
    uapi.IPPROTO_SCTP: Header("SCTP", 12, (*_PORTS, Field("vtag", 4, 4)), 8),
    uapi.IPPROTO_GRE: Header(
        "GRE", 4, (Field("gre_flags", 0, 2), Field("gre_protocol", 2, 2, GRE_IPV4))
    ),
    uapi.IPPROTO_ESP: Header("ESP", 8, (Field("spi", 0, 4), Field("seq", 4, 4))),
    uapi.IPPROTO_AH: Header(
        "AH",
        12,
        (
            Field("ah_next", 0, 1, uapi.IPPROTO_NONE),
            Field("spi", 4, 4),
            Field("seq", 8, 4),
        ),
    ),
}
_ICMP_NAMES = {
    (uapi.IPPROTO_ICMP, uapi.AF_INET): "ICMP",
    (uapi.IPPROTO_ICMPV6, uapi.AF_INET6): "ICMPv6",
}
"""Over the other family, they are bytes as any."""
_GRE_CHECKSUM, _GRE_ROUTING = 0x8000, 0x4000
_GRE_SEQ, _GRE_ACK = 0x1000, 0x0080
_AH_WORDS = 4
"""AH's length in 32-bit words less 2, with an integrity value of 96 bits."""
_WRONG = 0x5555
"""What turns a checksum into a wrong one, UDP's 0xffff included."""


def header_of(proto: int, family: int, icmp_type: int | None) -> Header | None:
    """The header a protocol begins with; None: nothing in it is named."""
    icmp = _ICMP_NAMES.get((proto, family))
    if icmp is not None:
        fields = _QUERY if icmp_type in ICMP_REPLIES[proto] else _REST
        return Header(icmp, 8, fields, 2)
    return _HEADERS.get(proto)


def encode_transport(packet: Packet, body: bytes, length: int | None) -> bytes:
    """A packet's transport header and what follows it, checksums right.

    Args:
        packet: whose fields are written; ``body`` stands for payload and quote.
        body: what follows the header.
        length: of a packet that is cut off, the bytes the whole had from here.

    Raises:
        ValueError: a field the protocol cannot do without is absent.
    """
    header = header_of(packet.proto, packet.family, packet.icmp_type)
    if header is None or (packet.fragment and packet.fragment.offset):
        return body
    is_part = length is not None or packet.fragment is not None
    start, is_whole = _fixed(packet, header, is_part=is_part)
    if not is_whole:
        return start
    whole = _completed(packet, bytearray(start), body, length)
    if header.checksum_at is not None and length is None:
        _sign(packet, whole, header.checksum_at)
    return bytes(whole)


def _fixed(packet: Packet, header: Header, *, is_part: bool) -> tuple[bytes, bool]:
    """The fixed part of a header; of a cut one, up to what is absent."""
    made = bytearray(header.size)
    for field in header.fields:
        value = getattr(packet, field.name)
        if value is None and is_part:
            return bytes(made[: field.at]), False
        value = field.default if value is None else value
        if value is None:
            msg = f"a {header.name} packet needs {field.name}"
            raise ValueError(msg)
        made[field.at : field.at + field.size] = value.to_bytes(field.size, "big")
    return bytes(made), True


def _completed(
    packet: Packet, start: bytearray, body: bytes, length: int | None
) -> bytearray:
    """A header with its lengths and variable parts, and the body."""
    match packet.proto:
        case uapi.IPPROTO_TCP:
            options = packet.tcp_options
            missing = -len(options) % 4
            start[12] = (len(start) + len(options) + missing) // 4 << 4
            start += options + bytes(0 if length is not None else missing)
        case uapi.IPPROTO_UDP | uapi.IPPROTO_UDPLITE:
            told = len(start) + len(body) if length is None else length
            start[4:6] = told.to_bytes(2, "big")
        case uapi.IPPROTO_SCTP:
            start += b"".join(map(_chunk, packet.chunks))
        case uapi.IPPROTO_AH:
            start[1] = _AH_WORDS
        case uapi.IPPROTO_GRE:
            return _gre(packet, start, body)
    return start + body


def _chunk(chunk: Chunk) -> bytes:
    head = bytes([chunk.type, chunk.flags]) + (4 + len(chunk.body)).to_bytes(2, "big")
    return head + chunk.body + bytes(-len(chunk.body) % 4)


def _gre(packet: Packet, start: bytearray, body: bytes) -> bytearray:
    flags, key = packet.gre_flags or 0, packet.gre_key
    flags |= 0 if key is None else GRE_KEY
    start[:2] = flags.to_bytes(2, "big")
    if flags & (_GRE_CHECKSUM | _GRE_ROUTING):
        start += bytes(4)
    if key is not None:
        if packet.gre_version == 1:
            numbers = 4 * (bool(flags & _GRE_SEQ) + bool(flags & _GRE_ACK))
            key |= max(0, len(body) - numbers) << 16
        start += key.to_bytes(4, "big")
    whole = start + body
    if flags & _GRE_CHECKSUM:
        whole[4:6] = internet_checksum(bytes(whole)).to_bytes(2, "big")
    return whole


def _sign(packet: Packet, whole: bytearray, at: int) -> None:
    """Write the checksum into a header whose checksum is zero."""
    wrong = _WRONG if packet.bad_checksum else 0
    if packet.proto == uapi.IPPROTO_SCTP:
        whole[at : at + 4] = (crc32c(bytes(whole)) ^ wrong).to_bytes(4, "little")
        return
    covered = bytes(whole)
    if packet.proto != uapi.IPPROTO_ICMP:
        covered = (
            pseudo_header(packet.src, packet.dst, packet.proto, len(whole)) + covered
        )
    found = internet_checksum(covered)
    if packet.proto in (uapi.IPPROTO_UDP, uapi.IPPROTO_UDPLITE):
        found = found or 0xFFFF  # 0 says that there is no checksum
    if wrong:
        found = found ^ wrong or 1
    whole[at : at + 2] = found.to_bytes(2, "big")


def decode_transport(
    proto: int, family: int, data: bytes, *, cut: bool, at: int
) -> Fields:
    """The fields of a transport header, ``payload`` among them.

    Args:
        proto: which header it is.
        family: AF_INET or AF_INET6.
        data: from the header's first byte to the packet's end.
        cut: the end may be missing.
        at: offset of ``data`` in the packet, for errors.

    Raises:
        DecodeError: it is shorter than its protocol needs, and not ``cut``.
    """
    header = header_of(proto, family, data[0] if data else None)
    if header is None:
        return {"payload": data}
    if not cut:
        _need(header.name, data, header.size, at)
    fields: Fields = {"payload": data[header.size :]}
    for field in header.fields:
        if field.at + field.size <= len(data):
            fields[field.name] = _uint(data, field.at, field.size)
    match proto:
        case uapi.IPPROTO_TCP:
            fields |= _tcp_options(data, cut=cut, at=at)
        case uapi.IPPROTO_UDP if not cut:
            fields |= _udp_payload(data, at)
        case uapi.IPPROTO_SCTP:
            chunks = tuple(_chunks(data, header.size, cut=cut))
            end = header.size + sum(len(_chunk(chunk)) for chunk in chunks)
            fields |= {"chunks": chunks, "payload": data[end:]}
        case uapi.IPPROTO_GRE:
            fields |= _gre_fields(data, cut=cut, at=at)
    return fields


def _uint(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _need(name: str, data: bytes, size: int, at: int) -> None:
    if len(data) < size:
        reason = f"needs {size} bytes, has {len(data)}"
        raise DecodeError(reason, path=(name,), offset=at)


def _tcp_options(data: bytes, *, cut: bool, at: int) -> Fields:
    if len(data) < 20:
        return {}
    size = 4 * (data[12] >> 4)
    if cut:
        size = max(size, 20)
    if size < 20:
        reason = f"a header of {size} bytes, 20 is the least"
        raise DecodeError(reason, path=("TCP", "data offset"), offset=at + 12)
    if not cut:
        _need("TCP", data, size, at)
    return {"tcp_options": data[20:size], "payload": data[size:]}


def _udp_payload(data: bytes, at: int) -> Fields:
    told = _uint(data, 4, 2) or len(data)  # 0: a jumbogram (RFC 2675)
    if not 8 <= told <= len(data):
        reason = f"tells {told} bytes, between 8 and {len(data)} was needed"
        raise DecodeError(reason, path=("UDP", "length"), offset=at + 4)
    return {"payload": data[8:told]}


def _chunks(data: bytes, at: int, *, cut: bool) -> Iterator[Chunk]:
    """The chunks of SCTP as far as their lengths can be believed."""
    while at + 4 <= len(data):
        size = _uint(data, at + 2, 2)
        if size < 4 or (at + size > len(data) and not cut):
            return
        yield Chunk(data[at], data[at + 1], data[at + 4 : at + size])
        at += (size + 3) & ~3


def _gre_fields(data: bytes, *, cut: bool, at: int) -> Fields:
    if len(data) < 4:
        return {}
    flags = _uint(data, 0, 2)
    key_at = 8 if flags & (_GRE_CHECKSUM | _GRE_ROUTING) else 4
    end = key_at + (4 if flags & GRE_KEY else 0)
    if not cut:
        _need("GRE", data, end, at)
    fields: Fields = {"payload": data[end:]}
    if flags & GRE_KEY and len(data) >= end:
        key = _uint(data, key_at, 4)
        fields["gre_key"] = key & 0xFFFF if flags & 7 == 1 else key
    return fields
