"""Blocks of ports, from maps in rules and maps with names."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.codec.text.natblocks import Block, blocks, maps
from natscope.model.bundle import Bundle, Ruleset
from natscope.model.journey import Rule

NFT = """table ip nat {
	map blocks {
		type ipv4_addr : interval ipv4_addr . inet_service
		flags interval
		elements = { 10.0.0.2 : 203.0.113.7 . 1024-2047,
				10.0.0.3 comment "a } b" : 203.0.113.7 . 2048-3071 }
	}

	map empty {
		type ipv4_addr : ipv4_addr . inet_service
	}

	chain post {
		snat ip to ip saddr map @blocks
	}
}
table ip6 nat {
	map blocks {
		elements = { fd00::2 : 2001:db8::7 . 1024-2047 }
	}
}
"""
NAMED = maps(Bundle(made_ns=0, rulesets=(Ruleset("nft", NFT),)))


def block(first: str, last: str, low: int, high: int) -> Block:
    return (int(ip_address(first)), int(ip_address(last))), (low, high)


SEVEN = "203.0.113.7"
TWO = [block(SEVEN, SEVEN, 1024, 2047), block(SEVEN, SEVEN, 2048, 3071)]


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    found: list[Block]
    family: str = "ip"
    table: str = "nat"


CASES = [
    Case("with a name", "snat ip to ip saddr map @blocks", TWO),
    Case("with flags", "snat ip to ip saddr map @blocks fully-random", TWO),
    Case("IPv6", "snat ip6 to ip6 saddr map @blocks",
         [block("2001:db8::7", "2001:db8::7", 1024, 2047)], "ip6"),
    Case("of another table", "snat ip to ip saddr map @blocks", [], table="more"),
    Case("of no elements", "snat ip to ip saddr map @empty", []),
    Case("several addresses and one port",
         "snat ip to ip saddr map { 10.0.0.0/24 : 203.0.113.7-203.0.113.9 . 5060 }",
         [block(SEVEN, "203.0.113.9", 5060, 5060)]),
    Case("by two keys",
         "snat ip to ip saddr . tcp dport map { 10.0.0.2 . 80 : 203.0.113.7 . 1024-1031 }",
         [block(SEVEN, SEVEN, 1024, 1031)]),
    Case("addresses alone", "snat to ip saddr map { 10.0.0.2 : 203.0.113.7 }", []),
    Case("no map", "snat to 203.0.113.7:1024-2047", []),
    Case("a comment that looks like one",
         'masquerade comment "map { 1 : 203.0.113.7 . 2 }"', []),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_map_gives_its_blocks(case: Case) -> None:
    rule = Rule(case.family, case.table, "post", case.text)
    assert list(blocks(rule, NAMED)) == case.found
