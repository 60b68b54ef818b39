"""Where a box's packets may go: default routes, several ways, the interface of each.

The main table alone is looked into for an interface: what a routing rule chooses by
more than the destination cannot be said of a flow.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrules import NatRule
from natscope.codec.text.natsure import taken
from natscope.model.bundle import Bundle, Link, Route, RoutingRule
from natscope.model.ipversion import VERSIONS, Family
from natscope.views.doctor.reading.spans import addresses_within, span_of

MAIN = 254
"""RT_TABLE_MAIN."""
LOCAL = 255
_OWN_TABLES = {0: LOCAL, 32766: MAIN, 32767: 253}
"""Of the rules every box has, by their priority (fib_default_rules_init)."""


def default_devices(bundle: Bundle, family: Family) -> list[str]:
    """The interfaces default routes lead through, each once; of any table."""
    found = [
        dev
        for route in bundle.routes
        if route.family == family and not route.dst.prefixlen and _is_used(route)
        for dev in _devices(route)
    ]
    return list(dict.fromkeys(found))


def has_several_ways(bundle: Bundle, family: Family) -> bool:
    """Whether a packet and its reply may well take different interfaces.

    Two interfaces with a default route, the same prefix through two, or a rule that
    chooses the routing table.
    """
    if len(default_devices(bundle, family)) > 1:
        return True
    prefixes: dict[object, set[str]] = {}
    for route in bundle.routes:
        # every IPv6 interface has its own fe80::/64 and ff00::/8
        if route.family == family and _is_used(route) and not _is_of_link(route):
            prefixes.setdefault(route.dst, set()).update(_devices(route))
    return any(len(found) > 1 for found in prefixes.values()) or any(
        rule.family == family and rule.priority not in _OWN_TABLES
        for rule in bundle.rules
        if rule.action != "l3mdev"
    )


def is_routed_by_rules(bundle: Bundle) -> bool:
    """Whether rules choose the table, for VRFs too: the main one may be wrong."""
    return not all(map(_is_own, bundle.rules))


def _is_own(rule: RoutingRule) -> bool:
    """Whether it is one of those every box has, as the kernel made it."""
    table = _OWN_TABLES.get(rule.priority)
    plain = RoutingRule(rule.family, rule.priority, table=table, protocol=rule.protocol)
    return table is not None and rule == plain


def several_ways(bundle: Bundle) -> bool:
    """The same, of either family."""
    return any(has_several_ways(bundle, one.inet) for one in VERSIONS.values())


def translating(bundle: Bundle, rules: Iterable[NatRule]) -> set[str]:
    """Interfaces out of which a rule translates sources, whatever the destination.

    Tunnels are left out: behind a VPN is a network, not another way to the world.
    """
    found = set()
    for nat in rules:
        if nat.gives is not None and nat.gives.is_source:
            what = taken(nat.rule)
            if what is not None and what.asked.oif and not what.asked.dst:
                found.add(what.asked.oif)
    ends = {one.name for one in bundle.links if "POINTOPOINT" in one.flags}
    return found - ends


def link(bundle: Bundle, name: str) -> Link | None:
    """An interface by its name."""
    return next((one for one in bundle.links if one.name == name), None)


def outgoing(
    bundle: Bundle, version: int, words: NDArray[np.uint64]
) -> tuple[list[str], NDArray[np.intp]]:
    """The interface the main table gives for destinations of one family.

    Args:
        bundle: the box.
        version: 4 or 6.
        words: (n, 2) high and low word of each address.

    Returns:
        Names, and for each address the position of its own; 0, whose name is empty,
        where no route or several lead there.
    """
    names = [""]
    codes = np.zeros(len(words), np.intp)
    found = _networks(bundle, version)
    for network in sorted(found, key=lambda one: one.prefixlen):
        dev = found[network]
        if dev not in names:
            names.append(dev)
        codes[addresses_within(words, (span_of(network),))] = names.index(dev)
    return names, codes


def _networks(bundle: Bundle, version: int) -> dict[IPv4Network | IPv6Network, str]:
    """The interface of each prefix: by its route of the least metric."""
    best: dict[IPv4Network | IPv6Network, tuple[int, set[str]]] = {}
    for route in bundle.routes:
        if route.table != MAIN or route.dst.version != version or "dead" in route.flags:
            continue
        # with linkdown it depends on a sysctl, with a source or a TOS on the packet
        is_sure = _is_used(route) and route.src is None and not route.tos
        devices = set(_devices(route)) if is_sure else {""}
        metric = route.metric or 0
        known, others = best.get(route.dst, (metric, set()))
        if metric <= known:
            both = devices | others if metric == known else devices
            best[route.dst] = metric, both
    return {dst: one.pop() if len(one) == 1 else "" for dst, (_, one) in best.items()}


def _is_used(route: Route) -> bool:
    is_way = route.type == "unicast" and route.table != LOCAL
    return is_way and not _is_down(route)


def _is_down(route: Route) -> bool:
    return bool({"dead", "linkdown"} & set(route.flags))


def _is_of_link(route: Route) -> bool:
    return route.dst.is_link_local or route.dst.is_multicast


def _devices(route: Route) -> list[str]:
    several = [one.dev for one in route.nexthops if "dead" not in one.flags]
    return [dev for dev in (several or [route.dev]) if dev is not None]
