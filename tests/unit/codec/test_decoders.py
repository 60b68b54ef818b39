"""The decoders on messages a kernel of today or tomorrow sends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from messages import message
from natscope.codec import nla
from natscope.codec.encode import encode_flow, flow_message
from natscope.codec.scalar import decode_flow
from natscope.codec.schema import FLOW
from natscope.codec.vector import LAYOUTS_PER_LENGTH, decode_flows
from natscope.errors import DecodeError
from natscope.model.flow import Flow, Unknown
from natscope.model.tuples import FlowTuple
from natscope.table.columns import BY_NAME
from natscope.uapi import Cta


def flow(src: str, dst: str, proto: int, **rest: int) -> Flow:
    orig = FlowTuple(ip_address(src), ip_address(dst), proto, **rest)
    return Flow(orig=orig, reply=orig.reversed())


TCP = flow("10.0.0.2", "198.51.100.9", 6, sport=50000, dport=443)


@dataclass(frozen=True)
class Case:
    id: str
    flow: Flow


CASES = [
    Case("tcp, everything a dump can hold", replace(
        TCP,
        reply=FlowTuple(ip_address("198.51.100.9"), ip_address("203.0.113.7"), 6, 443, 1024),
        master=FlowTuple(ip_address("10.0.0.2"), ip_address("198.51.100.9"), 6, 4, 21),
        zone=5, status=0x19E, timeout=431_999, mark=0xFFFF_FFFF,
        orig_packets=1, orig_bytes=2**63, reply_packets=0, reply_bytes=7,
        tcp_state=3, tcp_wscale_orig=7, tcp_wscale_reply=0,
        tcp_flags_orig=0x2300, tcp_flags_reply=0x2300,
        helper="ftp", secctx="system_u:object_r:x:s0", labels=1 << 127 | 1,
        id=0xDEADBEEF, use=2, start_ns=1_795_228_478_804_767_079, stop_ns=1, event_ns=2,
        seqadj_orig_pos=1, seqadj_orig_before=-3, seqadj_orig_after=4,
        seqadj_reply_pos=5, seqadj_reply_before=6, seqadj_reply_after=-2**31,
        synproxy_isn=1, synproxy_its=2, synproxy_tsoff=3)),
    Case("nothing optional", TCP),
    Case("zero is not absent", replace(TCP, mark=0, zone=0, status=0, timeout=0)),
    Case("udp over IPv6", flow("fd00::2", "2001:db8::53", 17, sport=1, dport=53)),
    Case("icmp", flow("10.0.0.2", "192.0.2.1", 1, icmp_type=8, icmp_code=0, icmp_id=77)),
    Case("icmpv6", flow("fd00::2", "2001:db8::1", 58, icmp_type=128, icmp_code=0, icmp_id=9)),
    Case("gre keys travel as ports", flow("10.0.0.2", "192.0.2.1", 47, sport=1, dport=0x77)),
    Case("sctp", replace(
        flow("10.0.0.2", "192.0.2.1", 132, sport=1, dport=2),
        sctp_state=4, sctp_vtag_orig=1, sctp_vtag_reply=2**32 - 1)),
    Case("dccp", replace(
        flow("10.0.0.2", "192.0.2.1", 33, sport=1, dport=2),
        dccp_state=4, dccp_role=1, dccp_handshake_seq=2**48)),
    Case("a protocol without a tracker", flow("10.0.0.2", "192.0.2.1", 89)),
    Case("zones of one direction", replace(
        TCP, orig=replace(TCP.orig, zone=1), reply=replace(TCP.reply, zone=2))),
    Case("a status bit of a newer kernel", replace(TCP, status=1 << 30 | 8)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_flow_survives_encoding_and_both_decoders(case: Case) -> None:
    data = flow_message(case.flow)
    assert decode_flow(data) == case.flow
    assert list(decode_flows(data)) == [case.flow]


def test_all_cases_decode_together_in_their_order() -> None:
    flows = [case.flow for case in CASES] * 3
    table = decode_flows(b"".join(flow_message(one) for one in flows))
    assert list(table) == flows


def test_unknown_attributes_are_kept_with_their_path() -> None:
    tail = nla.build(77, b"new!") + nla.nest(Cta.CTA_HELP, nla.build(2, b"info"))
    data = message(encode_flow(TCP) + tail)
    extra = (Unknown("77", b"new!"), Unknown("CTA_HELP.CTA_HELP_INFO", b"info"))
    assert decode_flow(data) == replace(TCP, extra=extra)
    assert list(decode_flows(data)) == [replace(TCP, extra=extra)]


def test_a_value_longer_than_known_is_kept_whole() -> None:
    data = message(encode_flow(TCP) + nla.build(Cta.CTA_LABELS, bytes(32)))
    assert decode_flow(data).extra == (Unknown("CTA_LABELS", bytes(32)),)


def test_an_attribute_given_twice_counts_the_last_time() -> None:
    twice = nla.build(Cta.CTA_MARK, bytes(3) + b"\1") + nla.build(
        Cta.CTA_MARK, bytes(3) + b"\2"
    )
    data = message(encode_flow(TCP) + twice)
    assert [decode_flow(data).mark, next(iter(decode_flows(data))).mark] == [2, 2]


def test_more_layouts_than_are_remembered_still_decode() -> None:
    messages = [
        message(encode_flow(TCP) + nla.build(100 + number, b"four"))
        for number in range(LAYOUTS_PER_LENGTH + 9)
    ]
    found = [
        next(iter(one.extra or ())).path for one in decode_flows(b"".join(messages))
    ]
    assert found == [str(100 + number) for number in range(LAYOUTS_PER_LENGTH + 9)]


@dataclass(frozen=True)
class Bad:
    id: str
    attributes: bytes
    path: tuple[str, ...]
    reason: str


SHORT_MARK = nla.build(Cta.CTA_MARK, b"ab")
V6_FLOW = encode_flow(flow("fd00::1", "fd00::2", 6))
(V6_REPLY,) = (
    nla.nest(found.type, V6_FLOW[found.start : found.end])
    for found in nla.walk(V6_FLOW, 0, len(V6_FLOW), ())
    if found.type == Cta.CTA_TUPLE_REPLY
)
BAD = [
    Bad("no tuple at all", b"", ("CTA_TUPLE_ORIG",), "orig_src is missing"),
    Bad("a short mark", encode_flow(TCP) + SHORT_MARK, ("CTA_MARK",), "needs 4 bytes, has 2"),
    Bad(
        "IPv6 answers IPv4",
        encode_flow(TCP) + V6_REPLY,
        ("CTA_TUPLE_REPLY",),
        "IPv4 and IPv6 in one flow",
    ),
    Bad(
        "a protocol number missing",
        nla.nest(Cta.CTA_TUPLE_ORIG, nla.nest(1, nla.build(1, b"abcd"), nla.build(2, b"abcd"))),
        ("CTA_TUPLE_ORIG",),
        "proto is missing",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_flow_is_refused_with_its_path(case: Bad) -> None:
    for decode in (decode_flow, decode_flows):
        with pytest.raises(DecodeError, match=case.reason) as caught:
            decode(message(case.attributes))
        assert caught.value.path == case.path


def test_the_first_bad_message_is_the_one_reported() -> None:
    good, bad = flow_message(TCP), message(encode_flow(TCP) + SHORT_MARK)
    worse = message(b"")
    with pytest.raises(DecodeError, match="needs 4 bytes"):
        decode_flows(good + bad + worse)
    with pytest.raises(DecodeError, match="missing"):
        decode_flows(good + worse + bad)


def test_every_leaf_of_the_schema_fills_a_column_that_exists() -> None:
    from natscope.codec.schema import Leaf, Nest

    def leaves(nest: Nest) -> list[Leaf]:
        found = []
        for child in nest.children.values():
            found += leaves(child) if isinstance(child, Nest) else [child]
        return found

    missing = {leaf.column for leaf in leaves(FLOW)} - BY_NAME.keys() - {""}
    assert missing == set()
