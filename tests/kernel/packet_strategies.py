"""Sequences of packets for a box: new ones, and what they bring about.

A step is made into a packet only when its turn comes, from what was seen of earlier
ones: a reply answers what left the box, whatever source port the kernel chose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from natscope.model.journey import Sightings
from natscope.model.packet import Fragment, Packet, Question, answer, opening
from natscope.model.tuples import Address, FlowTuple
from natscope.uapi import TcpFlag

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
ANSWERED = (TCP, TCP, TCP, UDP, UDP, ICMP)
RARE = (132, 47, 50, 136, 89)
"""SCTP, GRE, ESP, UDPLITE, OSPF."""
INVALID = (
    *(0, TcpFlag.SYN | TcpFlag.FIN, TcpFlag.SYN | TcpFlag.RST, TcpFlag.FIN),
    *(TcpFlag.RST, TcpFlag.SYN | TcpFlag.ACK, TcpFlag.FIN | TcpFlag.PSH | TcpFlag.URG),
)
MSS = bytes.fromhex("020405b4")
LOCAL = {
    "eth0": ("203.0.113.50", "203.0.113.254", "192.0.2.77", "9.9.9.9", "198.18.0.7"),
    "eth1": ("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.66"),
    "eth3": ("198.51.100.254", "9.9.9.9"),
    "docker0": ("172.17.0.2", "172.17.0.3"),
    "virbr0": ("192.168.122.10",),
    "cni0": ("10.244.0.5", "10.244.0.6"),
    "tenant1": ("10.9.1.5", "10.9.9.9"),
    "tenant2": ("10.9.2.5", "10.9.9.9"),
}
"""Who sends by an interface, IPv4."""
LOCAL6 = {
    "eth0": ("2001:db8::50", "2001:db8:ffff::9", "fd00:1::2"),
    "eth1": ("fd00:1::2", "fd00:1::3"),
    "docker0": ("fd00:17::2",),
}
BOX = {
    "eth0": "203.0.113.1",
    "eth1": "10.0.0.1",
    "docker0": "172.17.0.1",
    "virbr0": "192.168.122.1",
    "cni0": "10.244.0.1",
}
BRIDGES = ("docker0", "virbr0", "cni0")
"""A reset goes back by the port it answers, wherever its addressee is: they agree."""
TARGETS = (
    *("8.8.8.8", "9.9.9.9", "203.0.113.1", "203.0.113.1", "203.0.113.2", "192.0.2.10"),
    *("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "172.17.0.2", "172.17.0.3"),
    *("192.168.122.10", "10.244.0.5", "10.96.0.1", "10.96.0.1", "10.96.0.99"),
    *("10.96.0.7", "203.0.113.7", "10.9.1.5", "10.9.2.5", "203.0.113.50"),
    *("192.168.122.1", "172.17.0.1", "10.77.0.9"),
)
STRANGE = (
    *("10.66.0.1", "10.67.0.1", "10.68.0.1", "203.0.113.255", "224.0.0.251"),
    *("255.255.255.255", "127.0.0.1", "0.0.0.0", "10.0.0.255", "240.0.0.1"),
)
TARGETS6 = (
    *("2001:db8::1", "fd00:1::2", "fd00:1::3", "2001:db8:ffff::9", "fd00:17::2"),
    *("2001:db8:1::2", "2001:db8:1::3", "2001:db8::50", "fd00:1::1"),
)
STRANGE6 = ("fd00:66::1", "fd00:67::1", "fd00:68::1", "ff02::1", "2001:db8::1")
SOURCE_PORTS = (40000, 40001, 40002, 40003, 500, 900)
PORTS = (80, 443, 8080, 8443, 2222, 22, 53, 30080, 123, 5353, 81, 137)


@dataclass(frozen=True)
class Fresh:
    """A packet that hangs on no other."""

    question: Question


@dataclass(frozen=True)
class After:
    """A packet that follows from what became of an earlier one."""

    of: int
    """The number of the step."""
    how: str


Step = Fresh | After
HOWS = (
    *("reply", "reply", "reply", "again", "ack", "data", "fin", "rst"),
    *("reply-rst", "reply-data", "reply-fin", "late", "error", "error", "mtu"),
    *("error-wrong", "in-again", "old", "reply-odd"),
)


def steps(seed: int, count: int) -> list[Step]:
    """So many steps; the same for the same seed."""
    chance = random.Random(seed)
    made: list[Step] = []
    while len(made) < count:
        if made and chance.random() < 0.62:
            near = range(max(0, len(made) - 12), len(made))
            made.append(After(chance.choice(near), chance.choice(HOWS)))
        else:
            made.append(Fresh(_fresh(chance)))
    return made


TALKS = (
    *(("eth0", "203.0.113.50", "203.0.113.1"), ("eth0", "9.9.9.9", "192.0.2.10")),
    *(("eth1", "10.0.0.2", "8.8.8.8"), ("eth1", "10.0.0.4", "9.9.9.9")),
    *(("eth1", "10.0.0.3", "203.0.113.1"), ("eth1", "10.0.0.2", "10.96.0.1")),
    *(("docker0", "172.17.0.2", "8.8.8.8"), ("virbr0", "192.168.122.10", "8.8.8.8")),
    *(("cni0", "10.244.0.5", "10.96.0.1"), ("tenant1", "10.9.1.5", "10.9.2.5")),
    *(
        ("eth1", "fd00:1::2", "2001:db8:ffff::9"),
        ("eth0", "2001:db8::50", "2001:db8::1"),
    ),
)
"""What boxes are for: most of it is translated somewhere."""
TALKED = (80, 443, 8080, 8080, 30080, 53)


def _talk(chance: random.Random) -> Question:
    iif, source, target = chance.choice(TALKS)
    packet = _packet(chance, ip_address(source), ip_address(target))
    if packet.proto in (TCP, UDP):
        packet = replace(packet, dport=chance.choice(TALKED))
    return Question(packet, iif)


def _fresh(chance: random.Random) -> Question:
    if chance.random() < 0.45:
        return _talk(chance)
    v6 = chance.random() < 0.22
    sources = LOCAL6 if v6 else LOCAL
    iif = chance.choice([*sources])
    source = chance.choice(sources[iif])
    targets, strange = (TARGETS6, STRANGE6) if v6 else (TARGETS, STRANGE)
    target = chance.choice(strange if chance.random() < 0.08 else targets)
    roll = chance.random()
    where: str | None = iif
    mark = 0
    if roll < 0.1:
        where, mark = None, chance.choice([0, 0, 7])
        source = "2001:db8::1" if v6 else chance.choice([*BOX.values()])
    elif roll < 0.14 and iif not in BRIDGES:
        source = chance.choice([*strange, *targets])
    packet = _packet(chance, ip_address(source), ip_address(target))
    return Question(packet, where, mark)


def _packet(chance: random.Random, src: Address, dst: Address) -> Packet:
    proto = chance.choice(RARE if chance.random() < 0.1 else ANSWERED)
    if proto == ICMP and src.version == 6:
        proto = ICMP6
    ports = {"sport": chance.choice(SOURCE_PORTS), "dport": chance.choice(PORTS)}
    if proto in (ICMP, ICMP6):
        kind = 8 if proto == ICMP else 128
        if chance.random() < 0.2:
            kind = chance.choice([0, 13, 17, 40] if proto == ICMP else [129, 139, 200])
        key = FlowTuple(src, dst, proto, icmp_type=kind, icmp_code=0, icmp_id=77)
        packet = replace(
            Packet(src, dst, proto, icmp_type=kind, icmp_code=0), icmp_seq=1, icmp_id=77
        )
        if kind not in (0, 8, 13, 14, 17, 18, 128, 129):
            packet = replace(packet, icmp_id=None, icmp_seq=None, icmp_rest=0)
        del key
    elif proto in (TCP, UDP, 132, 136):
        packet = opening(FlowTuple(src, dst, proto, **ports))
    elif proto == 50:
        packet = Packet(src, dst, proto, spi=0x100, seq=1)
    else:
        packet = opening(FlowTuple(src, dst, proto))
    if proto == TCP:
        packet = replace(packet, seq=1000, window=5000, tcp_options=MSS)
        if chance.random() < 0.12:
            packet = replace(packet, tcp_flags=int(chance.choice(INVALID)))
        elif chance.random() < 0.05:
            packet = replace(packet, tcp_flags=int(TcpFlag.ACK), ack=5)
    return _varied(chance, packet)


def _varied(chance: random.Random, packet: Packet) -> Packet:
    """Now and then something unusual about it."""
    roll = chance.random()
    if roll < 0.03:
        return replace(packet, ttl=chance.choice([1, 1, 2, 255]))
    if roll < 0.05:
        return replace(packet, bad_checksum=True)
    if roll < 0.07:
        return replace(packet, tos=chance.choice([0x10, 0xB8]))
    if roll < 0.10 and packet.proto == UDP:
        size = chance.choice([1300, 1390, 1440, 1472])
        free = chance.random() < 0.4 and packet.src.version == 4
        return replace(packet, payload=bytes(size), dont_fragment=not free, ip_id=9)
    if roll < 0.12 and packet.proto == UDP:
        part = Fragment(chance.choice([0, 0, 64]), chance.random() < 0.8)
        return replace(
            packet,
            payload=bytes(64),
            fragment=part,
            dont_fragment=False,
            ip_id=chance.randrange(1, 9),
        )
    return packet


History = Sequence[Sightings | None]


def made(step: Step, history: History) -> Question | None:
    """The packet of a step; None where what it follows came to nothing."""
    if isinstance(step, Fresh):
        return step.question
    seen = history[step.of]
    if seen is None or seen.question is None:
        return None
    asked = seen.question
    if step.how in _FORTH:
        packet = _FORTH[step.how](asked.packet)
        return None if packet is None else replace(asked, packet=packet)
    if (left := seen.departure) is None or left.packet.fragment is not None:
        return None
    packet = _BACK[step.how](left.packet)
    return None if packet is None else Question(packet, left.interface)


def _tcp(packet: Packet, flags: int, ahead: int = 1) -> Packet | None:
    """The next one of the same side, or one whose number is far off."""
    if packet.proto != TCP:
        return None
    seq = ((packet.seq or 0) + ahead) % (1 << 32)
    return replace(packet, tcp_flags=int(flags), seq=seq, ack=1, tcp_options=b"")


def _ack(packet: Packet) -> Packet | None:
    return _tcp(packet, TcpFlag.ACK)


def _data(packet: Packet) -> Packet | None:
    if packet.proto != TCP:
        return replace(
            packet, payload=b"data" if packet.proto == UDP else packet.payload
        )
    sent = _tcp(packet, TcpFlag.ACK | TcpFlag.PSH)
    return None if sent is None else replace(sent, payload=b"hello")


def _fin(packet: Packet) -> Packet | None:
    return _tcp(packet, TcpFlag.FIN | TcpFlag.ACK)


def _rst(packet: Packet) -> Packet | None:
    return _tcp(packet, TcpFlag.RST)


def _late(packet: Packet) -> Packet | None:
    """Far beyond the window."""
    return _tcp(packet, TcpFlag.ACK, 1 << 24)


def _old(packet: Packet) -> Packet | None:
    return _tcp(packet, TcpFlag.ACK, -(1 << 24))


def _back_tcp(flags: int) -> Callable[[Packet], Packet | None]:
    def turned(packet: Packet) -> Packet | None:
        if packet.proto != TCP:
            return None
        return replace(answer(packet), tcp_flags=int(flags), tcp_options=b"")

    return turned


def _error(packet: Packet, kind: int, code: int, rest: int = 0) -> Packet | None:
    """What a router on the way says about it."""
    if packet.is_icmp_error:
        return None
    v6 = packet.src.version == 6
    proto = ICMP6 if v6 else ICMP
    router = ip_address("2001:db8:ffff::1" if v6 else "9.9.9.1")
    whole = replace(packet, payload=packet.payload[:64])
    return Packet(
        router,
        packet.src,
        proto,
        icmp_type=kind,
        icmp_code=code,
        icmp_rest=rest,
        quoted=whole,
    )


def _unreachable(packet: Packet) -> Packet | None:
    return _error(packet, 1 if packet.src.version == 6 else 3, 3)


def _too_big(packet: Packet) -> Packet | None:
    v6 = packet.src.version == 6
    return _error(packet, 2, 0, 1300) if v6 else _error(packet, 3, 4, 1300)


def _about_another(packet: Packet) -> Packet | None:
    """An error about a flow that is not there."""
    if packet.sport is None:
        return None
    return _unreachable(replace(packet, dport=(packet.dport or 0) ^ 0x55))


def _odd_reply(packet: Packet) -> Packet | None:
    """An answer from another port."""
    if packet.proto != UDP:
        return None
    return replace(answer(packet), sport=(packet.dport or 0) ^ 1)


_Change = Callable[[Packet], Packet | None]
_FORTH: dict[str, _Change] = {
    "again": lambda packet: packet,
    "in-again": lambda packet: replace(packet, ttl=max(2, packet.ttl - 1)),
    "ack": _ack,
    "data": _data,
    "fin": _fin,
    "rst": _rst,
    "late": _late,
    "old": _old,
}
_BACK: dict[str, _Change] = {
    "reply": answer,
    "reply-rst": _back_tcp(TcpFlag.RST | TcpFlag.ACK),
    "reply-data": _back_tcp(TcpFlag.ACK | TcpFlag.PSH),
    "reply-fin": _back_tcp(TcpFlag.FIN | TcpFlag.ACK),
    "reply-odd": _odd_reply,
    "error": _unreachable,
    "mtu": _too_big,
    "error-wrong": _about_another,
}
