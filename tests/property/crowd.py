"""Flows out of a small pool of values, so that they meet: equal tuples, shared
subnets, the box's own addresses, repeated entries."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from hypothesis import strategies as st

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow, Unknown
from natscope.model.tuples import FlowTuple

Address = IPv4Address | IPv6Address

_V4 = "10.0.0.1 10.0.0.5 10.0.1.5 172.16.0.9 127.0.0.1 192.0.2.1 203.0.113.7".split
_V6 = "fd00::1 fd00::5 fd00:0:0:1::5 ::1 ::a00:5 2001:db8::1 2001:db8:1::7".split
POOL: dict[int, list[Address]] = {
    4: [ip_address(text) for text in _V4()],
    6: [ip_address(text) for text in _V6()],
}
_OWN = "10.0.0.1/24 10.0.0.1/16 203.0.113.7/32 fd00::1/64 fd00::1/48 0.0.0.0/0".split

evidence = st.lists(st.sampled_from(_OWN()), max_size=3).map(
    lambda texts: Evidence(addresses=tuple(ip_interface(text) for text in texts))
)
ports = st.sampled_from([None, 0, 80, 443])


def _tuples(version: int, proto: int) -> st.SearchStrategy[FlowTuple]:
    address = st.sampled_from(POOL[version])
    if proto in (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6):
        rest = {
            "icmp_type": st.sampled_from([None, 0, 8]),
            "icmp_code": st.sampled_from([None, 0]),
            "icmp_id": ports,
        }
    else:
        rest = {"sport": ports, "dport": ports}
    zone = st.sampled_from([None, None, 0, 5])
    return st.builds(
        FlowTuple, src=address, dst=address, proto=st.just(proto), zone=zone, **rest
    )


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow; its reply may be anything, the plain reverse included."""
    version = draw(st.sampled_from([4, 6]))
    proto = draw(st.sampled_from([1, 6, 17, 47, 58, 253]))
    orig = draw(_tuples(version, proto))
    reply = draw(st.one_of(st.just(orig.reversed()), _tuples(version, proto)))
    small = st.sampled_from([None, None, 0, 1, 2])
    return Flow(
        orig=orig,
        reply=reply,
        master=draw(st.one_of(st.none(), _tuples(version, uapi.IPPROTO_TCP))),
        status=draw(st.sampled_from([None, 0, 0x10, 0x20, 0x30, 0x1BE, 1 << 31])),
        status_mask=draw(st.sampled_from([None, None, 0, 0x10, 0x20, 0x6])),
        zone=draw(small),
        timeout=draw(small),
        mark=draw(st.sampled_from([None, 0, 0xFFFF_FFFF])),
        id=draw(small),
        orig_bytes=draw(st.sampled_from([None, 0, (1 << 64) - 1])),
        labels=draw(st.sampled_from([None, 0, 1, 1 << 64, (1 << 128) - 1])),
        seqadj_reply_after=draw(st.sampled_from([None, -(1 << 31), 0, 7])),
        helper=draw(st.sampled_from([None, "", "ftp", "sip-å"])),
        netns=draw(st.sampled_from([None, "a", "b"])),
        extra=draw(st.sampled_from([None, (), (Unknown("CTA_99", b"\0"),)])),
    )


crowds = st.lists(flows(), max_size=12)


def cell(flow: Flow, name: str) -> object:
    """What a record says of a column; None where absent."""
    if name == "reply_proto":
        return flow.reply.proto
    side, _, part = name.partition("_")
    if side in ("orig", "reply", "master") and (
        part == "proto" or part in FlowTuple.__slots__
    ):
        one: FlowTuple | None = getattr(flow, side)
        value = None if one is None else getattr(one, part)
        return int(value) if part in ("src", "dst") and value is not None else value
    return getattr(flow, name)
