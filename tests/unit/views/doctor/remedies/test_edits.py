"""A rule is added in the words of the tool that made the chain."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.model.bundle import Bundle, Ruleset, Tool
from natscope.model.journey import Chain, Rule
from natscope.views.doctor.remedies.edits import (
    Words,
    adding,
    inserting,
    with_ports,
)

ONE = Words("tcp dport 1 accept", "-p tcp --dport 1 -j ACCEPT")
TWO = Words('oifname "wan" accept', "-o wan -j ACCEPT")
FORWARD = Chain("ip", "filter", "FORWARD")
SAVED = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"


@dataclass(frozen=True)
class Case:
    id: str
    tool: Tool
    chain: Chain
    inserted: str
    added: str


CASES = [
    Case(
        "nft",
        "nft",
        FORWARD,
        'nft \'insert rule ip filter FORWARD oifname "wan" accept; '
        "insert rule ip filter FORWARD tcp dport 1 accept'",
        "nft 'add rule ip filter FORWARD tcp dport 1 accept; "
        'add rule ip filter FORWARD oifname "wan" accept\'',
    ),
    Case(
        "iptables",
        "iptables-nft",
        FORWARD,
        "iptables-nft -t filter -I FORWARD -o wan -j ACCEPT &&\n"
        "iptables-nft -t filter -I FORWARD -p tcp --dport 1 -j ACCEPT",
        "iptables-nft -t filter -A FORWARD -p tcp --dport 1 -j ACCEPT &&\n"
        "iptables-nft -t filter -A FORWARD -o wan -j ACCEPT",
    ),
    Case(
        "a table iptables does not have",
        "iptables-legacy",
        Chain("ip", "nat", "pre"),
        'nft \'insert rule ip nat pre oifname "wan" accept; '
        "insert rule ip nat pre tcp dport 1 accept'",
        "nft 'add rule ip nat pre tcp dport 1 accept; "
        'add rule ip nat pre oifname "wan" accept\'',
    ),
    Case(
        "a table of both families under the same name",
        "iptables-nft",
        Chain("inet", "filter", "f"),
        'nft \'insert rule inet filter f oifname "wan" accept; '
        "insert rule inet filter f tcp dport 1 accept'",
        "nft 'add rule inet filter f tcp dport 1 accept; "
        'add rule inet filter f oifname "wan" accept\'',
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rules_stand_in_the_order_they_are_given(case: Case) -> None:
    bundle = Bundle(0, rulesets=(Ruleset(case.tool, SAVED),))
    assert inserting(bundle, case.chain, ONE, TWO) == case.inserted
    assert adding(bundle, case.chain, ONE, TWO) == case.added


@dataclass(frozen=True)
class Source:
    text: str
    ranged: str | None


SOURCES = [
    Source(
        'oifname "wan" counter packets 3 bytes 180 masquerade',
        'meta l4proto tcp oifname "wan" counter masquerade to :5000-5999',
    ),
    Source(
        "snat to 203.0.113.1-203.0.113.8 persistent",
        "meta l4proto tcp snat to 203.0.113.1-203.0.113.8:5000-5999 persistent",
    ),
    Source(
        "-A POSTROUTING -o wan -j MASQUERADE",
        "-A POSTROUTING -p tcp -o wan -j MASQUERADE --to-ports 5000-5999",
    ),
    Source(
        "-A POSTROUTING -j SNAT --to-source 203.0.113.1",
        "-A POSTROUTING -p tcp -j SNAT --to-source 203.0.113.1:5000-5999",
    ),
    Source("meta l4proto udp masquerade to :1-2", None),
    Source("udp dport 53 masquerade", None),
    Source("-A POSTROUTING -p udp -j MASQUERADE", None),
    Source("snat to ip saddr map @pool", None),
    Source("snat ip6 to 2001:db8::1", None),
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.text)
def test_a_source_rule_is_given_ports(source: Source) -> None:
    rule = Rule("ip", "nat", "POSTROUTING", source.text)
    assert with_ports(rule, "tcp", "5000-5999") == source.ranged
