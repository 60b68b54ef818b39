"""Lines for ``ip -batch -`` that make a box's addresses, routes and rules again.

They are for an empty network namespace with plain interfaces of the same names.
Prefix routes are written out and their addresses added with noprefixroute, so that
it does not matter which of them the kernel, a DHCP client or a hand had made.  A
gateway the kernel would not find on the link by itself is said to be there: onlink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

from natscope.model.bundle import (
    Bundle,
    Link,
    LinkAddress,
    Nexthop,
    Route,
    RoutingRule,
)
from natscope.model.ipversion import Family
from natscope.uapi import rtnetlink

_OWN_ADDRESSES = {ip_address("127.0.0.1"), ip_address("::1")}
"""What the loopback interface gets when it goes up."""
_LOOPBACK = ip_network("127.0.0.0/8")
_OF_EVERY_BOX = frozenset(map(ip_network, ("::1/128", "fe80::/64", "ff00::/8")))
_MTU = range(68, 65536)
"""Of a veth."""
_UNROUTED = frozenset({"blackhole", "unreachable", "prohibit", "throw"})
_OF_ADDRESSES = frozenset({"local", "broadcast"})
_LAST_METRIC = 0xFFFF_FFFF
"""Of ip6_null_entry, which older kernels print."""
_DEFAULT_RULES: dict[Family, dict[int, int]] = {
    "inet": {
        0: rtnetlink.RT_TABLE_LOCAL,
        32766: rtnetlink.RT_TABLE_MAIN,
        32767: rtnetlink.RT_TABLE_DEFAULT,
    },
    "inet6": {0: rtnetlink.RT_TABLE_LOCAL, 32766: rtnetlink.RT_TABLE_MAIN},
}
"""What every namespace begins with: fib_default_rules_init()."""


def commands(bundle: Bundle) -> list[str]:
    """Lines for ``ip -batch -``: MTU, addresses, up, routes, IPv4 rules.

    Left out is what the kernel makes by itself, what belongs to an interface that
    is down or not there, and rules that ask something this version does not know.
    """
    lines = [line for link in bundle.links for line in _link(link)]
    lines += _routes(bundle)
    lines += _rules(bundle, "inet")
    return lines


def inet6_commands(bundle: Bundle) -> list[str]:
    """Lines for ``ip -6 -batch -``: IPv6 rules, of which most boxes have none.

    ip(8) takes the family of a rule from its command line alone.
    """
    return list(_rules(bundle, "inet6"))


def _link(link: Link) -> Iterator[str]:
    is_loopback = "LOOPBACK" in link.flags
    if not is_loopback and link.mtu in _MTU:
        yield f"link set dev {link.name} mtu {link.mtu}"
    if is_loopback and link.up:
        yield f"link set dev {link.name} up"
    for address in link.addresses:
        if "dadfailed" in address.flags:
            continue
        if not (is_loopback and address.local in _OWN_ADDRESSES):
            yield _address(address, link)
    if link.up and not is_loopback:
        yield f"link set dev {link.name} up"


def _address(address: LinkAddress, link: Link) -> str:
    # the kernel makes a link-local address and its route when the link goes up
    is_own = address.local.version == 6 and address.local.is_link_local
    verb = "replace" if is_own else "add"
    place = f"{address.local}/{address.prefix}"
    if address.peer is not None:
        place = f"{address.local} peer {address.peer}/{address.prefix}"
    words = [f"addr {verb} {place} dev {link.name} scope {address.scope}"]
    if address.broadcast is not None:
        words.append(f"broadcast {address.broadcast}")
    if address.local.version == 6:
        words.append("nodad")
        if "deprecated" in address.flags:
            words.append("preferred_lft 0")
    if not is_own:
        words.append("noprefixroute")
    return " ".join(words)


def _routes(bundle: Bundle) -> list[str]:
    up = {link.name for link in bundle.links if link.up}
    made = _made_by_the_kernel(bundle.links)
    ways = [
        (route, hops)
        for route in bundle.routes
        if not _is_made(route, made) and (hops := _usable(route, up)) is not None
    ]
    # a gateway must be on the link already
    ways.sort(key=lambda way: any(hop.via for hop in way[1]))
    on_link = _OnLink(bundle.routes)
    return [_route(route, hops, on_link) for route, hops in ways]


def _made_by_the_kernel(
    links: Sequence[Link],
) -> set[tuple[str, IPv4Address | IPv6Address]]:
    """Type and destination of what addresses put into the local table.

    fib_add_ifaddr() and ipv6_add_addr() do it.
    """
    made: set[tuple[str, IPv4Address | IPv6Address]] = set()
    for link in links:
        for address in link.addresses:
            made.add(("local", address.local))
            if address.broadcast is not None:
                made.add(("broadcast", address.broadcast))
            if "secondary" in address.flags or address.prefix >= 31:
                continue
            if address.local.version == 4:
                end = address.peer or address.local
                prefix = IPv4Network(f"{end}/{address.prefix}", strict=False)
                made.add(("broadcast", prefix.broadcast_address))
    return made


def _is_made(route: Route, made: set[tuple[str, IPv4Address | IPv6Address]]) -> bool:
    if route.protocol != rtnetlink.RTPROT_KERNEL:
        return False
    if route.metric == _LAST_METRIC or route.type == "anycast":
        return True
    if route.dst in _OF_EVERY_BOX:
        return True
    if route.table != rtnetlink.RT_TABLE_LOCAL:
        return False
    if route.dst == _LOOPBACK:
        return True
    if route.dst.prefixlen != route.dst.max_prefixlen:
        return False
    address = route.dst.network_address
    return (route.type, address) in made or address in _LOOPBACK


def _usable(route: Route, up: set[str]) -> tuple[Nexthop, ...] | None:
    """The hops by way of interfaces that are up; None: no way is left."""
    if route.type in _UNROUTED:
        return ()
    return tuple(hop for hop in _hops(route) if hop.dev in up) or None


def _hops(route: Route) -> tuple[Nexthop, ...]:
    return route.nexthops or (Nexthop(route.via, route.dev, flags=route.flags),)


class _OnLink:
    """Says of gateways whether the kernel would find them on the link by itself.

    fib_check_nh() and ip6_route_check_nh() look in the table of the route and in
    the ones every packet asks; the longest match must be a route without gateway.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._hops = [(route, hop) for route in routes for hop in _hops(route)]
        self._known: dict[tuple[object, ...], bool] = {}

    def finds(self, hop: Nexthop, table: int) -> bool:
        """Whether a gateway needs no word that it is there."""
        if hop.via is None or (hop.via.version == 6 and hop.via.is_link_local):
            return True
        asked = (hop.via, hop.dev, table)
        if asked not in self._known:
            self._known[asked] = self._search(hop.via, hop.dev, table)
        return self._known[asked]

    def _search(
        self, via: IPv4Address | IPv6Address, dev: str | None, table: int
    ) -> bool:
        tables = (table, rtnetlink.RT_TABLE_MAIN)
        matching = [
            (route.dst.prefixlen, hop.via is None)
            for route, hop in self._hops
            if hop.dev == dev
            and route.table in tables
            and route.type == "unicast"
            and route.src is None
            and via in route.dst
        ]
        return max(matching, default=(0, False))[1]


def _route(route: Route, hops: Sequence[Nexthop], on_link: _OnLink) -> str:
    # a VRF has made its own local routes by now, where it is a real one
    verb = "replace" if route.type in _OF_ADDRESSES else "append"
    words = [f"route {verb} {route.type} {route.dst}"]
    if route.src is not None:
        words.append(f"from {route.src}")
    if route.tos:
        words.append(f"tos {route.tos:#x}")
    words.append(f"table {route.table} proto {route.protocol}")
    if route.family == "inet":
        words.append(f"scope {route.scope}")
    if route.metric:
        words.append(f"metric {route.metric}")
    if route.prefsrc is not None:
        words.append(f"src {route.prefsrc}")
    named = {
        "mtu": route.mtu,
        "advmss": route.advmss,
        "realm": route.realm,
        "pref": route.preference,
    }
    words += [f"{name} {told}" for name, told in named.items() if told is not None]
    for hop in hops:
        if len(route.nexthops) > 1:
            words.append("nexthop")
        words += _hop(hop, route, on_link)
    return " ".join(words)


def _hop(hop: Nexthop, route: Route, on_link: _OnLink) -> Iterator[str]:
    if hop.via is not None:
        other = "inet6 " if hop.via.version != route.dst.version else ""
        yield f"via {other}{hop.via}"
    if hop.dev is not None:
        yield f"dev {hop.dev}"
    if len(route.nexthops) > 1:
        yield f"weight {hop.weight}"
    if "onlink" in hop.flags or not on_link.finds(hop, route.table):
        yield "onlink"


def _rules(bundle: Bundle, family: Family) -> Iterator[str]:
    rules = [rule for rule in bundle.rules if rule.family == family]
    if not rules:
        return  # not read, or no such family here
    defaults = {
        RoutingRule(family, priority, table=table, protocol=rtnetlink.RTPROT_KERNEL)
        for priority, table in _DEFAULT_RULES[family].items()
    }
    for rule in rules:
        if rule.action == "l3mdev":
            yield from _vrf_rules(rule, bundle.links)
        elif rule not in defaults and not rule.unknown:
            yield _rule(rule)
    for gone in sorted(defaults - set(rules), key=lambda rule: rule.priority):
        yield f"rule del priority {gone.priority} lookup {gone.table}"


def _vrf_rules(rule: RoutingRule, links: Sequence[Link]) -> Iterator[str]:
    """What the l3mdev rule does for each VRF, where its device is a plain one."""
    tables = {link.name: link.vrf_table for link in links if link.vrf_table}
    for link in links:
        table = tables.get(link.name) or tables.get(link.master or "")
        if table:
            start = f"rule add priority {rule.priority}"
            yield f"{start} iif {link.name} lookup {table}"
            yield f"{start} oif {link.name} lookup {table}"


def _rule(rule: RoutingRule) -> str:
    words = ["rule add" + (" not" if rule.invert else "")]
    words.append(f"priority {rule.priority}")
    named = {
        "from": rule.src,
        "to": rule.dst,
        "iif": rule.iif,
        "oif": rule.oif,
        "ipproto": rule.ipproto,
        "sport": _span(rule.sport),
        "dport": _span(rule.dport),
        "uidrange": None if rule.uids is None else f"{rule.uids[0]}-{rule.uids[1]}",
        "suppress_prefixlength": rule.suppress_prefix_length,
        "suppress_ifgroup": rule.suppress_group,
        "protocol": rule.protocol or None,
    }
    words += [f"{name} {told}" for name, told in named.items() if told is not None]
    if rule.tos:
        words.append(f"tos {rule.tos:#x}")
    if rule.fwmark is not None or rule.fwmask is not None:
        mask = "" if rule.fwmask is None else f"/{rule.fwmask:#x}"
        words.append(f"fwmark {rule.fwmark or 0:#x}{mask}")
    words.append(_action(rule))
    return " ".join(words)


def _span(ports: tuple[int, int] | None) -> str | None:
    if ports is None:
        return None
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _action(rule: RoutingRule) -> str:
    if rule.action == "lookup":
        return f"lookup {rule.table}"
    if rule.action == "goto":
        return f"goto {rule.target}"
    return rule.action
