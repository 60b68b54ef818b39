"""A packet's way, read from what was seen of it.

The order is the kernel's: hooks by their place on the way, base chains by priority;
what conntrack, NAT and routing did in between shows in the headers the next chain
saw (research on nf_hook_slow, nf_conntrack_in, nf_nat_inet_fn).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeGuard

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.journey import (
    OWN_TABLES,
    Hook,
    Journey,
    Outcome,
    Phase,
    Routed,
    Sightings,
    Stage,
    Tracked,
    Verdict,
    Visit,
)
from natscope.model.packet import Packet
from natscope.views.caveats import caveats
from natscope.views.dropped import NETFILTER
from natscope.views.stopped import Stopped, stopped

RAW_BEFORE, MANGLE_BEFORE = -200, -100
"""Priorities of conntrack and of destination NAT (enum nf_ip_hook_priorities)."""
INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 1, 2, 4, 8, 64
"""Bits of nft's ct state (NF_CT_STATE_BIT)."""
NOT_TRANSLATED = "not translated"
_IN = (Hook.INGRESS, Hook.PREROUTING)


def journey(seen: Sightings) -> Journey:
    """What happened, phase by phase, and how it ended."""
    way = _Way(seen)
    phases = list(way.phases())
    end = stopped(seen) if way.is_stopped else None
    if end is not None:
        phases = _ended(phases, end)
    outcome = end.outcome if end is not None else way.outcome()
    return Journey(
        outcome=outcome,
        phases=tuple(phases),
        reason=None if end is None else end.reason,
        why=None if end is None else end.why,
        by=None if end is None else end.by,
        question=seen.question,
        departures=seen.departures,
        entry=None if way.is_invalid else seen.after,
        notes=caveats(seen),
    )


def stage(visit: Visit) -> Stage:
    """The stage a base chain belongs to, by its hook, type and priority."""
    base = visit.base
    priority = base.priority or 0
    if base.hook in (Hook.INGRESS, Hook.EGRESS, None):
        return Stage.ARRIVAL if base.hook == Hook.INGRESS else Stage.FILTER
    if base.type == "nat":
        first = base.hook in (Hook.PREROUTING, Hook.OUTPUT)
        return Stage.DNAT if first else Stage.SNAT
    if base.hook in (Hook.PREROUTING, Hook.OUTPUT) and priority < RAW_BEFORE:
        return Stage.RAW
    if base.type == "route" or priority < MANGLE_BEFORE:
        return Stage.MANGLE
    if base.hook == Hook.POSTROUTING:
        return Stage.MANGLE
    return Stage.FILTER


def is_own(visit: Visit) -> bool:
    """Whether a chain is natscope's, made to see packets pass."""
    return visit.base.table.startswith(OWN_TABLES)


@dataclass
class _Way:
    """Reads one packet's sightings in order."""

    seen: Sightings

    def __post_init__(self) -> None:
        self._hooks = [v.base.hook for v in self.seen.visits if v.base.hook is not None]
        question = self.seen.question
        first = next((v.packet for v in self.seen.visits if v.packet), None)
        self._first = question.packet if question is not None else first
        self.is_local = Hook.OUTPUT in self._hooks and not set(_IN) & set(self._hooks)
        if question is not None:
            self.is_local = question.iif is None

    @property
    def is_stopped(self) -> bool:
        """Whether it got neither out nor to the box."""
        return not any(not d.is_answer for d in self.seen.departures)

    def outcome(self) -> Outcome:
        """How the way of a packet that was not stopped ended."""
        departure = next(d for d in self.seen.departures if not d.is_answer)
        if departure.interface is None:
            return Outcome.DELIVERED
        return Outcome.SENT if self.is_local else Outcome.FORWARDED

    def phases(self) -> Iterator[Phase]:
        """The phases, the kernel's own between those of rules."""
        yield self._arrival()
        if self.is_local:
            yield self._routing()  # before its first hook (ip_queue_xmit)
        entering = [Hook.OUTPUT] if self.is_local else [*_IN]
        visits = self.seen.visits
        yield from self._entering([v for v in visits if v.base.hook in entering])
        rest = [v for v in visits if v.base.hook not in entering]
        if not self.is_local and (rest or self._passed(Hook.PREROUTING)):
            yield self._routing()
        yield from self._leaving(rest)
        entry = self.seen.after if self.seen.is_tracked is not False else None
        if entry is not None and not self.is_stopped and not self.is_invalid:
            yield Phase(Stage.CONFIRM, _entry_said(entry, self.seen.before))

    def _arrival(self) -> Phase:
        question = self.seen.question
        iif = question.iif if question is not None else None
        if iif is None:
            iif = next((v.iif for v in self.seen.visits if v.iif), None)
        said = "from the box itself" if self.is_local else f"in {iif or '?'}"
        return Phase(Stage.ARRIVAL, said, packet=self._first)

    def _entering(self, visits: Sequence[Visit]) -> Iterator[Phase]:
        """Prerouting, or output: raw, conntrack, mangle, destination NAT, filter."""
        groups = {key: tuple(found) for key, found in groupby(visits, key=stage)}
        last = self._first
        for one in (Stage.ARRIVAL, Stage.RAW):
            if shown := _shown(groups.get(one, ())):
                yield Phase(one, _said(shown), shown)
        if not visits or self._ended_in(groups, Stage.ARRIVAL, Stage.RAW):
            return
        yield Phase(Stage.CONNTRACK, self._tracking())
        if self.is_stopped and not self._left_conntrack(visits):
            return
        if shown := _shown(groups.get(Stage.MANGLE, ())):
            yield Phase(Stage.MANGLE, _said(shown), shown)
        after = self._entered(visits)
        nat = _shown(groups.get(Stage.DNAT, ()))
        moved = after is not None and last is not None and _is_turned(last, after)
        if nat or moved:
            said = self._nat_said(nat, last, after, "dst")
            yield Phase(Stage.DNAT, said, nat, after, is_turned=moved)
        if shown := _shown(groups.get(Stage.FILTER, ())):
            yield Phase(Stage.FILTER, _said(shown), shown)

    def _leaving(self, visits: Sequence[Visit]) -> Iterator[Phase]:
        """Input, or forward and postrouting."""
        before = next((v.packet for v in visits if v.packet), None)
        snat: tuple[Visit, ...] = ()
        for one, found in groupby(visits, key=stage):
            shown = _shown(found)
            if one == Stage.SNAT:
                snat += shown
            elif shown:
                yield Phase(one, _said(shown), shown)
        after = self._departed()
        moved = before is not None and after is not None and _is_turned(before, after)
        if snat or moved:
            said = self._nat_said(snat, before, after, "src")
            yield Phase(Stage.SNAT, said, snat, after, is_turned=moved)

    def _nat_said(
        self,
        visits: Sequence[Visit],
        before: Packet | None,
        after: Packet | None,
        side: str,
    ) -> str:
        said = _nat_said(visits, before, after, side)
        if visits or self.seen.before is None or said == NOT_TRANSLATED:
            return said
        return f"{said}, as the entry says"

    def _routing(self) -> Phase:
        routed = self.seen.routed
        packet = self._after(self.seen.visits) or self._first
        # what came through was routed, whatever the tables answer when asked
        if routed is not None and (routed.error is None or self.is_stopped):
            return Phase(Stage.ROUTING, _route_said(routed), packet=packet)
        way = "to the box itself" if Hook.INPUT in self._hooks else "on"
        oif = next((v.oif for v in self.seen.visits if v.oif), None)
        return Phase(Stage.ROUTING, f"out {oif}" if oif else way, packet=packet)

    def _after(self, visits: Sequence[Visit]) -> Packet | None:
        """The packet when prerouting, or output, was through."""
        end = Hook.OUTPUT if self.is_local else Hook.PREROUTING
        late = [v.packet for v in visits if v.packet and (v.base.priority or 0) > -100
                and v.base.hook == end]  # fmt: skip
        on = [v.packet for v in visits if v.packet and v.base.hook in
              (Hook.INPUT, Hook.FORWARD, Hook.POSTROUTING)]  # fmt: skip
        return next(iter(on or late), None)

    def _entered(self, visits: Sequence[Visit]) -> Packet | None:
        """The packet after destination NAT, whose chain may stand late (firewalld)."""
        late = [v for v in visits if v.packet and (v.base.priority or 0) > -100]
        if not late or (late[-1].base.priority or 0) < 0:
            beyond = (Hook.INPUT, Hook.FORWARD)
            on = [v for v in self.seen.visits if v.packet and v.base.hook in beyond]
            late += on[:1]
        return late[-1].packet if late else None

    def _departed(self) -> Packet | None:
        for departure in self.seen.departures:
            if not departure.is_answer:
                return departure.packet
        return None

    def _passed(self, hook: Hook) -> bool:
        """Whether the packet came to the end of a hook, as far as can be seen."""
        last = [v for v in self.seen.visits if v.base.hook == hook]
        return bool(last) and is_own(last[-1]) and (last[-1].base.priority or 0) > 0

    def _left_conntrack(self, visits: Sequence[Visit]) -> bool:
        return any((v.base.priority or 0) > RAW_BEFORE for v in visits)

    def _ended_in(self, groups: dict[Stage, tuple[Visit, ...]], *stages: Stage) -> bool:
        visits = [v for one in stages for v in groups.get(one, ())]
        return any(v.verdict == Verdict.DROP for v in visits)

    def _tracking(self) -> str:
        seen = self.seen
        if seen.is_tracked is False:
            return "off: no rule of this box needs connection tracking"
        if seen.invalid:
            return f"INVALID: {seen.invalid[0].strip()}"
        tracked = next((v.tracked for v in seen.visits if _is_entry(v.tracked)), None)
        if tracked is None:
            return "INVALID" if self.is_invalid else "no entry"
        return _tracked_said(tracked, seen.before)

    @property
    def is_invalid(self) -> bool:
        """Conntrack said so, or a chain after it saw the packet, and no entry with it.

        Another flow of the same tuple, in another zone, is not the packet's.
        """
        if self.seen.invalid:
            return True
        if any(_is_entry(visit.tracked) for visit in self.seen.visits):
            return False
        late = [v for v in self.seen.visits if (v.base.priority or 0) > RAW_BEFORE]
        return bool(late) and self.seen.is_tracked is True


def _shown(visits: Sequence[Visit] | Iterator[Visit]) -> tuple[Visit, ...]:
    return tuple(visit for visit in visits if not is_own(visit))


def _said(visits: Sequence[Visit]) -> str:
    """The end of some chains, in a word."""
    last = visits[-1]
    for visit in visits:
        if visit.verdict in (Verdict.DROP, Verdict.QUEUE, Verdict.STOLEN):
            last = visit
            break
    if last.verdict == Verdict.ACCEPT or last.is_policy:
        return last.verdict.name.lower()
    return "no verdict" if last.verdict < 0 else last.verdict.name.lower()


def _is_turned(one: Packet, other: Packet) -> bool:
    """Whether addresses or ports differ."""
    return one.tuple != other.tuple


def _nat_said(
    visits: Sequence[Visit], before: Packet | None, after: Packet | None, side: str
) -> str:
    if before is None or after is None or not _is_turned(before, after):
        return NOT_TRANSLATED
    if (before.src, before.sport, before.icmp_id) != (
        *(after.src, after.sport),
        after.icmp_id,
    ):
        side = "src"
    if (before.dst, before.dport) != (after.dst, after.dport):
        side = "both" if side == "src" and before.src != after.src else "dst"
    word = {"src": "source", "dst": "destination", "both": "both ends"}[side]
    if any(visit.rule is not None and visit.verdict >= 0 for visit in visits):
        return f"{word} translated"
    if visits:
        return f"{word} port moved: another flow has it"
    return f"{word} translated"


def _route_said(routed: Routed) -> str:
    if routed.error is not None:
        what = "no route" if routed.kind == "none" else routed.kind
        return f"{what}: {routed.error}"
    via = f" via {routed.gateway}" if routed.gateway else ""
    table = f" table {routed.table}" if routed.table not in (None, "main") else ""
    by = f" ({routed.prefix}{table})" if routed.prefix else ""
    if routed.kind == "local":
        return f"to the box itself{by}"
    kind = "" if routed.kind == "unicast" else f"{routed.kind} "
    return f"{kind}out {routed.interface}{via}{by}"


def _is_entry(tracked: Tracked | None) -> TypeGuard[Tracked]:
    """Not a template: so a zone or a helper is handed on to conntrack."""
    return tracked is not None and not tracked.status & uapi.Status.TEMPLATE


def _tracked_said(tracked: Tracked, before: Flow | None) -> str:
    direction = "reply" if tracked.direction else "original"
    match tracked.state:
        case 8:
            if before is None:
                return "NEW: no entry yet"
            which = "its entry" if before.id is None else f"entry {before.id}"
            return f"NEW still: {which} has seen no answer"
        case 4:
            return "RELATED to an entry"
        case 64:
            return "UNTRACKED, by a rule"
        case 1:
            return "INVALID"
    of = "" if before is None or before.id is None else f" of entry {before.id}"
    return f"ESTABLISHED{of}, {direction} direction"


def _entry_said(entry: Flow, before: Flow | None) -> str:
    made = "makes an entry" if before is None else "its entry"
    state = ""
    if entry.tcp_state is not None:
        state = f", {uapi.state_name(uapi.TCP_STATES, entry.tcp_state)}"
    left = "" if entry.timeout is None else f", {entry.timeout} s"
    return f"{made}{state}{left}"


def _ended(phases: list[Phase], end: Stopped) -> list[Phase]:
    """Mark the phase a packet ended in."""
    if end.reason == NETFILTER:
        order = list(Stage)
        # what the box sends is routed before its first hook, all else after it
        before = [
            phase
            for index, phase in enumerate(phases)
            if (index == 1 and phase.stage == Stage.ROUTING)
            or order.index(phase.stage) < order.index(end.stage)
        ]
        return [*before, Phase(end.stage, "drop", is_end=True)]
    at = len(phases) - 1
    for index, phase in enumerate(phases):
        if end.by is not None and end.by in phase.visits:
            at = index
            break
        if end.by is None and phase.stage == end.stage:
            at = index
    return [*phases[:at], replace(phases[at], is_end=True)]
