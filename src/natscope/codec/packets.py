"""IP packets: bytes to a Packet and back, and a packet in one line.

Checksums are written right and not judged when read: a packet taken from a box's
own interface has none yet where the hardware fills them in.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from natscope import uapi
from natscope.codec.checksum import internet_checksum
from natscope.codec.packetline import text
from natscope.codec.transport import decode_transport, encode_transport
from natscope.errors import DecodeError
from natscope.model.packet import Extension, Fragment, Packet

__all__ = ["decode", "decode_headers", "encode", "text"]

Bytes = bytes | bytearray | memoryview
_V4, _V6 = 20, 40
"""Bytes of the headers without options."""
_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET = 0x4000, 0x2000, 0x1FFF
_EXTENSIONS = frozenset(
    {uapi.IPPROTO_HOPOPTS, uapi.IPPROTO_ROUTING, uapi.IPPROTO_FRAGMENT}
    | {uapi.IPPROTO_AH, uapi.IPPROTO_DSTOPTS}
)
"""What ipv6_ext_hdr() takes for an extension header, but for IPPROTO_NONE."""


def encode(packet: Packet) -> bytes:
    """A whole IP packet, lengths and checksums right.

    What the packet does not say is zero, a TCP window 64240.  Of a packet that was
    cut off (``length``), what there was of it.  IPv6 extension headers stand before
    a fragment header; AH over IPv6 is one of them.

    Raises:
        ValueError: a field its protocol cannot do without is absent, a number does
            not fit its field, or the addresses are of two IP versions.
    """
    if packet.src.version != packet.dst.version:
        msg = f"{packet.src} and {packet.dst} are of two IP versions"
        raise ValueError(msg)
    try:
        return _encode_v4(packet) if packet.src.version == 4 else _encode_v6(packet)
    except OverflowError as error:
        msg = "a number is too great for its field in the packet"
        raise ValueError(msg) from error


def _encode_v4(packet: Packet) -> bytes:
    options = packet.ip_options
    missing = -len(options) % 4
    size = _V4 + len(options) + missing
    if packet.length is None:
        options += bytes(missing)
    after = encode_transport(packet, _body(packet), _left(packet, size))
    part = packet.fragment or Fragment()
    flags = part.offset // 8 | (_DONT_FRAGMENT if packet.dont_fragment else 0)
    flags |= _MORE_FRAGMENTS if part.more else 0
    length = size + len(after) if packet.length is None else packet.length
    head = bytes([0x40 | size // 4, packet.tos])
    for number in (length, packet.ip_id, flags, packet.ttl << 8 | packet.proto, 0):
        head += number.to_bytes(2, "big")
    head += packet.src.packed + packet.dst.packed + options
    checksum = internet_checksum(head).to_bytes(2, "big")
    return head[:10] + checksum + head[12:] + after


def _encode_v6(packet: Packet) -> bytes:
    headers = [(one.number, one.body) for one in packet.extensions]
    if packet.fragment is not None:
        part = packet.fragment
        place = (part.offset & ~7 | part.more).to_bytes(2, "big")
        body = bytes(1) + place + packet.ip_id.to_bytes(4, "big")
        headers.append((uapi.IPPROTO_FRAGMENT, body))
    numbers = [number for number, _ in headers] + [packet.proto]
    following = zip(numbers[1:], headers, strict=True)
    between = b"".join(bytes([number]) + body for number, (_, body) in following)
    left = _left(packet, _V6 + len(between))
    after = between + encode_transport(packet, _body(packet), left)
    length = len(after) if packet.length is None else packet.length - _V6
    head = (6 << 28 | packet.tos << 20 | packet.flow_label).to_bytes(4, "big")
    head += length.to_bytes(2, "big") + bytes([numbers[0], packet.ttl])
    return head + packet.src.packed + packet.dst.packed + after


def _body(packet: Packet) -> bytes:
    """What follows the transport header."""
    return packet.payload if packet.quoted is None else encode(packet.quoted)


def _left(packet: Packet, size: int) -> int | None:
    """Of a packet that is cut off, the bytes the whole had after its IP header."""
    return None if packet.length is None else max(0, packet.length - size)


def decode(data: Bytes, *, cut: bool = False) -> Packet:
    """An IP packet; what follows its end (padding of Ethernet) is left out.

    Args:
        data: from the first byte of the IP header.
        cut: the packet's end may be missing, as in a trace message or the quote of
            an ICMP error: what is there is told, the rest absent.  Both addresses
            must be there.

    Raises:
        DecodeError: no IP packet, or one that is not whole; with the offset.
    """
    data = bytes(data)
    packet = _decode(data, cut=cut)
    if packet.is_icmp_error and packet.payload:
        return _with_quote(packet)
    return packet


def decode_headers(network: Bytes, transport: Bytes) -> Packet:
    """The packet of a trace message, which tells its two headers apart.

    NFTA_TRACE_NETWORK_HEADER has at most 40 bytes, so IP options may be cut off; of
    a packet with IPv6 extension headers neither tells the protocol, and ``proto`` is
    that of the first extension header.

    Raises:
        DecodeError: the network header is none, or shorter than IP's own.
    """
    network = bytes(network)
    if network[:1] and network[0] >> 4 == 6:
        extended = len(network) > 6 and network[6] in _EXTENSIONS
        return decode(network if extended else network + bytes(transport), cut=True)
    if network:
        network += bytes(max(0, (network[0] & 15) * 4 - len(network)))
    return decode(network + bytes(transport), cut=True)


def _with_quote(packet: Packet) -> Packet:
    """An ICMP error with the packet it is about; a quote's own quote stays bytes."""
    try:
        quoted = _decode(packet.payload, cut=True)
    except DecodeError:
        return packet
    return replace(packet, quoted=quoted, payload=b"")


def _decode(data: bytes, *, cut: bool) -> Packet:
    version = data[0] >> 4 if data else None
    if version == 4:
        return _decode_v4(data, cut=cut)
    if version == 6:
        return _decode_v6(data, cut=cut)
    what = "no bytes" if version is None else f"IP version {version}"
    raise DecodeError(f"{what}, 4 or 6 was needed", path=("IP",), offset=0)


def _decode_v4(data: bytes, *, cut: bool) -> Packet:
    _need("IPv4", data, _V4)
    size, told = 4 * (data[0] & 15), int.from_bytes(data[2:4], "big")
    if size < _V4:
        reason = f"a header of {size} bytes, {_V4} is the least"
        raise DecodeError(reason, path=("IPv4", "ihl"), offset=0)
    if told:  # 0: segmented by the hardware only later
        data = _trimmed("IPv4", data, told, size, cut=cut)
    flags = int.from_bytes(data[6:8], "big")
    offset, more = 8 * (flags & _OFFSET), bool(flags & _MORE_FRAGMENTS)
    fields: dict[str, Any] = {
        "src": IPv4Address(data[12:16]),
        "dst": IPv4Address(data[16:20]),
        "proto": data[9],
        "ttl": data[8],
        "tos": data[1],
        "ip_id": int.from_bytes(data[4:6], "big"),
        "dont_fragment": bool(flags & _DONT_FRAGMENT),
        "fragment": Fragment(offset, more) if offset or more else None,
        "ip_options": data[_V4:size],
        "length": told if told > len(data) else None,
    }
    return _complete(fields, uapi.AF_INET, data, size, cut=cut)


def _decode_v6(data: bytes, *, cut: bool) -> Packet:
    _need("IPv6", data, _V6)
    told = int.from_bytes(data[4:6], "big")
    told = told + _V6 if told else len(data)  # 0: a jumbogram (RFC 2675)
    data = _trimmed("IPv6", data, told, _V6, cut=cut)
    first = int.from_bytes(data[:4], "big")
    fields: dict[str, Any] = {
        "src": IPv6Address(data[8:24]),
        "dst": IPv6Address(data[24:40]),
        "ttl": data[7],
        "tos": first >> 20 & 0xFF,
        "flow_label": first & 0xF_FFFF,
        "length": told if told > len(data) else None,
    }
    proto, at, extensions = data[6], _V6, []
    while proto in _EXTENSIONS and not _is_later(fields):
        size = _extension_size(data, at, proto)
        if at + size > len(data) and cut:
            break
        _need("IPv6 extension header", data, at + size, at)
        if proto == uapi.IPPROTO_FRAGMENT:
            place = int.from_bytes(data[at + 2 : at + 4], "big")
            fields["fragment"] = Fragment(place & ~7, bool(place & 1))
            fields["ip_id"] = int.from_bytes(data[at + 4 : at + 8], "big")
        else:
            extensions.append(Extension(proto, data[at + 1 : at + size]))
        proto, at = data[at], at + size
    fields |= {"proto": proto, "extensions": tuple(extensions)}
    return _complete(fields, uapi.AF_INET6, data, at, cut=cut)


def _extension_size(data: bytes, at: int, number: int) -> int:
    """Bytes of an IPv6 extension header (RFC 8200 section 4, RFC 4302 2.2)."""
    if number == uapi.IPPROTO_FRAGMENT or at + 2 > len(data):
        return 8
    words = data[at + 1]
    return 4 * (words + 2) if number == uapi.IPPROTO_AH else 8 * (words + 1)


def _is_later(fields: dict[str, Any]) -> bool:
    """Whether a fragment does not begin with the headers of the whole."""
    part: Fragment | None = fields.get("fragment")
    return part is not None and part.offset > 0


def _complete(
    fields: dict[str, Any], family: int, data: bytes, at: int, *, cut: bool
) -> Packet:
    """The packet, with what stands after its IP header."""
    if _is_later(fields):
        return Packet(**fields, payload=data[at:])
    lenient = cut or fields.get("fragment") is not None
    rest = decode_transport(fields["proto"], family, data[at:], cut=lenient, at=at)
    return Packet(**fields, **rest)


def _trimmed(name: str, data: bytes, told: int, least: int, *, cut: bool) -> bytes:
    """The bytes of the packet alone, as many as its header tells."""
    have = len(data)
    if told < least or (told > have and not cut):
        reason = f"tells {told} bytes, between {least} and {have} was needed"
        raise DecodeError(
            reason, path=(name, "length"), offset=2 if name == "IPv4" else 4
        )
    return data[:told]


def _need(name: str, data: bytes, end: int, at: int = 0) -> None:
    if len(data) < end:
        reason = f"needs {end - at} bytes, has {len(data) - at}"
        raise DecodeError(reason, path=(name,), offset=at)
