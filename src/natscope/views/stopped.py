"""Why a packet came no further, and at which stage.

What stopped it is told by where it was last: each place where the kernel drops a
packet lies between two chains that natscope has at every hook.  Within such a place
the routing table, the counters and the box's own answer tell causes apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from natscope import uapi
from natscope.model.journey import (
    OWN_TABLES,
    Hook,
    Outcome,
    Sightings,
    Stage,
    Verdict,
    Visit,
)
from natscope.model.packet import Packet
from natscope.views.dropped import dropped


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where, how and why: ``reason`` is a word for programs, ``why`` a sentence."""

    outcome: Outcome
    stage: Stage
    reason: str
    why: str
    by: Visit | None = None


_FIRST = (Hook.PREROUTING, Hook.OUTPUT)
_ROUTES = {
    "no-route": "no route leads to its destination",
    "blackhole": "a blackhole, a route or rule, takes it",
    "prohibit": "a route or rule prohibits it",
    "unreachable": "a route or rule calls its destination unreachable",
    "martian": "a martian: no packet from elsewhere may have such addresses",
    "multicast": "nobody on the box has joined the group, and it is not routed",
}
_KINDS = {"none": "no-route"}
"""Reasons that have another name than the kind of the route."""


def stopped(seen: Sightings) -> Stopped:
    """Why a packet that neither left nor was delivered came no further."""
    end = (
        _by_a_rule(seen)
        or _by_the_kernel(seen)
        or _unreceived(seen)
        or _before_routing(seen)
        or _in_routing(seen)
        or _behind_chains(seen)
    )
    is_told = _is_answered(seen) or _is_refused(seen, end)
    if end.outcome == Outcome.DROPPED and is_told:
        return replace(end, outcome=Outcome.REJECTED)
    return end


def _by_the_kernel(seen: Sightings) -> Stopped | None:
    """It says so itself, at the tracepoint kfree_skb."""
    if seen.drop is None or not seen.positions:
        return None
    found = dropped(seen.drop, seen.positions[-1])
    return Stopped(found.outcome, found.stage, found.reason, found.why)


def _is_answered(seen: Sightings) -> bool:
    """Whether an answer left the box."""
    return any(one.is_answer and one.interface for one in seen.departures)


def _is_refused(seen: Sightings, end: Stopped) -> bool:
    """Whether a program of the box, which sent it, is told."""
    if seen.question is None or seen.question.iif is not None:
        return False
    if end.by is not None and end.by.rule is not None:
        return "reject" in end.by.rule.text.lower()
    return not seen.visits


def _by_a_rule(seen: Sightings) -> Stopped | None:
    for visit in seen.visits:
        if visit.verdict not in (Verdict.DROP, Verdict.QUEUE, Verdict.STOLEN):
            continue
        chain = f"{visit.base.family} {visit.base.table} {visit.chain.name}"
        if visit.rule is None:
            why = f"the policy of {chain} drops it"
            return Stopped(Outcome.DROPPED, Stage.FILTER, "policy", why, visit)
        outcome, reason, what = _taken(visit, visit.rule.text.lower())
        if "reject" in visit.rule.text.lower() and outcome == Outcome.DROPPED:
            what = "rejected"
        why = f"{what} by a rule of {chain}: {visit.rule.text}"
        return Stopped(outcome, Stage.FILTER, reason, why, visit)
    return None


def _taken(visit: Visit, text: str) -> tuple[Outcome, str, str]:
    """What a rule did with it: outcome, reason, and a word."""
    if "synproxy" in text and visit.verdict == Verdict.STOLEN:
        return Outcome.ANSWERED, "synproxy", "answered in place of the other end"
    if visit.verdict == Verdict.QUEUE:
        return Outcome.QUEUED, "queue", "handed to a program"
    if "tproxy" in text:
        return Outcome.UNKNOWN, "tproxy", "handed to a proxy, or dropped without one,"
    return Outcome.DROPPED, "rule", "dropped"


def _unreceived(seen: Sightings) -> Stopped | None:
    """It met no chain at all."""
    if seen.visits:
        return None
    error = seen.routed.error if seen.routed is not None else None
    if seen.question is None or seen.question.iif is not None:
        if seen.is_up is False:
            return _at(Stage.ARRIVAL, "interface-down", "the interface is down")
        if error == "EMSGSIZE":
            why = "it is larger than the link it comes in by allows"
            return _at(Stage.ARRIVAL, "mtu", why)
        why = "it was not taken in: its header is not right, or its family is off"
        return _at(Stage.ARRIVAL, "not-received", why)
    end = _by_route(seen) or _at(Stage.ROUTING, "no-route", _ROUTES["no-route"])
    told = f"{end.why}: its program is told {error}" if error else end.why
    return replace(end, why=told)


def _before_routing(seen: Sightings) -> Stopped | None:
    """Conntrack, or destination NAT, between the chains of the first hook."""
    if not _ended_in(seen, *_FIRST) or _passed(seen, *_FIRST):
        return None
    counters = dict(seen.counters)
    packet = _packet(seen)
    if packet is not None and packet.fragment is not None:
        why = "a part of a packet: it waits for the others (nf_defrag)"
        return _at(Stage.CONNTRACK, "fragment", why)
    if counters.get("conntrack.drop"):
        why = "the connection tracking table is full (nf_conntrack_max)"
        return _at(Stage.CONNTRACK, "table-full", why)
    if seen.visits[-1].base.type == "nat":
        return _untranslatable(Stage.DNAT)
    return _at(Stage.CONNTRACK, "conntrack", "connection tracking dropped it")


def _in_routing(seen: Sightings) -> Stopped | None:
    """Behind prerouting, and before the chains of input or forward."""
    if not _ended_in(seen, Hook.PREROUTING, Hook.INGRESS):
        return None
    unknown = _at(Stage.ROUTING, "routing", "the routing decision dropped it")
    return _by_route(seen) or _by_size_or_age(seen) or unknown


def _by_route(seen: Sightings) -> Stopped | None:
    """What the routing table says; the filters of the interface come first."""
    routed, settings = seen.routed, dict(seen.sysctls)
    if routed is None:
        return None
    counters = dict(seen.counters)
    if counters.get("TcpExt.IPReversePathFilter") or routed.error == "EXDEV":
        why = (
            "reverse-path filter: answers to its source would not leave where it "
            f"came in (rp_filter={settings.get('rp_filter', '?')})"
        )
        return _at(Stage.ROUTING, "rp-filter", why)
    reason = _KINDS.get(routed.kind, routed.kind)
    named = _at(Stage.ROUTING, reason, _ROUTES[reason]) if reason in _ROUTES else None
    is_local = routed.kind in ("local", "broadcast", "martian", "multicast")
    if settings.get("forwarding") != "0" or is_local or (named and _is_v6(seen)):
        return named
    why = "forwarding is off on the interface it came in by"
    if _is_v6(seen):
        why = "forwarding is off on this box (net.ipv6.conf.all.forwarding)"
    return _at(Stage.ROUTING, "forwarding-off", why)


def _is_v6(seen: Sightings) -> bool:
    """There the route is asked before the switch (ip6_forward)."""
    packet = _packet(seen)
    return packet is not None and packet.src.version == 6


def _by_size_or_age(seen: Sightings) -> Stopped | None:
    """ip_forward() and ip6_forward(), before the chains of forward."""
    packet = _packet(seen)
    if packet is not None and packet.ttl <= 1:
        says = ": the box answers with time exceeded" if _is_answered(seen) else ""
        return _at(Stage.ROUTING, "ttl", f"its TTL is used up{says}")
    if _is_too_big(seen):
        why = "too large for the link it would leave by, and not to be fragmented"
        return _at(Stage.ROUTING, "mtu", why)
    return None


def _is_too_big(seen: Sightings) -> bool:
    counters = dict(seen.counters)
    if counters.get("Ip.FragFails") or counters.get("Ip6InTooBigErrors"):
        return True
    answers = [d.packet for d in seen.departures if d.is_answer]
    return any(
        (one.proto, one.icmp_type, one.icmp_code) == (uapi.IPPROTO_ICMP, 3, 4)
        or (one.proto, one.icmp_type) == (uapi.IPPROTO_ICMPV6, 2)
        for one in answers
    )


def _behind_chains(seen: Sightings) -> Stopped:
    """Forward, input or postrouting passed it, as far as chains go."""
    counters = dict(seen.counters)
    last = seen.visits[-1]
    if counters.get("conntrack.insert_failed"):
        why = "no port is free for its translation, or another packet took it first"
        return _at(Stage.CONFIRM, "no-port", why)
    if counters.get("conntrack.drop"):
        return _at(Stage.CONFIRM, "conntrack", "connection tracking dropped it")
    if _is_too_big(seen):
        why = "too large for the link it would leave by, and not to be fragmented"
        return _at(Stage.FILTER, "mtu", why)
    if last.base.type == "nat" and last.verdict == Verdict.ACCEPT:
        return _untranslatable(Stage.SNAT)
    stage = Stage.SNAT if last.base.hook == Hook.POSTROUTING else Stage.FILTER
    why = "it was seen no more after this"
    return Stopped(Outcome.UNKNOWN, stage, "unknown", why)


def _untranslatable(stage: Stage) -> Stopped:
    why = "NAT cannot rewrite it: its header is cut short (nf_nat_manip_pkt)"
    return _at(stage, "nat", why)


def _ended_in(seen: Sightings, *hooks: Hook) -> bool:
    """Whether one of these hooks was the last it came to."""
    return bool(seen.visits) and seen.visits[-1].base.hook in hooks


def _passed(seen: Sightings, *hooks: Hook) -> bool:
    """Whether it met natscope's chain at the end of one of these hooks."""
    return any(
        visit.base.hook in hooks
        and visit.base.table.startswith(OWN_TABLES)
        and (visit.base.priority or 0) > 0
        for visit in seen.visits
    )


def _packet(seen: Sightings) -> Packet | None:
    return None if seen.question is None else seen.question.packet


def _at(stage: Stage, reason: str, why: str) -> Stopped:
    return Stopped(Outcome.DROPPED, stage, reason, why)
