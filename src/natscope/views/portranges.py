"""The source ports a NAT rule may give: from its text, else the kernel's classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Span
from natscope.codec.text.natrules import NatRule
from natscope.views.makings import name

_ICMP = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports (or ICMP ids) a search may give, both ends within."""

    first: int
    last: int
    rule: str = ""
    """The rule that says so, as makings.name(); empty: the kernel's own class."""
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
    """Those it gives; empty: any of the box."""
    asks: Asked
    ports: PortRange | None
    """None: the kernel's classes."""


class PortRanges:
    """The ranges in force on a box.

    Args:
        rules: its NAT rules, in any order; none: they are not known.
    """

    def __init__(self, rules: Iterable[NatRule] = ()) -> None:
        self._by_address: dict[int, list[_Source]] = {}
        self._others: list[_Source] = []
        for source in _sources(rules):
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
        named = {(r.first, r.last, r.to, r.to_ports): r for r in found if r is not None}
        by_rule = sorted(r for r in named.values() if r.size > 1)
        if None not in found and any(r.is_for_all for r in named.values()):
            return tuple(by_rule)
        return (*by_rule, *(IDS if proto in _ICMP else CLASSES))


def _within(address: int, spans: tuple[Span, ...]) -> bool:
    return not spans or any(first <= address <= last for first, last in spans)


def _sources(rules: Iterable[NatRule]) -> Iterator[_Source]:
    for nat in rules:
        if nat.gives is None or not nat.gives.is_source:
            continue
        asks, ports = asked(nat.rule), None
        if nat.gives.ports is not None:
            first, last = sorted(nat.gives.ports)
            ports = PortRange(first, last, name(nat.rule), asks.dst, asks.dports)
        yield _Source(nat.gives.addresses, asks, ports)
