"""What a program writes of a packet: the layout, and reading it.

One layout for both kinds of record: a packet seen at a position, and a packet
dropped (``hook`` is DROPPED, ``mark`` the reason, ``ct`` the place in the code, and
``iif`` the interface it was at, 0 in a queue that keeps none).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address

from natscope import uapi
from natscope.codec import packets
from natscope.errors import DecodeError
from natscope.model.flow import Flow
from natscope.model.packet import Packet
from natscope.model.tuples import FlowTuple
from natscope.trace.layout import ENTRY, EntryLayout, Layout

DROPPED = 0xFF
"""In place of a hook, above all of enum nf_inet_hooks."""
BEHIND_CONNTRACK = 1
"""The place, at PREROUTING and OUTPUT, of the first position after conntrack."""
HEADERS = 96
"""Bytes of the packet, from its network header on."""


class At:
    """Where each field begins, in bytes."""

    TIME = 0  # ktime_get_ns()
    SKB = 8
    CT = 16  # skb->_nfct: the entry, and enum ip_conntrack_info in 3 bits
    NUMBER = 24
    PLACE = 28  # among the positions of its hook, from 0
    HOOK = 32
    FAMILY = 33
    MARK = 36
    HEADED = 40  # bytes from the network header on that are in the skb's head
    IIF = 44
    OIF = 48
    ENTRY = 56
    HEADERS = 296


SIZE = At.HEADERS + HEADERS
_FIXED = struct.Struct("<QQQIIBBxxIIII")
_CTINFO = 7
_UNTRACKED = 7  # IP_CT_UNTRACKED
_IS_REPLY = 3  # IP_CT_IS_REPLY
_STATE_UNTRACKED = 64
_DIRECTIONS = {1: "orig", 2: "reply"}
"""struct nf_conntrack_zone.dir, where the zone is not of both."""
_U32, _L3NUM = struct.Struct("<I"), struct.Struct("<H")
_ZONE = struct.Struct("<HBB")
_PORT = struct.Struct(">H")
_TUPLE = 40
_HOOK_ENTRY = struct.Struct("<QQ")  # struct nf_hook_entry: function, its argument


@dataclass(frozen=True, slots=True)
class Record:
    """A packet as a program saw it.

    Attributes:
        number: which packet, counted by the programs from 1.
        skb: its address in the kernel.
        time_ns: CLOCK_MONOTONIC.
        hook: of enum nf_inet_hooks, or DROPPED.
        place: among the positions of the hook, from 0.
        packet: None where its headers cannot be read.
        flow: the entry conntrack gave it, as it was then.
        state: the ct state bit (8 new, 2 established, 4 related, 64 untracked), or
            None: before conntrack, or INVALID.
        hooks: addresses of the functions at the hook, told at the position after
            conntrack of a packet without an entry.
        reason, address: of a drop: enum skb_drop_reason, and an address in the code.
    """

    number: int
    skb: int
    time_ns: int
    hook: int
    family: int
    place: int
    iif: int
    oif: int
    mark: int
    packet: Packet | None
    flow: Flow | None = None
    state: int | None = None
    direction: int = 0
    hooks: tuple[int, ...] = ()
    reason: int | None = None
    address: int | None = None


def decode(data: bytes, layout: Layout) -> Record:
    """A record of SIZE bytes, as a program wrote it."""
    fixed = _FIXED.unpack_from(data)
    time_ns, skb, ct, number, place, hook, family, mark, headed, iif, oif = fixed
    found = Record(
        number=number,
        skb=skb,
        time_ns=time_ns,
        hook=hook,
        family=family,
        place=place,
        iif=iif,
        oif=oif,
        mark=mark,
        packet=_packet(data[At.HEADERS : At.HEADERS + min(HEADERS, headed)]),
    )
    if hook == DROPPED:
        return replace(found, mark=0, reason=mark, address=ct)
    entry, info = ct & ~_CTINFO, ct & _CTINFO
    block = data[At.ENTRY : At.ENTRY + ENTRY]
    if info == _UNTRACKED:
        return replace(found, state=_STATE_UNTRACKED)
    if not entry:
        told = place == BEHIND_CONNTRACK
        return replace(found, hooks=_hooks(block, layout.hook_entries) if told else ())
    return replace(
        found,
        flow=_flow(block, layout.entry),
        state=1 << (info % _IS_REPLY + 1),
        direction=int(info >= _IS_REPLY),
    )


def _hooks(data: bytes, start: int) -> tuple[int, ...]:
    """struct nf_hook_entries, as many as were copied."""
    (count,) = struct.unpack_from("<H", data)
    room = (len(data) - start) // _HOOK_ENTRY.size
    at = range(start, start + min(count, room) * _HOOK_ENTRY.size, _HOOK_ENTRY.size)
    return tuple(_HOOK_ENTRY.unpack_from(data, one)[0] for one in at)


def _packet(data: bytes) -> Packet | None:
    try:
        return packets.decode(data, cut=True)
    except DecodeError:
        return None


def _flow(data: bytes, at: EntryLayout) -> Flow:
    """struct nf_conn, from ``at.start`` on."""
    orig, reply = _tuple(data, at.orig), _tuple(data, at.reply)
    number, side = None, None
    if at.zone is not None:
        number, _, direction = _ZONE.unpack_from(data, at.zone)
        side = _DIRECTIONS.get(direction)
    return Flow(
        orig=replace(orig, zone=number) if number and side == "orig" else orig,
        reply=replace(reply, zone=number) if number and side == "reply" else reply,
        zone=number if number and side is None else None,
        status=_U32.unpack_from(data, at.status)[0],
        mark=None if at.mark is None else _U32.unpack_from(data, at.mark)[0],
        tcp_state=data[at.tcp_state] if orig.proto == uapi.IPPROTO_TCP else None,
    )


def _tuple(block: bytes, at: int) -> FlowTuple:
    """struct nf_conntrack_tuple; ports and ids are big-endian, l3num is not.

    src.u3, src.u, src.l3num; dst.u3, dst.u, protonum, dir.
    """
    data = block[at : at + _TUPLE]
    (family,) = _L3NUM.unpack_from(data, 18)
    size = 4 if family == uapi.AF_INET else 16
    src, dst = ip_address(data[:size]), ip_address(data[20 : 20 + size])
    (sport,), (dport,) = _PORT.unpack_from(data, 16), _PORT.unpack_from(data, 36)
    proto = data[38]
    if proto in (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6):
        return FlowTuple(
            src, dst, proto, icmp_id=sport, icmp_type=data[36], icmp_code=data[37]
        )
    if proto in uapi.PORT_PROTOCOLS or proto == uapi.IPPROTO_GRE:
        return FlowTuple(src, dst, proto, sport=sport, dport=dport)
    return FlowTuple(src, dst, proto)
