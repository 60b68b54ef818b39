"""Where a box's packets may go."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import numpy as np
import pytest

from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, Nexthop, Route, RoutingRule, Ruleset
from natscope.views.doctor.reading.ways import (
    default_devices,
    has_several_ways,
    outgoing,
    translating,
)

ALL, LAN = ip_network("0.0.0.0/0"), ip_network("10.0.0.0/24")
POST = "type nat hook postrouting priority srcnat; policy accept;"
DEFAULT = Route(ALL, 254, dev="wan")
OWN = (RoutingRule("inet", 0, table=255), RoutingRule("inet", 32766, table=254))


@dataclass(frozen=True)
class Case:
    id: str
    routes: tuple[Route, ...]
    rules: tuple[RoutingRule, ...] = OWN
    is_several: bool = False


CASES = [
    Case("one way", (DEFAULT, Route(LAN, 254, dev="lan"))),
    Case("two default routes", (DEFAULT, Route(ALL, 254, dev="dsl", metric=9)),
         is_several=True),
    Case("two of one interface", (DEFAULT, Route(ALL, 254, dev="wan", metric=9))),
    Case("a second table", (DEFAULT, Route(ALL, 100, dev="dsl")), is_several=True),
    Case("a multipath route", (Route(ALL, 254, nexthops=(
        Nexthop(dev="wan"), Nexthop(dev="dsl"))),), is_several=True),
    Case("a way that is down", (DEFAULT, Route(ALL, 254, dev="dsl",
                                               flags=("linkdown",)))),
    Case("one prefix through two", (Route(LAN, 254, dev="lan"),
                                    Route(LAN, 254, dev="wifi")), is_several=True),
    Case("the local table", (Route(LAN, 255, dev="lan"), Route(LAN, 254, dev="wifi"))),
    Case("a rule by mark", (DEFAULT,), (*OWN, RoutingRule("inet", 100, table=100,
                                                         fwmark=1)), is_several=True),
    Case("a rule of vrf", (DEFAULT,), (*OWN, RoutingRule("inet", 1000,
                                                        action="l3mdev"))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_box_has_several_ways_or_one(case: Case) -> None:
    bundle = Bundle(0, routes=case.routes, rules=case.rules)
    assert has_several_ways(bundle, "inet") is case.is_several
    assert not has_several_ways(bundle, "inet6")


def test_link_local_prefixes_of_ipv6_are_no_second_way() -> None:
    prefix = ip_network("fe80::/64")
    routes = (Route(prefix, 254, dev="lan"), Route(prefix, 254, dev="wan"))
    assert not has_several_ways(Bundle(0, routes=routes), "inet6")


def test_the_longest_prefix_of_the_main_table_gives_the_interface() -> None:
    routes = (
        Route(LAN, 254, dev="lan"),
        DEFAULT,
        Route(ip_network("10.0.0.128/25"), 254, dev="wifi"),
        Route(ip_network("10.0.0.0/8"), 254, nexthops=(
            Nexthop(dev="a"), Nexthop(dev="b"))),
        Route(ip_network("10.0.0.5/32"), 100, dev="other"),
    )  # fmt: skip
    asked = ["198.51.100.1", "10.0.0.5", "10.0.0.200", "10.9.9.9"]
    words = np.array([[0, int(ip_address(one))] for one in asked], np.uint64)
    names, codes = outgoing(Bundle(0, routes=routes), 4, words)
    assert [names[code] for code in codes] == ["wan", "lan", "wifi", ""]


def test_of_two_routes_to_a_prefix_the_lesser_metric_gives_the_interface() -> None:
    six = ip_network("2001:db8::/32")
    routes = (
        Route(six, 254, dev="dsl", metric=1024),
        Route(six, 254, dev="fibre", metric=256),
        Route(six, 254, dev="old", metric=1, flags=("dead",)),
        Route(ip_network("2001:db8:1::/48"), 254, dev="a", metric=5),
        Route(ip_network("2001:db8:1::/48"), 254, dev="b", metric=5),
    )
    asked = [int(ip_address(one)) for one in ("2001:db8::1", "2001:db8:1::1", "::1")]
    words = np.array([divmod(one, 1 << 64) for one in asked], np.uint64)
    names, codes = outgoing(Bundle(0, routes=routes), 6, words)
    assert [names[code] for code in codes] == ["fibre", "", ""]


def test_an_address_without_a_route_has_no_interface() -> None:
    words = np.array([[0, 1]], np.uint64)
    names, codes = outgoing(Bundle(0), 4, words)
    assert names[codes[0]] == ""


def test_default_routes_are_told_by_family() -> None:
    six = Route(ip_network("::/0"), 254, via=ip_address("fe80::1"), dev="wan6")
    bundle = Bundle(0, routes=(DEFAULT, six))
    assert default_devices(bundle, "inet") == ["wan"]
    assert default_devices(bundle, "inet6") == ["wan6"]


@dataclass(frozen=True)
class Out:
    id: str
    rule: str
    is_way: bool
    flags: tuple[str, ...] = ()


OUT = [
    Out("whatever the destination", 'oifname "dsl" masquerade', True),
    Out("of some hosts", 'oifname "dsl" ip saddr 10.0.0.0/8 snat to 192.0.2.1', True),
    Out("for some destinations", 'oifname "dsl" ip daddr 10.0.0.2 masquerade', False),
    Out("for what was forwarded", 'oifname "dsl" ct status dnat masquerade', False),
    Out("all but one interface", 'oifname != "dsl" masquerade', False),
    Out("into a tunnel", 'oifname "dsl" masquerade', False, ("POINTOPOINT",)),
]


@pytest.mark.parametrize("case", OUT, ids=lambda case: case.id)
def test_an_interface_is_a_way_to_the_world_where_all_is_translated(case: Out) -> None:
    nft = f"table ip nat {{\n\tchain post {{\n\t\t{POST}\n\t\t{case.rule}\n\t}}\n}}\n"
    dsl = Link("dsl", 9, up=True, mtu=1500, flags=case.flags)
    bundle = Bundle(0, links=(dsl,), rulesets=(Ruleset("nft", nft),))
    found = translating(bundle, nat_rules(bundle))
    assert found == ({"dsl"} if case.is_way else set())
