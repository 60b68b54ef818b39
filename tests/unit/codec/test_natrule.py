"""What NAT rules give, as nft and iptables-save write them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.codec.text.natrule import Given, Span, given, has_doubt


def span(first: str, last: str | None = None) -> Span:
    return int(ip_address(first)), int(ip_address(last or first))


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    gives: Given | None


ONE, TWO, NINE = "203.0.113.1", "203.0.113.2", "203.0.113.9"
SIX = "2001:db8::7"
CASES = [
    Case("snat", f"snat to {ONE}", Given("snat", (span(ONE),))),
    Case(
        "snat with what it matches",
        f'oifname "wan" ip saddr 10.0.0.4 counter packets 1 bytes 2 snat to {ONE}',
        Given("snat", (span(ONE),)),
    ),
    Case(
        "a range of addresses and ports",
        f"snat to {ONE}-{NINE}:5000-5999 random,persistent",
        Given("snat", (span(ONE, NINE),), (5000, 5999)),
    ),
    Case("flags", f"snat ip to {ONE} fully-random", Given("snat", (span(ONE),))),
    Case(
        "a network",
        "snat to 203.0.113.0/24",
        Given("snat", (span("203.0.113.0", "203.0.113.255"),)),
    ),
    Case("a port alone", "dnat to :8080", Given("dnat", (), (8080, 8080))),
    Case("IPv6", f"dnat to [{SIX}]:80", Given("dnat", (span(SIX),), (80, 80))),
    Case("IPv6 without a port", f"dnat ip6 to {SIX}", Given("dnat", (span(SIX),))),
    Case(
        "a range of IPv6",
        f"dnat to [{SIX}]-[2001:db8::9]:80-81",
        Given("dnat", (span(SIX, "2001:db8::9"),), (80, 81)),
    ),
    Case("masquerade", 'oifname "wan" masquerade', Given("masquerade")),
    Case(
        "masquerade to ports",
        "masquerade to :1024-2047 random",
        Given("masquerade", ports=(1024, 2047)),
    ),
    Case("redirect", "udp dport 53 redirect", Given("redirect")),
    Case(
        "redirect to",
        "tcp dport 80 redirect to :3128",
        Given("redirect", ports=(3128, 3128)),
    ),
    Case(
        "a map that is written out",
        f"dnat to tcp dport map {{ 80 : {ONE}, 81 : {TWO} }}",
        Given("dnat", (span(ONE), span(TWO)), is_map=True),
    ),
    Case(
        "a map of addresses and ports",
        f"dnat ip to numgen inc mod 2 map {{ 0 : {ONE} . 80, 1 : {TWO} . 81 }}",
        Given("dnat", (span(ONE), span(TWO)), is_map=True),
    ),
    Case(
        "a map by name",
        "dnat ip addr . port to tcp dport map @forwards",
        Given("dnat", is_map=True),
    ),
    Case(
        "a network for a network",
        "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }",
        Given(
            "snat", (span("203.0.113.0", "203.0.113.255"),), is_prefix=True, is_map=True
        ),
    ),
    Case("a chain of that name", "tcp dport 80 jump masquerade", None),
    Case("a comment", 'accept comment "no snat to anybody"', None),
    Case("a status", "ct status dnat accept", None),
    Case("a return", "ip daddr 10.0.0.0/8 return", None),
    Case("no NAT at all", "tcp dport 22 accept", None),
    Case(
        "iptables: SNAT",
        f"-A POSTROUTING -o wan -j SNAT --to-source {ONE}-{NINE}:5000-5999 --random",
        Given("snat", (span(ONE, NINE),), (5000, 5999)),
    ),
    Case(
        "iptables: DNAT",
        f"-A DOCKER -p tcp -m tcp --dport 80 -j DNAT --to-destination {ONE}:8080",
        Given("dnat", (span(ONE),), (8080, 8080)),
    ),
    Case(
        "iptables: ports that move together",
        f"-A PREROUTING -j DNAT --to-destination {ONE}:5000-5010/6000",
        Given("dnat", (span(ONE),), (5000, 5010)),
    ),
    Case(
        "ip6tables: DNAT",
        f"-A PREROUTING -j DNAT --to-destination [{SIX}]:80",
        Given("dnat", (span(SIX),), (80, 80)),
    ),
    Case(
        "iptables: MASQUERADE",
        "-A POSTROUTING -j MASQUERADE --random-fully",
        Given("masquerade"),
    ),
    Case(
        "iptables: MASQUERADE to ports",
        "-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2047",
        Given("masquerade", ports=(1024, 2047)),
    ),
    Case(
        "iptables: REDIRECT",
        "-A PREROUTING -p tcp -j REDIRECT --to-ports 3128",
        Given("redirect", ports=(3128, 3128)),
    ),
    Case(
        "iptables: NETMAP of sources",
        "-A POSTROUTING -j NETMAP --to 203.0.113.0/24",
        Given("snat", (span("203.0.113.0", "203.0.113.255"),), is_prefix=True),
    ),
    Case(
        "iptables: NETMAP of targets",
        "-A PREROUTING -j NETMAP --to 10.0.0.0/24",
        Given("dnat", (span("10.0.0.0", "10.0.0.255"),), is_prefix=True),
    ),
    Case(
        "iptables: a comment that names a target",
        '-A POSTROUTING -m comment --comment "-j SNAT" -j RETURN',
        None,
    ),
    Case("iptables: a jump", "-A PREROUTING -j DOCKER", None),
    Case(
        "what nft shows of iptables-nft",
        'oifname "wan" xt target "MASQUERADE"',
        Given("masquerade"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_rule_gives_what_its_text_says(case: Case) -> None:
    assert given(case.text) == case.gives


DOUBTFUL = [
    "numgen random mod 2 0 dnat to 10.0.0.1",
    "jhash ip saddr mod 2 vmap { 0 : jump a, 1 : jump b }",
    "limit rate 3/second accept",
    'meta hour "08:00"-"17:00" dnat to 10.0.0.1',
    "meta skuid 33 redirect",
    "update @seen { ip saddr } accept",
    "-A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j DNAT",
    "-A PREROUTING -m recent --rcheck --name affinity -j DNAT",
    "-A OUTPUT -m owner --uid-owner 33 -j REDIRECT",
]
SURE = [
    "masquerade random",
    "-A POSTROUTING -j MASQUERADE --random-fully",
    'accept comment "limit rate"',
    "-A POSTROUTING -m comment --comment \"-m limit\" -j MASQUERADE",
    "ip saddr @inside masquerade",
    "tcp dport 80 dnat to 10.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_one_packet_cannot_tell_is_doubtful(text: str) -> None:
    assert has_doubt(text)


@pytest.mark.parametrize("text", SURE)
def test_what_compares_with_constants_is_not(text: str) -> None:
    assert not has_doubt(text)


@pytest.mark.parametrize("text", ["1-65536", "99999999999", "20-10", "²"])
def test_what_is_no_range_of_ports_gives_none(text: str) -> None:
    assert given(f"masquerade to :{text}") == Given("masquerade")
