"""Which translations no rule of the box can have given, by the rules' text alone.

For where no twin can be asked, or not about every flow.  A rule counts for a flow
unless a constant in its text keeps the flow out; jumps and the order of rules are not
looked at.  So a flow that is called stale here has no rule that gives what it has, and
one that is not may still be stale: a rule before its own may take it now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from operator import and_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Given, Span
from natscope.codec.text.natrules import NatRule
from natscope.model.bundle import Bundle, LinkAddress
from natscope.model.journey import Rule
from natscope.rehearse.fitting import (
    Expected,
    Side,
    destination,
    fits,
    is_moved,
    source,
)
from natscope.table.attribution import Attribution, Making, Origin
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

_KEPT = Making(Origin.NONE, is_certain=False)
_GIVEN = Making(Origin.UNKNOWN, is_certain=False)
"""Which rule gives it the shape does not tell."""
_NOT_READ = Making(
    Origin.UNKNOWN, is_certain=False, why="not all of the box could be read"
)
_UNMOVED, _BY_NONE = -2, -1
"""In place of a rule's number."""
_FAMILIES = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_WORD = (1 << 64) - 1
_FEW = 1000
"""So few rows need not be made fewer."""
_MOST_SPANS = 64
"""Of a rule that asks for more addresses, the rows are not found by these."""


def by_shape(table: FlowTable, rules: Sequence[NatRule], bundle: Bundle) -> Attribution:
    """What made each row, as far as the text of the NAT rules tells.

    Args:
        table: flows of the box, translated or not; of these nothing is said.
        rules: the box's.
        bundle: the box, for its addresses.

    Returns:
        NONE of what is not translated, UNKNOWN of what some rule gives, STALE of what
        none gives at one end or both, with the rule that may give the other; never
        certain.
    """
    shapes = list(_shapes(rules, _Addresses(bundle)))
    dst = _giving(table, shapes, destination(table), is_source=False)
    src = _giving(table, shapes, source(table), is_source=True)
    codes = ((dst >= 0) | (src >= 0)).astype(np.intp)
    makings = {_KEPT: 0, _GIVEN: 1}
    stale = np.flatnonzero((dst == _BY_NONE) | (src == _BY_NONE))
    pairs, of_row = np.unique(
        np.stack([dst[stale], src[stale]], axis=1), axis=0, return_inverse=True
    )
    places = []
    for pair in pairs.tolist():
        dnat, snat = (None if n < 0 else shapes[n].rule for n in pair)
        making = Making(Origin.STALE, dnat, snat, is_certain=False)
        making = _NOT_READ if bundle.missing else making
        places.append(makings.setdefault(making, len(makings)))
    codes[stale] = np.array(places, np.intp)[of_row.reshape(-1)]
    return Attribution(tuple(makings), codes)


def _giving(
    table: FlowTable, shapes: Sequence[_Shape], side: Side, *, is_source: bool
) -> Rows:
    """Of each row, the number of a rule that may have given what one end has."""
    found = np.full(len(table), _UNMOVED, np.intp)
    moved = _is_moved(side, is_source=is_source)
    for version, family in _FAMILIES.items():
        rows = np.flatnonzero(moved & (table["family"] == family))
        if len(rows):
            packets = _Packets.of(table, rows, is_source=is_source)
            search = _Search(packets, side.take(rows), version)
            found[rows] = search.giving(shapes, is_source=is_source)
    return found


def _is_moved(side: Side, *, is_source: bool) -> Mask:
    """A source's port alone needs no rule: the kernel moves one that is taken."""
    if is_source:
        return ~fits(side, Expected(None, is_free=True))
    return is_moved(side)


class _Addresses:
    """The addresses of a box."""

    def __init__(self, bundle: Bundle) -> None:
        self._by_link = {link.name: link.addresses for link in bundle.links}

    def of(self, link: str | None, version: int) -> tuple[Span, ...]:
        """Those of a link that are for the world; where there are none, all of the box.

        So the kernel looks for one to masquerade as (inet_select_addr).
        """
        own = [one for one in self._by_link.get(link or "", ()) if _is_global(one)]
        every = chain.from_iterable(self._by_link.values())
        for some in (own, every):
            found = {int(one.local) for one in some if one.local.version == version}
            if found:
                return tuple((one, one) for one in sorted(found))
        return ()


def _is_global(address: LinkAddress) -> bool:
    return address.scope == "global"


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a rule asks and gives."""

    rule: Rule
    is_source: bool
    asked: Asked
    expected: Mapping[int, Expected]
    """By IP version; of one the rule is not for there is none."""

    def was(self) -> tuple[Span, ...]:
        """The addresses it translates; empty: any."""
        return self.asked.src if self.is_source else self.asked.dst


def _shapes(rules: Iterable[NatRule], addresses: _Addresses) -> Iterator[_Shape]:
    for nat in rules:
        if nat.gives is not None:
            what = asked(nat.rule)
            expected = {
                version: one
                for version in _FAMILIES
                if what.version in (None, version)
                and (one := _expected(nat.gives, what, addresses, version)) is not None
            }
            yield _Shape(nat.rule, nat.gives.is_source, what, expected)


def _expected(
    gives: Given, what: Asked, addresses: _Addresses, version: int
) -> Expected | None:
    if gives.kind in ("masquerade", "redirect"):
        link = what.oif if gives.kind == "masquerade" else None
        free = gives.is_source and gives.ports is None
        return Expected(addresses.of(link, version), gives.ports, is_free=free)
    free = gives.ports is None and (gives.is_source or gives.is_map)
    spans = tuple(one for one in gives.addresses if _version(one) == version)
    if gives.addresses and not spans:
        return None
    if gives.is_prefix and spans:
        kept = reduce(and_, (first ^ last for first, last in spans))
        return Expected(spans, gives.ports, free, host_bits=kept)
    if spans:
        return Expected(spans, gives.ports, is_free=free)
    if gives.is_map or gives.ports is None:
        return Expected((), is_free=True)  # told elsewhere: anything
    return Expected(None, gives.ports, is_free=free)


def _version(span: Span) -> int:
    return 6 if span[1] >> 32 else 4


@dataclass(frozen=True, slots=True)
class _Packets:
    """First packets of flows, as they come to rules of one kind."""

    proto: Array
    src: Array
    dst: Array
    dport: Array
    has_dport: Mask

    @classmethod
    def of(cls, table: FlowTable, rows: Rows, *, is_source: bool) -> _Packets:
        """Those that come to rules for the source are translated already."""
        dst, dport = (
            ("reply_src", "reply_sport") if is_source else ("orig_dst", "orig_dport")
        )
        return cls(
            table["proto"][rows],
            table["orig_src"][rows],
            table[dst][rows],
            table[dport][rows],
            table.has(dport)[rows],
        )

    def may_meet(self, rows: Rows, what: Asked) -> Mask:
        """Which rows nothing in a rule's text keeps out."""
        found = np.ones(len(rows), np.bool_)
        proto = self.proto[rows]
        if what.protos:
            found &= np.logical_or.reduce([proto == one for one in what.protos])
        for spans, words in ((what.src, self.src), (what.dst, self.dst)):
            if spans:
                found &= _within(words[rows], spans)
        if what.dports:
            ports = self.dport[rows]
            told = [(ports >= first) & (ports <= last) for first, last in what.dports]
            found &= np.logical_or.reduce(told) | ~self.has_dport[rows]
        return found


class _Search:
    """Rows of one family, found by the address they had, or by the one they have."""

    def __init__(self, packets: _Packets, side: Side, version: int) -> None:
        self._packets, self._side, self._version = packets, side, version
        # of 128 bits the first 64: what is found is looked at again
        self._shift = 64 if version == 6 else 0
        word = 0 if version == 6 else 1
        self._was = _Sorted(side.was[:, word])
        self._now = _Sorted(side.now[:, word])
        self._given = np.full(len(side.now), _BY_NONE, np.intp)

    def giving(self, shapes: Sequence[_Shape], *, is_source: bool) -> Rows:
        """Of each row, the number of a rule that may have made it."""
        for number, shape in enumerate(shapes):
            expected = shape.expected.get(self._version)
            if shape.is_source is not is_source or expected is None:
                continue
            rows = self._nearest(shape.was(), expected.spans or ())
            rows = rows[self._given[rows] == _BY_NONE]
            if len(rows):
                rows = rows[self._packets.may_meet(rows, shape.asked)]
                rows = rows[_fits(self._side.take(rows), expected)]
                self._given[rows] = number
        return self._given

    def _nearest(self, was: tuple[Span, ...], now: tuple[Span, ...]) -> Rows:
        """Rows among which those of a rule are: the fewer of two choices."""
        index, best = self._was, self._was.slices(was, self._shift)
        if _size(best) > _FEW:
            other = self._now.slices(now, self._shift)
            if _size(other) < _size(best):
                index, best = self._now, other
        parts = [index.order[one] for one in best]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _size(slices: list[slice]) -> int:
    return sum(one.stop - one.start for one in slices)


class _Sorted:
    """Rows in the order of one word of an address."""

    def __init__(self, words: Array) -> None:
        self.order = np.argsort(words, kind="stable")
        self._sorted = words[self.order]

    def slices(self, spans: tuple[Span, ...], shift: int) -> list[slice]:
        """Where addresses within some spans stand; without spans, all."""
        if not spans or len(spans) > _MOST_SPANS:
            return [slice(0, len(self.order))]
        return [
            slice(
                int(self._sorted.searchsorted(np.uint64(first >> shift), side="left")),
                int(self._sorted.searchsorted(np.uint64(last >> shift), side="right")),
            )
            for first, last in spans
        ]


def _fits(side: Side, expected: Expected) -> Mask:
    """As ``fits``, where a box has many addresses."""
    spans = expected.spans
    if not spans or expected.host_bits:
        return fits(side, expected)
    found = fits(side, replace(expected, spans=()))
    found[found] = _within(side.now[found], spans)
    return found


def _within(words: Array, spans: tuple[Span, ...]) -> Mask:
    """Which addresses lie in one of some spans."""
    if max(last for _, last in spans) > _WORD:
        none = np.zeros(len(words), np.uint16)
        side = Side(words, words, none, none, none != 0)
        return fits(side, Expected(spans, is_free=True))
    if len(spans) == 1:
        low: Array = words[:, 1]
        return (low >= np.uint64(spans[0][0])) & (low <= np.uint64(spans[0][1]))
    merged = _merged(spans)
    at = np.searchsorted(merged[:, 0], words[:, 1], side="right")
    inside: Mask = (at > 0) & (words[:, 1] <= merged[at - 1, 1])
    return inside


def _merged(spans: tuple[Span, ...]) -> Array:
    """Spans in order, and apart from each other."""
    found: list[list[int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return np.array(found, np.uint64)
