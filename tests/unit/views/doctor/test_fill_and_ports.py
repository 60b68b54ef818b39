"""R01 to R06 from snapshots by hand: their steps, and what must not alarm.

The limit of the table is the whole host's, and races are chance: no private namespace
can be brought to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from natscope.model.finding import Severity
from natscope.model.flow import Flow
from natscope.model.measured import Namespace
from unit.views.doctor.boxes import Box, snat, tcp

POST = "chain c { type nat hook postrouting priority srcnat; policy accept;\n"
MASQUERADE = f"table ip nat {{ {POST} masquerade\n}} }}"
RANGE = f"table ip nat {{ {POST} meta l4proto udp masquerade to :2000-2099\n}} }}"
ONE_PORT = f"table ip nat {{ {POST} udp sport 5060 snat to 203.0.113.1:15060\n}} }}"
RANDOM = f"table ip nat {{ {POST} masquerade fully-random\n}} }}"
DNS = "table ip nat { chain c { type nat hook prerouting priority dstnat; udp dport 53 dnat to 10.0.0.53\n} }"
LOG = ("[  12.000000] nf_conntrack: nf_conntrack: table full, dropping packet",)
LOST = {"insert_failed": 20, "drop": 20}


def udp(count: int, first: int = 2000, dport: int = 443, **cells: Any) -> list[Flow]:
    return [snat(17, first + at, dport, **cells) for at in range(count)]


def dns(count: int) -> list[Flow]:
    from natscope import uapi

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
        "full within the hour", "R01", WARNING, {"count": 5, "limit": 100, "log": LOG},
        facts={"log": LOG[0]},
    ),
    Case("short chains", "R02", None, {"count": 4000, "buckets": 2048}),
    Case("four a chain", "R02", WARNING, {"count": 4096, "buckets": 2048}),
    Case("fifteen a chain", "R02", CRITICAL, {"count": 15360, "buckets": 2048}),
    Case(
        "the hash is shared by namespaces", "R02", WARNING,
        {"count": 96, "buckets": 2048, "namespaces": (Namespace("pods", 4000),)},
        facts={"entries of all namespaces": 4096},
    ),
    Case(
        "refused", "R02", CRITICAL,
        {"count": 10, "buckets": 2048, "rose": {"chaintoolong": 3}},
        facts={"refused": 3},
    ),
    Case("half the range", "R03", None, flows=udp(50), nft=RANGE),
    Case("70 of 100 ports", "R03", WARNING, flows=udp(70), nft=RANGE),
    Case("85 of 100 ports", "R03", HIGH, flows=udp(85), nft=RANGE),
    Case(
        "95 of 100 ports", "R03", CRITICAL, flows=udp(95), nft=RANGE,
        facts={"ports held": 95, "range": "2000-2099"},
    ),
    Case(
        "85 of 100 ports, and flows fail", "R03", CRITICAL, {"rose": LOST},
        udp(85), RANGE, facts={"new flows dropped": 20},
    ),
    Case(
        "spread over two destinations", "R03", None,
        flows=udp(50) + udp(50, dport=444), nft=RANGE,
    ),
    Case("without a range there are 64512", "R03", None, flows=udp(100), nft=MASQUERADE),
    Case(
        "low ports are few", "R03", HIGH, flows=udp(400, first=600), nft=MASQUERADE,
        facts={"range": "600-1023"},
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
    Case("ports are drawn at random already", "R04", None, {"rose": LOST}, udp(9), RANDOM),
    Case("ports are used up", "R04", None, {"rose": LOST}, udp(60), RANGE),
    Case(
        "drops of another kind", "R04", None,
        {"rose": {"insert_failed": 20, "drop": 90}}, udp(9), MASQUERADE,
    ),
    Case(
        "chains too long explain it", "R04", None,
        {"rose": {**LOST, "chaintoolong": 20}}, udp(9), MASQUERADE,
    ),
    Case("queries explain it", "R04", None, {"rose": LOST}, dns(9), MASQUERADE + DNS),
    Case("queries that raced", "R05", WARNING, {"rose": LOST}, dns(9), DNS),
    Case("few of them are queries", "R05", None, {"rose": LOST}, dns(2) + udp(9), DNS),
    Case("races that were settled", "R05", INFO, {"rose": {"clash_resolve": 13}}, udp(9)),
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
    assert told["TCP SYN_SENT"] == 100.0


def test_a_kernel_with_short_chains_is_to_be_upgraded() -> None:
    refused = {"count": 10, "buckets": 2048, "rose": {"chaintoolong": 3}}
    (old,) = Box(kernel="5.15.0-89", measured=refused).findings("R02")
    (new,) = Box(kernel="6.18.1", measured=refused).findings("R02")
    assert "upgrade" in old.why
    assert "upgrade" not in new.why
