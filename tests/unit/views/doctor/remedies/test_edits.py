"""A rule is added in the words of the tool that made the chain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from natscope.model.bundle import Bundle, Ruleset, Tool
from natscope.model.journey import Chain, Rule
from natscope.views.doctor.remedies.edits import (
    Words,
    adding,
    before,
    deleted,
    inserting,
    lacks_handle,
    replaced,
    with_addresses,
    with_ports,
    without_ports,
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


@dataclass(frozen=True)
class Changed:
    text: str
    plain: str | None
    """Without its ports."""
    more: str | None
    """Of more addresses."""
    family: str = "ip"
    version: int = 4


CHANGED = [
    Changed('oifname "wan" masquerade', None, 'oifname "wan" snat to FIRST-LAST'),
    Changed(
        "meta l4proto { tcp, udp } counter packets 3 bytes 9 masquerade to :1-2 random",
        "meta l4proto { tcp, udp } counter masquerade random",
        "meta l4proto { tcp, udp } counter snat to FIRST-LAST:1-2 random",
    ),
    Changed(
        'tcp dport 1 snat to 203.0.113.1-203.0.113.8:1-2 comment "masquerade to :3-4"',
        'tcp dport 1 snat to 203.0.113.1-203.0.113.8 comment "masquerade to :3-4"',
        'tcp dport 1 snat to FIRST-LAST:1-2 comment "masquerade to :3-4"',
    ),
    Changed(
        "udp dport 1 snat ip6 to [2001:db8::1]:1-2",
        "udp dport 1 snat ip6 to 2001:db8::1",
        "udp dport 1 snat ip6 to [FIRST]-[LAST]:1-2",
        "inet",
        6,
    ),
    Changed("snat to 2001:db8::1", None, "snat to FIRST-LAST", "ip6", 6),
    Changed("masquerade", None, "snat ip to FIRST-LAST", "inet"),
    Changed("snat ip to ip saddr map @blocks", None, None),
    Changed(
        "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1-2 --random",
        "-A POSTROUTING -p tcp -j MASQUERADE --random",
        "-A POSTROUTING -p tcp -j SNAT --to-source FIRST-LAST:1-2 --random",
    ),
    Changed(
        "-A POSTROUTING -p tcp -j SNAT --to-source 203.0.113.1:1-2",
        "-A POSTROUTING -p tcp -j SNAT --to-source 203.0.113.1",
        "-A POSTROUTING -p tcp -j SNAT --to-source FIRST-LAST:1-2",
    ),
    Changed(
        "-A POSTROUTING -p tcp -j SNAT --to-source [2001:db8::1]:1-2",
        "-A POSTROUTING -p tcp -j SNAT --to-source 2001:db8::1",
        "-A POSTROUTING -p tcp -j SNAT --to-source [FIRST]-[LAST]:1-2",
        "ip6",
        6,
    ),
]


@pytest.mark.parametrize("one", CHANGED, ids=lambda one: one.text)
def test_a_source_rule_loses_its_ports_and_gets_more_addresses(one: Changed) -> None:
    rule = Rule(one.family, "nat", "POSTROUTING", one.text)
    assert without_ports(rule) == one.plain
    assert with_addresses(rule, one.version) == one.more


def test_a_rule_whose_handle_is_known_is_named_by_it() -> None:
    rule = Rule("ip", "nat", "post", "masquerade", handle=7, number=1)
    assert not lacks_handle(rule)
    assert lacks_handle(replace(rule, handle=None))
    assert deleted(rule) == "nft delete rule ip nat post handle 7"
    assert before(rule, "accept") == "nft insert rule ip nat post handle 7 accept"
    assert replaced(rule, 'iifname "a*" comment "it\'s"') == (
        'nft replace rule ip nat post handle 7 \'iifname "a*" comment "it\'"\'"\'s"\''
    )  # as a shell reads it
    saved = replace(rule, text="-A post -j DROP", handle=None, tool="iptables-nft")
    assert not lacks_handle(saved)
    assert deleted(saved) == "iptables-nft -t nat -D post 1"
