"""What of a filter a program at a netfilter hook can test.

Always a superset: a needle may stand at any end of the header or of either ct
tuple, whichever end the filter means; packets that are let through are checked
again with the filter itself.  Only parts that must all hold contribute.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from natscope import uapi
from natscope.filter.syntax import (
    AddressBits,
    AddressSpan,
    And,
    Beside,
    Hosts,
    Number,
    Ports,
    Span,
    Tree,
    Where,
)
from natscope.model.ipversion import FAMILIES, VERSIONS

MOST = 8
"""More alternatives than this are left to the filter: programs stay short."""
_PORT_LIMIT = 0xFFFF


@dataclass(frozen=True, slots=True)
class AddressNeedle:
    """Addresses of one IP version with ``value`` in the bits of ``mask``."""

    version: int
    value: int
    mask: int

    def words(self) -> list[tuple[int, int]]:
        """Value and mask of each 32 bits, the first first, of those that count."""
        shifts = range(VERSIONS[self.version].bits - 32, -32, -32)
        parts = [
            (self.value >> shift & 0xFFFF_FFFF, self.mask >> shift & 0xFFFF_FFFF)
            for shift in shifts
        ]
        return parts


@dataclass(frozen=True, slots=True)
class Needles:
    """What a packet must have: of each group one."""

    families: tuple[int, ...] = (uapi.AF_INET, uapi.AF_INET6)
    protocols: tuple[int, ...] = ()
    """IP protocol numbers; empty is any."""
    addresses: tuple[tuple[AddressNeedle, ...], ...] = ()
    ports: tuple[tuple[tuple[int, int], ...], ...] = ()
    """Lowest and highest of each alternative."""

    def of(self, family: int) -> tuple[tuple[AddressNeedle, ...], ...]:
        """The address groups, as far as a packet of one family can have them."""
        version = FAMILIES[family].number
        return tuple(
            tuple(needle for needle in group if needle.version == version)
            for group in self.addresses
        )

    def is_empty(self, family: int) -> bool:
        """Whether any packet of a family will do."""
        return not (self.protocols or self.of(family) or self.ports)


def needles(tree: Tree) -> Needles:
    """The needles of a filter's syntax tree."""
    families = set(FAMILIES)
    protocols: tuple[int, ...] = ()
    addresses: list[tuple[AddressNeedle, ...]] = []
    ports: list[tuple[tuple[int, int], ...]] = []
    for part in tree.parts if isinstance(tree, And) else (tree,):
        match part:
            case Number("family", items):
                families &= set(_singles(items) or families)
            case Number("proto", items) if not protocols:
                protocols = tuple(_singles(items))
            case Hosts(where, spots) if _is_own(where) and len(spots) <= MOST:
                group = tuple(_address(spot.address) for spot in spots)
                known = tuple(needle for needle in group if needle is not None)
                if len(known) == len(group):
                    addresses.append(known)
                beside = [
                    spot.number if spot.beside is Beside.PORT else None
                    for spot in spots
                ]
                numbers = [number for number in beside if number is not None]
                if len(numbers) == len(spots):
                    ports.append(_spans(numbers))
            case Ports(where, spans) if _is_own(where) and len(spans) <= MOST:
                ports.append(_spans(spans))
    for group in addresses:
        versions = {needle.version for needle in group}
        families = {
            family for family in families if FAMILIES[family].number in versions
        }
    return Needles(tuple(sorted(families)), protocols, tuple(addresses), tuple(ports))


def _is_own(where: Where) -> bool:
    """Whether an end of the flow itself is meant, not of the one that expected it."""
    return "master" not in where.qualifiers


def _singles(items: Iterable[object]) -> list[int]:
    """The numbers asked for, none if there are others than single ones."""
    found = []
    for item in items:
        if not isinstance(item, Span) or item.low is None or item.low != item.high:
            return []
        found.append(item.low)
    return found if len(found) <= MOST else []


def _spans(spans: Iterable[Span]) -> tuple[tuple[int, int], ...]:
    return tuple(
        (
            max(0, span.low or 0),
            _PORT_LIMIT if span.high is None else min(span.high, _PORT_LIMIT),
        )
        for span in spans
    )


def _address(address: AddressSpan | AddressBits) -> AddressNeedle | None:
    """A single address or a network; None for a span that is neither."""
    if isinstance(address, AddressBits):
        return AddressNeedle(address.version, address.value, address.mask)
    size = address.high - address.low + 1
    if size & (size - 1) or address.low % size:
        return None
    whole = (1 << VERSIONS[address.version].bits) - 1
    return AddressNeedle(address.version, address.low, whole ^ (size - 1))
