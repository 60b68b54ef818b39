"""Flows the table tests share, one of each shape that matters."""

from __future__ import annotations

from ipaddress import ip_address

from natscope import uapi
from natscope.model.flow import Flow, Unknown
from natscope.model.tuples import FlowTuple


def tcp(
    src: str = "10.0.0.5",
    sport: int = 40_000,
    dst: str = "192.0.2.1",
    dport: int = 443,
    proto: int = uapi.IPPROTO_TCP,
) -> FlowTuple:
    """A tuple with ports."""
    return FlowTuple(ip_address(src), ip_address(dst), proto, sport, dport)


MASQUERADED = Flow(
    orig=tcp(),
    reply=tcp("192.0.2.1", 443, "203.0.113.7", 40_000),
    status=uapi.Status.CONFIRMED | uapi.Status.SRC_NAT,
    timeout=431_999,
    tcp_state=3,
    mark=0,
    orig_packets=7,
    orig_bytes=1 << 60,
    labels=1 << 127 | 1,
    id=0xDEAD_BEEF,
    netns="edge",
)
PLAIN_V6 = Flow(
    orig=tcp("2001:db8::5", 50_000, "2001:db8:1::1", 53, uapi.IPPROTO_UDP),
    reply=tcp("2001:db8:1::1", 53, "2001:db8::5", 50_000, uapi.IPPROTO_UDP),
    zone=5,
    helper="ftp",
    master=tcp("2001:db8::5", 21, "2001:db8:1::1", 2121),
    extra=(Unknown("CTA_99", b"\x01\x02"),),
    seqadj_orig_before=-4,
)
PING = Flow(
    orig=FlowTuple(
        ip_address("10.0.0.5"),
        ip_address("192.0.2.9"),
        uapi.IPPROTO_ICMP,
        icmp_type=8,
        icmp_code=0,
        icmp_id=77,
        zone=3,
    ),
    reply=FlowTuple(
        ip_address("192.0.2.9"),
        ip_address("10.0.0.5"),
        uapi.IPPROTO_ICMP,
        icmp_type=0,
        icmp_code=0,
        icmp_id=77,
    ),
    timeout=29,
)
FLOWS = [MASQUERADED, PLAIN_V6, PING]
