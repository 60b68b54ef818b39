"""A packet in one line, and the names of what is in it."""

from __future__ import annotations

from natscope import uapi
from natscope.model.names import ICMP_TYPES
from natscope.model.packet import Packet
from natscope.model.tuples import Address, FlowTuple

TCP_FLAGS = {
    name: getattr(uapi.TcpFlag, name)
    for name in ("SYN", "FIN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
}
"""In the order they are said: SYN/ACK, FIN/ACK."""
SCTP_CHUNKS = uapi.names(uapi.SctpChunk)

TELL_MTU = frozenset({(uapi.IPPROTO_ICMP, 3), (uapi.IPPROTO_ICMPV6, 2)})
"""ICMP types whose last 32 bits are an MTU (RFC 1191, RFC 4443 section 3.2)."""


def text(packet: Packet) -> str:
    """``tcp 10.0.0.5:51000 > 93.184.216.34:443 SYN``: who to whom, and what it is."""
    words = [protocol_text(packet.proto), ends_text(packet), *_details(packet)]
    if packet.fragment is not None:
        words.append(f"fragment at {packet.fragment.offset}")
    if packet.quoted is not None:
        words.append(f"about {text(packet.quoted)}")
    return " ".join(words)


def ends_text(one: Packet | FlowTuple) -> str:
    """``10.0.0.5:51000 > 93.184.216.34:443``."""
    source = endpoint_text(one.src, one.sport)
    return f"{source} > {endpoint_text(one.dst, one.dport)}"


def protocol_text(number: int) -> str:
    """A protocol's name where it is the only one of that name, else its number."""
    name = uapi.protocol_name(number)
    return name if uapi.PROTOCOL_NUMBERS.get(name) == number else str(number)


def endpoint_text(address: Address, port: int | None) -> str:
    """``10.0.0.5:443``, ``[2001:db8::1]:443``, or the address alone."""
    if port is None:
        return str(address)
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def flags_text(flags: int) -> str:
    """``SYN/ACK``; none at all is ``none``."""
    return "/".join(name for name, bit in TCP_FLAGS.items() if flags & bit) or "none"


def icmp_type_text(proto: int, number: int) -> str:
    """``echo-request``; a type without a name is ``type N``."""
    for name, types in ICMP_TYPES.items():
        if types.get(proto) == number:
            return name
    return f"type {number}"


def _details(packet: Packet) -> list[str]:
    """What a protocol tells beside the ends."""
    words = []
    if packet.tcp_flags is not None:
        none = "" if packet.tcp_flags else "flags "
        words.append(none + flags_text(packet.tcp_flags))
    if packet.icmp_type is not None:
        words += _icmp(packet, packet.icmp_type)
    for chunk in packet.chunks:
        words.append(SCTP_CHUNKS.get(chunk.type, f"chunk {chunk.type}"))
    if packet.spi is not None:
        words.append(f"spi {packet.spi:#x}")
    if packet.gre_key is not None:
        words.append(f"key {packet.gre_key}")
    return words


def _icmp(packet: Packet, number: int) -> list[str]:
    words = [icmp_type_text(packet.proto, number)]
    if packet.icmp_code:
        words.append(f"code {packet.icmp_code}")
    if packet.icmp_id is not None:
        words.append(f"id {packet.icmp_id}")
    if packet.icmp_seq is not None:
        words.append(f"seq {packet.icmp_seq}")
    if packet.icmp_rest and (packet.proto, number) in TELL_MTU:
        words.append(f"mtu {packet.icmp_rest}")
    return words
