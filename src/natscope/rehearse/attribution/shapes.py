"""Which translations no rule of the box can have given, by the rules' text alone.

For where no twin can be asked, or not about every flow.  A rule counts for a flow
unless a constant in its text keeps the flow out; jumps and the order of rules are not
looked at.  So a flow that is called stale here has no rule that gives what it has, and
one that is not may still be stale: a rule before its own may take it now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import chain
from operator import and_

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Given, Span
from natscope.codec.text.natrules import NatRule
from natscope.model.bundle import Bundle, LinkAddress
from natscope.rehearse.attribution.fitting import Expected
from natscope.rehearse.attribution.search import BY_NONE, VERSIONS, Shape, giving
from natscope.rehearse.attribution.spared import spared
from natscope.table.attribution import Attribution, Contradiction, Making, Origin
from natscope.table.flowtable import FlowTable

Rows = NDArray[np.intp]

NOT_READ = Making(
    Origin.UNKNOWN,
    is_certain=False,
    why="not all of the box could be read",
    by_shape=True,
)
_KEPT = Making(Origin.NONE, is_certain=False, by_shape=True)
_GIVEN = Making(Origin.UNKNOWN, is_certain=False, by_shape=True)
"""Which rule gives it the shape does not tell."""


def by_shape(table: FlowTable, rules: Iterable[NatRule], bundle: Bundle) -> Attribution:
    """What made each row, as far as the text of the NAT rules tells.

    See :meth:`Shapes.attribute`.
    """
    return Shapes(rules, bundle).attribute(table)


class Shapes:
    """What the NAT rules of a box ask and give.

    Args:
        rules: the box's.
        bundle: the box, for its addresses.
    """

    def __init__(self, rules: Iterable[NatRule], bundle: Bundle) -> None:
        self._bundle = bundle
        self._shapes = list(_shapes(rules, _Addresses(bundle)))

    def attribute(self, table: FlowTable) -> Attribution:
        """What made each row of a table.

        Returns:
            UNKNOWN of what some rule gives or nothing can be said about, STALE of what
            none gives at one end or both, with the rule that may give the other; else
            NONE: all ``by_shape``, but what no rule is asked about.
        """
        dst = giving(table, self._shapes, is_source=False)
        src = giving(table, self._shapes, is_source=True)
        codes = ((dst >= 0) | (src >= 0)).astype(np.intp)
        makings = {_KEPT: 0, _GIVEN: 1}
        stale = np.flatnonzero((dst == BY_NONE) | (src == BY_NONE))
        width = len(self._shapes) + 2
        pairs, of_row = np.unique(
            (dst[stale] + 2) * width + src[stale] + 2, return_inverse=True
        )
        places = []
        for pair in pairs.tolist():
            making = self._stale(pair // width - 2, pair % width - 2)
            places.append(makings.setdefault(making, len(makings)))
        codes[stale] = np.array(places, np.intp)[of_row]
        for making, rows in spared(table, self._bundle):
            if rows.any():
                codes[rows] = makings.setdefault(making, len(makings))
        return Attribution(tuple(makings), codes)

    def _stale(self, dst: int, src: int) -> Making:
        if not self._bundle.is_whole:
            return NOT_READ
        dnat, snat = (None if n < 0 else self._shapes[n].rule for n in (dst, src))
        return Making(
            Origin.STALE, dnat, snat, is_certain=False, by_shape=True,
            dst=Contradiction() if dst == BY_NONE else None,
            src=Contradiction() if src == BY_NONE else None,
        )  # fmt: skip


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


def _shapes(rules: Iterable[NatRule], addresses: _Addresses) -> Iterator[Shape]:
    for nat in rules:
        if nat.gives is not None:
            what = asked(nat.rule)
            expected = {
                version: one
                for version in VERSIONS
                if what.version in (None, version)
                and (one := _expected(nat.gives, what, addresses, version)) is not None
            }
            yield Shape(nat.rule, nat.gives.is_source, what, expected)


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
