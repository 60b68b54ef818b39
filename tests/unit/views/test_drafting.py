"""Packets worth a case, guessed from the text of rules and from flows."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from natscope.model.bundle import Bundle, Link, LinkAddress, Route
from natscope.model.flow import Flow
from natscope.model.journey import Rule
from natscope.model.tuples import FlowTuple
from natscope.views.drafting import forwards, translated


def _link(index: int, name: str, *addresses: str) -> Link:
    found = tuple(
        LinkAddress(ip_address(address), int(prefix))
        for address, _, prefix in (one.partition("/") for one in addresses)
    )
    return Link(name, index, True, 1500, addresses=found)


BOX = Bundle(
    0,
    links=(
        _link(2, "lan", "10.0.0.1/24"),
        _link(3, "wan", "203.0.113.1/24", "2001:db8:1::1/64"),
    ),
    routes=(
        Route(ip_network("0.0.0.0/0"), 254, dev="wan"),
        Route(ip_network("::/0"), 254, dev="wan"),
    ),
)


@dataclass(frozen=True)
class Case:
    """A rule, and the packets that try it."""

    id: str
    rule: str
    packets: list[str]
    family: str = "ip"


STRANGER = "192.0.2.9 to 203.0.113.1"
CASES = [
    Case("port", "tcp dport 8080 dnat to 10.0.0.3:80", [f"tcp {STRANGER}:8080 in wan"]),
    Case(
        "set of ports",
        "udp dport { 53, 5000-5010 } dnat to 10.0.0.3",
        [f"udp {STRANGER}:53 in wan", f"udp {STRANGER}:5000 in wan"],
    ),
    Case(
        "map",
        "dnat to tcp dport map { 80 : 10.0.0.3, 443 : 10.0.0.4 }",
        [f"tcp {STRANGER}:80 in wan", f"tcp {STRANGER}:443 in wan"],
    ),
    Case(
        "address, interface and counter",
        'iifname "lan" ip daddr 203.0.113.1 tcp dport 8080 counter packets 0 bytes 0 dnat to 10.0.0.3',
        ["tcp 10.0.0.9 to 203.0.113.1:8080 in lan"],
    ),
    Case(
        "not by an interface",
        'iifname != "wan" tcp dport 80 redirect to :3128',
        ["tcp 10.0.0.9 to 10.0.0.1:80 in lan"],
    ),
    Case(
        "address alone",
        "ip daddr 203.0.113.7 dnat to 10.0.0.7",
        ["tcp 192.0.2.9 to 203.0.113.7:443 in wan"],
    ),
    Case(
        "source",
        "ip saddr 198.51.100.0/24 tcp dport 22 dnat to 10.0.0.3",
        ["tcp 198.51.100.1 to 203.0.113.1:22 in wan"],
    ),
    Case(
        "version 6",
        "tcp dport 80 dnat to [2001:db8:2::3]:80",
        ["tcp 2001:db8:9::9 to [2001:db8:1::1]:80 in wan"],
        family="ip6",
    ),
    Case(
        "iptables",
        "-A PREROUTING -d 203.0.113.1/32 -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.3:80",
        [f"tcp {STRANGER}:8080 in wan"],
    ),
    Case(
        "iptables, not by an interface",
        "-A DOCKER ! -i lan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.3:80",
        [f"tcp {STRANGER}:8080 in wan"],
    ),
    Case("a comment is no rule", 'tcp dport 22 accept comment "dnat to x"', []),
    Case("what was translated", "ct status dnat tcp dport 80 accept", []),
    Case("nothing to go by", "fib daddr type local dnat to 10.0.0.3", []),
    Case("a named set", "tcp dport @ports dnat to 10.0.0.3", []),
]  # fmt: skip


def _rule(text: str, chain: str = "prerouting", family: str = "ip") -> Rule:
    return Rule(family, "nat", chain, text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_rule_is_tried_by_packets_it_is_for(case: Case) -> None:
    rule = _rule(case.rule, family=case.family)
    assert [one.words for one in forwards([rule], BOX)] == case.packets


def test_a_rule_that_leads_to_a_translation_is_tried() -> None:
    rules = [
        _rule("ip daddr 203.0.113.7 tcp dport 80 jump service"),
        _rule("ip daddr 203.0.113.7 tcp dport 81 jump other"),
        _rule("jump endpoint", "service"),
        _rule("meta l4proto tcp dnat to 10.0.0.3:8080", "endpoint"),
    ]
    found = [one.words for one in forwards(rules, BOX)]
    assert found == ["tcp 192.0.2.9 to 203.0.113.7:80 in wan"]


def _flow(sport: int, public: str | None, dport: int = 443) -> Flow:
    src, dst = ip_address("10.0.0.5"), ip_address("198.51.100.9")
    orig = FlowTuple(src, dst, 6, sport=sport, dport=dport)
    back = ip_address(public) if public else src
    return Flow(orig, FlowTuple(dst, back, 6, sport=dport, dport=sport))


def test_of_flows_one_of_each_translation_is_tried() -> None:
    flows = [
        _flow(1000, None),
        _flow(1001, "203.0.113.1"),
        _flow(1002, "203.0.113.1"),
        _flow(1003, "203.0.113.2"),
    ]
    assert [one.words for one in translated(flows)] == [
        "tcp 10.0.0.5:1001 to 198.51.100.9:443",
        "tcp 10.0.0.5:1003 to 198.51.100.9:443",
    ]
