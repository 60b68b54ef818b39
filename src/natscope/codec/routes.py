"""Asking the routing tables where a packet goes (RTM_GETROUTE, rtnetlink(7))."""

from __future__ import annotations

import errno
import struct
from ipaddress import ip_address

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.errors import KernelError
from natscope.model.journey import Routed
from natscope.model.packet import Question
from natscope.uapi import rtnetlink as rt

_RTMSG = struct.Struct("=BBBBBBBBI")
_KINDS = (
    *("unspec", "unicast", "local", "broadcast", "anycast", "multicast"),
    *("blackhole", "unreachable", "prohibit", "throw", "nat"),
)
_TABLES = {253: "default", 254: "main", 255: "local"}
_PORTED = (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP)
_ASKED = (*_PORTED, uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)
"""What rtm_getroute_parse_ip_proto() takes."""


def route_request(
    question: Question,
    *,
    index: int | None,
    matched: bool,
    seq: int,
    is_from: bool = True,
) -> bytes:
    """Ask for the route of a packet as it is now.

    Args:
        question: the packet, and the mark it carries.
        index: of the interface it came in by; None for the box's own.
        matched: ask which route it is, not where it leads (RTM_F_FIB_MATCH).
        seq: of the message.
        is_from: the source counts; else only where the destination is.
    """
    packet = question.packet
    width = packet.src.max_prefixlen
    flags = rt.RTM_F_LOOKUP_TABLE | (rt.RTM_F_FIB_MATCH if matched else 0)
    attributes = [nla.build(rt.RTA_DST, packet.dst.packed)]
    if packet.proto in _ASKED:
        attributes.append(nla.build(rt.RTA_IP_PROTO, bytes([packet.proto])))
    if is_from:
        attributes.append(nla.build(rt.RTA_SRC, packet.src.packed))
    if index is not None:
        attributes.append(nla.build(rt.RTA_IIF, struct.pack("=I", index)))
    if question.mark:
        attributes.append(nla.build(rt.RTA_MARK, struct.pack("=I", question.mark)))
    if packet.proto in _PORTED and packet.sport is not None:
        for kind, port in (
            (rt.RTA_SPORT, packet.sport),
            (rt.RTA_DPORT, packet.dport or 0),
        ):
            attributes.append(nla.build(kind, struct.pack(">H", port)))
    body = _RTMSG.pack(
        *(
            packet.family,
            width,
            width if is_from else 0,
        ),
        *(packet.tos, 0, 0, 0, 0, flags),
    )
    kind, asked = rt.RTM_GETROUTE, uapi.NLM_F_REQUEST
    return nlmsg.build(kind, asked, seq, body + b"".join(attributes))


def decode_route(message: bytes, names: dict[int, str]) -> Routed:
    """One RTM_NEWROUTE; ``names`` are the interfaces by index.

    Raises:
        DecodeError: attributes that do not fit.
    """
    at = nlmsg.HEADER.size
    family, width, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(message, at)
    found = {
        one.type: message[one.start : one.end]
        for one in nla.walk(message, at + _RTMSG.size, len(message), ("route",))
    }
    number = _number(found.get(rt.RTA_TABLE)) or table
    gateway, source = found.get(rt.RTA_GATEWAY), found.get(rt.RTA_PREFSRC)
    index = _number(found.get(rt.RTA_OIF))
    if gateway is None and len(via := found.get(rt.RTA_VIA, b"")) in (6, 18):
        gateway = via[2:]  # struct rtvia: family, address
    return Routed(
        kind=_KINDS[kind] if kind < len(_KINDS) else str(kind),
        interface=None if index is None else names.get(index, f"if{index}"),
        gateway=None if gateway is None else str(ip_address(gateway)),
        source=None if source is None else str(ip_address(source)),
        prefix=_prefix(family, found.get(rt.RTA_DST), width),
        table=_TABLES.get(number, str(number)),
        has_ways=rt.RTA_MULTIPATH in found,
    )


def no_route(error: KernelError) -> Routed:
    """What the kernel answers in place of a route."""
    kinds = {
        errno.EACCES: "prohibit",
        errno.ENETUNREACH: "none",
        errno.EINVAL: "blackhole",
    }
    name = errno.errorcode.get(error.errno, str(error.errno))
    return Routed(kind=kinds.get(error.errno, "unreachable"), error=name)


def _prefix(family: int, address: bytes | None, width: int) -> str:
    if address is None:
        return "default"
    whole = 32 if family == uapi.AF_INET else 128
    text = str(ip_address(address))
    return text if width == whole else f"{text}/{width}"


def _number(packed: bytes | None) -> int | None:
    return None if packed is None else struct.unpack("=I", packed[:4])[0]
