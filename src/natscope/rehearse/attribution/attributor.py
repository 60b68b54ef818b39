"""Which rule made each translation of a table, and which no rule of today would make.

The one judge of it: for ``list --rule``, ``rules``, ``stale`` and the doctor.

1. A packet is sent through a twin of the box for each kind of flows (``table.kinds``),
   and what becomes of it is compared with what they have.
2. Of what seems stale, or could not be asked about, the text of the rules tells what
   none of them can have given (``shapes``): that is stale without doubt.
3. What some rule may have given is asked about again, as if it had come in by another
   interface, and left alone where chance or a program may have chosen its way
   (``doubts``).

A rule that decides by chance, by time or by a count may have decided otherwise for the
next flow: what the other rules of its chain could have given counts too, uncertainly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrules import NatRule, Place, nat_rules, place, shown
from natscope.model.flow import Flow
from natscope.model.journey import Rule
from natscope.rehearse.attribution.answers import Answer, End
from natscope.rehearse.attribution.asking import Asking
from natscope.rehearse.attribution.doubts import (
    BY_ANOTHER_WAY,
    OWN_CHOICE,
    SEVERAL_WAYS,
    Doubts,
)
from natscope.rehearse.attribution.fitting import (
    Side,
    destination,
    fits,
    is_moved,
    source,
)
from natscope.rehearse.attribution.shapes import NOT_READ, Shapes
from natscope.rehearse.attribution.spared import spared
from natscope.rehearse.twin import Twin
from natscope.table.attribution import Attribution, Contradiction, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.table.kinds import Key, Kind, Kinds

MOST_ASKED = 2000
"""Packets sent through the twin at most: about two milliseconds each."""
_AGAIN = 5
"""Besides, for so many packets one that comes in by another interface."""
_KEPT, _LIKELY, _STALE, _FIRST_OTHER = range(4)
"""How an end of a flow compares with the twin's; from the last on, by another rule."""
_NOT_ASKED = Making(
    Origin.UNKNOWN, is_certain=False, why="not asked: too many kinds of flows"
)
_NOT_AGAIN = Making(
    Origin.UNKNOWN, is_certain=False, why="not asked again: too many kinds of flows"
)
_MOVED = Making(
    Origin.NONE, is_certain=False, why="the kernel moves a port that another flow has"
)
_PLAIN = Making(Origin.NONE, is_certain=False)
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Ends = tuple[Side, Side]
"""The destination, and the source."""


def attribute(table: FlowTable, twin: Twin) -> Attribution:
    """What made each row of a table, as far as the box's rules of today tell.

    Args:
        table: flows of the box, translated or not.
        twin: of the box; without flows of its own.
    """
    return Attributor(twin).attribute(table)


class Attributor:
    """Attributes table after table, and asks the twin no packet twice.

    Args:
        twin: see :func:`attribute`.
        rules: the box's, as they are to be told: with the tool that made them and the
            kernel's handles; None: as the bundle has them.
        most: kinds of flows to send a packet for at most; see ``unasked``.
    """

    def __init__(
        self,
        twin: Twin,
        rules: Iterable[NatRule] | None = None,
        *,
        most: int = MOST_ASKED,
    ) -> None:
        box = twin.bundle
        told = list(nat_rules(box) if rules is None else rules)
        self._box, self._is_whole = box, not twin.missing
        self._rules = _by_place(nat.rule for nat in told)
        self._told, self._kinds = told, Kinds(box)
        self._asking, self._doubts = Asking(twin), Doubts(box)
        self._left, self._left_again = most, most // _AGAIN
        self._known: dict[Key, Answer] = {}
        self._known_again: dict[Key, list[Answer] | None] = {}
        self._codes: dict[Making, int] = {}
        self._makings: list[Making] = []
        """By their codes."""
        self.unasked = 0
        """Flows no packet was sent for, since ``most`` had been."""

    @cached_property
    def _shapes(self) -> Shapes:
        return Shapes(self._told, self._box)

    @property
    def asked(self) -> int:
        """How many kinds of flows a packet was sent for."""
        return len(self._known)

    def attribute(
        self, table: FlowTable, shape: Attribution | None = None
    ) -> Attribution:
        """What made each row of a table.

        Args:
            table: flows of the box, translated or not.
            shape: what the text of the rules tells of them, where that is known.
        """
        codes = np.full(len(table), -1, np.intp)
        for making, rows in spared(table, self._box):
            if rows.any():
                codes[rows] = self._code(making)
        rest = np.flatnonzero(codes < 0)
        if len(rest):
            some = None if shape is None else shape.take(rest)
            codes[rest] = self._judged(table.mask(codes < 0), some)
        return Attribution(tuple(self._makings), codes)

    def _judged(self, table: FlowTable, shape: Attribution | None) -> Rows:
        """The codes of rows, of which there are some."""
        suspects = None if shape is None else shape.of(Origin.STALE)
        ends = destination(table), source(table)
        codes = np.empty(len(table), np.intp)
        for kind in _in_order(self._kinds.of(table), suspects):
            codes[kind.rows] = self._of_kind(table, ends, kind)
        is_open = self._are(codes, Origin.STALE) | self._are(codes, Origin.UNKNOWN)
        rows = np.flatnonzero(is_open)
        if len(rows):
            some = table.mask(is_open)
            text = self._shapes.attribute(some) if shape is None else shape.take(rows)
            codes[rows] = self._settled(some, codes[rows], text)
        return codes

    def _of_kind(self, table: FlowTable, ends: Ends, kind: Kind) -> Rows | int:
        """The codes of a kind's rows, by the twin alone."""
        answer = self._answer(table, kind)
        if answer is None:
            self.unasked += len(kind.rows)
            return self._code(_NOT_ASKED)
        dst, src = (end.take(kind.rows) for end in ends)
        return self._compared((dst, src), answer)

    def _settled(self, flows: FlowTable, codes: Rows, shape: Attribution) -> Rows:
        """The codes of flows that seem stale, or are not known, once the text of the
        rules is asked as well."""
        misfits, stale = shape.of(Origin.STALE), self._are(codes, Origin.STALE)
        told = np.array([self._code(one) for one in shape.makings], np.intp)
        codes = np.where(misfits & ~stale, told[shape.of_row], codes)
        rows = np.flatnonzero(stale)
        for kind in self._kinds.of(flows.take(rows)) if len(rows) else ():
            at, cannot = rows[kind.rows], misfits[rows[kind.rows]]
            if not self._known[kind.key].is_open:
                codes[at[cannot]] = self._assured(codes[at[cannot]])
            may_be = at[~cannot]
            if len(may_be):
                some = flows.take(may_be)
                codes[may_be] = self._doubted(some, kind.key, codes[may_be])
        return codes

    def _answer(self, table: FlowTable, kind: Kind) -> Answer | None:
        found = self._known.get(kind.key)
        if found is None and self._left > 0:
            self._left -= 1
            found = self._asking.about(_first(table, kind.rows))
            self._known[kind.key] = found
        return found

    def _doubted(self, flows: FlowTable, key: Key, codes: Rows) -> Rows:
        """The codes of flows of one kind that seem stale, though some rule may have
        given what they have."""
        is_source = np.array([self._makings[one].dst is None for one in codes.tolist()])
        codes[self._doubts.several_ways(flows) & is_source] = self._code(SEVERAL_WAYS)
        codes[self._doubts.own_choice(flows)] = self._code(OWN_CHOICE)
        rows = np.flatnonzero(self._are(codes, Origin.STALE))
        if not len(rows):
            return codes
        answers = self._answers_again(_first(flows, rows), key)
        if answers is None:
            codes[rows] = self._code(_NOT_AGAIN)
            return codes
        ends = destination(flows).take(rows), source(flows).take(rows)
        for answer in answers:
            others = self._compared(ends, answer, why=BY_ANOTHER_WAY)
            is_made = self._are(others, Origin.RULE) | self._are(others, Origin.NONE)
            codes[rows[is_made]] = others[is_made]
        return codes

    def _assured(self, codes: Rows) -> Rows:
        """The same beyond doubt: whatever chance decides, no rule gives it."""
        found = codes.copy()
        for code in np.unique(codes).tolist():
            making = replace(self._makings[code], is_certain=self._is_whole)
            found[codes == code] = self._code(making)
        return found

    def _answers_again(self, flow: Flow, key: Key) -> list[Answer] | None:
        """By each other interface it may have come in by; None: they are too many."""
        if key not in self._known_again:
            ways = self._asking.other_ways(flow, self._doubts.ways(flow))
            if len(ways) > self._left_again:
                return None
            self._left_again -= len(ways)
            self._known_again[key] = list(self._asking.by_ways(flow, ways))
        return self._known_again[key]

    def _compared(self, ends: Ends, answer: Answer, why: str | None = None) -> Rows:
        """Of flows an answer stands for, the codes of what made them.

        Args:
            ends: of the flows.
            answer: what becomes of their first packet.
            why: what is to be said of those that are not stale.
        """
        dst, src = ends
        if answer.problem is not None:
            codes = np.full(len(dst.now), self._code(answer.problem))
            if answer.problem.origin is Origin.STALE:
                codes[~is_moved(dst) & ~is_moved(src)] = self._code(_PLAIN)
            return codes
        to, of = _choices(dst, answer.dst), _choices(src, answer.src)
        width = max(len(answer.dst.others), len(answer.src.others)) + _FIRST_OTHER
        found = (to * width + of) * 2 + is_moved(src)
        codes = np.empty(len(found), np.intp)
        for choice in np.unique(found).tolist():
            pair, moved = divmod(choice, 2)
            making = self._making(answer, pair // width, pair % width, moved)
            if why is not None and making.origin is not Origin.STALE:
                making = replace(making, is_certain=False, why=why)
            codes[found == choice] = self._code(making)
        return codes

    def _making(self, answer: Answer, dst: int, src: int, moved: int) -> Making:
        dnat, snat = (
            self._as_told(_rule(end, choice))
            for end, choice in ((answer.dst, dst), (answer.src, src))
        )
        if _STALE in (dst, src):
            doubtful = answer.dst.is_doubtful or answer.src.is_doubtful
            return Making(
                Origin.STALE, dnat, snat, self._is_whole and not doubtful,
                Contradiction(answer.dst.would) if dst == _STALE else None,
                Contradiction(answer.src.would) if src == _STALE else None,
            )  # fmt: skip
        if dnat is None and snat is None and moved:
            return _MOVED  # a rule that is gone may have done it as well
        is_certain = dst == _KEPT and src == _KEPT
        if dnat is None and snat is None:
            return Making(Origin.NONE, is_certain=is_certain)
        return Making(Origin.RULE, dnat, snat, is_certain)

    def _as_told(self, rule: Rule | None) -> Rule | None:
        if rule is None:
            return None
        known = self._rules.get(place(rule))
        return known or replace(rule, text=shown(rule.text), handle=None)

    def _code(self, making: Making) -> int:
        """A making's number, lessened where a rule or a route may be missing."""
        if not self._box.is_whole:
            is_stale = making.origin is Origin.STALE
            making = NOT_READ if is_stale else replace(making, is_certain=False)
        code = self._codes.setdefault(making, len(self._codes))
        if code == len(self._makings):
            self._makings.append(making)
        return code

    def _are(self, codes: Rows, origin: Origin) -> Mask:
        """Which codes are of an origin."""
        origins = np.array([making.origin for making in self._makings], np.intp)
        found: Mask = origins[codes] == origin
        return found


def _first(table: FlowTable, rows: Rows) -> Flow:
    (flow,) = table.take(rows[:1])
    return flow


def _in_order(kinds: list[Kind], suspects: Mask | None) -> list[Kind]:
    """What seems stale first, then the largest: perhaps not all can be asked about."""

    def rank(kind: Kind) -> tuple[bool, int]:
        is_suspect = suspects is not None and bool(suspects[kind.rows].any())
        return not is_suspect, -len(kind.rows)

    return sorted(kinds, key=rank)


def _by_place(rules: Iterable[Rule]) -> dict[Place, Rule]:
    """Of two tables of one name, those a trace shows."""
    ordered = sorted(rules, key=lambda rule: not rule.tool.endswith("-legacy"))
    return {place(rule): rule for rule in ordered}


def _rule(end: End, choice: int) -> Rule | None:
    if choice == _STALE:
        return None
    return end.rule if choice < _STALE else end.others[choice - _FIRST_OTHER][0]


def _choices(side: Side, end: End) -> Rows:
    """Of each row: kept, likely, stale, or which of the other rules fits."""
    found = np.full(len(side.has_port), _STALE, np.intp)
    is_claimed = np.zeros(len(found), np.bool_)
    for number, (_, expected) in enumerate(end.others):
        fitting = fits(side, expected)
        found[fitting & ~is_claimed] = number + _FIRST_OTHER
        is_claimed |= fitting
    if end.likely is not None:
        found[fits(side, end.likely)] = _LIKELY
    own = fits(side, end.expected)
    found[own] = np.where(is_claimed[own] | end.is_open, _LIKELY, _KEPT)
    return found
