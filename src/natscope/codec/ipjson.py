"""What ``ip -j`` prints, read into the model.

``ip -N`` (numbers for what has names in /etc/iproute2) is understood and so are the
names every box has.  Absent members are absent facts; of a rule, a member that is
not known is kept by name, since a rule without it would fit more packets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from natscope.codec.document import from_json, wrong
from natscope.errors import DocumentError
from natscope.model.bundle import (
    Link,
    Neighbour,
    Route,
    RoutingRule,
)
from natscope.model.ipversion import Family
from natscope.uapi import rtnetlink

_TYPE_NAMES = """
    unspec unicast local broadcast anycast multicast blackhole unreachable prohibit
    throw nat xresolve
"""
_TYPES = dict(enumerate(_TYPE_NAMES.split()))
"""RTN_*, linux/rtnetlink.h; FR_ACT_* of rules has the same numbers from 6 on."""
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_TABLES = {
    "default": rtnetlink.RT_TABLE_DEFAULT,
    "main": rtnetlink.RT_TABLE_MAIN,
    "local": rtnetlink.RT_TABLE_LOCAL,
}
_PROTOCOLS = {"unspec": 0, "redirect": 1, "kernel": 2, "boot": 3, "static": 4}
_PROTOCOLS |= {"ra": 9, "dhcp": 16, "bird": 12, "zebra": 11, "bgp": 186, "ospf": 188}
_IP_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
_ALL = {"inet": ip_network("0.0.0.0/0"), "inet6": ip_network("::/0")}
_EVERYWHERE = frozenset({"all", "any", "default"})
_ACTIONS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
_MARKS = ("l3mdev", "nop", "goto")
"""Actions a rule tells by a member of that name."""
_RULE_MEMBERS = """
    priority src srclen dst dstlen not table action protocol iif oif fwmark fwmask tos
    ipproto sport sport_start sport_end dport dport_start dport_end uid_start uid_end
    suppress_prefixlen suppress_ifgroup l3mdev nop goto iif_detached oif_detached
    unresolved
"""
_OF_A_RULE = frozenset(_RULE_MEMBERS.split())
_ADDRESS_FLAGS = """
    secondary deprecated tentative dadfailed noprefixroute temporary dynamic nodad
    optimistic mngtmpaddr autojoin home stable-privacy
"""
_FLAGS = _ADDRESS_FLAGS.split()
"""Members of an address that are there when they are true."""


class _Told:
    """An object of JSON, and where it stands."""

    def __init__(self, value: object, path: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise wrong("an object", value, path)
        self._members: Mapping[str, object] = value
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def get(self, name: str) -> object:
        return self._members.get(name)

    def at(self, name: str) -> tuple[str, ...]:
        return (*self._path, name)

    def text(self, name: str) -> str | None:
        value = self._members.get(name)
        if value is None or isinstance(value, str):
            return value
        raise wrong("text", value, self.at(name))

    def number(self, name: str, names: Mapping[str, int] | None = None) -> int | None:
        """A number: as one, in text of base 10 or 16, or by a name it has."""
        value = self._members.get(name)
        if value is None or type(value) is int:
            return value
        if isinstance(value, str):
            word = value.removeprefix("ipproto-")
            if names and word in names:
                return names[word]
            try:
                return int(word, 0)
            except ValueError:
                pass
        raise wrong("a number", value, self.at(name))

    def word(self, name: str, names: Mapping[int, str]) -> str | None:
        """A word, or a number that stands for one."""
        value = self.text(name)
        if value is not None and value.isascii() and value.isdigit():
            return names.get(int(value), value)
        return value

    def inner(self, name: str) -> list[_Told]:
        """The objects of a list; none where there is no list."""
        value = self._members.get(name, [])
        if not isinstance(value, list):
            raise wrong("a list", value, self.at(name))
        return [
            _Told(one, (*self.at(name), str(at))) for at, one in enumerate(value) if one
        ]

    def words(self, name: str) -> list[object]:
        value = self._members.get(name, [])
        if not isinstance(value, list):
            raise wrong("a list", value, self.at(name))
        return value

    def range(self, name: str) -> list[int] | None:
        """A number, or the first and last as NAME_start and NAME_end."""
        one = self.number(name)
        if one is not None:
            return [one, one]
        first, last = self.number(f"{name}_start"), self.number(f"{name}_end")
        return None if first is None or last is None else [first, last]

    def prefix(
        self, name: str, family: Family, length: str | None = None
    ) -> str | None:
        """A prefix; ``default`` is all there is, a bare address is itself alone."""
        told = self.text(name)
        if told is None or told in _EVERYWHERE:
            return None if told is None else str(_ALL[family])
        size = None if length is None else self.number(length)
        try:
            # host bits may be set: the kernel keeps them in rules
            return str(ip_network(told if size is None else f"{told}/{size}", False))
        except ValueError:
            raise wrong("a prefix", told, self.at(name)) from None


def parse_links(text: str) -> tuple[Link, ...]:
    """``ip -j -d addr``: interfaces with their addresses.

    Raises:
        DecodeError: it is something else.
    """
    told = _objects(text, "link")
    names = {one.number("ifindex"): one.text("ifname") for one in told}
    return tuple(_link(one, names) for one in told)


def parse_routes(text: str, family: Family) -> tuple[Route, ...]:
    """``ip -4 -j -d route show table all``, or ``-6``.

    Raises:
        DecodeError: it is something else.
    """
    return tuple(_route(one, family) for one in _objects(text, "route"))


def parse_rules(text: str, family: Family) -> tuple[RoutingRule, ...]:
    """``ip -4 -j -d rule``, or ``-6``.

    Raises:
        DecodeError: it is something else.
    """
    return tuple(_rule(one, family) for one in _objects(text, "rule"))


def parse_neighbours(text: str) -> tuple[Neighbour, ...]:
    """``ip -j neigh``.

    Raises:
        DecodeError: it is something else.
    """
    found = []
    for told in _objects(text, "neigh"):
        members = {
            "dst": told.text("dst"),
            "dev": told.text("dev"),
            "mac": _mac(told.text("lladdr")),
            "state": told.words("state"),
        }
        found.append(from_json(Neighbour, _present(members), told.at("")[:-1]))
    return tuple(found)


def _objects(text: str, what: str) -> list[_Told]:
    try:
        value = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"is no JSON: {error}", path=("ip", what)) from None
    return _Told({what: value}, ("ip",)).inner(what)


def _present(members: Mapping[str, object]) -> dict[str, object]:
    return {name: told for name, told in members.items() if told is not None}


def _link(told: _Told, names: Mapping[int | None, str | None]) -> Link:
    flags = told.words("flags")
    info = _child(told, "linkinfo")
    data = _child(info, "info_data")
    kind = info.text("info_kind")
    lower = told.text("link") or names.get(told.number("link_index"))
    members = {
        "name": told.text("ifname"),
        "index": told.number("ifindex"),
        "up": "UP" in flags,
        "mtu": told.number("mtu"),
        "kind": kind,
        "mac": _mac(told.text("address")),
        "master": told.text("master"),
        "link": None if "link_netnsid" in told else lower,
        "vlan_id": data.number("id") if kind == "vlan" else None,
        "vrf_table": data.number("table", _TABLES) if kind == "vrf" else None,
        "group": told.number("group", {"default": 0}),
        "flags": flags,
        "addresses": [_address(one) for one in told.inner("addr_info")],
    }
    return from_json(Link, _present(members), told.at("")[:-1])


def _child(told: _Told, name: str) -> _Told:
    value = told.get(name)
    return _Told({} if value is None else value, told.at(name))


def _mac(told: str | None) -> str | None:
    """An Ethernet address; of a tunnel, ip prints an IP address in its place."""
    return told if told is not None and len(told) == 17 and told[2] == ":" else None


def _address(told: _Told) -> dict[str, object]:
    """The members of a LinkAddress."""
    return _present(
        {
            "local": told.text("local"),
            "prefix": told.number("prefixlen"),
            "scope": told.word("scope", _SCOPES),
            "peer": told.text("address"),
            "broadcast": told.text("broadcast"),
            "label": told.text("label"),
            "metric": told.number("metric"),
            "flags": [name for name in _FLAGS if told.get(name) is True],
        }
    )


def _route(told: _Told, family: Family) -> Route:
    kind = told.word("type", _TYPES)
    metrics = told.inner("metrics")
    sizes = metrics[0] if metrics else _Told({}, ())
    members = {
        "dst": told.prefix("dst", family),
        "table": told.number("table", _TABLES) or rtnetlink.RT_TABLE_MAIN,
        "type": kind or "unicast",
        "via": _gateway(told),
        "dev": told.text("dev"),
        "protocol": told.number("protocol", _PROTOCOLS),
        "scope": told.word("scope", _SCOPES),
        "metric": told.number("metric"),
        "prefsrc": told.text("prefsrc"),
        "src": told.prefix("from", family),
        "tos": told.number("tos"),
        "mtu": sizes.number("mtu"),
        "advmss": sizes.number("advmss"),
        "preference": told.text("pref"),
        "realm": _child(told, "flow").number("to"),
        "encap": told.text("encap"),
        "flags": told.words("flags"),
        "nexthops": [_nexthop(one) for one in told.inner("nexthops")],
    }
    return from_json(Route, _present(members), told.at("")[:-1])


def _gateway(told: _Told) -> str | None:
    """RTA_GATEWAY, or RTA_VIA where it is of the other family."""
    return told.text("gateway") or _child(told, "via").text("host")


def _nexthop(told: _Told) -> dict[str, object]:
    """The members of a Nexthop."""
    return _present(
        {
            "via": _gateway(told),
            "dev": told.text("dev"),
            "weight": told.number("weight"),
            "flags": told.words("flags"),
        }
    )


def _rule(told: _Told, family: Family) -> RoutingRule:
    action = next((name for name in _MARKS if name in told), None)
    members = {
        "family": family,
        "priority": told.number("priority") or 0,
        "action": action or told.word("action", _ACTIONS) or "lookup",
        "table": told.number("table", _TABLES),
        "target": told.number("goto"),
        "invert": "not" in told,
        "src": _chosen(told, "src", family),
        "dst": _chosen(told, "dst", family),
        "iif": told.text("iif"),
        "oif": told.text("oif"),
        "fwmark": told.number("fwmark"),
        "fwmask": told.number("fwmask"),
        "tos": told.number("tos"),
        "ipproto": told.number("ipproto", _IP_PROTOCOLS),
        "sport": told.range("sport"),
        "dport": told.range("dport"),
        "uids": told.range("uid"),
        "suppress_prefix_length": told.number("suppress_prefixlen"),
        "suppress_group": told.number("suppress_ifgroup"),
        "protocol": told.number("protocol", _PROTOCOLS),
        "unknown": sorted(set(told) - _OF_A_RULE),
    }
    return from_json(RoutingRule, _present(members), told.at("")[:-1])


def _chosen(told: _Told, name: str, family: Family) -> str | None:
    """What a rule asks of an address; ``all`` asks nothing."""
    if told.text(name) in _EVERYWHERE:
        return None
    return told.prefix(name, family, f"{name}len")
