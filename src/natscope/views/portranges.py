"""The source ports a NAT rule may give: from its text, else the kernel's classes."""

from __future__ import annotations

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
        found = [
            source.ports
            for source in (*self._by_address.get(address, ()), *self._others)
            if source.asks.version in (None, version)
            and (not source.asks.protos or proto in source.asks.protos)
            and _within(address, source.addresses)
        ]
        named = {r for r in found if r is not None}
        by_rule = sorted(r for r in named if r.size > 1)
        if None not in found and any(r.is_for_all for r in named):
            return tuple(by_rule)
        return (*by_rule, *(IDS if proto in _ICMP else CLASSES))


def _within(address: int, spans: tuple[Span, ...]) -> bool:
    return not spans or any(first <= address <= last for first, last in spans)


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
    for nat in rules:
        if nat.gives is None or not nat.gives.is_source:
            continue
        asks, addresses = asked(nat.rule), nat.gives.addresses
        given = blocks(nat.rule, named) if nat.gives.is_map else ()
        for span, block in given:
            yield _Source((span,), asks, _range(block, nat.rule, asks))
        if given:
            continue
        ports = nat.gives.ports and _range(nat.gives.ports, nat.rule, asks)
        if nat.gives.kind == "masquerade" and asks.oif is not None:
            addresses = own.get(asks.oif, ())
        yield _Source(addresses, asks, ports)
