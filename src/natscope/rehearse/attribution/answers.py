"""What a twin's answer says about a group of flows: which rules, and what they give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from natscope.codec.text.natrule import Given, given, has_doubt
from natscope.codec.text.natrules import place, reachable
from natscope.codec.text.ruleset import ChainName, RuleIndex
from natscope.model.bundle import Bundle
from natscope.model.journey import Chain, Hook, Rule, Sightings, Verdict, Visit
from natscope.model.tuples import Address, FlowTuple
from natscope.rehearse.attribution.fitting import Expected
from natscope.table.attribution import UNTRANSLATED, Making, Origin

_DECIDES = re.compile(
    r"\b(accept|drop|reject|jump|goto|return|queue|tproxy|[sd]nat|masquerade|redirect"
    r"|set|vmap|add|update|xt)\b|-[jg] (?!N?F?LOG\b)"
)
"""What a rule does that only logs or counts otherwise."""
_SIDES = {
    Hook.PREROUTING: False,
    Hook.OUTPUT: False,
    Hook.INPUT: True,
    Hook.POSTROUTING: True,
}
"""Hooks of NAT: whether the source is translated there."""


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of one end of a group's flows."""

    expected: Expected
    rule: Rule | None = None
    likely: Expected | None = None
    """What the same rule may have given, were the box's addresses chosen otherwise."""
    others: tuple[tuple[Rule, Expected], ...] = ()
    """What the rules beside it may have given, where chance or a count decides."""
    is_open: bool = False
    """The rule's text does not say what it may give."""
    is_doubtful: bool = False
    would: str = UNTRANSLATED


_KEPT = End(Expected(None))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the twin did with one packet, for all it stands for."""

    dst: End = _KEPT
    src: End = _KEPT
    problem: Making | None = None
    """The packet did not get through, or could not be sent."""

    @property
    def is_open(self) -> bool:
        """Whether a rule's text does not say what it may give."""
        return self.dst.is_open or self.src.is_open

    @classmethod
    def unknown(cls, why: str) -> Answer:
        """None was found."""
        return cls(problem=Making(Origin.UNKNOWN, is_certain=False, why=why))


class Reading:
    """Reads sightings, knowing the box.

    Args:
        ruleset: of the box; handles do not matter.
        bundle: the box.
    """

    def __init__(self, ruleset: RuleIndex, bundle: Bundle) -> None:
        self._rules = ruleset.by_chain
        self._doubtful = {
            name
            for name, rules in self._rules.items()
            if any(_is_doubtful(rule) for rule in rules)
        }
        self._addresses = {
            link.name: [address.local for address in link.addresses]
            for link in bundle.links
        }
        self._has_ways = any(route.nexthops for route in bundle.routes)

    def answer(self, seen: Sightings) -> Answer:
        """What one packet's way says."""
        question = seen.question
        reply = _reply(seen)
        if question is None or reply is None:
            return self._stopped(seen)
        asked = question.packet.tuple
        iif = question.iif
        oif = next((d.interface for d in seen.departures if not d.is_answer), None)
        dst = self._end(seen, asked.dst, asked.dport, reply.src, reply.sport, iif)
        src = self._end(
            seen, asked.src, asked.sport, reply.dst, reply.dport, oif, source=True
        )
        if dst is None or src is None:
            return Answer.unknown("translated by a rule no trace shows")
        return Answer(dst, src)

    def doubted(self, seen: Sightings) -> Answer:
        """The same, where the packet may not be of its flows' kind."""
        answer = self.answer(seen)
        if answer.problem is not None:
            doubted = replace(answer.problem, is_certain=False)
            return replace(answer, problem=doubted)
        return Answer(
            replace(answer.dst, is_open=True, is_doubtful=True),
            replace(answer.src, is_open=True, is_doubtful=True),
        )

    def _stopped(self, seen: Sightings) -> Answer:
        drop = next((v for v in seen.visits if v.verdict == Verdict.DROP), None)
        if drop is not None:
            why = f"dropped by {' '.join(_name(drop.chain))}"
            if any(map(_is_doubtful, reachable(self._rules, _name(drop.base)))):
                return Answer.unknown(f"{why}, where not every packet fares alike")
            return Answer(problem=Making(Origin.STALE, why=why))
        error = seen.routed.error if seen.routed is not None else None
        return Answer.unknown(f"no route: {error}" if error else "stopped in the twin")

    def _end(
        self, seen: Sightings, was: Address, was_port: int | None,
        now: Address, now_port: int | None, interface: str | None,
        *, source: bool = False,
    ) -> End | None:  # fmt: skip
        """One end; None if it changed by what no visit tells."""
        visits = [
            visit
            for visit in seen.visits
            if visit.base.type == "nat"
            and visit.base.hook is not None
            and _SIDES.get(visit.base.hook) is source
        ]
        rule = next(filter(None, map(_taken, visits)), None)
        if rule is None and was != now:
            return None
        passed = dict.fromkeys(_name(visit.chain) for visit in visits)
        open_chains = [chain for chain in passed if chain in self._doubtful]
        others = tuple(self._others(open_chains, rule, source=source))
        if rule is None:
            kept = Expected(None, is_free=source)
            return End(kept, others=others, is_doubtful=bool(open_chains))
        gives = given(rule.text)
        is_plain = source and was != now  # the kernel chooses the port
        would = f"{now}" if is_plain else _endpoint(now, now_port, was_port)
        if gives is None:
            return End(_exactly(now, now_port, source), rule, others=others,
                       is_open=True, is_doubtful=True, would=would)  # fmt: skip
        expected = _expected(gives, now, now_port, chance=has_doubt(rule.text))
        return End(
            expected,
            rule,
            likely=self._likely(gives, expected, now, interface),
            others=others,
            is_open=expected.spans == (),
            is_doubtful=bool(open_chains),
            would=would,
        )

    def _others(
        self, chains: Iterable[ChainName], taken: Rule | None, *, source: bool
    ) -> Iterator[tuple[Rule, Expected]]:
        """The rules beside the one taken, in and behind chains that leave it open."""
        met = set() if taken is None else {place(taken)}
        for chain in chains:
            for rule in reachable(self._rules, chain):
                gives = given(rule.text)
                if gives is None or gives.is_source is not source:
                    continue
                if place(rule) not in met:
                    met.add(place(rule))
                    yield rule, _by_text(gives)

    def _likely(
        self, gives: Given, expected: Expected, now: Address, interface: str | None
    ) -> Expected | None:
        """The interface's other addresses, where the route does not settle which.

        Over IPv6 the destination has a say in it (ipv6_dev_get_saddr), with several
        next hops the way that is taken (inet_select_addr).
        """
        if gives.kind not in ("masquerade", "redirect") or interface is None:
            return None
        if now.version == 4 and not self._has_ways:
            return None
        spans = tuple(
            (int(address), int(address))
            for address in self._addresses.get(interface, ())
            if address.version == now.version
        )
        return replace(expected, spans=spans) if spans else None


def _name(chain: Chain) -> ChainName:
    return chain.family, chain.table, chain.name


def _is_doubtful(rule: Rule) -> bool:
    """Whether not every packet fares alike by it; of those that are logged all do."""
    return has_doubt(rule.text) and _DECIDES.search(rule.text) is not None


def _taken(visit: Visit) -> Rule | None:
    """The rule that translated, if this is its visit."""
    rule = visit.rule
    if rule is None or visit.verdict != Verdict.ACCEPT:
        return None
    is_unlisted = rule.number is None
    return rule if is_unlisted or given(rule.text) is not None else None


def _reply(seen: Sightings) -> FlowTuple | None:
    """The reply tuple the packet's entry has."""
    if seen.after is not None:
        return seen.after.reply
    for departure in seen.departures:
        if not departure.is_answer:
            return departure.packet.tuple.reversed()
    return None


def _exactly(address: Address, port: int | None, source: bool) -> Expected:
    ports = None if port is None else (port, port)
    return Expected(_span(address), ports, is_free=source)


def _expected(
    gives: Given, now: Address, now_port: int | None, *, chance: bool
) -> Expected:
    """What a rule may give, by its text and by what it gave the one packet."""
    if gives.is_map:
        if gives.is_prefix:
            return _network(gives, now)
        if chance and not gives.addresses:
            return Expected((), is_free=True)
        spans = gives.addresses if chance else _span(now)
        ports = None if now_port is None else (now_port, now_port)
        return Expected(spans, None if chance else ports, gives.is_source or chance)
    if gives.kind in ("masquerade", "redirect"):
        free = gives.is_source and gives.ports is None
        return Expected(_span(now), gives.ports, is_free=free)
    if not gives.addresses and gives.ports is None:
        return _exactly(now, now_port, gives.is_source)
    return _by_text(gives)


def _network(gives: Given, now: Address) -> Expected:
    """What a network becomes: the one of a map that it became for one packet."""
    for span in gives.addresses:
        if span[0] <= int(now) <= span[1]:
            return Expected((span,), None, is_free=True, host_bits=span[0] ^ span[1])
    return Expected((), is_free=True)  # told elsewhere: anything


def _by_text(gives: Given) -> Expected:
    """What a rule may give, by its text alone."""
    free = gives.ports is None and (gives.is_source or gives.is_map)
    if gives.kind in ("masquerade", "redirect"):
        return Expected((), gives.ports, is_free=free)
    if gives.is_prefix and gives.addresses:
        first, last = gives.addresses[0]
        return Expected(gives.addresses, gives.ports, free, host_bits=first ^ last)
    if gives.addresses:
        return Expected(gives.addresses, gives.ports, is_free=free)
    if gives.is_map:
        return Expected((), is_free=True)
    return Expected(None, gives.ports, is_free=free)


def _span(address: Address) -> tuple[tuple[int, int], ...]:
    return ((int(address), int(address)),)


def _endpoint(address: Address, port: int | None, was: int | None) -> str:
    if port is None or port == was:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
