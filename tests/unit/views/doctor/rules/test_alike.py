"""The guards of R14 to R16, R18, R19, R22, R25 and R31: what looks alike and is in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from natscope import uapi
from natscope.model.bundle import Route
from natscope.model.flow import Flow
from natscope.model.measured import Program
from natscope.model.tuples import FlowTuple
from unit.views.doctor.boxes import OUTSIDE, PUBLIC, REPLIED, ROUTES, Box, snat, tcp

NEW = uapi.Status.CONFIRMED | uapi.Status.SRC_NAT
TWO_WAYS = (*ROUTES, Route(ip_network("0.0.0.0/0"), 254, dev="dsl", metric=9))
INVALID = {"rose": {"invalid": 50}}
MIDWAY = tcp("ESTABLISHED", 20, status=NEW, orig_packets=9)
UNANSWERED = tcp("SYN_SENT", 20, status=NEW, orig_packets=3)
UNCOUNTED = tcp("ESTABLISHED", 20, status=NEW)


def _nat(*rules: str, table: str = "ip nat") -> str:
    body = "".join(f"\t\t{rule}\n" for rule in rules)
    return (
        f"table {table} {{\n\tchain postrouting {{\n"
        f"\t\ttype nat hook postrouting priority srcnat; policy accept;\n{body}\t}}\n}}\n"
    )


def _plain(src: str, at: int, *, status: int = 0, proto: int = 17) -> Flow:
    one = FlowTuple(ip_address(src), ip_address(OUTSIDE), proto, 1000 + at, 53)
    return Flow(one, one.reversed(), status=status | uapi.Status.CONFIRMED)


def _plains(src: str, **cells: Any) -> list[Flow]:
    return [_plain(src, at, **cells) for at in range(5)]


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    box: Box
    about: tuple[str | None, ...] = ()


MASQUERADE = 'oifname "wan" masquerade'
LAN_ONLY = 'oifname "wan" ip saddr 10.0.0.0/24 masquerade'
OFFLOADED = [snat(6, 1, 2, status=REPLIED | uapi.Status.OFFLOAD)]
FLOWTABLE = "table ip f {\n\tflowtable fast {\n\t\tdevices = { lan }\n\t}\n}\n"
LEGACY = (
    "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n"
)
ZONED = [replace(one, orig=replace(one.orig, zone=1)) for one in _plains("10.0.0.2")]
ZONE_RULES = (
    "table ip raw {\n\tchain c {\n\t\ttype filter hook prerouting priority raw;\n"
    '\t\tiifname "lan" ct original zone set 1\n\t}\n}\n'
)
CLASHING = {"rose": {"insert_failed": 4, "drop": 4}}

CASES = [
    Case(
        "one-way flows where windows are not asked",
        "R14",
        Box(MIDWAY, sysctls={"net/netfilter/nf_conntrack_tcp_be_liberal": "1"}),
    ),
    Case(
        "TIME_WAIT that is as short as it may be",
        "R18",
        Box(tcp("TIME_WAIT", 1000), measured={"limit": 2000},
            sysctls={"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "30"}),
    ),
    Case("one-way flows taken up midway", "R14", Box(MIDWAY), (None,)),
    Case("nineteen of them", "R14", Box(MIDWAY[:19])),
    Case("few among many", "R14", Box([*MIDWAY, *tcp("ESTABLISHED", 500)])),
    Case("a dead server", "R14", Box(UNANSWERED, routes=TWO_WAYS)),
    Case("INVALID packets with one way", "R14", Box(UNANSWERED, measured=INVALID)),
    Case(
        "unanswered, INVALID, and two ways",
        "R14",
        Box(UNANSWERED, routes=TWO_WAYS, measured=INVALID),
        (None,),
    ),
    Case(
        "unanswered, INVALID, and a VRRP peer",
        "R14",
        Box(UNANSWERED, measured={**INVALID, "programs": (Program(9, "keepalived"),)}),
        (None,),
    ),
    Case(
        "many INVALID packets for those forwarded",
        "R14",
        Box(routes=TWO_WAYS, measured={
            **INVALID, "counters_rose": {"Ip.ForwDatagrams": 4000}}),
        (None,),
    ),
    Case(
        "few INVALID packets for those forwarded",
        "R14",
        Box(routes=TWO_WAYS, measured={
            **INVALID, "counters_rose": {"Ip.ForwDatagrams": 6000}}),
    ),
    Case("INVALID and translated flows", "R15",
         Box(tcp("ESTABLISHED", 1), measured=INVALID), ("ip",)),
    Case("INVALID and no translated flow", "R15",
         Box(_plains("10.0.0.2", proto=6), measured=INVALID)),
    Case("INVALID where windows are not asked", "R15",
         Box(tcp("ESTABLISHED", 1), measured=INVALID, sysctls={
             "net/netfilter/nf_conntrack_tcp_be_liberal": "1"})),
    Case("two strays", "R15",
         Box(tcp("ESTABLISHED", 1), measured={"rose": {"invalid": 2}})),
    Case("a subnet no rule names", "R16",
         Box(_plains("10.7.0.2"), _nat(LAN_ONLY)), ("wan",)),
    Case("a subnet that is translated elsewhere", "R16",
         Box([*_plains("10.7.0.2"), _plain("10.7.0.2", 9, status=REPLIED)],
             _nat(LAN_ONLY))),
    Case("a subnet a rule should have taken", "R16",
         Box(_plains("10.0.0.2"), _nat(LAN_ONLY))),
    Case("a rule nobody understands", "R16",
         Box(_plains("10.7.0.2"), _nat('oifname "wan" ip saddr @mine masquerade'))),
    Case("a rule of another interface", "R16",
         Box(_plains("10.7.0.2"), _nat('oifname "dsl" masquerade'))),
    Case("a box that translates nothing", "R16", Box(_plains("10.7.0.2"))),
    Case("a protocol no rule takes", "R16",
         Box(_plains("10.7.0.2"), _nat('oifname "wan" ip protocol tcp masquerade')),
         ("wan",)),
    Case("public sources", "R16", Box(_plains("192.0.2.7"), _nat(LAN_ONLY))),
    Case("the box itself", "R16", Box(_plains("10.0.0.1"), _nat(
        'oifname "wan" ip saddr 10.9.0.0/24 masquerade'))),
    Case("zones without NAT", "R22",
         Box(ZONED, ZONE_RULES, measured=CLASHING), ("ip",)),
    Case("zones with NAT", "R22",
         Box(ZONED, ZONE_RULES + _nat(), measured=CLASHING)),
    Case("zones with NAT of the other family", "R22",
         Box(ZONED, ZONE_RULES + _nat(table="ip6 nat"), measured=CLASHING), ("ip",)),
    Case("zones without a clash", "R22", Box(ZONED, ZONE_RULES)),
    Case("a clash without zones", "R22",
         Box(_plains("10.0.0.2"), ZONE_RULES, measured=CLASHING)),
    Case("offloaded and not counted", "R25", Box(OFFLOADED, FLOWTABLE), (None,)),
    Case("a flowtable nobody uses", "R25", Box(tcp("ESTABLISHED", 1), FLOWTABLE)),
    Case("legacy rules alone", "R31", Box(legacy=LEGACY)),
    Case("legacy rules and nft's", "R31",
         Box(nft=_nat(MASQUERADE), legacy=LEGACY), ("iptables-legacy",)),
    Case("legacy rules, and nft's of the other family", "R31",
         Box(nft=_nat(MASQUERADE, table="ip6 nat"), legacy=LEGACY)),
    Case("legacy rules, and nft's of both families", "R31",
         Box(nft=_nat(MASQUERADE, table="inet nat"), legacy=LEGACY),
         ("iptables-legacy",)),
    Case("one chain, a later rule for the rest", "R31",
         Box(nft=_nat(f"{MASQUERADE} random", f"oifname \"wan\" snat to {PUBLIC}"))),
    Case("two that masquerade", "R31",
         Box(nft=_nat(MASQUERADE) + _nat(MASQUERADE, table="ip docker"))),
    Case(
        "two that give different addresses",
        "R31",
        Box(nft=_nat(f"{MASQUERADE} comment \"mine\"")
            + _nat(f"oifname \"wan\" counter packets 0 bytes 0 snat to {PUBLIC}",
                   table="ip docker")),
        (f"ip docker postrouting: oifname \"wan\" counter snat to {PUBLIC}",),
    ),
    Case("two for different sources", "R31",
         Box(nft=_nat(LAN_ONLY)
             + _nat(f"oifname \"wan\" snat to {PUBLIC}", table="ip docker"))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.id}")
def test_a_box_has_a_finding_or_is_in_order(case: Case) -> None:
    assert tuple(one.about for one in case.box.findings(case.rule)) == case.about


def test_without_packet_counters_a_flow_just_taken_up_looks_one_way() -> None:
    (unknown,) = Box(UNCOUNTED).diagnosis("R14").not_checked
    assert unknown.part == "packet counters (nf_conntrack_acct)"
    assert Box(UNCOUNTED[:19]).findings("R14") == ()


def _six(at: int, src: str, dst: str) -> Flow:
    one = FlowTuple(ip_address(src), ip_address(dst), 17, 1000 + at, 53)
    return Flow(one, one.reversed(), status=uapi.Status.CONFIRMED)


def test_a_flood_of_many_sources_is_named_by_its_target() -> None:
    many = [_six(at, f"2001:db8:{at:x}::1", "2001:db8::9") for at in range(1001)]
    (found,) = Box(many).findings("R19")
    assert found.about == "to 2001:db8::9"
    assert {fact.name: fact.value for fact in found.facts}["sources"] == 1001
    assert "ip6 daddr 2001:db8::9" in found.remedies[0].command


def test_many_unanswered_flows_among_more_answered_ones_are_no_flood() -> None:
    many = [_six(at, "2001:db8::1", "2001:db8::9") for at in range(1001)]
    assert Box([*many, *tcp("ESTABLISHED", 1001)]).findings("R19") == ()


def test_unanswered_flows_of_nobody_in_particular_are_no_flood() -> None:
    many = [
        _six(at, f"2001:db8:{at:x}::1", f"2001:db8:{at:x}::9") for at in range(1001)
    ]
    assert Box(many).findings("R19") == ()
