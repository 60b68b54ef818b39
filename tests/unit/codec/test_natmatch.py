"""What NAT rules ask, as their text says; what is not understood asks nothing."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Span
from natscope.model.journey import Rule


def net(text: str) -> Span:
    found = ip_network(text)
    return int(found.network_address), int(found.broadcast_address)


def span(first: str, last: str) -> Span:
    return int(ip_address(first)), int(ip_address(last))


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    asked: Asked
    family: str = "ip"


PORT = Asked(4, frozenset({17}), dports=((53, 53),))
CASES = [
    Case("nothing", "masquerade", Asked(4)),
    Case("of any family", "masquerade", Asked(), "inet"),
    Case("a family", "meta nfproto ipv6 masquerade", Asked(6), "inet"),
    Case(
        "an address tells the family",
        "ip6 daddr 2001:db8::1 tcp dport 80 dnat ip6 to [fd00::3]:8080",
        Asked(
            6,
            frozenset({6}),
            dst=(net("2001:db8::1"),),
            dports=((80, 80),),
        ),
        "inet",
    ),
    Case("a port", "udp dport 53 dnat to 10.0.0.3", PORT),
    Case("an address of another family", "ip saddr 2001:db8::/32 masquerade", Asked(4)),
    Case(
        "a number that is none", "udp dport \u00b2 redirect", Asked(4, frozenset({17}))
    ),
    Case("a port too large", "udp dport 65536 redirect", Asked(4, frozenset({17}))),
    Case(
        "ports and a range",
        "tcp dport { 80, 8000-8100 } dnat to 10.0.0.3",
        Asked(4, frozenset({6}), dports=((80, 80), (8000, 8100))),
    ),
    Case(
        "protocols",
        "meta l4proto { tcp, udp } th dport 53 redirect",
        Asked(4, frozenset({6, 17}), dports=((53, 53),)),
    ),
    Case(
        "networks",
        "ip saddr { 10.0.0.0/8, 192.168.0.1-192.168.0.9 } snat to 203.0.113.1",
        Asked(4, src=(net("10.0.0.0/8"), span("192.168.0.1", "192.168.0.9"))),
    ),
    Case("an interface", 'oifname "wan" masquerade', Asked(4, oif="wan")),
    Case("not an interface", 'oifname != "wan" masquerade', Asked(4)),
    Case("many interfaces", 'oifname "ppp*" masquerade', Asked(4)),
    Case("not an address", "ip daddr != 10.0.0.0/8 masquerade", Asked(4)),
    Case("not these", "ip daddr != { 10.0.0.1, 10.0.0.2 } masquerade", Asked(4)),
    Case("a named set", "ip saddr @lan masquerade", Asked(4)),
    Case("a mask", "ip saddr & 255.0.0.255 == 10.0.0.1 masquerade", Asked(4)),
    Case(
        "a concatenation",
        "ip daddr . tcp dport { 203.0.113.1 . 80 } dnat to 10.0.0.3",
        Asked(4),
    ),
    Case("a map after the action", "dnat to tcp dport map { 80 : 10.0.0.3 }", Asked(4)),
    Case(
        "words in a comment",
        'udp dport 53 dnat to 10.0.0.3 comment "tcp dport 80 dnat"',
        PORT,
    ),
    Case(
        "iptables",
        "-A PREROUTING -d 203.0.113.1/32 ! -i lan -p tcp -m tcp --dport 80:90 -j DNAT "
        "--to-destination 10.0.0.3:80",
        Asked(4, frozenset({6}), dst=(net("203.0.113.1/32"),), dports=((80, 90),)),
    ),
    Case(
        "iptables, ports",
        "-A P -p udp -m multiport --dports 53,5353 -j DNAT --to-destination 10.0.0.3",
        Asked(4, frozenset({17}), dports=((53, 53), (5353, 5353))),
    ),
    Case(
        "iptables, out",
        "-A POSTROUTING -s 10.0.0.0/8 ! -d 10.0.0.0/8 -o wan -j MASQUERADE",
        Asked(4, src=(net("10.0.0.0/8"),), oif="wan"),
    ),
    Case("iptables, many interfaces", "-A P -o ppp+ -j MASQUERADE", Asked(4)),
    Case("iptables, not a protocol", "-A P ! -p tcp -j MASQUERADE", Asked(4)),
    Case(
        "iptables, a comment",
        '-A P -p udp -m comment --comment "-d 1.2.3.4 --dport 9" -j MASQUERADE',
        Asked(4, frozenset({17})),
    ),
    Case(
        "ip6tables", "-A P -p ipv6-icmp -j MASQUERADE", Asked(6, frozenset({58})), "ip6"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_rule_asks(case: Case) -> None:
    assert asked(Rule(case.family, "nat", "chain", case.text)) == case.asked
