"""What else may have made a flow what it is, on a box with several ways.

What a rehearsal calls stale, though some rule may give it, need not be: the flow may
have come in, or gone out, by another way than its first packet would today.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrule import has_doubt
from natscope.codec.text.natrules import rulesets
from natscope.model.bundle import Bundle, Network, Route
from natscope.model.flow import Flow
from natscope.model.tuples import Address
from natscope.rehearse.attribution.fitting import within
from natscope.rehearse.attribution.search import VERSIONS
from natscope.table.attribution import Making, Origin
from natscope.table.flowtable import FlowTable

Mask = NDArray[np.bool_]

BY_ANOTHER_WAY = "it would be so, had it come in by another interface"
SEVERAL_WAYS = Making(
    Origin.UNKNOWN, is_certain=False, why="chance chooses the way to where it goes"
)
OWN_CHOICE = Making(
    Origin.UNKNOWN,
    is_certain=False,
    why="the box's own, and its program may have chosen the way "
    "(SO_MARK, SO_BINDTODEVICE)",
)
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_MARKING = re.compile(r"\bmark set\b|-j (?:MARK|CONNMARK)\b")


class Doubts:
    """The ways of a box.

    Args:
        bundle: the box.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._own: dict[str, list[Network]] = {
            link.name: [ip_network(address.local) for address in link.addresses]
            for link in bundle.links
        }
        self._tables: dict[int, list[Route]] = defaultdict(list)
        self._reached: dict[str, list[Network]] = defaultdict(list)
        routes = [route for route in bundle.routes if route.type == "unicast"]
        for route in routes:
            self._tables[route.table].append(route)
            for way in _ways(route):
                self._reached[way].append(route.dst)
        self._by_mark = any(
            rule.fwmark is not None or rule.uids is not None for rule in bundle.rules
        )
        self._by_chance = [route.dst for route in routes if route.nexthops]
        if self._by_mark and _marks_by_chance(bundle):
            self._by_chance += _EVERYWHERE

    def ways(self, flow: Flow) -> set[str]:
        """The interfaces a flow may have come in by, whatever chooses the route back.

        Those a route leads to its source by, and the one that has its destination.
        """
        found = {w for w, nets in self._own.items() if flow.orig.dst in _hosts(nets)}
        for routes in self._tables.values():
            found |= _nearest(routes, flow.orig.src)
        return found

    def several_ways(self, table: FlowTable) -> Mask:
        """Which rows go where chance chooses the way, by next hops or by marks."""
        return _within(table, "reply_src", self._by_chance)

    def own_choice(self, table: FlowTable) -> Mask:
        """Which rows a program of the box may have sent by another way.

        Marks or users choose routes, several ways lead there, or none by the interface
        that has its address: it was bound to that.
        """
        own = _within(
            table, "orig_src", [n for nets in self._own.values() for n in nets]
        )
        if self._by_mark or not own.any():
            return own
        rows = np.flatnonzero(own)
        sent = table.take(rows)
        ways, near = np.zeros(len(sent), np.intp), np.zeros(len(sent), np.intp)
        bound = np.zeros(len(sent), np.bool_)
        for name, addresses in self._own.items():
            networks = self._reached.get(name, [])
            reached = _within(sent, "reply_src", networks)
            bound |= _within(sent, "orig_src", addresses) & ~reached
            ways += reached
            near += _within(sent, "reply_src", [n for n in networks if n.prefixlen])
        own[rows] = bound | (np.where(near > 0, near, ways) > 1)
        return own


def _marks_by_chance(bundle: Bundle) -> bool:
    """Whether a table that sets marks has a rule not every packet fares alike by."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in rulesets(bundle).rules:
        kinds = found[rule.family, rule.table]
        kinds |= {"doubt"} if has_doubt(rule.text) else set()
        kinds |= {"mark"} if _MARKING.search(rule.text) else set()
    return any(len(kinds) == 2 for kinds in found.values())


def _ways(route: Route) -> Iterator[str]:
    for way in (route.dev, *(hop.dev for hop in route.nexthops)):
        if way is not None:
            yield way


def _hosts(networks: Iterable[Network]) -> set[Address]:
    return {network.network_address for network in networks}


def _nearest(routes: Iterable[Route], address: Address) -> set[str]:
    """The ways of those routes of a table that are for the fewest addresses."""
    found = [route for route in routes if address in route.dst]
    longest = max((route.dst.prefixlen for route in found), default=0)
    near = (route for route in found if route.dst.prefixlen == longest)
    return {way for route in near for way in _ways(route)}


def _within(table: FlowTable, column: str, networks: Iterable[Network]) -> Mask:
    """Which rows have an address of some networks in a column."""
    found = np.zeros(len(table), np.bool_)
    for version, family in VERSIONS.items():
        spans = tuple(
            (int(one.network_address), int(one.broadcast_address))
            for one in networks
            if one.version == version
        )
        if spans:
            found |= (table["family"] == family) & within(table[column], spans)
    return found
