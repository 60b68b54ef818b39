"""Lines for ip(8), and what ip(8) prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from natscope.codec import ipjson, iproute
from natscope.errors import DecodeError
from natscope.model.bundle import (
    Bundle,
    Link,
    LinkAddress,
    Nexthop,
    Route,
    RoutingRule,
)

ETH0 = Link(
    "eth0",
    2,
    up=True,
    mtu=1500,
    addresses=(LinkAddress(ip_address("192.0.2.1"), 24),),
)
CONNECTED = Route(ip_network("192.0.2.0/24"), 254, dev="eth0", protocol=2, scope="link")
DEFAULTS = (
    RoutingRule("inet", 0, table=255, protocol=2),
    RoutingRule("inet", 32766, table=254, protocol=2),
    RoutingRule("inet", 32767, table=253, protocol=2),
)


@dataclass(frozen=True)
class Case:
    id: str
    told: str
    """As ip(8) prints it, a JSON object."""
    model: Route | RoutingRule
    line: str | None
    """What makes it again; None where the kernel does."""


ROUTES = [
    Case(
        "a gateway",
        '{"type":"1","dst":"default","gateway":"192.0.2.254","dev":"eth0","table":"254",'
        '"protocol":"16","scope":"0","prefsrc":"192.0.2.1","metric":100,"flags":[]}',
        Route(
            ip_network("0.0.0.0/0"),
            254,
            via=ip_address("192.0.2.254"),
            dev="eth0",
            protocol=16,
            metric=100,
            prefsrc=ip_address("192.0.2.1"),
        ),
        "route append unicast 0.0.0.0/0 table 254 proto 16 scope global metric 100 "
        "src 192.0.2.1 via 192.0.2.254 dev eth0",
    ),
    Case(
        "names instead of numbers",
        '{"type":"unicast","dst":"10.0.0.1","dev":"eth0","table":"main",'
        '"protocol":"kernel","scope":"link","flags":[]}',
        Route(ip_network("10.0.0.1/32"), 254, dev="eth0", protocol=2, scope="link"),
        "route append unicast 10.0.0.1/32 table 254 proto 2 scope link dev eth0",
    ),
    Case(
        "a gateway the kernel would not find",
        '{"type":"1","dst":"10.0.0.0/8","gateway":"198.51.100.1","dev":"eth0",'
        '"table":"100","protocol":"3","scope":"0","flags":[]}',
        Route(
            ip_network("10.0.0.0/8"), 100, via=ip_address("198.51.100.1"), dev="eth0"
        ),
        "route append unicast 10.0.0.0/8 table 100 proto 3 scope global "
        "via 198.51.100.1 dev eth0 onlink",
    ),
    Case(
        "an IPv6 gateway of an IPv4 route",
        '{"type":"1","dst":"10.0.0.0/8","via":{"family":"inet6","host":"fe80::1"},'
        '"dev":"eth0","table":"254","protocol":"3","scope":"0","flags":[]}',
        Route(ip_network("10.0.0.0/8"), 254, via=ip_address("fe80::1"), dev="eth0"),
        "route append unicast 10.0.0.0/8 table 254 proto 3 scope global "
        "via inet6 fe80::1 dev eth0",
    ),
    Case(
        "several ways, one of them by an interface that is down",
        '{"type":"1","dst":"10.0.0.0/8","table":"254","protocol":"3","scope":"0",'
        '"flags":[],"nexthops":[{"gateway":"192.0.2.9","dev":"eth0","weight":3,'
        '"flags":[]},{"dev":"gone","weight":1,"flags":["dead"]}]}',
        Route(
            ip_network("10.0.0.0/8"),
            254,
            nexthops=(
                Nexthop(ip_address("192.0.2.9"), "eth0", 3),
                Nexthop(dev="gone", flags=("dead",)),
            ),
        ),
        "route append unicast 10.0.0.0/8 table 254 proto 3 scope global "
        "nexthop via 192.0.2.9 dev eth0 weight 3",
    ),
    Case(
        "no way at all, with metrics",
        '{"type":"6","dst":"10.0.0.0/8","table":"7","protocol":"3","scope":"0",'
        '"tos":"0x10","flags":[],"metrics":[{"mtu":1400,"advmss":1300}],'
        '"flow":{"to":"5"}}',
        Route(
            ip_network("10.0.0.0/8"),
            7,
            type="blackhole",
            tos=16,
            mtu=1400,
            advmss=1300,
            realm=5,
        ),
        "route append blackhole 10.0.0.0/8 tos 0x10 table 7 proto 3 scope global "
        "mtu 1400 advmss 1300 realm 5",
    ),
    Case(
        "the box's own address",
        '{"type":"2","dst":"192.0.2.1","dev":"eth0","table":"255","protocol":"2",'
        '"scope":"254","prefsrc":"192.0.2.1","flags":[]}',
        Route(
            ip_network("192.0.2.1/32"),
            255,
            type="local",
            dev="eth0",
            protocol=2,
            scope="host",
            prefsrc=ip_address("192.0.2.1"),
        ),
        None,
    ),
    Case(
        "a network that is local by hand",
        '{"type":"2","dst":"10.7.0.0/16","dev":"eth0","table":"255","protocol":"3",'
        '"scope":"254","flags":[]}',
        Route(ip_network("10.7.0.0/16"), 255, type="local", dev="eth0", scope="host"),
        "route replace local 10.7.0.0/16 table 255 proto 3 scope host dev eth0",
    ),
]


@pytest.mark.parametrize("case", ROUTES, ids=lambda case: case.id)
def test_a_route_is_read_and_made_again(case: Case) -> None:
    (route,) = ipjson.parse_routes(f"[{case.told}]", "inet")
    assert route == case.model
    routes = (CONNECTED, route)
    lines = iproute.commands(Bundle(1, links=(ETH0,), routes=routes))
    made = [line for line in lines if line.startswith("route")]
    assert made[1:] == ([] if case.line is None else [case.line])


RULES = [
    Case(
        "a mark",
        '{"priority":100,"src":"all","fwmark":"0x1","fwmask":"0xff","table":"100"}',
        RoutingRule("inet", 100, table=100, fwmark=1, fwmask=0xFF),
        "rule add priority 100 fwmark 0x1/0xff lookup 100",
    ),
    Case(
        "not from a network",
        '{"priority":301,"not":null,"src":"10.0.0.0","srclen":8,"table":"main"}',
        RoutingRule("inet", 301, table=254, invert=True, src=ip_network("10.0.0.0/8")),
        "rule add not priority 301 from 10.0.0.0/8 lookup 254",
    ),
    Case(
        "ports",
        '{"priority":1,"src":"all","ipproto":"ipproto-6","sport_start":1,'
        '"sport_end":9,"dport":80,"table":"7"}',
        RoutingRule("inet", 1, table=7, ipproto=6, sport=(1, 9), dport=(80, 80)),
        "rule add priority 1 ipproto 6 sport 1-9 dport 80 lookup 7",
    ),
    Case(
        "all routes but the default",
        '{"priority":2,"src":"all","table":"254","suppress_prefixlen":0}',
        RoutingRule("inet", 2, table=254, suppress_prefix_length=0),
        "rule add priority 2 suppress_prefixlength 0 lookup 254",
    ),
    Case(
        "a goto",
        '{"priority":3,"src":"1.2.3.4","iif":"eth0","goto":400}',
        RoutingRule(
            "inet", 3, "goto", target=400, src=ip_network("1.2.3.4/32"), iif="eth0"
        ),
        "rule add priority 3 from 1.2.3.4/32 iif eth0 goto 400",
    ),
    Case(
        "an action by number",
        '{"priority":4,"src":"all","oif":"eth0","action":"8"}',
        RoutingRule("inet", 4, "prohibit", oif="eth0"),
        "rule add priority 4 oif eth0 prohibit",
    ),
    Case(
        "users and a type of service",
        '{"priority":5,"src":"all","tos":"0x10","uid_start":0,"uid_end":99,"table":"7"}',
        RoutingRule("inet", 5, table=7, tos=16, uids=(0, 99)),
        "rule add priority 5 uidrange 0-99 tos 0x10 lookup 7",
    ),
    Case(
        "something a later kernel asks: without it the rule would fit too much",
        '{"priority":6,"src":"all","flowlabel":"0x1","table":"7"}',
        RoutingRule("inet", 6, table=7, unknown=("flowlabel",)),
        None,
    ),
]


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.id)
def test_a_rule_is_read_and_made_again(case: Case) -> None:
    (rule,) = ipjson.parse_rules(f"[{case.told}]", "inet")
    assert rule == case.model
    made = iproute.commands(Bundle(1, rules=(*DEFAULTS, rule)))
    assert made == ([] if case.line is None else [case.line])


def test_a_default_rule_that_was_taken_away_is_taken_away_again() -> None:
    moved = RoutingRule("inet", 10, table=255)
    lines = iproute.commands(Bundle(1, rules=(*DEFAULTS[1:], moved)))
    assert lines == [
        "rule add priority 10 lookup 255",
        "rule del priority 0 lookup 255",
    ]


def test_rules_of_ipv6_are_lines_of_their_own() -> None:
    bundle = Bundle(
        1,
        rules=(
            RoutingRule("inet6", 0, table=255, protocol=2),
            RoutingRule("inet6", 5, table=7, fwmark=3),
            RoutingRule("inet6", 32766, table=254, protocol=2),
        ),
    )
    assert iproute.commands(bundle) == []
    assert iproute.inet6_commands(bundle) == ["rule add priority 5 fwmark 0x3 lookup 7"]


def test_a_vrf_is_plain_rules_for_its_ports() -> None:
    links = (
        Link("red", 5, up=True, mtu=1500, kind="vrf", vrf_table=10),
        Link("eth1", 6, up=False, mtu=1500, master="red"),
    )
    rules = (*DEFAULTS, RoutingRule("inet", 1000, "l3mdev"))
    lines = iproute.commands(Bundle(1, links=links, rules=rules))
    assert [line for line in lines if line.startswith("rule")] == [
        "rule add priority 1000 iif red lookup 10",
        "rule add priority 1000 oif red lookup 10",
        "rule add priority 1000 iif eth1 lookup 10",
        "rule add priority 1000 oif eth1 lookup 10",
    ]


def test_device_routes_come_before_gateways() -> None:
    gateway = Route(
        ip_network("0.0.0.0/0"), 254, via=ip_address("192.0.2.9"), dev="eth0"
    )
    bundle = Bundle(1, links=(ETH0,), routes=(gateway, CONNECTED))
    assert iproute.commands(bundle) == [
        "link set dev eth0 mtu 1500",
        "addr add 192.0.2.1/24 dev eth0 scope global noprefixroute",
        "link set dev eth0 up",
        "route append unicast 192.0.2.0/24 table 254 proto 2 scope link dev eth0",
        "route append unicast 0.0.0.0/0 table 254 proto 3 scope global "
        "via 192.0.2.9 dev eth0",
    ]


def test_links_are_read_with_their_addresses() -> None:
    told = {
        "ifindex": 4,
        "link": "eth0",
        "ifname": "eth0.7",
        "flags": ["BROADCAST", "UP"],
        "mtu": 1400,
        "master": "br0",
        "group": "default",
        "address": "52:54:00:12:34:56",
        "linkinfo": {"info_kind": "vlan", "info_data": {"id": 7}},
        "addr_info": [
            {},
            {
                "family": "inet",
                "local": "10.9.9.1",
                "address": "10.9.9.2",
                "prefixlen": 32,
                "scope": "0",
                "secondary": True,
            },
        ],
    }
    assert ipjson.parse_links(json.dumps([{}, told])) == (
        Link(
            "eth0.7",
            4,
            up=True,
            mtu=1400,
            kind="vlan",
            mac="52:54:00:12:34:56",
            master="br0",
            link="eth0",
            vlan_id=7,
            flags=("BROADCAST", "UP"),
            addresses=(
                LinkAddress(
                    ip_address("10.9.9.1"),
                    32,
                    peer=ip_address("10.9.9.2"),
                    flags=("secondary",),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "[{}]", "[ ]"], ids=["nothing", "none", "an empty one", "blank"]
)
def test_nothing_is_no_routes(text: str) -> None:
    assert ipjson.parse_routes(text, "inet6") == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a": 1}',
        '[{"dst": "x"}]',
        '[{"dst": "10.0.0.0/8", "metric": "many"}]',
        "[3]",
    ],
)
def test_what_ip_does_not_print_is_an_error(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^ip\.route"):
        ipjson.parse_routes(text, "inet")
