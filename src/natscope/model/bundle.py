"""What a box is, as far as packets notice: a bundle of all that decides about them.

Interfaces, addresses, routes, rules, neighbours, settings and rulesets, read at one
moment and whole enough that another kernel can be made to do the same.  Numbers that
have names in files of the box (rt_tables, rt_protos) are numbers here: the names
need not be the same elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_interface,
)
from typing import Annotated, Literal

from natscope.model.evidence import Evidence, Interface
from natscope.model.ipversion import VERSIONS, Family
from natscope.model.measured import Measured
from natscope.uapi import rtnetlink

Network = IPv4Network | IPv6Network
InterfaceName = Annotated[str, "interface"]
"""A name dev_valid_name() allows: 1 to 15 bytes, no blank, no slash, no colon."""
Word = Annotated[str, "word"]
"""Letters, digits, ``_``, ``-`` and ``.``; what ip(8) prints as a keyword."""
MacAddress = Annotated[str, "mac"]
"""Six bytes as ip-link(8) prints them."""
SysctlPath = Annotated[str, "sysctl"]
"""A path under /proc/sys, of net/ alone."""
Tool = Literal[
    "nft",
    "iptables-nft",
    "ip6tables-nft",
    "iptables-legacy",
    "ip6tables-legacy",
    "ipset",
]

_OF_CONNTRACK = "net/netfilter/nf_conntrack_"
_SECONDS = re.compile(r"[0-9]{1,10}")
_NUMBER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address of an interface (ip-address(8))."""

    local: IPv4Address | IPv6Address
    prefix: int
    scope: Word = "global"
    peer: IPv4Address | IPv6Address | None = None
    """The other end of a point-to-point link; ``prefix`` is then of the peer."""
    broadcast: IPv4Address | None = None
    label: str | None = None
    metric: int | None = None
    """Of the route the kernel makes for the prefix (IFA_RT_PRIORITY)."""
    flags: tuple[Word, ...] = ()
    """secondary, deprecated, tentative, noprefixroute, temporary, dynamic …"""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface (ip-link(8))."""

    name: InterfaceName
    index: int
    up: bool
    """IFF_UP: what an administrator wants, not whether there is a carrier."""
    mtu: int
    kind: Word | None = None
    """IFLA_INFO_KIND: bridge, vlan, veth, vrf, wireguard …; None of hardware."""
    mac: MacAddress | None = None
    master: InterfaceName | None = None
    """The bridge, bond or vrf it is a port of."""
    link: InterfaceName | None = None
    """The lower device of a vlan or macvlan, the other end of a veth."""
    vlan_id: int | None = None
    vrf_table: int | None = None
    group: int = 0
    flags: tuple[Word, ...] = ()
    """LOOPBACK, POINTOPOINT, NOARP, LOWER_UP …"""
    addresses: tuple[LinkAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Nexthop:
    """One of the ways of a multipath route."""

    via: IPv4Address | IPv6Address | None = None
    dev: InterfaceName | None = None
    weight: int = 1
    flags: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A route (ip-route(8))."""

    dst: IPv4Network | IPv6Network
    table: int
    type: Word = "unicast"
    via: IPv4Address | IPv6Address | None = None
    """The gateway; of an IPv4 route it may be an IPv6 address (RFC 5549)."""
    dev: InterfaceName | None = None
    protocol: int = rtnetlink.RTPROT_BOOT
    """Who made it: RTPROT_*."""
    scope: Word = "global"
    metric: int | None = None
    prefsrc: IPv4Address | IPv6Address | None = None
    src: IPv4Network | IPv6Network | None = None
    """Sources it is for: ``from``, IPv6 alone."""
    tos: int = 0
    mtu: int | None = None
    advmss: int | None = None
    preference: Word | None = None
    """RFC 4191: low, medium, high."""
    realm: int | None = None
    encap: Word | None = None
    """A light-weight tunnel (mpls, seg6 …); of which only the kind is kept."""
    flags: tuple[Word, ...] = ()
    """onlink, linkdown, dead, offload …"""
    nexthops: tuple[Nexthop, ...] = ()
    """Several ways; ``via`` and ``dev`` are None then."""

    @property
    def family(self) -> Family:
        """That of the destination."""
        return VERSIONS[self.dst.version].inet


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A rule that chooses the routing table (ip-rule(8)); None asks nothing."""

    family: Family
    priority: int
    action: Word = "lookup"
    """lookup, l3mdev, goto, nop, blackhole, unreachable, prohibit."""
    table: int | None = None
    target: int | None = None
    """The priority a goto leads to."""
    invert: bool = False
    src: IPv4Network | IPv6Network | None = None
    dst: IPv4Network | IPv6Network | None = None
    iif: InterfaceName | None = None
    oif: InterfaceName | None = None
    fwmark: int | None = None
    fwmask: int | None = None
    """None: all 32 bits."""
    tos: int | None = None
    ipproto: int | None = None
    sport: tuple[int, int] | None = None
    """First and last."""
    dport: tuple[int, int] | None = None
    uids: tuple[int, int] | None = None
    suppress_prefix_length: int | None = None
    """A route with a prefix this short is as none: 0 leaves the default route out."""
    suppress_group: int | None = None
    protocol: int = 0
    unknown: tuple[str, ...] = ()
    """What else it asks, which this version cannot say: it fits fewer packets."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A host on a directly attached link (ip-neighbour(8))."""

    dst: IPv4Address | IPv6Address
    dev: InterfaceName
    mac: MacAddress | None = None
    """None also where links have no Ethernet addresses."""
    state: tuple[Word, ...] = ()
    """REACHABLE, STALE, FAILED, PERMANENT …"""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Rules as a tool saves them and loads them again."""

    tool: Tool
    text: str
    handles: tuple[int, ...] = field(default=(), compare=False)
    """nft's, of each rule in the order of the text; empty: not known.  They are the
    box's own: where the text is loaded again, rules have others."""

    @property
    def family(self) -> Literal["ip", "ip6"] | None:
        """Of the rules of an iptables; None of nft's and ipset's, each has its own."""
        if "tables" not in self.tool:
            return None
        return "ip6" if self.tool.startswith("ip6") else "ip"


@dataclass(frozen=True, slots=True)
class FlowColumn:
    """One column of many flows, packed (codec.flowcolumns)."""

    name: Word
    """As ``docs/reference/columns`` has it."""
    data: str
    width: int | None = None
    """Bytes of a row; of columns of text alone."""
    rows: str | None = None
    """Which rows have it, packed; None: all."""


@dataclass(frozen=True, slots=True)
class FlowColumns:
    """Many flows, a column after the other."""

    count: int
    columns: tuple[FlowColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A box at one moment.

    A part that was read and is empty is empty; one that could not be read is
    empty and named in ``missing``.
    """

    made_ns: int
    """When, ns since 1970."""
    natscope: str | None = None
    """The version of natscope that wrote it."""
    hostname: str | None = None
    kernel: str | None = None
    """uname(2)'s release."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """The version of each program that was asked, in its own words."""
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: Mapping[SysctlPath, str] = field(default_factory=dict)
    """By path under /proc/sys: ``net/ipv4/ip_forward``."""
    rulesets: tuple[Ruleset, ...] = ()
    """In the order they must be loaded."""
    flows: FlowColumns | None = None
    """The flows of that moment; None: not asked for, or they could not be read."""
    counters: Mapping[str, str] = field(default_factory=dict)
    """Files under /proc as they were: ``net/snmp``, ``net/stat/nf_conntrack``."""
    measured: Measured | None = None
    """Counters read twice, listeners …; None: not asked for."""
    is_redacted: bool = False
    """Public addresses and MAC addresses are stand-ins (views.redaction)."""
    missing: tuple[str, ...] = ()
    """What could not be read, and why, in words."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read; every box has links."""
        return bool(self.links) and not self.missing

    def number(self, path: str) -> int | None:
        """A setting by its path, ``net/ipv4/ip_forward``; None if it is not known."""
        told = self.sysctls.get(path, "")
        return int(told) if _NUMBER.fullmatch(told) else None

    @property
    def addresses(self) -> tuple[Interface, ...]:
        """The box's own addresses, each with its on-link prefix."""
        return tuple(
            ip_interface(f"{one.local}/{one.prefix}")
            for link in self.links
            for one in link.addresses
        )

    @property
    def evidence(self) -> Evidence:
        """What questions about the flows need to know of the box."""
        timeouts = {
            path.removeprefix(_OF_CONNTRACK): int(told)
            for path, told in self.sysctls.items()
            if path.startswith(_OF_CONNTRACK) and "timeout" in path
            if _SECONDS.fullmatch(told)
        }
        return Evidence(self.made_ns, timeouts, self.addresses)
