"""Kinds of flows: what no constant of a box tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.bundle import Bundle, Ruleset
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.table.kinds import Kinds


def box(rules: str) -> Bundle:
    return Bundle(made_ns=0, rulesets=(Ruleset("nft", rules),))


def flow(src: str, dst: str, sport: int = 5000, dport: int = 53) -> Flow:
    orig = FlowTuple(ip_address(src), ip_address(dst), uapi.IPPROTO_UDP, sport, dport)
    return Flow(orig, orig.reversed())


@dataclass(frozen=True)
class Case:
    """Rules, and how many kinds the flows are of."""

    id: str
    rules: str
    kinds: int


FLOWS = [
    flow("10.0.0.2", "192.0.2.1"),
    flow("10.0.0.3", "192.0.2.2"),
    flow("10.0.0.2", "192.0.2.1", sport=5001),
    flow("10.0.0.2", "192.0.2.1", dport=443),
    flow("fd00::2", "2001:db8::1"),
    flow("fd00::3", "2001:db8::1"),
]
CASES = [
    Case("no rule: the families", "", 2),
    Case("a source", "ip saddr 10.0.0.3 masquerade", 3),
    Case("a network all are in", "ip saddr 10.0.0.0/24 masquerade", 2),
    Case("a destination port", "udp dport 443 masquerade", 3),
    Case("a port of the source", "udp sport 5001 masquerade", 3),
    Case("a number no port is compared with", "ip ttl 5001 masquerade", 2),
    Case("IPv6", "ip6 saddr fd00::3 masquerade", 3),
    Case("bits", "ip saddr & 0.0.0.1 == 1 masquerade", 5),
    Case("bits, and ports of the source", "ip saddr & 0.0.0.1 == 1 udp sport 1", 6),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_flows_are_told_apart_as_the_rules_may(case: Case) -> None:
    found = Kinds(box(case.rules)).of(FlowTable.from_flows(FLOWS))
    assert len(found) == case.kinds
    assert len({kind.key for kind in found}) == case.kinds
    rows = sorted(row for kind in found for row in kind.rows.tolist())
    assert rows == list(range(len(FLOWS)))


def test_a_kind_is_the_same_in_every_table() -> None:
    kinds = Kinds(box("ip saddr 10.0.0.3 masquerade"))
    keys = [
        {kind.key for kind in kinds.of(FlowTable.from_flows(part))}
        for part in (FLOWS[:1], FLOWS[2:3], FLOWS[1:2])
    ]
    assert keys[0] == keys[1] != keys[2]
