"""Translations no rule's text gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, LinkAddress, Ruleset
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.shapes import by_shape
from natscope.table.attribution import Making, Origin
from natscope.table.flowtable import FlowTable

ADDRESSES = {"wan": ("203.0.113.1", "2001:db8::1"), "lan": ("10.0.0.1", "fd00::1")}


def box(prerouting: str = "", postrouting: str = "", family: str = "ip") -> Bundle:
    text = f"""table {family} nat {{
    chain pre {{ type nat hook prerouting priority -100; {prerouting}
    }}
    chain post {{ type nat hook postrouting priority 100; {postrouting}
    }}
}}"""
    links = tuple(
        Link(
            name,
            index,
            up=True,
            mtu=1500,
            addresses=tuple(LinkAddress(ip_address(one), 24) for one in own),
        )
        for index, (name, own) in enumerate(ADDRESSES.items(), 1)
    )
    return Bundle(made_ns=0, links=links, rulesets=(Ruleset("nft", text),))


def end(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def flow(src: str, dst: str, now_dst: str = "", now_src: str = "") -> Flow:
    """``src`` to ``dst``, which became ``now_dst`` and ``now_src``."""
    (a, ap), (b, bp) = end(src), end(dst)
    (c, cp), (d, dp) = end(now_dst or dst), end(now_src or src)
    a4, b4, c4, d4 = map(ip_address, (a, b, c, d))
    return Flow(
        FlowTuple(a4, b4, uapi.IPPROTO_UDP, ap, bp),
        FlowTuple(c4, d4, uapi.IPPROTO_UDP, cp, dp),
    )


def making(bundle: Bundle, one: Flow) -> Making:
    found = by_shape(FlowTable.from_flows([one]), nat_rules(bundle), bundle)
    return found.makings[int(found.of_row[0])]


@dataclass(frozen=True)
class Case:
    id: str
    box: Bundle
    flow: Flow
    is_stale: bool


WORLD, PUBLIC = "192.0.2.9:5000", "203.0.113.1:53"
BOB, CAROL = "10.0.0.3:53", "10.0.0.4:53"
FORWARDED = flow(WORLD, PUBLIC, BOB)
OUT = flow("10.0.0.2:5000", "198.51.100.9:53", now_src="203.0.113.1:5000")
HOST = flow("10.0.0.2:5000", "198.51.100.9:53", now_src="203.0.113.2:5000")
OUT_V6 = flow("[fd00::2]:5000", "[2001:db8:9::9]:53", now_src="[2001:db8::1]:5000")
CASES = [
    Case("no rule", box(), FORWARDED, is_stale=True),
    Case("its rule", box("udp dport 53 dnat to 10.0.0.3"), FORWARDED, is_stale=False),
    Case(
        "to another", box("udp dport 53 dnat to 10.0.0.4"), FORWARDED, is_stale=True
    ),
    Case(
        "to another port",
        box("udp dport 53 dnat to 10.0.0.3:5353"),
        FORWARDED,
        is_stale=True,
    ),
    Case(
        "for another port", box("udp dport 54 dnat to 10.0.0.3"), FORWARDED,
        is_stale=True,
    ),
    Case(
        "for another protocol", box("tcp dport 53 dnat to 10.0.0.3"), FORWARDED,
        is_stale=True,
    ),
    Case(
        "for another address",
        box("ip daddr 203.0.113.2 dnat to 10.0.0.3"),
        FORWARDED,
        is_stale=True,
    ),
    Case(
        "one of many",
        box("udp dport 53 dnat to 10.0.0.1-10.0.0.9"),
        FORWARDED,
        is_stale=False,
    ),
    Case("a map nobody can read", box("dnat to ip daddr map @fwd"), FORWARDED,
         is_stale=False),
    Case(
        "a map that is written out",
        box("dnat to udp dport map { 53 : 10.0.0.3, 54 : 10.0.0.4 }"),
        FORWARDED,
        is_stale=False,
    ),
    Case(
        "another's map",
        box("dnat to udp dport map { 53 : 10.0.0.5, 54 : 10.0.0.4 }"),
        FORWARDED,
        is_stale=True,
    ),
    Case("only the port", box("udp dport 53 dnat to :5353"),
         flow(WORLD, PUBLIC, "203.0.113.1:5353"), is_stale=False),
    Case("masquerade", box("", 'oifname "wan" masquerade'), OUT, is_stale=False),
    Case("of the other link", box("", 'oifname "lan" masquerade'), OUT, is_stale=True),
    Case("of any link", box("", "masquerade"), OUT, is_stale=False),
    Case("of a link that is gone", box("", 'oifname "ppp0" masquerade'), OUT,
         is_stale=False),
    Case("for other sources", box("", "ip saddr 10.1.0.0/16 masquerade"), OUT,
         is_stale=True),
    Case("for other destinations", box("", "ip daddr 10.1.0.0/16 masquerade"), OUT,
         is_stale=True),
    Case("another address", box("", "snat to 203.0.113.7"), OUT, is_stale=True),
    Case("a pool", box("", "snat to 203.0.113.0-203.0.113.3"), OUT, is_stale=False),
    Case("beyond the ports", box("", "snat to 203.0.113.1:6000-6999"), OUT,
         is_stale=True),
    Case("a network",
         box("", "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }"),
         HOST, is_stale=False),
    Case(
        "another host of the network",
        box("", "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }"),
        OUT,
        is_stale=True,
    ),
    Case("IPv6 masquerade", box("", 'oifname "wan" masquerade', "inet"), OUT_V6,
         is_stale=False),
    Case("IPv4 masquerade in a table of both",
         box("", 'oifname "wan" masquerade', "inet"), OUT, is_stale=False),
    Case("IPv6 by a rule for IPv4", box("", "ip saddr 0.0.0.0/0 masquerade", "inet"),
         OUT_V6, is_stale=True),
    Case("IPv6, another address", box("", "snat to 2001:db8::7", "ip6"), OUT_V6,
         is_stale=True),
    Case("IPv6, a pool",
         box("", "snat to 2001:db8::-2001:db8::ffff", "ip6"), OUT_V6, is_stale=False),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_translation_is_stale_when_no_rule_may_give_it(case: Case) -> None:
    found = making(case.box, case.flow)
    assert (found.origin is Origin.STALE) == case.is_stale
    assert not found.is_certain


def test_the_end_that_is_not_stale_has_its_rule() -> None:
    bundle = box("udp dport 53 dnat to 10.0.0.4", "masquerade")
    hairpin = flow("10.0.0.2:5000", PUBLIC, BOB, "10.0.0.1:5000")
    found = making(bundle, hairpin)
    assert found.dnat is None
    assert found.snat is not None
    assert found.snat.text == "masquerade"


def test_of_a_flow_that_is_not_translated_nothing_is_said() -> None:
    assert making(box("dnat to 10.0.0.3"), flow(WORLD, PUBLIC)).origin is Origin.NONE


def test_a_source_port_the_kernel_moved_needs_no_rule() -> None:
    moved = flow(WORLD, PUBLIC, now_src="192.0.2.9:5001")
    assert making(box(), moved).origin is Origin.NONE


def test_nothing_is_stale_where_a_rule_may_have_been_overlooked() -> None:
    bundle = replace(box(), missing=("nftables: not permitted",))
    assert making(bundle, FORWARDED).origin is Origin.UNKNOWN


def test_an_address_of_the_link_alone_is_not_what_masquerade_gives() -> None:
    bundle = box("", 'oifname "ppp0" masquerade')
    only_here = LinkAddress(ip_address("169.254.0.1"), 16, scope="link")
    ppp = Link("ppp0", 9, up=True, mtu=1492, addresses=(only_here,))
    assert making(replace(bundle, links=(*bundle.links, ppp)), OUT).origin is (
        Origin.UNKNOWN
    )


def test_an_empty_table_has_nothing_stale() -> None:
    found = by_shape(FlowTable.empty(), nat_rules(box()), box())
    assert len(found.of_row) == 0
