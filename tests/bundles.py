"""A bundle with something in every part."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from natscope.codec import flowcolumns
from natscope.codec.text.listing import parse_listing
from natscope.model.bundle import (
    Bundle,
    FlowColumns,
    Link,
    LinkAddress,
    Neighbour,
    Nexthop,
    Route,
    RoutingRule,
    Ruleset,
)
from natscope.table.flowtable import FlowTable


def flows_of(listing: str) -> FlowColumns:
    """The flows conntrack -L told of, as a bundle has them."""
    tables = list(parse_listing(listing.splitlines()))
    return flowcolumns.pack(FlowTable.concat(tables))


LINKS = (
    Link(
        "lo",
        1,
        up=True,
        mtu=65536,
        mac="00:00:00:00:00:00",
        flags=("LOOPBACK", "UP"),
        addresses=(LinkAddress(ip_address("127.0.0.1"), 8, scope="host"),),
    ),
    Link(
        "wan",
        2,
        up=True,
        mtu=1500,
        mac="52:54:00:12:34:56",
        flags=("UP",),
        addresses=(
            LinkAddress(ip_address("203.0.113.5"), 20, flags=("dynamic",)),
            LinkAddress(ip_address("2001:db8::5"), 64),
            LinkAddress(ip_address("fe80::5054:ff:fe12:3456"), 64, scope="link"),
        ),
    ),
    Link(
        "lan.7",
        3,
        up=True,
        mtu=1400,
        kind="vlan",
        vlan_id=7,
        master="br0",
        addresses=(LinkAddress(ip_address("10.0.0.1"), 24),),
    ),
)
ROUTES = (
    Route(ip_network("0.0.0.0/0"), 254, via=ip_address("203.0.113.1"), dev="wan"),
    Route(ip_network("10.0.0.0/24"), 254, dev="lan.7", protocol=2, scope="link"),
    Route(
        ip_network("198.51.100.0/24"),
        100,
        nexthops=(Nexthop(ip_address("203.0.113.1"), "wan", 3), Nexthop(dev="lan.7")),
    ),
    Route(ip_network("2001:db8:7::/48"), 254, type="unreachable", metric=1024),
)
RULES = (
    RoutingRule("inet", 0, table=255, protocol=2),
    RoutingRule("inet", 100, table=100, fwmark=1, fwmask=0xFF, dport=(80, 90)),
    RoutingRule("inet6", 101, action="prohibit", src=ip_network("2001:db8::/64")),
)
NFT = """\
table inet filter {
	set bad {
		type ipv4_addr
		flags interval
		elements = { 198.51.100.7, 203.0.112.3-203.0.112.9 }
	}

	chain forward {
		type filter hook forward priority 0; policy drop;
		ip saddr @bad drop comment "angry customer"
		ip daddr 203.0.113.5 tcp dport 8080 dnat ip to 10.0.0.7:80
		ether saddr 52:54:00:12:34:56 ip6 saddr 2001:db8::/64 accept
	}
}
"""
IPTABLES = """\
*nat
:POSTROUTING ACCEPT [0:0]
[3:180] -A POSTROUTING -s 10.0.0.0/24 -m comment --comment "for Ms Smith" -j SNAT --to-source 203.0.113.5-203.0.113.6
COMMIT
"""
BUNDLE = Bundle(
    1_790_000_000_123_456_789,
    natscope="0.1.0",
    hostname="gw1.example.net",
    kernel="6.1.0-28-amd64",
    tools={"nft": "nftables v1.0.6 (Lester Gooch #5)"},
    links=LINKS,
    routes=ROUTES,
    rules=RULES,
    neighbours=(
        Neighbour(ip_address("203.0.113.1"), "wan", "52:54:00:99:99:99", ("STALE",)),
    ),
    sysctls={"net/ipv4/ip_forward": "1", "net/ipv4/ip_local_port_range": "1024\t9999"},
    rulesets=(Ruleset("nft", NFT), Ruleset("iptables-nft", IPTABLES)),
    flows=flows_of(
        "udp 17 29 src=10.0.0.7 dst=198.51.100.9 sport=5000 dport=53 "
        "src=198.51.100.9 dst=203.0.113.5 sport=53 dport=5000 mark=0 use=1"
    ),
    counters={"net/snmp": "Ip: Forwarding\nIp: 1"},
    missing=("neighbours: not asked",),
)
