"""Rules whose cause no private namespace can be brought to, from snapshots by hand.

The limit of the table, a cloud's NIC, IPVS of an old kernel, a busy CPU, hours of
silence: here each stands as a box would tell it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from natscope import uapi
from natscope.codec.text.counters import counters
from natscope.filter.parser import parse_tree
from natscope.model.bundle import Link, Route
from natscope.model.finding import Severity
from natscope.model.flow import Flow
from natscope.model.measured import Listener, Namespace, Program
from natscope.model.tuples import FlowTuple
from natscope.views.doctor.diagnosis import diagnose
from unit.views.doctor.boxes import (
    INSIDE,
    LINKS,
    NOW_NS,
    OUTSIDE,
    PUBLIC,
    REPLIED,
    ROUTES,
    Box,
    snat,
    tcp,
)

UNREPLIED = uapi.Status.CONFIRMED
IDLE = {"timeout": 432_000 - 7200}
BUSY = {"timeout": 432_000 - 5}
HALF = {"limit": 200}
"""Of a table with 100 flows or more."""
VS = {"net/ipv4/vs/conn_reuse_mode": "1", "net/ipv4/vs/conntrack": "1"}
CLOSE_WAIT = {"net/netfilter/nf_conntrack_tcp_timeout_close_wait": "3600"}


ENA = {
    "bw_in_allowance_exceeded": 0,
    "bw_out_allowance_exceeded": 1214,
    "pps_allowance_exceeded": 0,
    "conntrack_allowance_exceeded": 9,
    "linklocal_allowance_exceeded": 0,
    "conntrack_allowance_available": 136_812,
}
"""What ``ethtool -S`` tells of an ENA about allowances; the names are ena_ethtool.c's."""
STAT = """\
cpu  112 0 88 4000 3 0 40 1 0 0
cpu0 56 0 44 2000 1 0 20 1 0 0
cpu1 56 0 44 2000 2 0 20 0 0 0
"""
STAT_LATER = """\
cpu  130 0 130 4400 3 0 480 1 0 0
cpu0 60 0 60 2015 1 0 430 1 0 0
cpu1 70 0 70 2385 2 0 50 0 0 0
"""
"""/proc/stat: cpu0 spent 410 of 445 ticks in softirq, cpu1 30 of 443."""
SOFTNET = """\
001c3c5a 0000011e 0000004c 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
0019b6a1 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000 00000000
"""
NETLINK = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000a2be5a2d 0   812        00000551 0        0        0     2        7        15842
00000000f1a2b3c4 12  0          00000000 0        0        0     2        0        1043
00000000c0ffee01 12  812        00000007 0        0        0     2        0        15840
00000000c0ffee02 12  3204448271 00000001 0        0        0     2        0        15841
"""
NETLINK_LATER = NETLINK.replace("2        0        158", "2        5        158")
_FILES = {"cpu": "stat", "sk ": "net/netlink"}


def _between(before: str, now: str) -> dict[str, int]:
    """What rose between two readings of a file of /proc."""
    path = _FILES.get(before[:3], "net/softnet_stat")
    earlier = counters({path: before})
    return {
        name: value - earlier[name] for name, value in counters({path: now}).items()
    }


def _keepalives(port: int, gap_s: int, packets: int = 100) -> Flow:
    start = NOW_NS - gap_s * packets * 1_000_000_000
    return snat(
        17, port, port, start_ns=start, orig_packets=packets, reply_packets=packets
    )


def _call(packets: int, status: int = UNREPLIED) -> Flow:
    ends = ip_address(INSIDE), ip_address(OUTSIDE)
    sound = FlowTuple(*ends, 17, 16384, 20000)
    return Flow(
        sound,
        sound.reversed(),
        master=FlowTuple(*ends, 17, 5060, 5060),
        status=status | uapi.Status.EXPECTED,
        timeout=30,
        orig_packets=packets,
        reply_packets=0,
    )


def _gre() -> Flow:
    ends = ip_address(INSIDE), ip_address(OUTSIDE)
    one = FlowTuple(*ends, 47, 0, 0)
    return Flow(one, one.reversed(), status=REPLIED)


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    box: Box
    found: tuple[tuple[str | None, Severity], ...] = ()
    """What each finding is about, and how bad it is."""


WARNING, INFO, HIGH, CRITICAL = (
    Severity.WARNING,
    Severity.INFO,
    Severity.HIGH,
    Severity.CRITICAL,
)


def _told(**measured: Any) -> Box:
    return Box(measured=measured)


CASES = [
    Case(
        "idle flows in a table half full",
        "R17",
        Box([*tcp("ESTABLISHED", 70, **BUSY), *tcp("ESTABLISHED", 40, **IDLE)],
            measured=HALF),
        (("idle", WARNING),),
    ),
    Case(
        "idle flows in an empty table",
        "R17",
        Box(tcp("ESTABLISHED", 110, **IDLE)),
    ),
    Case(
        "few idle flows in a table half full",
        "R17",
        Box([*tcp("ESTABLISHED", 90, **BUSY), *tcp("ESTABLISHED", 20, **IDLE)],
            measured=HALF),
    ),
    Case(
        "TIME_WAIT in a table that fills",
        "R18",
        Box(tcp("TIME_WAIT", 1000), measured={"limit": 2000}),
        (("TIME_WAIT", WARNING),),
    ),
    Case("TIME_WAIT in an empty table", "R18", Box(tcp("TIME_WAIT", 1000))),
    Case(
        "CLOSE_WAIT for an hour",
        "R18",
        Box(tcp("CLOSE_WAIT", 1000), sysctls=CLOSE_WAIT),
        (("CLOSE_WAIT", WARNING),),
    ),
    Case("CLOSE_WAIT for a minute", "R18", Box(tcp("CLOSE_WAIT", 1000))),
    Case(
        "PPTP without its helper",
        "R20",
        Box([snat(6, 1024, 1723, tcp_state=3)]),
        (("pptp", WARNING),),
    ),
    Case(
        "PPTP whose tunnel answers",
        "R20",
        Box([snat(6, 1024, 1723, tcp_state=3), _gre()]),
    ),
    Case("FTP from inside", "R20", Box([snat(6, 1024, 21, tcp_state=3)])),
    Case("sound one way", "R20", Box([_call(50)]), (("sip", WARNING),)),
    Case("sound that begins", "R20", Box([_call(49)])),
    Case("sound both ways", "R20", Box([_call(500, REPLIED)])),
    Case(
        "expectations near their limit",
        "R20",
        _told(expectations=820),
        (("expectations", HIGH),),
    ),
    Case("expectations far from it", "R20", _told(expectations=819)),
    Case(
        "a log of expectations that found no place",
        "R20",
        _told(log=("nf_conntrack: expectation table full",)),
        (("expectations", HIGH),),
    ),
    Case(
        "a log of expectations of another namespace, perhaps",
        "R20",
        _told(log=("nf_conntrack: expectation table full",), is_initial=False),
    ),
    Case(
        "a port in the ephemeral range that only asks",
        "R21",
        Box([snat(17, 40000, 53)],
            measured={"listeners": (Listener("udp", ip_address("0.0.0.0"), 40000),)}),
    ),
    Case(
        "WireGuard in the ephemeral range",
        "R21",
        Box([snat(17, 51820, 51820)],
            measured={"listeners": (Listener("udp", ip_address("::"), 51820),)}),
        (("udp", WARNING),),
    ),
    Case(
        "a listener on the inside address",
        "R21",
        Box([snat(17, 5353, 53)],
            measured={"listeners": (Listener("udp", ip_address("10.0.0.1"), 5353),)}),
    ),
    Case(
        "a listener on the public address",
        "R21",
        Box([snat(17, 5353, 53)],
            measured={"listeners": (Listener("udp", ip_address(PUBLIC), 5353),)}),
        (("udp", WARNING),),
    ),
    Case(
        "a listener on loopback",
        "R21",
        Box([snat(17, 5353, 53)],
            measured={"listeners": (Listener("udp", ip_address("127.0.0.1"), 5353),)}),
    ),
    Case(
        "namespaces with fewer flows than here",
        "R24",
        _told(count=5000, namespaces=(Namespace("qrouter", 4000),)),
    ),
    Case(
        "a small namespace that is nearly full",
        "R24",
        _told(count=5000, limit=1000, namespaces=(Namespace("a", 800),)),
        ((None, WARNING),),
    ),
    Case(
        "a namespace that is full",
        "R24",
        _told(count=5000, limit=1000, namespaces=(Namespace("a", 960),)),
        ((None, CRITICAL),),
    ),
    Case(
        "namespaces with more flows than here",
        "R24",
        _told(count=5000, namespaces=(Namespace("a", 4000), Namespace("b", 1001))),
        ((None, INFO),),
    ),
    Case(
        "a masqueraded tunnel of an old kernel",
        "R26",
        Box([snat(17, 40000, 8472)], kernel="5.4.0-42-generic"),
        ((None, WARNING),),
    ),
    Case(
        "a masqueraded tunnel of a mended stable kernel",
        "R26",
        Box([snat(17, 40000, 8472)], kernel="5.4.41"),
        ((None, INFO),),
    ),
    Case(
        "a masqueraded tunnel of a stable kernel too old",
        "R26",
        Box([snat(17, 40000, 8472)], kernel="4.19.122"),
        ((None, WARNING),),
    ),
    Case(
        "a tunnel with another source port",
        "R26",
        Box([replace(
            snat(17, 40000, 4789, public=2000),
            orig=FlowTuple(ip_address(PUBLIC), ip_address(OUTSIDE), 17, 40000, 4789),
        )]),
        ((None, INFO),),
    ),
    Case(
        "a masqueraded tunnel of a mended kernel",
        "R26",
        Box([snat(17, 40000, 8472)]),
        ((None, INFO),),
    ),
    Case(
        "a masqueraded tunnel and wrong checksums",
        "R26",
        Box([snat(17, 40000, 8472)],
            measured={"counters_rose": {"Udp.InCsumErrors": 4}}),
        ((None, WARNING),),
    ),
    Case(
        "IPVS before 5.9",
        "R27",
        Box(sysctls=VS, kernel="5.4.0-42-generic"),
        ((None, WARNING),),
    ),
    Case("IPVS of 5.9", "R27", Box(sysctls=VS, kernel="5.9.0")),
    Case(
        "IPVS without conntrack",
        "R27",
        Box(sysctls={**VS, "net/ipv4/vs/conntrack": "0"}, kernel="5.4.0"),
    ),
    Case("no IPVS", "R27", Box(kernel="5.4.0")),
    Case(
        "a cloud's allowances exceeded",
        "R28",
        _told(nics={"ens5": ENA}, nics_rose={
            "ens5": dict.fromkeys(ENA, 0)
            | {"conntrack_allowance_exceeded": 7, "pps_allowance_exceeded": 1}
        }),
        (("ens5 conntrack", CRITICAL), ("ens5 pps", WARNING)),
    ),
    Case(
        "allowances that were exceeded once",
        "R28",
        _told(nics={"ens5": ENA}, nics_rose={"ens5": dict.fromkeys(ENA, 0)}),
    ),
    Case(
        "little left of a cloud's allowance",
        "R28",
        _told(count=600_000, nics={"ens5": ENA}),
        (("ens5 conntrack_allowance_available", WARNING),),
    ),
    Case(
        "a fifth left of a cloud's allowance",
        "R28",
        _told(count=4 * ENA["conntrack_allowance_available"], nics={"ens5": ENA}),
    ),
    Case(
        "keep-alives just before the timeout",
        "R29",
        Box([_keepalives(51820, 110)]),
        (("port 51820", WARNING),),
    ),
    Case("keep-alives in time", "R29", Box([_keepalives(51820, 25)])),
    Case("packets nobody counted", "R29", Box([_keepalives(51820, 130)])),
    Case("too few keep-alives to tell", "R29", Box([_keepalives(51820, 110, 4)])),
    Case("slow packets of no such protocol", "R29", Box([_keepalives(999, 110)])),
    Case(
        "a small way out beside a smaller lan",
        "R32",
        Box(links=(
            Link("wan", 2, up=True, mtu=1400, addresses=LINKS[0].addresses),
            Link("lan", 3, up=True, mtu=1400, addresses=LINKS[1].addresses),
        )),
    ),
    Case(
        "a lan of jumbo frames behind an ordinary way out",
        "R32",
        Box(links=(
            LINKS[0],
            Link("lan", 3, up=True, mtu=9000, addresses=LINKS[1].addresses),
        )),
    ),
    Case(
        "a tunnel beside another way out",
        "R32",
        Box(
            links=(
                LINKS[0],
                Link("wg0", 4, up=True, mtu=1420, addresses=LINKS[1].addresses),
            ),
            routes=(*ROUTES[:1], Route(ip_network("0.0.0.0/0"), 51820, dev="wg0")),
        ),
    ),
    Case(
        "a port range nobody can read",
        "R21",
        Box([snat(17, 40000, 53)],
            sysctls={"net/ipv4/ip_local_port_range": "all"},
            measured={"listeners": (Listener("udp", ip_address("0.0.0.0"), 40000),)}),
    ),
    Case(
        "a CPU full of packets",
        "R33",
        _told(counters_rose=_between(STAT, STAT_LATER)),
        (("cpu0", HIGH),),
    ),
    Case(
        "CPUs that share the packets",
        "R33",
        _told(counters_rose={"cpu0.softirq": 45, "cpu0.total": 100,
                             "cpu1.softirq": 45, "cpu1.total": 100}),
    ),
    Case(
        "a backlog that drops",
        "R33",
        _told(counters_rose=_between(SOFTNET, SOFTNET.replace("0000011e", "00000121"))),
        (("backlog", WARNING),),
    ),
    Case(
        "a backlog that is squeezed",
        "R33",
        _told(counters_rose=_between(SOFTNET, SOFTNET.replace("0000004c", "00000060"))),
    ),
    Case(
        "events lost by a program and by a socket",
        "R34",
        _told(
            counters_rose=_between(NETLINK, NETLINK_LATER),
            programs=(Program(812, "ulogd"),),
        ),
        (("ulogd (812)", HIGH), ("port id 3204448271", HIGH)),
    ),
    Case("events lost long ago", "R34", _told(counters_rose=_between(
        NETLINK_LATER, NETLINK_LATER))),
    Case("ICMP that cannot be placed", "R35", _told(rose={"error": 10}),
         (("error", INFO),)),
    Case("a late ICMP error", "R35", _told(rose={"error": 9})),
    Case("keepalived alone replicates nothing", "R36",
         _told(programs=(Program(9, "keepalived"),))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.id}")
def test_a_snapshot_gives_its_findings(case: Case) -> None:
    found = case.box.findings(case.rule)
    assert tuple((one.about, one.severity) for one in found) == case.found


TYPED = re.compile(
    r"natscope (?:list|count|delete) ([^;\n-]+?)(?=: | tells|$|;)", re.MULTILINE
)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.found],
    ids=lambda case: f"{case.rule}: {case.id}",
)
def test_the_filters_a_finding_tells_to_type_are_filters(case: Case) -> None:
    for found in case.box.findings(case.rule):
        commands = [remedy.command for remedy in found.remedies]
        for words in TYPED.findall("\n".join([*commands, found.verify])):
            parse_tree(" ".join(shlex.split(words)))


def test_what_was_not_read_is_not_checked() -> None:
    box = Box(measured=dict.fromkeys(
        ("rose", "counters_rose", "listeners", "nics", "namespaces", "expectations",
         "programs")
    ))  # fmt: skip
    unknown = {
        rule: [one.part for one in box.diagnosis(rule).not_checked]
        for rule in ("R13", "R15", "R21", "R22", "R23", "R24", "R28", "R33", "R34")
    }
    assert unknown == {
        "R13": ["counters"],
        "R15": ["stats"],
        "R21": ["listeners"],
        "R22": ["stats"],
        "R23": ["counters"],
        "R24": ["namespaces"],
        "R28": ["nics"],
        "R33": ["counters"],
        "R34": ["counters"],
    }
    assert [one.part for one in box.diagnosis("R20").not_checked] == ["expectations"]
    assert [one.part for one in box.diagnosis("R36").not_checked] == ["programs"]


@pytest.mark.parametrize(
    ("missing", "part", "rules"),
    [
        ("addresses: ip is needed", "links", ("R13", "R16", "R21", "R32")),
        ("IPv4 rules: ip is needed", "routes", ("R13", "R16", "R32")),
        (
            "nftables and iptables-nft: not permitted",
            "ruleset",
            ("R15", "R20", "R22", "R25", "R30", "R31", "R36"),
        ),
    ],
)
def test_a_box_that_was_half_read_is_half_checked(
    missing: str, part: str, rules: tuple[str, ...]
) -> None:
    whole = Box().snapshot
    snapshot = replace(whole, bundle=replace(whole.bundle, missing=(missing,)))
    unknown = {one.rule: one.part for one in diagnose(snapshot).not_checked}
    assert {rule: unknown.get(rule) for rule in rules} == dict.fromkeys(rules, part)
