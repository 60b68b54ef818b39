"""Which flows a filter means; columns and records are always asked both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.filter import parse
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from unit.model.translated import EVIDENCE, S, flow, ping

BOX = replace(
    EVIDENCE,
    now_ns=10_000 * 10**9,
    timeouts={"tcp_timeout_established": 432_000, "udp_timeout": 30},
)
WEB = replace(
    flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 41234", S),
    tcp_state=3,
    timeout=431_000,
    start_ns=6_000 * 10**9,
    mark=0x101,
    labels=1 << 70 | 1 << 5,
    orig_bytes=6_000_000,
    reply_bytes=6_000_000,
)
DNS = replace(
    flow("10.0.0.6 5353 192.0.2.9 53", "192.0.2.9 53 10.0.0.6 5353", 0, "udp"),
    timeout=10,
    zone=5,
    helper="sip-5060",
    label_names="vpn,eth0-in",
)
FORWARD = flow(
    "192.0.2.9 4242 203.0.113.7 8080",
    "10.0.0.80 80 192.0.2.9 4242",
    int(uapi.Status.DST_NAT),
)
HAIRPIN = flow(
    "10.0.0.5 40001 203.0.113.7 8080",
    "10.0.0.80 80 10.0.0.1 40001",
    int(uapi.Status.SRC_NAT | uapi.Status.DST_NAT),
)
PING = ping("10.0.0.5 192.0.2.1 443", "192.0.2.1 203.0.113.7 41234", S)
SIX = replace(
    flow("fd00::5 443 2001:db8::1 22", "2001:db8::1 22 fd00::5 443", 0),
    master=flow("fd00::9 5000 2001:db8::9 443", "::1 1 ::2 2", 0).orig,
    netns="edge",
)
_KEYS = ip_address("10.0.0.5"), ip_address("192.0.2.1"), uapi.IPPROTO_GRE
TUNNEL = Flow(
    FlowTuple(*_KEYS, sport=443, dport=7),
    FlowTuple(_KEYS[1], _KEYS[0], uapi.IPPROTO_GRE, 7, 443, zone=9),
)
FLOWS = {
    "web": WEB,
    "dns": DNS,
    "forward": FORWARD,
    "hairpin": HAIRPIN,
    "ping": PING,
    "six": SIX,
    "tunnel": TUNNEL,
}


@dataclass(frozen=True)
class Case:
    text: str
    found: str


CASES = [
    Case("", " ".join(FLOWS)),
    Case("src 10.0.0.5", "web hairpin ping tunnel"),
    Case("dst 203.0.113.7", "forward hairpin"),
    Case("reply-dst 203.0.113.7", "web ping"),
    Case("inside 10.0.0.5", "web hairpin ping tunnel"),
    Case("inside 10.0.0.80", "forward"),
    Case("target 10.0.0.80", "forward hairpin"),
    Case("public 203.0.113.7", "web forward hairpin ping"),
    Case("outside net 192.0.2.8/30", "dns forward"),
    Case("outside 2001:db8::1", "six"),
    Case("host 203.0.113.7", "web forward hairpin ping"),
    Case("net 10.0.0.0/8,fd00::/8", " ".join(FLOWS)),
    Case("net fd00::/8", "six"),
    Case("host fd00::1-fd00::9", "six"),
    Case("src and reply-dst 10.0.0.0/8", "dns hairpin tunnel"),
    Case("master fd00::9,10.0.0.5", "six"),
    Case("master port 443", "six"),
    Case("port 443", "web six"),
    Case("src port 443", "six"),
    Case("dst port 443", "web"),
    Case("port 8000-8100", "forward hairpin"),
    Case("public port 41234", "web"),
    Case("public 203.0.113.7:41234", "web"),
    Case("public 203.0.113.7:id=41234", "ping"),
    Case("inside 10.0.0.5:key=443", "tunnel"),
    Case("icmp-id 443", "ping"),
    Case("gre-key 443", "tunnel"),
    Case("orig_sport 443", "six tunnel"),
    Case("tcp", "web forward hairpin six"),
    Case("ip6 or udp", "dns six"),
    Case("proto 40-50", "tunnel"),
    Case("icmp-type echo-request", "ping"),
    Case("nat", "web forward hairpin ping"),
    Case("snat", "web hairpin ping"),
    Case("changed-src", "web hairpin ping"),
    Case("changed-dst", "forward hairpin"),
    Case("changed-sport", "web ping"),
    Case("changed-dport", "forward hairpin"),
    Case("src 9.0.0.5/0xff", "web hairpin ping tunnel"),
    Case("src fd99::5/0xff00000000000000000000000000ffff", "six"),
    Case("dnat", "forward hairpin"),
    Case("hairpin", "hairpin"),
    Case("kind s,d", "web forward ping"),
    Case("kind -", "dns six tunnel"),
    Case("state established", "web"),
    Case("unreplied", "web dns forward hairpin ping six"),
    Case("not unreplied", "tunnel"),
    Case("src_nat", "web hairpin ping"),
    Case("mark 0x1/0xff", "web"),
    Case("mark 1", ""),
    Case("mark 0x100-0x1ff", "web"),
    Case("zone 0", "web forward hairpin ping six"),
    Case("zone 5", "dns"),
    Case("zone 9", "tunnel"),
    Case("reply-zone 9", "tunnel"),
    Case("label 70", "web"),
    Case("label 71", ""),
    Case("label eth0-in", "dns"),
    Case("label eth0", ""),
    Case("helper sip", ""),
    Case("helper sip*", "dns"),
    Case("netns edge", "six"),
    Case("timeout > 1h", "web"),
    Case("age > 1h", "web"),
    Case("age >= 4001", ""),
    Case("idle 1000", "web"),
    Case("idle < 1m", "dns"),
    Case("bytes > 10MB", "web"),
    Case("orig-bytes > 10MB", ""),
    Case("not bytes > 10MB", "dns forward hairpin ping six tunnel"),
    Case("bytes < 1kB", ""),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text or "nothing said")
def test_a_filter_finds(case: Case) -> None:
    wanted = parse(case.text)
    mask = wanted.mask(FlowTable.from_flows(FLOWS.values()), BOX)
    found = [name for name, kept in zip(FLOWS, mask.tolist(), strict=True) if kept]
    assert case.found.split() == found
    assert found == [n for n, flow in FLOWS.items() if wanted.matches(flow, BOX)]


def test_bits_a_listing_could_not_tell_match_neither_way() -> None:
    told = int(uapi.Status.SEEN_REPLY)
    row = replace(WEB, status=told, status_mask=told)
    for text, expected in (
        ("replied", True),
        ("assured", False),
        ("status 0/0x4", False),
        ("not assured", True),
    ):
        assert parse(text).matches(row, BOX) is expected, text
        assert parse(text).mask(FlowTable.from_flows([row]), BOX).tolist() == [expected]


def test_counters_are_added_without_wrapping_round() -> None:
    most = (1 << 64) - 1
    row = replace(WEB, orig_bytes=most, reply_bytes=5)
    wanted = parse("bytes > 1TB")
    assert wanted.matches(row, BOX)
    assert wanted.mask(FlowTable.from_flows([row]), BOX).all()


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("tcp and port 443", ""),
        ("bytes > 5 or orig-packets 3", "bytes packets"),
        ("idle > 5m", "timeout timeouts"),
        ("age > 5m and state established", "start state"),
        ("inside 10.0.0.5", "addresses"),
        ("not mark 5", "mark"),
        ("label 5,vpn", "labels label_names"),
        ("assured", "status"),
        ("master 10.0.0.5", "master_src"),
    ],
)
def test_a_filter_says_what_it_relies_on(text: str, needs: str) -> None:
    assert set(needs.split()) == parse(text).needs()


@dataclass(frozen=True)
class Range:
    text: str
    inside: str
    outside: str


RANGES = [
    Range("10.0.0.5-10.0.0.9", "10.0.0.5 10.0.0.9", "10.0.0.4 10.0.0.10 ::a00:5"),
    Range("0.0.0.0/0", "0.0.0.0 255.255.255.255", ":: ::1.2.3.4"),
    Range("fd00::5-fd00::9", "fd00::5 fd00::9", "fd00::4 fd00::a fd00:0:0:1::7"),
    Range(
        "fd00::5-fd00:0:0:2::9",
        "fd00::5 fd00::ffff fd00:0:0:1::1 fd00:0:0:2:: fd00:0:0:2::9",
        "fd00::4 fd00:0:0:2::a fcff::7 fd00:0:0:3::7 10.0.0.5",
    ),
    Range("fd00::/8", "fd00:: fdff:ffff::1", "fc00::1 fe00::"),
    Range("2001:db8::/126", "2001:db8:: 2001:db8::3", "2001:db8::4 2001:db7::1"),
    Range("::/0", ":: ffff::", "0.0.0.0"),
]


@pytest.mark.parametrize("case", RANGES, ids=lambda case: case.text)
def test_both_ends_of_a_range_belong_to_it(case: Range) -> None:
    wanted = parse(f"src {case.text}")
    for addresses, expected in ((case.inside, True), (case.outside, False)):
        rows = [flow(f"{a} 1 {a} 2", f"{a} 2 {a} 1", 0) for a in addresses.split()]
        mask = wanted.mask(FlowTable.from_flows(rows), BOX)
        assert mask.tolist() == [expected] * len(rows)
        assert [wanted.matches(row, BOX) for row in rows] == [expected] * len(rows)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("orig-packets 5", "5"),
        ("orig-packets 5-6", "5 6"),
        ("orig-packets > 6", "7 18446744073709551615"),
        ("orig-packets >= 6", "6 7 18446744073709551615"),
        ("orig-packets < 6", "0 5"),
        ("orig-packets <= 6", "0 5 6"),
        ("orig-packets = 18446744073709551615", "18446744073709551615"),
        ("orig-packets > 99999999999999999999999", ""),
        ("orig-packets < 99999999999999999999999", "0 5 6 7 18446744073709551615"),
    ],
)
def test_numbers_are_compared_to_the_last_one(text: str, found: str) -> None:
    rows = [replace(WEB, orig_packets=n) for n in (0, 5, 6, 7, (1 << 64) - 1)]
    mask = parse(text).mask(FlowTable.from_flows(rows), BOX)
    kept = [row.orig_packets for row, keep in zip(rows, mask, strict=True) if keep]
    assert list(map(int, found.split())) == kept
    assert kept == [r.orig_packets for r in rows if parse(text).matches(r, BOX)]


def test_an_empty_table_has_no_matches() -> None:
    for text in ("inside 10.0.0.5", "helper a*", "idle > 5", "state established"):
        assert len(parse(text).mask(FlowTable.empty(), Evidence())) == 0
