"""What the box around a table says: addresses, neighbours, timeouts.

Read over rtnetlink and from /proc/sys, in the namespace of the calling thread;
the answers become model.evidence.Evidence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.model.evidence import Interface
from natscope.sources.nlsocket import NetlinkSocket
from natscope.uapi import rtnetlink as rt

if TYPE_CHECKING:
    from natscope.model.tuples import Address
    from natscope.sources.nlsocket import Wire

SYSCTLS = Path("/proc/sys/net/netfilter")
_PREFIX = "nf_conntrack_"
_IFADDRMSG = struct.Struct("=BBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A host on a directly attached link, as ip-neigh(8) shows it."""

    address: Address
    mac: str


def read_addresses(wire: Wire | None = None) -> tuple[Interface, ...]:
    """The box's addresses with their prefixes, RTM_GETADDR.

    Raises:
        KernelError: rtnetlink refused.
    """
    found = []
    for body in _route_dump(rt.RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), wire):
        prefix = body[1]
        attributes = dict(_attributes(body, _IFADDRMSG.size))
        # IFA_LOCAL is ours, IFA_ADDRESS the peer's on point-to-point links
        packed = attributes.get(rt.IFA_LOCAL, attributes.get(rt.IFA_ADDRESS))
        if packed is not None and len(packed) in (4, 16):
            found.append(ip_interface((packed, prefix)))
    return tuple(found)


def read_neighbours(wire: Wire | None = None) -> list[Neighbour]:
    """The neighbour table, RTM_GETNEIGH, without failed and loopback entries.

    Raises:
        KernelError: rtnetlink refused.
    """
    found = []
    for body in _route_dump(rt.RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0), wire):
        _, _, state, _, _ = _NDMSG.unpack_from(body)
        if state & (rt.NUD_FAILED | rt.NUD_NOARP):
            continue
        attributes = dict(_attributes(body, _NDMSG.size))
        packed, mac = (
            attributes.get(rt.NDA_DST),
            attributes.get(rt.NDA_LLADDR),
        )
        if packed and mac and len(packed) in (4, 16):
            found.append(Neighbour(ip_address(packed), mac.hex(":")))
    return found


def read_timeouts() -> dict[str, int]:
    """The timeout sysctls in seconds, by their name after ``nf_conntrack_``."""
    timeouts = {}
    for path in SYSCTLS.glob(f"{_PREFIX}*timeout*"):
        try:
            timeouts[path.name.removeprefix(_PREFIX)] = int(path.read_text())
        except (OSError, ValueError):
            continue  # unreadable to this user: then that timeout is unknown
    return timeouts


def read_sysctl(name: str) -> int | None:
    """One ``net.netfilter`` sysctl, None where there is none to read."""
    try:
        return int((SYSCTLS / name).read_text())
    except (OSError, ValueError):
        return None


def _route_dump(kind: int, body: bytes, wire: Wire | None) -> Iterator[bytes]:
    with closing(NetlinkSocket(uapi.NETLINK_ROUTE, wire=wire)) as sock:
        flags = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP
        request = nlmsg.build(kind, flags, sock.next_seq(), body)
        for message in sock.ask(request, "reading addresses and neighbours"):
            yield message[nlmsg.HEADER.size :]


def _attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    for attribute in nla.walk(body, at, len(body), ("rtnetlink",)):
        yield attribute.type, body[attribute.start : attribute.end]
