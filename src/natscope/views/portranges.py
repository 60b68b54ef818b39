"""The source ports a NAT rule may give: from its text, else the kernel's classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from natscope import uapi
from natscope.codec.text.natblocks import MapName, blocks, maps
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Span
from natscope.codec.text.natrules import NatRule, nat_rules
from natscope.model.bundle import Bundle, Link
from natscope.model.journey import Rule
from natscope.views.makings import name

_WHOLE = re.compile(
    r"(?:"
    r'(?:oif(?:name)? "[^"*]+"|(?:meta l4proto|ip protocol) '
    r"(?:\{[^}]*\}|\w+)|counter) "
    r")*(?:snat|masquerade)\b"
    r"|-A \S+ (?:-o [^\s+]+ |-p \w+ |-m (?:tcp|udp) )*-j (?:SNAT|MASQUERADE)\b"
)
"""A rule that asks for nothing but interfaces and protocols."""
_PROTOCOL = re.compile(r"l4proto|ip protocol|-p ")
_ICMP = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports (or ICMP ids) a search may give, both ends within."""

    first: int
    last: int
    rule: str = field(default="", compare=False)
    """The rule that says so, as makings.name(); empty: the kernel's own class.  Rules
    that are loaded again have other handles, and give the same ports."""
    to: tuple[Span, ...] = ()
    """Destinations the rule is for, as numbers; empty: all."""
    to_ports: tuple[Span, ...] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return self.last - self.first + 1

    @property
    def is_for_all(self) -> bool:
        """Whether it is for every destination."""
        return not self.to and not self.to_ports

    def is_for(self, address: int, port: int) -> bool:
        """Whether it is for a destination."""
        return _within(address, self.to) and _within(port, self.to_ports)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


CLASSES = (PortRange(1, 511), PortRange(600, 1023), PortRange(1024, 65_535))
"""Where a rule names no ports, a flow stays in the class of its own port
(nf_nat_l4proto_unique_tuple)."""
IDS = (PortRange(0, 65_535),)
"""ICMP ids."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A rule that translates sources."""

    addresses: tuple[Span, ...]
    """Those it gives; empty: any."""
    asks: Asked
    ports: PortRange | None
    """None: the kernel's classes."""
    rule: Rule
    behind: frozenset[Asked]
    """What rules before it in its chain take whole: that it never meets."""

    def meets(self, version: int, proto: int) -> bool:
        """Whether it may meet packets of a protocol."""
        return _asks_for(self.asks, version, proto) and not any(
            _asks_for(asks, version, proto) for asks in self.behind
        )


class PortRanges:
    """The ranges in force on a box.

    Args:
        rules: its NAT rules, in any order; none: they are not known.
        links: its interfaces: which addresses masquerading gives.
        named: see natblocks.maps(): which ports the rules give by a map.
    """

    def __init__(
        self,
        rules: Iterable[NatRule] = (),
        links: Iterable[Link] = (),
        named: Mapping[MapName, str] | None = None,
    ) -> None:
        self._by_address: dict[int, list[_Source]] = {}
        self._others: list[_Source] = []
        own = {link.name: tuple(_own(link)) for link in links}
        for source in _sources(rules, own, named or {}):
            spans = source.addresses
            if spans and all(first == last for first, last in spans):
                for first, _ in spans:
                    self._by_address.setdefault(first, []).append(source)
            else:
                self._others.append(source)

    def of(self, version: int, address: int, proto: int) -> tuple[PortRange, ...]:
        """The ranges from which flows get the ports of a public address.

        A range of one port is none: the kernel gives it without a search.

        Args:
            version: 4 or 6.
            address: the public one, as a number.
            proto: IP protocol number.
        """
        found = [source.ports for source in self._sources(version, address, proto)]
        named = {r for r in found if r is not None}
        by_rule = sorted(r for r in named if r.size > 1)
        if None not in found and any(r.is_for_all for r in named):
            return tuple(by_rule)
        return (*by_rule, *(IDS if proto in _ICMP else CLASSES))

    def rules(
        self, version: int, address: int, proto: int, given: PortRange
    ) -> list[Rule]:
        """The rules by which flows of a public address get the ports of a range.

        Args:
            version: and the next two as for :meth:`of`.
            address: see there.
            proto: see there.
            given: one of the ranges that tells.
        """
        ports = given if given.rule else None
        return [
            source.rule
            for source in self._sources(version, address, proto)
            if source.ports == ports
        ]

    def _sources(self, version: int, address: int, proto: int) -> list[_Source]:
        return [
            source
            for source in (*self._by_address.get(address, ()), *self._others)
            if source.meets(version, proto) and _within(address, source.addresses)
        ]


def _asks_for(asks: Asked, version: int, proto: int) -> bool:
    return asks.version in (None, version) and proto in (asks.protos or (proto,))


def _within(number: int, spans: tuple[Span, ...]) -> bool:
    return not spans or any(first <= number <= last for first, last in spans)


def ranges_of(box: Bundle, rules: Iterable[NatRule] | None = None) -> PortRanges:
    """The ranges in force on a box.

    Args:
        box: the box.
        rules: its NAT rules, if they were read already.
    """
    rules = nat_rules(box) if rules is None else rules
    return PortRanges(rules, box.links, maps(box))


def _range(ports: Span, rule: Rule, asks: Asked) -> PortRange:
    first, last = sorted(ports)
    return PortRange(first, last, name(rule), asks.dst, asks.dports)


def _own(link: Link) -> Iterator[Span]:
    for one in link.addresses:
        yield int(one.local), int(one.local)


def _sources(
    rules: Iterable[NatRule],
    own: Mapping[str, tuple[Span, ...]],
    named: Mapping[MapName, str],
) -> Iterator[_Source]:
    taken: dict[tuple[str, str, str, str | None], set[Asked]] = {}
    for nat in rules:
        if nat.gives is None or not nat.gives.is_source:
            continue
        asks, addresses = asked(nat.rule), nat.gives.addresses
        chain = nat.rule.family, nat.rule.table, nat.rule.chain
        before = (taken.get((*chain, oif), ()) for oif in {None, asks.oif})
        behind = frozenset(asks for whole in before for asks in whole)
        if takes_whole(nat):
            taken.setdefault((*chain, asks.oif), set()).add(asks)
        given = blocks(nat.rule, named) if nat.gives.is_map else ()
        for span, block in given:
            one = _range(block, nat.rule, asks)
            yield _Source((span,), asks, one, nat.rule, behind)
        if given:
            continue
        named_ports = nat.gives.ports
        ports = None if named_ports is None else _range(named_ports, nat.rule, asks)
        if nat.gives.kind == "masquerade" and asks.oif is not None:
            addresses = own.get(asks.oif, ())
        yield _Source(addresses, asks, ports, nat.rule, behind)


def takes_whole(nat: NatRule) -> bool:
    """Whether a rule surely takes all that it asks for by protocol and interface, so
    that no rule behind it in its chain meets any of that."""
    if nat.gives is None or nat.gives.is_map:
        return False
    if nat.rule.family == "inet" and nat.gives.addresses:
        return False  # of one version, which the text need not tell
    found = _WHOLE.match(nat.rule.text)
    if found is None:
        return False
    return not _PROTOCOL.search(found[0]) or bool(asked(nat.rule).protos)
