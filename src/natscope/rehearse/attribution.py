"""Which rule made a translation: asked of the twin, by one packet for many flows.

Flows whose addresses and ports no constant of the box tells apart (table.classes)
are one group, and the first packet of one of them is sent through the twin.  This
takes for granted that a flow came in by the way its source is routed to, and that
rules compare with constants.  A rule that decides by chance, by time or by counting
may have decided otherwise for the next flow: then what the other rules of its chain
could have given counts too, and the answer is not certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natrules import Place, place, rulesets, shown
from natscope.errors import NatscopeError
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.model.journey import Rule, Sightings
from natscope.model.packet import Packet, Question, opening
from natscope.rehearse.answers import Answer, End, Reading
from natscope.rehearse.fitting import Side, destination, fits, is_moved, source
from natscope.rehearse.twin import Twin
from natscope.table.attribution import Attribution, Making, Origin
from natscope.table.classes import Classes
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows

MOST_ASKED = 2000
"""Packets sent through the twin at most: about two milliseconds each."""
_SPORT = re.compile(r"\bsport\b|--sports?\b|--source-ports?\b|--ports\b|proto-src")
_BITS = re.compile(
    r"(?:addr|port) &|@(?:nh|th|ih|ll),|-m (?:u32|bpf|string)|/\d+\.\d+\.\d+\.\d+"
)
"""What rules compare otherwise than with constants."""
_KEPT, _LIKELY, _STALE, _FIRST_OTHER = range(4)
"""How an end of a flow compares with the twin's; from the last on, by another rule."""
Rows = NDArray[np.intp]
Key = tuple[int, ...]


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
            kernel's handles.  Others are told as the twin has them, without handle.
        most: packets to send at most; see ``unasked``.
    """

    def __init__(
        self,
        twin: Twin,
        rules: Iterable[Rule] = (),
        *,
        most: int = MOST_ASKED,
    ) -> None:
        self._twin = twin
        self._rules = _by_place(rules)
        self._most = most
        self._known: dict[Key, Answer] = {}
        self._makings: dict[Making, int] = {}
        texts = list(_texts(twin.bundle))
        self._classes = Classes(texts)
        self._by_sport = any(_SPORT.search(text) for text in texts)
        self._by_bits = any(_BITS.search(text) for text in texts)
        self._reading = Reading(rulesets(twin.bundle), twin.bundle)
        self.unasked = 0
        """Flows no packet was sent for, since ``most`` had been."""

    @property
    def asked(self) -> int:
        """How many packets were sent."""
        return len(self._known)

    def attribute(self, table: FlowTable) -> Attribution:
        """What made each row of a table."""
        if len(table) == 0:
            return Attribution((), np.zeros(0, np.intp))
        order, groups = self._groups(table)
        dst, src = destination(table).take(order), source(table).take(order)
        codes = np.zeros(len(table), np.intp)
        for key, rows in groups:
            answer = self._answer(table, order[rows.start], key)
            if answer is None:
                self.unasked += rows.stop - rows.start
                codes[rows] = self._code(_NOT_ASKED)
            elif answer.problem is not None:
                codes[rows] = self._code(answer.problem)
            else:
                codes[rows] = self._compare(dst.take(rows), src.take(rows), answer)
        of_row = np.empty(len(table), np.intp)
        of_row[order] = codes
        return Attribution(tuple(self._makings), of_row)

    def _groups(self, table: FlowTable) -> tuple[Rows, list[tuple[Key, slice]]]:
        """The rows in an order in which those one packet stands for are together.

        Returns:
            the order; of each group what its rows have in common, and where they
            stand in the order, the largest first.
        """
        words = self._words(table)
        varying = [word for word in words if (word != word[0]).any()]
        first, of_row = group_rows(varying, len(table))
        keys = np.stack([word[first] for word in words], axis=1).tolist()
        order = np.argsort(of_row, kind="stable")
        ends = np.cumsum(np.bincount(of_row)).tolist()
        slices = map(slice, [0, *ends[:-1]], ends)
        groups = list(zip(map(tuple, keys), slices, strict=True))
        # where not all can be asked, the largest are
        return order, sorted(groups, key=lambda group: group[1].start - group[1].stop)

    def _words(self, table: FlowTable) -> list[NDArray[np.int64]]:
        family = table["family"]
        words = [family, table["proto"], _expected(table)]
        for name in ("orig_src", "orig_dst"):
            if self._by_bits:
                # halves: the key is of signed words
                for half in (0, 1):
                    words += [
                        table[name][:, half] >> 32,
                        table[name][:, half] << 32 >> 32,
                    ]
            else:
                words.append(self._classes.addresses(family, table[name]))
        names = ["orig_dport", *(["orig_sport"] if self._by_sport else [])]
        for name in names:
            exact = self._by_bits
            words.append(table[name] if exact else self._classes.numbers(table[name]))
        for name in ("orig_icmp_type", "orig_icmp_code", "zone", "orig_zone"):
            if name in table.columns:
                words += [table.has(name), table[name]]
            else:
                words += [np.zeros(len(table)), np.zeros(len(table))]
        return [word.astype(np.int64) for word in words]

    def _answer(self, table: FlowTable, row: int, key: Key) -> Answer | None:
        found = self._known.get(key)
        if found is None and len(self._known) < self._most:
            (flow,) = table.take(slice(row, row + 1))
            found = self._known[key] = self._ask(flow)
        return found

    def _ask(self, flow: Flow) -> Answer:
        """What the twin does with the first packet of a flow."""
        if flow.master is not None or (flow.status or 0) & uapi.Status.EXPECTED:
            return Answer(problem=_OF_HELPER)
        packet = opening(flow.orig)
        try:
            iif = self._twin.origin(packet)
            if iif is None and flow.orig.dst.is_multicast:
                return Answer.unknown("its program chose the interface it left by")
            seen = self._send(Question(packet, iif))
            if _zones(seen.after) == _zones(flow):
                return self._reading.answer(seen)
            return self._in_its_zone(flow, packet) or self._reading.doubted(seen)
        except NatscopeError as error:
            return Answer.unknown(str(error))

    def _in_its_zone(self, flow: Flow, packet: Packet) -> Answer | None:
        """The same addresses may have come in by an interface of another zone."""
        if not any(_zones(flow)):
            return None
        for link in self._twin.bundle.links:
            if link.up and "LOOPBACK" not in link.flags:
                seen = self._send(Question(packet, link.name))
                if _zones(seen.after) == _zones(flow):
                    return self._reading.answer(seen)
        return None

    def _send(self, question: Question) -> Sightings:
        seen = self._twin.send(question)
        if seen.before is not None:
            self._twin.forget(seen.before)
            seen = self._twin.send(question)
        if seen.after is not None:
            self._twin.forget(seen.after)
        return seen

    def _compare(self, dst: Side, src: Side, answer: Answer) -> Rows:
        """Of each row of a group, the code of what made it."""
        to, of = _choices(dst, answer.dst), _choices(src, answer.src)
        width = max(len(answer.dst.others), len(answer.src.others)) + _FIRST_OTHER
        found = (to * width + of) * 2 + is_moved(src)
        codes = np.empty(len(found), np.intp)
        for choice in np.unique(found).tolist():
            pair, moved = divmod(choice, 2)
            making = self._making(answer, pair // width, pair % width, moved)
            codes[found == choice] = self._code(making)
        return codes

    def _making(self, answer: Answer, dst: int, src: int, moved: int) -> Making:
        stale = [
            end.would for end, choice in ((answer.dst, dst), (answer.src, src))
            if choice == _STALE
        ]  # fmt: skip
        dnat, snat = _rule(answer.dst, dst), _rule(answer.src, src)
        certain = dst == _KEPT and src == _KEPT
        dnat, snat = self._told(dnat), self._told(snat)
        if stale:
            return Making(
                Origin.STALE, dnat, snat, certain_of(answer), ", ".join(stale)
            )
        if dnat is None and snat is None:
            if moved:
                # a rule that is gone may have done it as well
                return Making(Origin.NONE, is_certain=False, why=_MOVED)
            return Making(Origin.NONE, is_certain=certain)
        return Making(Origin.RULE, dnat, snat, certain)

    def _told(self, rule: Rule | None) -> Rule | None:
        if rule is None:
            return None
        known = self._rules.get(place(rule))
        if known is not None:
            return known
        return replace(rule, text=shown(rule.text), handle=None)

    def _code(self, making: Making) -> int:
        if self._twin.bundle.missing:
            making = _lessened(making)
        return self._makings.setdefault(making, len(self._makings))


_NOT_ASKED = Making(
    Origin.UNKNOWN, is_certain=False, why="not asked: too many kinds of flows"
)
_NOT_READ = "not all of the box could be read"
_MOVED = "the kernel moves a port that another flow has"
_OF_HELPER = Making(Origin.NONE, why="as the flow that expected it")


def _lessened(making: Making) -> Making:
    """What may still be said where a rule or a route may be missing."""
    if making.origin is Origin.STALE:
        return Making(Origin.UNKNOWN, is_certain=False, why=_NOT_READ)
    return replace(making, is_certain=False)


def certain_of(answer: Answer) -> bool:
    """Whether an answer leaves no doubt that a flow is stale."""
    return not (answer.dst.is_doubtful or answer.src.is_doubtful)


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
    n = len(side.has_port)
    found = np.full(n, _STALE, np.intp)
    is_claimed = np.zeros(n, np.bool_)
    for number, (_, expected) in enumerate(end.others):
        fitting = fits(side, expected)
        found[fitting & ~is_claimed] = number + _FIRST_OTHER
        is_claimed |= fitting
    if end.likely is not None:
        found[fits(side, end.likely)] = _LIKELY
    own = fits(side, end.expected)
    found[own] = np.where(is_claimed[own] | end.is_open, _LIKELY, _KEPT)
    return found


def _zones(flow: Flow | None) -> tuple[int, ...]:
    if flow is None:
        return (0, 0, 0)
    return tuple(zone or 0 for zone in (flow.zone, flow.orig.zone, flow.reply.zone))


def _expected(table: FlowTable) -> NDArray[np.bool_]:
    """Flows a helper expected: they are translated as their master is."""
    told: NDArray[np.bool_] = table["status"] & np.uint32(uapi.Status.EXPECTED) != 0
    return told & table.has("status") | table.has("master_src")


def _texts(bundle: Bundle) -> Iterator[str]:
    """All that has constants packets are compared with."""
    for ruleset in bundle.rulesets:
        yield ruleset.text
    for route in bundle.routes:
        yield f"{route.dst} {route.src or ''}"
    for rule in bundle.rules:
        yield f"{rule.src or ''} {rule.dst or ''}"
        for ports in (rule.sport, rule.dport):
            if ports is not None:
                yield f"{ports[0]} {ports[1]}"
    for link in bundle.links:
        for address in link.addresses:
            yield str(address.local)
