"""Why a packet came no further."""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.journey import (
    Hook,
    Outcome,
    Sightings,
    Stage,
    Verdict,
    Visit,
)
from natscope.views.dropped import dropped


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where, how and why: ``reason`` is a word for programs, ``why`` a sentence."""

    outcome: Outcome
    stage: Stage
    reason: str
    why: str
    by: Visit | None = None


_FINAL = {
    Verdict.DROP: Outcome.DROPPED,
    Verdict.QUEUE: Outcome.QUEUED,
    Verdict.STOLEN: Outcome.DROPPED,
}


def stopped(seen: Sightings) -> Stopped:
    """Why a packet that neither left nor was delivered came no further."""
    return (
        _by_a_rule(seen)
        or _by_the_kernel(seen)
        or _by_conntrack(seen)
        or _by_routing(seen)
        or _late(seen)
    )


def _by_the_kernel(seen: Sightings) -> Stopped | None:
    if seen.drop is None or not seen.positions:
        return None
    found = dropped(seen.drop, seen.positions[-1])
    return Stopped(found.outcome, found.stage, found.reason, found.why)


def _by_a_rule(seen: Sightings) -> Stopped | None:
    for visit in seen.visits:
        if visit.verdict not in _FINAL:
            continue
        outcome = _FINAL[visit.verdict]
        answered = any(d.is_answer for d in seen.departures)
        if outcome == Outcome.DROPPED and answered and _rejects(visit):
            outcome = Outcome.REJECTED
        chain = f"{visit.base.family} {visit.base.table} {visit.chain.name}"
        if visit.rule is None:
            why = f"the policy of {chain} drops it"
            return Stopped(outcome, Stage.FILTER, "policy", why, visit)
        word = outcome.value if outcome != Outcome.QUEUED else "handed to a program"
        why = f"{word} by a rule of {chain}: {visit.rule.text}"
        return Stopped(outcome, Stage.FILTER, "rule", why, visit)
    return None


def _rejects(visit: Visit) -> bool:
    return visit.rule is not None and "reject" in visit.rule.text.lower()


def _by_conntrack(seen: Sightings) -> Stopped | None:
    """Between the chains before and after -200 of the first hook."""
    reached = {v.base.hook for v in seen.visits}
    first = Hook.PREROUTING if Hook.PREROUTING in reached else Hook.OUTPUT
    if first not in reached or reached - {first, Hook.INGRESS}:
        return None
    late = [v for v in seen.visits if v.base.hook == first and _is_after(v, -100)]
    if late:
        return None
    counters = dict(seen.counters)
    packet = None if seen.question is None else seen.question.packet
    if packet is not None and packet.fragment is not None:
        why = "a fragment: it waits for the others (nf_defrag)"
        return _at(Stage.CONNTRACK, "fragment", why)
    if counters.get("conntrack.early_drop") or counters.get("conntrack.drop"):
        why = "the connection tracking table is full (nf_conntrack_max)"
        return _at(Stage.CONNTRACK, "table-full", why)
    why = "connection tracking or NAT dropped it"
    return _at(Stage.CONNTRACK, "conntrack", why)


def _by_routing(seen: Sightings) -> Stopped | None:
    """Between prerouting and the next hook."""
    reached = {v.base.hook for v in seen.visits}
    if reached - {Hook.PREROUTING, Hook.INGRESS}:
        return None
    if not reached and seen.question is not None and seen.question.iif is None:
        return _routed_error(seen) or _at(Stage.ROUTING, "no-route", "no route")
    if not reached:
        why = "it never came to prerouting: a bad header, or the interface is down"
        return _at(Stage.ARRIVAL, "not-received", why)
    expired = _expired(seen)
    return (
        expired
        or _routed_error(seen)
        or _at(Stage.ROUTING, "routing", "the routing decision dropped it")
    )


def _expired(seen: Sightings) -> Stopped | None:
    packet = None if seen.question is None else seen.question.packet
    is_local = seen.routed is not None and seen.routed.kind == "local"
    if packet is None or packet.ttl > 1 or is_local:
        return None
    why = "its TTL is used up: the box answers with time exceeded"
    return Stopped(Outcome.REJECTED, Stage.ROUTING, "ttl", why)


def _routed_error(seen: Sightings) -> Stopped | None:
    routed = seen.routed
    if routed is None:
        return None
    settings = dict(seen.sysctls)
    if dict(seen.counters).get("TcpExt.IPReversePathFilter") or routed.error == "EXDEV":
        why = (
            "reverse-path filter: answers to its source would not leave where it "
            f"came in (rp_filter={settings.get('rp_filter', '?')})"
        )
        return _at(Stage.ROUTING, "rp-filter", why)
    if settings.get("forwarding") == "0" and routed.kind != "local":
        why = "forwarding is off on the interface it came in by"
        return _at(Stage.ROUTING, "forwarding-off", why)
    if routed.kind in ("blackhole", "prohibit") or routed.error in ("EACCES", "EINVAL"):
        kind = {"EACCES": "prohibit", "EINVAL": "blackhole"}.get(
            routed.error or "", routed.kind
        )
        if routed.error == "EINVAL" and seen.question and seen.question.iif:
            why = "a martian: its source is the box's own, or no address of a host"
            return _at(Stage.ROUTING, "martian", why)
        return _at(Stage.ROUTING, kind, f"a {kind} route takes it")
    if routed.error is not None or routed.kind == "unreachable":
        why = "no route leads to its destination"
        return _at(Stage.ROUTING, "no-route", why)
    return None


def _late(seen: Sightings) -> Stopped:
    """After forward, input or postrouting had passed it."""
    counters = dict(seen.counters)
    reached = {v.base.hook for v in seen.visits}
    if counters.get("conntrack.insert_failed"):
        why = "no port is free for its translation, or another packet took it first"
        return _at(Stage.CONFIRM, "no-port", why)
    if counters.get("conntrack.drop"):
        return _at(Stage.CONFIRM, "conntrack", "connection tracking dropped it")
    if Hook.POSTROUTING not in reached and counters.get("Ip.FragFails"):
        why = "too large for the next link, and it may not be fragmented"
        return Stopped(Outcome.REJECTED, Stage.FILTER, "mtu", why)
    if _is_in_nat(seen):
        why = "NAT dropped it: it cannot be rewritten, being too short or of no use"
        return _at(Stage.SNAT, "nat", why)
    where = Stage.SNAT if Hook.POSTROUTING in reached else Stage.FILTER
    return Stopped(Outcome.UNKNOWN, where, "unknown", "it was seen no more after this")


def _is_in_nat(seen: Sightings) -> bool:
    """Whether a NAT rule was the last thing it met, and chains came after."""
    last = seen.visits[-1] if seen.visits else None
    return (
        last is not None and last.base.type == "nat" and last.verdict == Verdict.ACCEPT
    )


def _at(stage: Stage, reason: str, why: str) -> Stopped:
    return Stopped(Outcome.DROPPED, stage, reason, why)


def _is_after(visit: Visit, priority: int) -> bool:
    return (visit.base.priority or 0) > priority
