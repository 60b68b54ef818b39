"""Putting packets on the twin's wires, and taking off what leaves it (packet(7))."""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

from natscope import uapi
from natscope.codec import packets
from natscope.errors import DecodeError, NatscopeError
from natscope.model.packet import Packet, Question
from natscope.rehearse.private import BOX, WORLD, Private

SENDER = bytes.fromhex("026e00000000")
"""The MAC address packets come from, the mark in its last four bytes; a question may
name another."""
UNTRACED = bytes.fromhex("026c00000000")
"""The same, of a packet that is not traced."""
PRIORITY = 0x6E7363
"""SO_PRIORITY of what the box itself sends in a rehearsal, for the trace."""
_ETHER = {4: b"\x08\x00", 6: b"\x86\xdd"}
_ALL = socket.htons(3)
"""ETH_P_ALL."""
_FENCE = socket.htons(0x88B5)
"""An EtherType for experiments (IEEE 802), in the order of the network."""
_FENCE_S = 1.0
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_IPV6_HDRINCL = 36
_MLD = frozenset({130, 131, 132, 133, 134, 135, 136, 137, 143})
"""What a kernel sends by itself: MLD and neighbour discovery."""
_LARGEST = 1 << 16
_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet that left the twin by an interface."""

    interface: str
    packet: Packet


class Wires:
    """The other ends of all interfaces, and the box's own socket.

    Args:
        private: the namespaces, links made.
        macs: of the box's interfaces, by name.
    """

    def __init__(self, private: Private, macs: dict[str, bytes]) -> None:
        self._macs = macs
        self._world = private.socket(WORLD, socket.AF_PACKET, socket.SOCK_RAW, _ALL)
        self._raw: dict[int, socket.socket] = {}
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            with suppress(OSError):  # a kernel without IPv6
                raw = private.socket(BOX, family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                raw.setblocking(False)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                self._raw[version] = raw
        self._fence = private.socket(BOX, socket.AF_PACKET, socket.SOCK_RAW, _FENCE)
        self._fence.bind(("lo", socket.ntohs(_FENCE)))
        self._fence.settimeout(_FENCE_S)
        if 6 in self._raw:
            self._raw[6].setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._world.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._world.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._world.setblocking(False)

    def close(self) -> None:
        """Let go of the sockets."""
        for one in (self._world, self._fence, *self._raw.values()):
            one.close()

    def put(self, question: Question, *, traced: bool = True) -> OSError | None:
        """Send the packet; what the kernel answered the box's own sending with.

        Raises:
            NatscopeError: there is no such interface.
        """
        if question.iif is None:
            return self._send(question, PRIORITY if traced else 0)
        if question.iif not in self._macs:
            raise NatscopeError(
                f"the box has no interface {question.iif!r} a packet could come in by",
                hint=f"it has: {', '.join(self._macs) or 'none'}",
            )
        packet = question.packet
        mark = question.mark.to_bytes(4, sys.byteorder)
        sender = (SENDER if traced else UNTRACED)[:2] + mark
        if question.mac is not None:
            sender = bytes.fromhex(question.mac.replace(":", ""))
        kind = _ETHER[packet.src.version]
        frame = self._macs[question.iif] + sender + kind + packets.encode(packet)
        try:
            self._world.sendto(frame, (question.iif, 0))
        except OSError as error:
            return error
        return None

    def _send(self, question: Question, priority: int) -> OSError | None:
        packet = question.packet
        raw = self._raw.get(packet.src.version)
        if raw is None:
            raise NatscopeError("this kernel has no IPv6 (ipv6.disable)")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, question.mark)
        try:
            raw.sendto(packets.encode(packet), (str(packet.dst), 0))
        except OSError as error:
            return error
        return None

    def settle(self) -> None:
        """Wait until what was put in has gone its way.

        As a rule that is so when sendto(2) returns; but a busy CPU leaves the rest to
        ksoftirqd (handle_softirqs).  A frame on the loopback goes through the same
        backlog, behind the packet; the second one behind what the packet became.
        """
        for _ in range(2):
            self._fence.send(bytes(12) + _FENCE.to_bytes(2, sys.byteorder))
            with suppress(TimeoutError):
                self._fence.recv(_LARGEST)

    def take(self, wait_s: float = 0.0) -> list[Frame]:
        """All that left since, waiting for the first one at most so long."""
        if wait_s and not select.select([self._world], [], [], wait_s)[0]:
            return []
        found: list[Frame] = []
        while True:
            try:
                data, where = self._world.recvfrom(_LARGEST)
            except BlockingIOError:
                return found
            name = where[0]
            packet = _decoded(data)
            if packet is not None:
                found.append(Frame(name, packet))


def _decoded(data: bytes) -> Packet | None:
    if data[12:14] not in _ETHER.values():
        return None
    try:
        packet = packets.decode(data[14:])
    except DecodeError:
        return None
    is_own = packet.proto == uapi.IPPROTO_ICMPV6 and packet.icmp_type in _MLD
    return None if is_own else packet


def mac_of(text: str) -> bytes:
    """Six bytes of ``02:00:00:00:00:01``."""
    return struct.pack("6B", *(int(part, 16) for part in text.split(":")))
