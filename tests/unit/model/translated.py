"""One flow for every way a box can translate, as the kernel keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import End, Ends, Kind
from natscope.model.tuples import FlowTuple

S, D = uapi.Status.SRC_NAT, uapi.Status.DST_NAT

EVIDENCE = Evidence(
    addresses=(
        ip_interface("10.0.0.1/24"),
        ip_interface("203.0.113.7/24"),
        ip_interface("172.16.0.1/16"),
        ip_interface("fd00::1/64"),
    )
)
"""A NAT box: two networks inside, one public address."""


def at(text: str) -> IPv4Address | IPv6Address:
    """An address."""
    return ip_address(text)


def flow(original: str, reply: str, status: int | None, proto: str = "tcp") -> Flow:
    """A flow written as its two tuples: ``src sport dst dport``."""
    number = uapi.PROTOCOL_NUMBERS[proto]
    one, other = (
        FlowTuple(at(src), at(dst), number, int(sport), int(dport))
        for src, sport, dst, dport in (original.split(), reply.split())
    )
    return Flow(orig=one, reply=other, status=status)


def ping(original: str, reply: str, status: int) -> Flow:
    """An echo request: ``src dst id``."""
    src, dst, ident = original.split()
    back, home, other = reply.split()
    v6 = ":" in src
    proto = uapi.IPPROTO_ICMPV6 if v6 else uapi.IPPROTO_ICMP
    types = (128, 129) if v6 else (8, 0)
    one = FlowTuple(at(src), at(dst), proto, icmp_type=types[0], icmp_id=int(ident))
    two = FlowTuple(at(back), at(home), proto, icmp_type=types[1], icmp_id=int(other))
    return Flow(
        orig=replace(one, icmp_code=0), reply=replace(two, icmp_code=0), status=status
    )


@dataclass(frozen=True)
class Case:
    id: str
    flow: Flow
    kind: Kind
    ends: Ends


_O, _P, _R, _T = End.ORIG_SRC, End.ORIG_DST, End.REPLY_SRC, End.REPLY_DST
PLAIN = Ends(inside=_O, outside=_P)
OUT = Ends(inside=_O, public=_T, outside=_P)
IN = Ends(inside=_R, public=_P, outside=_O, target=_R)
TURNED = Ends(inside=_O, public=_P, target=_R)
TWICE = Ends(inside=_O, public=_T, outside=_P, target=_R)
DIVERTED = Ends(inside=_O, outside=_P, target=_R)

CASES = [
    Case(
        "untranslated",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 10.0.0.5 40000", 0),
        Kind.NONE,
        PLAIN,
    ),
    Case(
        "source, port kept",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 40000", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "source, port changed",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 1025", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "source, v6",
        flow("fd00::5 40000 2001:db8::1 443", "2001:db8::1 443 2001:db8:f::7 40000", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "source only, to a private outside",
        flow("10.0.0.5 40000 172.16.0.9 443", "172.16.0.9 443 203.0.113.7 40000", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "port forward",
        flow("192.0.2.1 50000 203.0.113.7 8080", "10.0.0.5 80 192.0.2.1 50000", D),
        Kind.DESTINATION,
        IN,
    ),
    Case(
        "port forward, port kept",
        flow("192.0.2.1 50000 203.0.113.7 80", "10.0.0.5 80 192.0.2.1 50000", D),
        Kind.DESTINATION,
        IN,
    ),
    Case(
        "hairpin",
        flow("10.0.0.6 50000 203.0.113.7 8080", "10.0.0.5 80 10.0.0.1 50000", S | D),
        Kind.HAIRPIN,
        TURNED,
    ),
    Case(
        "hairpin by the box's own prefix",
        flow(
            "172.16.1.6 50000 203.0.113.7 8080", "172.16.9.5 80 172.16.0.1 50000", S | D
        ),
        Kind.HAIRPIN,
        TURNED,
    ),
    Case(
        "both, between two private networks",
        flow(
            "10.0.0.6 50000 203.0.113.7 8080", "172.16.9.5 80 172.16.0.1 50000", S | D
        ),
        Kind.BOTH,
        TURNED,
    ),
    Case(
        "both, a port forward that hides the client",
        flow("192.0.2.1 50000 203.0.113.7 8080", "10.0.0.5 80 10.0.0.1 50000", S | D),
        Kind.BOTH,
        IN,
    ),
    Case(
        "both, towards the world",
        flow("10.0.0.5 50000 10.0.0.1 8080", "192.0.2.1 80 203.0.113.7 50000", S | D),
        Kind.BOTH,
        TWICE,
    ),
    Case(
        "redirect to the box's own address",
        flow("10.0.0.5 50000 192.0.2.1 80", "10.0.0.1 3128 10.0.0.5 50000", D),
        Kind.REDIRECT,
        DIVERTED,
    ),
    Case(
        "redirect to the loopback",
        flow("127.0.0.1 50000 127.0.0.1 80", "127.0.0.1 3128 127.0.0.1 50000", D),
        Kind.REDIRECT,
        IN,
    ),
    Case(
        "redirect of a port of the box itself",
        flow("10.0.0.5 50000 10.0.0.1 8888", "10.0.0.1 22 10.0.0.5 50000", D),
        Kind.REDIRECT,
        IN,
    ),
    Case(
        "destination port only, to another host",
        flow("192.0.2.1 50000 192.0.2.80 8888", "192.0.2.80 22 192.0.2.1 50000", D),
        Kind.PORT,
        IN,
    ),
    Case(
        "source port only",
        flow("203.0.113.7 50000 192.0.2.1 53", "192.0.2.1 53 203.0.113.7 1024", S),
        Kind.PORT,
        OUT,
    ),
    Case(
        "ping, id kept",
        ping("10.0.0.5 192.0.2.1 77", "192.0.2.1 203.0.113.7 77", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "ping, id changed alone",
        ping("203.0.113.7 192.0.2.1 77", "192.0.2.1 203.0.113.7 78", S),
        Kind.PORT,
        OUT,
    ),
    Case(
        "ping, v6",
        ping("fd00::5 2001:db8::1 9", "2001:db8::1 2001:db8:f::7 10", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "gre keys stand where ports do",
        flow("10.0.0.5 7 192.0.2.1 9", "192.0.2.1 9 203.0.113.7 7", S, "gre"),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "unequal tuples the kernel does not translate",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 40000", 0),
        Kind.NONE,
        PLAIN,
    ),
    Case(
        "no status told: the tuples decide",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 40000", None),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "a NAT bit set, nothing changed",
        flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 10.0.0.5 40000", S | D),
        Kind.NONE,
        PLAIN,
    ),
    Case(
        "only the source bit set, both ends differ",
        flow("10.0.0.6 50000 203.0.113.7 80", "10.0.0.5 80 10.0.0.1 50000", S),
        Kind.SOURCE,
        OUT,
    ),
    Case(
        "the source could not tell the NAT bits",
        replace(
            flow("192.0.2.1 5 203.0.113.7 80", "10.0.0.5 80 192.0.2.1 5", 0),
            status_mask=int(uapi.Status.ASSURED),
        ),
        Kind.DESTINATION,
        IN,
    ),
]
