"""A filter as rules that choose packets: what is asked, at which ends."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.filter import parse
from natscope.trace.needles import needles
from natscope.trace.watching import matches, ruleset

HEADER, TUPLES = ("",), ("ct original ", "ct reply ")


@dataclass(frozen=True)
class Case:
    id: str
    filter: str
    header: list[str]


CASES = [
    Case("every packet", "", [""]),
    Case("every packet of a family", "ip6", ["meta nfproto ipv6"]),
    Case("what no header tells", "assured", [""]),
    Case("either end, whichever was meant: answers have it at the other", "src 10.0.0.5", [
        "meta nfproto ipv4 ip saddr { 10.0.0.5/32 }",
        "meta nfproto ipv4 ip daddr { 10.0.0.5/32 }",
    ]),
    Case("networks that overlap, which no set may hold", "host 10.0.0.0/8,10.1.0.0/16", [
        "meta nfproto ipv4 ip saddr { 10.0.0.0/8 }",
        "meta nfproto ipv4 ip daddr { 10.0.0.0/8 }",
    ]),
    Case("a protocol", "udp", [
        "meta nfproto ipv4 meta l4proto { 17 }",
        "meta nfproto ipv6 meta l4proto { 17 }",
    ]),
    Case("ports that touch", "ip and dst port 80-90,85-99,443", [
        "meta nfproto ipv4 th sport { 80-99, 443 }",
        "meta nfproto ipv4 th dport { 80-99, 443 }",
    ]),
    Case("one of two is too much for a rule", "host 10.0.0.5 or udp", [""]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_packets_are_chosen_by_their_header(case: Case) -> None:
    assert list(matches(needles(parse(case.filter).tree), HEADER)) == case.header


def test_packets_are_chosen_by_both_tuples_of_their_entry() -> None:
    wanted = needles(parse("ip6 and dst port 53").tree)
    ports = "meta nfproto ipv6 meta l4proto { 6, 17, 33, 132, 136 }"
    assert list(matches(wanted, TUPLES)) == [
        f"{ports} ct original proto-src {{ 53 }}",
        f"{ports} ct original proto-dst {{ 53 }}",
        f"{ports} ct reply proto-src {{ 53 }}",
        f"{ports} ct reply proto-dst {{ 53 }}",
    ]


def test_where_every_packet_is_chosen_none_is_left_for_conntrack() -> None:
    assert list(matches(needles(parse("").tree), TUPLES)) == []


def test_too_many_alternatives_leave_the_ports_to_the_filter() -> None:
    wanted = needles(
        parse("src 10.0.0.5 and dst 10.0.0.6 and src port 1 and dst port 2").tree
    )
    found = list(matches(wanted, TUPLES))
    assert len(found) == 16
    assert not any("proto-" in one for one in found)


def test_every_rule_goes_through_the_limit() -> None:
    text = ruleset("natscope_trace_1", needles(parse("host 10.0.0.5").tree))
    assert text.count("nftrace set 1") == 1
    assert text.count("saddr { 10.0.0.5/32 } jump traced\n") == 2 + 2 * 2
    assert "limit rate" in text
