"""Flows for property tests: every protocol, every field sometimes absent.

Addresses, ports and numbers come from small pools as often as from the whole
range, so that two flows, or a flow and a filter, meet.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import Any

from hypothesis import strategies as st

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow, Unknown
from natscope.model.tuples import Address, FlowTuple
from natscope.table.columns import BY_NAME, COLUMNS, Column

V4 = [
    IPv4Address(text)
    for text in (
        *("10.0.0.5", "10.0.0.6", "10.0.1.1", "192.168.7.7", "172.16.0.1"),
        *("203.0.113.7", "203.0.113.8", "198.51.100.10", "0.0.0.0"),
        *("127.0.0.1", "255.255.255.255"),
    )
]
V6 = [
    IPv6Address(text)
    for text in (
        *("fd00::5", "fd00::6", "fd00:0:0:1::5", "2001:db8::1", "2001:db8::2"),
        *("::", "::1", "fe80::1", "::ffff:10.0.0.5"),
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    )
]
PORTS = [0, 1, 22, 53, 80, 443, 8080, 40_000, 65_535]
ICMP = frozenset({uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6})
GRE = uapi.IPPROTO_GRE

NOT_ON_THE_WIRE = ("secmark", "label_names", "delta_time", "rate", "status_mask")
"""What saved listings and natscope itself add; ctnetlink sends none of it."""
_OWN = frozenset({*NOT_ON_THE_WIRE, "netns", "extra"})
_BELONGS_TO = {
    "tcp": uapi.IPPROTO_TCP,
    "sctp": uapi.IPPROTO_SCTP,
    "dccp": uapi.IPPROTO_DCCP,
}
_TEXTS = {
    "helper": ["ftp", "sip-5060", "sip", "amanda"],
    "secctx": ["system_u:object_r:unlabeled_t:s0", "kernel"],
    "label_names": ["eth0-in", "eth0-in,eth1-out", "vpn,eth0-in,*"],
    "netns": ["edge", "edge2", "customer a"],
}
_PLAIN = [
    column
    for column in COLUMNS
    if column.name in Flow.__dataclass_fields__ and column.name != "extra"
]


def versions() -> st.SearchStrategy[int]:
    """IP versions, IPv4 first."""
    return st.sampled_from((4, 6))


def addresses(version: int) -> st.SearchStrategy[Address]:
    """Addresses of one IP version."""
    if version == 4:
        return st.sampled_from(V4) | st.integers(0, (1 << 32) - 1).map(IPv4Address)
    return st.sampled_from(V6) | st.integers(0, (1 << 128) - 1).map(IPv6Address)


def ports() -> st.SearchStrategy[int]:
    """Ports, often well-known ones."""
    return st.sampled_from(PORTS) | st.integers(0, 65_535)


def protocols(version: int) -> st.SearchStrategy[int]:
    """Protocol numbers, those with something of their own most often."""
    icmp = uapi.IPPROTO_ICMP if version == 4 else uapi.IPPROTO_ICMPV6
    known = (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, icmp, *uapi.PORT_PROTOCOLS, GRE, 50)
    other = st.integers(0, 255).filter(lambda number: number not in ICMP)
    return st.sampled_from(known) | other


@st.composite
def tuples(draw: st.DrawFn, version: int, proto: int) -> FlowTuple:
    """Tuples with what the protocol has: ports, GRE keys or ICMP fields."""
    parts: dict[str, int] = {}
    if proto in uapi.PORT_PROTOCOLS or proto == GRE:
        parts = {"sport": draw(ports()), "dport": draw(ports())}
    elif proto in ICMP:
        types = (8, 0, 13, 3) if proto == uapi.IPPROTO_ICMP else (128, 129, 139, 1)
        parts = {
            "icmp_type": draw(st.sampled_from(types) | st.integers(0, 255)),
            "icmp_code": draw(st.integers(0, 3)),
            "icmp_id": draw(ports()),
        }
    return FlowTuple(draw(addresses(version)), draw(addresses(version)), proto, **parts)


@st.composite
def replies(draw: st.DrawFn, orig: FlowTuple) -> FlowTuple:
    """Reply tuples: the original turned round, any part of it translated."""
    plain = orig.reversed()
    version = orig.src.version
    changes: dict[str, Any] = {}
    for name in ("src", "dst"):
        if draw(st.booleans()):
            changes[name] = draw(addresses(version))
    for name in ("sport", "dport", "icmp_id"):
        if getattr(plain, name) is not None and draw(st.booleans()):
            changes[name] = draw(ports())
    kept = {name: getattr(plain, name) for name in FlowTuple.__slots__}
    return FlowTuple(**(kept | changes))


def values(column: Column) -> st.SearchStrategy[Any]:
    """What a column can hold, as a Flow record says it."""
    if column.dtype == "S":
        free = st.text("abcz09-_:", min_size=1, max_size=12)
        return st.sampled_from(_TEXTS[column.name]) | free
    if column.width == 2:
        few = st.sets(st.integers(0, 127), max_size=3)
        return few.map(lambda bits: sum(1 << bit for bit in bits))
    bits = 8 * int(column.dtype[1])
    if column.dtype[0] == "i":
        return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    top = (1 << bits) - 1
    if column.name.endswith("_state"):
        return st.integers(0, 12)
    if column.name.endswith("_ns"):
        return st.integers(NOW_NS - 10**13, NOW_NS + 10**10) | st.integers(0, top)
    near = [value for value in (0, 1, 5, 29, 300, 431_999, top) if value <= top]
    return st.sampled_from(near) | st.integers(0, top)


def masters(version: int) -> st.SearchStrategy[FlowTuple]:
    """Tuples of masters: helpers watch TCP and UDP."""
    protos = st.sampled_from((uapi.IPPROTO_TCP, uapi.IPPROTO_UDP))
    return protos.flatmap(lambda proto: tuples(version, proto))


@st.composite
def flows(draw: st.DrawFn, *, wire: bool = False) -> Flow:
    """Flows of both families and all protocols.

    With ``wire``, only what ctnetlink can send: no names from saved listings,
    no namespace, no unknown attributes.
    """
    version = draw(versions())
    proto = draw(protocols(version))
    orig = draw(tuples(version, proto))
    reply = draw(replies(orig))
    zone = draw(st.none() | st.integers(0, 6))
    side = draw(st.sampled_from(("both", "orig", "reply")))
    if zone is not None and side != "both":
        orig, reply = (
            _in_zone(one, zone if name == side else None)
            for name, one in (("orig", orig), ("reply", reply))
        )
    cells = _cells(draw, proto, wire=wire)
    if side == "both":
        cells["zone"] = zone
    if draw(st.integers(0, 3)) == 0:
        cells["master"] = draw(masters(version))
    if not wire and draw(st.integers(0, 9)) == 0:
        cells["extra"] = (Unknown("CTA_99", draw(st.binary(max_size=4))),)
    return Flow(orig=orig, reply=reply, **cells)


def _cells(draw: st.DrawFn, proto: int, *, wire: bool) -> dict[str, Any]:
    """Values for the plain fields; a few at a time, as a flow has them."""
    names = [
        column.name
        for column in _PLAIN
        if _BELONGS_TO.get(column.name.partition("_")[0], proto) == proto
        and not (wire and column.name in _OWN)
        and column.name not in ("zone", "master")
    ]
    chosen = draw(st.sets(st.sampled_from(names), max_size=12))
    chosen |= {"status"} if draw(st.integers(0, 3)) else set()
    cells = {name: draw(values(BY_NAME[name])) for name in sorted(chosen)}
    if "status" not in cells:
        cells.pop("status_mask", None)
    if "status_mask" in cells:
        cells["status"] &= cells["status_mask"]
    return cells


def _in_zone(one: FlowTuple, zone: int | None) -> FlowTuple:
    kept = {name: getattr(one, name) for name in FlowTuple.__slots__}
    return FlowTuple(**(kept | {"zone": zone}))


NOW_NS = 1_800_000_000 * 10**9
TIMEOUTS = {
    **dict.fromkeys(("generic_timeout", "icmp_timeout", "icmpv6_timeout"), 30),
    **{"udp_timeout": 30, "udp_timeout_stream": 120},
    **{"gre_timeout": 30, "gre_timeout_stream": 180},
    **{"tcp_timeout_established": 432_000, "tcp_timeout_syn_sent": 120},
    **{"sctp_timeout_established": 210, "dccp_timeout_open": 43_200},
}


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    """Boxes that tell their addresses, timeouts and the time, or do not."""
    own = [ip_interface(text) for text in ("10.0.0.1/24", "203.0.113.7/24")]
    own += [ip_interface(text) for text in ("192.168.7.7/16", "fd00::6/64")]
    return Evidence(
        now_ns=draw(st.sampled_from((NOW_NS, None))),
        timeouts=draw(st.sampled_from((TIMEOUTS, {}))),
        addresses=tuple(draw(st.lists(st.sampled_from(own), unique=True))),
    )
