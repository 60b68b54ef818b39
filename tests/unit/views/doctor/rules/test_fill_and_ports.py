"""R01 to R06 from snapshots by hand: their steps, and what must not alarm.

The troubles themselves are made on a real kernel: tests/kernel/test_doctor_losses.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from natscope import uapi
from natscope.model.finding import Severity
from natscope.model.flow import Flow
from natscope.model.measured import Namespace
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.diagnosis import diagnose
from unit.views.doctor.boxes import INSIDE, OUTSIDE, PUBLIC, REPLIED, Box, snat, tcp

POST = "chain c { type nat hook postrouting priority srcnat; policy accept;\n"
MASQUERADE = f"table ip nat {{ {POST} masquerade\n}} }}\n"
RANGE = f"table ip nat {{ {POST} meta l4proto udp masquerade to :2000-2099\n}} }}\n"
ONE_PORT = f"table ip nat {{ {POST} udp sport 5060 snat to 203.0.113.1:15060\n}} }}\n"
RANDOM = f"table ip nat {{ {POST} masquerade fully-random\n}} }}\n"
DNS = "table ip nat { chain c { type nat hook prerouting priority dstnat; udp dport 53 dnat to 10.0.0.53\n} }"
LOG = ("[  12.000000] nf_conntrack: nf_conntrack: table full, dropping packet",)
LOST = {"insert_failed": 20, "drop": 20}


def udp(count: int, first: int = 2000, dport: int = 443, **cells: Any) -> list[Flow]:
    return [snat(17, first + at, dport, **cells) for at in range(count)]


def dns(count: int) -> list[Flow]:
    nat = uapi.Status.DST_NAT | uapi.Status.CONFIRMED
    return [snat(17, 4000 + at, 53, status=nat) for at in range(count)]


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    severity: Severity | None
    """None: nothing is found."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)
    nft: str = ""
    kernel: str = "6.18.1"
    facts: Mapping[str, Any] = field(default_factory=dict)


INFO, WARNING = Severity.INFO, Severity.WARNING
HIGH, CRITICAL = Severity.HIGH, Severity.CRITICAL
CASES = [
    Case("74 % is room", "R01", None, {"count": 74, "limit": 100}),
    Case("75 %", "R01", WARNING, {"count": 75, "limit": 100}),
    Case("90 %", "R01", HIGH, {"count": 90, "limit": 100}),
    Case("95 %", "R01", CRITICAL, {"count": 95, "limit": 100}),
    Case("no limit", "R01", None, {"count": 95, "limit": 0}),
    Case(
        "packets dropped at 80 %", "R01", CRITICAL,
        {"count": 80, "limit": 100, "rose": {"drop": 7}}, facts={"dropped": 7},
    ),
    Case(
        "dropped, but for want of a port", "R01", WARNING,
        {"count": 80, "limit": 100, "rose": LOST},
    ),
    Case(
        "dropped at 80 % for both reasons", "R01", CRITICAL,
        {"count": 80, "limit": 100, "rose": {"drop": 27, "insert_failed": 20}},
        facts={"dropped": 7},
    ),
    Case(
        "read a moment apart", "R01", WARNING,
        {"count": 80, "limit": 100, "rose": {"drop": 21, "insert_failed": 20}},
    ),
    Case(
        "dropped though there is room", "R01", HIGH,
        {"count": 5, "limit": 100, "rose": {"drop": 3}}, facts={"dropped": 3},
    ),
    Case(
        "two dropped though there is room", "R01", None,
        {"count": 5, "limit": 100, "rose": {"drop": 2}},
    ),
    Case(
        "full within the hour", "R01", WARNING, {"count": 5, "limit": 100, "log": LOG, "stats": {"drop": 9}},
        facts={"log": LOG[0]},
    ),
    Case(
        "a namespace that had its number was full", "R01", None,
        {"count": 5, "limit": 100, "log": LOG, "stats": LOST},
    ),
    Case(
        "the initial namespace keeps its number", "R01", WARNING,
        {"count": 5, "limit": 100, "log": LOG, "stats": LOST, "is_initial": True},
    ),
    Case(
        "full within the hour, and its counters are not known", "R01", WARNING,
        {"count": 5, "limit": 100, "log": LOG, "stats": None},
    ),
    Case("short chains", "R02", None, {"count": 4000, "buckets": 2048}),
    Case("four a chain", "R02", WARNING, {"count": 4096, "buckets": 2048}),
    Case("fifteen a chain", "R02", CRITICAL, {"count": 15360, "buckets": 2048}),
    Case(
        "the hash is shared by namespaces", "R02", WARNING,
        {"count": 96, "buckets": 2048, "namespaces": (Namespace("pods", 4000),)},
        facts={"entries of all namespaces": 4096, "entries of pods": 4000},
    ),
    Case(
        "a container can neither help it nor change it", "R02", None,
        {"count": 15360, "buckets": 2048, "is_initial": False},
    ),
    Case(
        "refused in a container", "R02", CRITICAL,
        {"count": 10, "buckets": 2048, "rose": {"chaintoolong": 3}, "is_initial": False},
    ),
    Case(
        "refused", "R02", CRITICAL,
        {"count": 10, "buckets": 2048, "rose": {"chaintoolong": 3}},
        facts={"refused": 3},
    ),
    Case("half the range", "R03", None, flows=udp(50), nft=RANGE),
    Case("70 of 100 ports", "R03", WARNING, flows=udp(70), nft=RANGE),
    Case("87 of 100 ports", "R03", HIGH, flows=udp(87), nft=RANGE),
    Case(
        "95 of 100 ports", "R03", CRITICAL, flows=udp(95), nft=RANGE,
        facts={"ports held": 95, "range": "2000-2099"},
    ),
    Case(
        "87 of 100 ports, and flows fail", "R03", CRITICAL, {"rose": LOST},
        udp(87), RANGE, facts={"new flows dropped": 20},
    ),
    Case(
        "70 of 100 ports, and chains are too long", "R03", WARNING,
        {"rose": {"insert_failed": 20, "chaintoolong": 20}}, udp(70), RANGE,
    ),
    Case(
        "spread over two destinations", "R03", None,
        flows=udp(50) + udp(50, dport=444), nft=RANGE,
    ),
    Case("without a range there are 64512", "R03", None, flows=udp(100), nft=MASQUERADE),
    Case(
        "low ports are few", "R03", CRITICAL, flows=udp(400, first=600), nft=MASQUERADE,
        facts={"range": "600-1023", "lost": 37.64},
    ),
    Case(
        "flows fail, and a clump of few ports would lose one in millions", "R03", None,
        {"rose": LOST}, udp(200), MASQUERADE,
    ),
    Case(
        "a clump of few ports explains no loss", "R04", WARNING,
        {"rose": LOST}, udp(200), MASQUERADE,
    ),
    Case(
        "a rule for one port", "R03", None, {"rose": LOST},
        [snat(17, 5060, 5060, public=15060)], ONE_PORT,
    ),
    Case(
        "closing flows give way", "R03", None, flows=tcp("TIME_WAIT", 95),
        nft=RANGE.replace("udp", "tcp").replace("2000-2099", "1024-1123"),
    ),
    Case(
        "closing flows hold on to theirs before 6.5", "R03", CRITICAL,
        flows=tcp("TIME_WAIT", 95), kernel="6.1.0",
        nft=RANGE.replace("udp", "tcp").replace("2000-2099", "1024-1123"),
    ),
    Case("flows that raced", "R04", WARNING, {"rose": LOST}, udp(9), MASQUERADE),
    Case("one lost flow", "R04", None, {"rose": {"insert_failed": 1, "drop": 1}},
         udp(9), MASQUERADE),
    Case("ports are drawn at random already", "R04", WARNING, {"rose": LOST}, udp(9), RANDOM),
    Case("ports are used up", "R04", None, {"rose": LOST}, udp(90), RANGE),
    Case("ports are half used up", "R04", WARNING, {"rose": LOST}, udp(60), RANGE),
    Case(
        "more drops of another kind", "R04", WARNING,
        {"rose": {"insert_failed": 20, "drop": 90}}, udp(9), MASQUERADE,
    ),
    Case(
        "insertions of programs that failed", "R04", None,
        {"rose": {"insert_failed": 20}}, udp(9), MASQUERADE,
    ),
    Case(
        "chains too long explain it", "R04", None,
        {"rose": {**LOST, "chaintoolong": 20}}, udp(9), MASQUERADE,
    ),
    Case("queries explain it", "R04", None, {"rose": LOST}, dns(9), MASQUERADE + DNS),
    Case("queries that raced", "R05", WARNING, {"rose": LOST}, dns(9), DNS),
    Case("the ports to a name server are used up", "R05", None, {"rose": LOST},
         dns(2) + udp(95, dport=53), RANGE + DNS),
    Case("few of them are queries", "R05", None, {"rose": LOST}, dns(2) + udp(9), DNS),
    Case("races that were settled", "R05", INFO, {"rose": {"clash_resolve": 13}}, udp(9)),
    Case(
        "settled, but flows were lost", "R05", None,
        {"rose": {"clash_resolve": 13, **LOST}}, udp(9),
    ),
    Case("a settled race or two", "R05", None, {"rose": {"clash_resolve": 2}}, udp(9)),
    Case("thrown out", "R06", HIGH, {"rose": {"early_drop": 4}, "limit": 64}, udp(4)),
    Case("nothing thrown out", "R06", None, {"rose": {"early_drop": 0}}, udp(4)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_rule_says(case: Case) -> None:
    measured = {"count": 1, "limit": 262_144, "buckets": 262_144, **case.measured}
    box = Box(case.flows, case.nft, kernel=case.kernel, measured=measured)
    found = box.findings(case.rule)
    assert [one.severity for one in found] == (
        [case.severity] if case.severity is not None else []
    )
    for finding in found:
        told = {fact.name: fact.value for fact in finding.facts}
        assert case.facts.items() <= told.items()
        assert finding.why
        assert finding.verify


def test_who_fills_the_table_is_said() -> None:
    (found,) = Box(tcp("SYN_SENT", 4), measured={"limit": 4}).findings("R01")
    told = {fact.name: fact.value for fact in found.facts}
    assert told["flows of 10.0.0.2"] == 100.0
    assert told["flows to 198.51.100.9, mostly port 443"] == 100.0
    assert told["TCP SYN_SENT"] == 100.0


@pytest.mark.parametrize("log", [(), LOG], ids=["silent", "full"])
def test_where_nothing_says_the_table_was_full_the_log_is_looked_at(
    log: tuple[str, ...],
) -> None:
    measured = {"rose": {"drop": 9}, "stats": {"drop": 9}, "log": log}
    (found,) = Box(measured=measured).findings("R01")
    assert found.remedies[0].command.startswith("dmesg") is not bool(log)


def test_one_of_many_is_not_named() -> None:
    ends = [ip_address("10.9.0.0") + at for at in range(101)]
    flows = [
        replace(one, orig=replace(one.orig, src=end, dst=end))
        for one, end in zip(udp(101), ends, strict=True)
    ]
    (found,) = Box(flows, measured={"limit": 100}).findings("R01")
    names = {fact.name for fact in found.facts}
    assert names == {"entries", "limit", "not answered"}


def test_young_entries_are_shown_when_some_are_thrown_out() -> None:
    young = udp(3, status=uapi.Status.CONFIRMED | uapi.Status.SEEN_REPLY)
    box = Box(udp(7, first=3000) + young, measured={"rose": {"early_drop": 4}})
    (found,) = box.findings("R06")
    told = {fact.name: fact.value for fact in found.facts}
    assert (told["not assured"], told["not answered"]) == (30.0, 0.0)
    assert told["not assured of 10.0.0.2"] == 3
    assert list(found.flows) == young


@dataclass(frozen=True)
class Larger:
    id: str
    measured: Mapping[str, Any]
    wanted: int


LARGER = [
    Larger("for the limit", {"count": 9000, "buckets": 2048, "limit": 10_000}, 16_384),
    Larger(
        "for all that is in it",
        {"count": 9000, "buckets": 2048, "limit": 4000,
         "namespaces": (Namespace("pods", 30_000),)},
        65_536,
    ),
    Larger(
        "four times as many, where there is one for each",
        {"count": 10, "buckets": 4096, "limit": 4096, "rose": {"chaintoolong": 3}},
        16_384,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", LARGER, ids=lambda case: case.id)
def test_the_hash_is_made_large_enough(case: Larger) -> None:
    (found,) = Box(measured=case.measured).findings("R02")
    (remedy,) = found.remedies
    assert remedy.sysctl == ("net.netfilter.nf_conntrack_buckets", str(case.wanted))


def test_what_is_loaded_is_told_with_one_reading_and_what_is_refused_is_not() -> None:
    loaded = {"count": 4096, "buckets": 2048, "rose": None}
    (found,) = Box(measured=loaded).findings("R02")
    assert "refused" not in {fact.name for fact in found.facts}
    (unknown,) = Box(measured=loaded | {"count": 9}).diagnosis("R02").not_checked
    assert unknown.part == "stats"


def test_a_kernel_with_short_chains_is_to_be_upgraded() -> None:
    refused = {"count": 10, "buckets": 2048, "rose": {"chaintoolong": 3}}
    (old,) = Box(kernel="5.15.0-89", measured=refused).findings("R02")
    (new,) = Box(kernel="6.18.1", measured=refused).findings("R02")
    assert "upgrade" in old.why
    assert "upgrade" not in new.why


@dataclass(frozen=True)
class Drawn:
    id: str
    rule: str
    command: str | None
    """None: no rule to change."""


DRAWN = [
    Drawn("in order", "masquerade",
          "nft replace rule ip nat c handle N masquerade fully-random"),
    Drawn("half at random", "masquerade random",
          "nft replace rule ip nat c handle N masquerade fully-random"),
    Drawn("with a comment", 'masquerade comment "to random places"',
          "nft replace rule ip nat c handle N 'masquerade fully-random "
          "comment \"to random places\"'"),
    Drawn("at random", "masquerade fully-random", None),
]  # fmt: skip


@pytest.mark.parametrize("case", DRAWN, ids=lambda case: case.id)
def test_the_rule_shall_draw_ports_at_random(case: Drawn) -> None:
    nft = f"table ip nat {{ {POST} {case.rule}\n}} }}"
    (found,) = Box(udp(9), nft, measured={"rose": LOST}).findings("R04")
    assert [one.command for one in found.remedies] == [case.command] * bool(
        case.command
    )


def test_a_rule_of_iptables_shall_draw_ports_at_random() -> None:
    legacy = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan -j MASQUERADE --random\nCOMMIT\n"
    (found,) = Box(udp(9), legacy=legacy, measured={"rose": LOST}).findings("R04")
    (remedy,) = found.remedies
    assert remedy.command == (
        "iptables-legacy -t nat -R POSTROUTING 1 -o wan -j MASQUERADE --random-fully"
    )


def test_a_destination_is_known_by_its_zone_too() -> None:
    flows = udp(80) + [replace(one, zone=5) for one in udp(90)]
    found = Box(flows, RANGE).findings("R03")
    assert [one.about for one in found] == [
        "203.0.113.1 to udp 198.51.100.9:443 in zone 5",
        "203.0.113.1 to udp 198.51.100.9:443",
    ]


def test_ids_of_icmp_run_out_as_well() -> None:
    count = 63_000
    ends = np.zeros((3, count, 2), np.uint64)
    for at, address in enumerate((INSIDE, OUTSIDE, PUBLIC)):
        ends[at, :, 1] = int(ip_address(address))
    ids = np.arange(count, dtype=np.uint16)
    table = FlowTable(
        {
            "family": np.full(count, uapi.AF_INET, np.uint8),
            **dict.fromkeys(
                ("proto", "reply_proto"), np.full(count, uapi.IPPROTO_ICMP, np.uint8)
            ),
            "status": np.full(count, int(REPLIED | uapi.Status.SRC_NAT), np.uint32),
            **{"orig_src": ends[0], "orig_dst": ends[1]},
            **{"reply_src": ends[1], "reply_dst": ends[2]},
            **{"orig_icmp_id": ids, "reply_icmp_id": ids},
        }
    )
    snapshot = replace(Box(nft=MASQUERADE).snapshot, table=table)
    (found,) = diagnose(snapshot, only=["R03"]).findings
    assert found.about == f"{PUBLIC} to icmp {OUTSIDE}"
    assert found.headline.startswith("63000 of 65536 ids of")
    assert len(found.flows) == 5
