"""Which flows the box would not make today, asked of the twin and doubted once more.

The twin is asked about a flow as if it came in by the way its source is routed to.  On
a box with several ways that need not be so: what seems stale is asked again by every
other interface a route leads to its source by, before it is called so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrule import has_doubt
from natscope.codec.text.natrules import rulesets
from natscope.errors import NatscopeError
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.model.journey import Rule
from natscope.model.packet import Question, opening
from natscope.model.tuples import Address
from natscope.rehearse.attribution import Attributor
from natscope.rehearse.fitting import destination, is_moved, source
from natscope.rehearse.twin import Twin
from natscope.table.attribution import Attribution, Making, Origin
from natscope.table.classes import Classes
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

MOST_ASKED = 500
"""Packets sent at first: a second's work."""
MOST_DOUBTED = 100
"""Kinds of stale flows that are asked about once more, by each interface."""
_BY_ANOTHER_WAY = Making(
    Origin.UNKNOWN,
    is_certain=False,
    why="it would be so, had it come in by another interface",
)
_SEVERAL_WAYS = Making(
    Origin.UNKNOWN, is_certain=False, why="chance chooses the way to where it goes"
)
_TOO_MANY = Making(
    Origin.UNKNOWN, is_certain=False, why="not asked again: too many kinds of flows"
)
_MARKED = Making(
    Origin.UNKNOWN,
    is_certain=False,
    why="the box's own, and its program may have chosen the way (SO_MARK)",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What made the rows of a table, and how that is known."""

    attribution: Attribution
    is_rehearsed: Mask
    """Rows the twin was asked about; of others the rules' shape alone tells."""
    asked: int = 0
    """Packets that were sent."""


def rehearsed(
    table: FlowTable,
    shape: Attribution,
    twin: Twin,
    rules: Iterable[Rule],
    *,
    most: int = MOST_ASKED,
) -> Judged:
    """What made each row, by the twin where it could be asked, else by shape.

    Args:
        table: flows of the box.
        shape: of the same rows (``shapes.by_shape``): what no rule gives is asked
            about first.
        twin: of the box; without flows of its own.
        rules: the box's, as they are to be told.
        most: packets to send at most.
    """
    attributor = Attributor(twin, rules, most=most)
    misfit = _where(shape, Origin.STALE)
    makings: dict[Making, int] = {}
    codes = np.zeros(len(table), np.intp)
    for rows in (np.flatnonzero(misfit), np.flatnonzero(~misfit)):
        part = attributor.attribute(table.take(rows))
        places = [makings.setdefault(one, len(makings)) for one in part.makings]
        if len(rows):
            codes[rows] = np.array(places, np.intp)[part.of_row]
    exact = Attribution(tuple(makings), codes)
    exact = _doubted(table, exact, ~misfit, twin)
    is_rehearsed = ~_where(exact, Origin.UNKNOWN)
    both = np.where(
        ~is_rehearsed & misfit, shape.of_row + len(exact.makings), exact.of_row
    )
    return Judged(
        Attribution((*exact.makings, *shape.makings), both),
        is_rehearsed,
        attributor.asked,
    )


def _where(found: Attribution, origin: Origin) -> Mask:
    chosen = np.array([one.origin is origin for one in found.makings], np.bool_)
    if not len(chosen):
        return np.zeros(len(found.of_row), np.bool_)
    return chosen[found.of_row]


def _doubted(
    table: FlowTable, found: Attribution, may_be: Mask, twin: Twin
) -> Attribution:
    """The same, where some rule may give what seems stale: asked by other ways."""
    rows = np.flatnonzero(_where(found, Origin.STALE) & may_be)
    if not len(rows):
        return found
    makings = (*found.makings, _BY_ANOTHER_WAY, _SEVERAL_WAYS, _MARKED, _TOO_MANY)
    numbers = {making: number for number, making in enumerate(makings)}
    first, of_row = _alike(table.take(rows), found.of_row[rows], twin.bundle)
    codes = found.of_row.copy()
    doubts = _Doubts(twin)
    flows = table.take(rows[first[:MOST_DOUBTED]])
    for group, flow in enumerate(flows):
        if (doubt := doubts.about(flow)) is not None:
            codes[rows[of_row == group]] = numbers[doubt]
    codes[rows[of_row >= MOST_DOUBTED]] = numbers[_TOO_MANY]
    return Attribution(makings, codes)


def _alike(table: FlowTable, codes: Rows, bundle: Bundle) -> tuple[Rows, Rows]:
    """Flows one answer does for: see ``FlowTable.group``.

    They would be the same, have the same, and the same routes lead to their sources.
    """
    to, of = is_moved(destination(table)), is_moved(source(table))
    classes = Classes(str(route.dst) for route in bundle.routes)
    words = [codes, to, of, table["family"], table["proto"]]
    words += [classes.addresses(table["family"], table["orig_src"])]
    for moved, names in (
        (to, ("orig_dst", "orig_dport", "reply_src", "reply_sport")),
        (of, ("reply_dst",)),
    ):
        for name in names:
            column = table[name].reshape(len(table), -1)
            words += list(np.where(moved[:, None], column, 0).T)
    return group_rows(words, len(table))


class _Doubts:
    """What else may have made a flow what it is, on this box."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        box = twin.bundle
        self._own = {address.local for one in box.links for address in one.addresses}
        self._by_mark = any(
            rule.fwmark is not None or rule.uids is not None for rule in box.rules
        )
        self._by_chance = any(route.nexthops for route in box.routes) or (
            self._by_mark and any(has_doubt(rule.text) for rule in rulesets(box).rules)
        )

    def about(self, flow: Flow) -> Making | None:
        """Why a flow cannot be called stale, though the twin makes another of it."""
        if self._by_mark and flow.orig.src in self._own:
            return _MARKED
        if self._by_chance and flow.orig.dst == flow.reply.src:
            return _SEVERAL_WAYS
        ways = _ways(self._twin.bundle, flow.orig.src)
        if any(_is_made(self._twin, flow, way) for way in ways):
            return _BY_ANOTHER_WAY
        return None


def _ways(bundle: Bundle, source: Address) -> set[str]:
    """The interfaces a route leads to a source by, whatever chooses the route."""
    routes = [r for r in bundle.routes if r.type == "unicast" and source in r.dst]
    ways = [route.dev for route in routes]
    ways += [hop.dev for route in routes for hop in route.nexthops]
    return {way for way in ways if way is not None}


def _is_made(twin: Twin, flow: Flow, iif: str) -> bool:
    """Whether the first packet of a flow would get its translation by an interface."""
    packet = opening(flow.orig)
    try:
        if twin.origin(packet) in (None, iif):
            return False  # it was asked by this one
        after = twin.send(Question(packet, iif)).after
    except NatscopeError:
        return False
    if after is None:
        return False
    twin.forget(after)
    made, reply = after.reply, flow.reply
    return (made.src, made.sport, made.dst) == (reply.src, reply.sport, reply.dst)
