"""Why a packet came no further, from what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from natscope.model.journey import Hook, Outcome, Routed, Sightings, Stage, Verdict
from natscope.model.packet import Fragment, Question
from natscope.views.stopped import stopped
from unit.views.sightings import (
    ANSWER,
    BEGUN,
    ONWARD,
    OUT,
    SYN,
    THROUGH,
    UDP6,
    UNREACHABLE,
    passed,
    policy,
    rule,
    seen,
)

DROPPED, REJECTED = Outcome.DROPPED, Outcome.REJECTED
FORWARD = (*THROUGH, passed(Hook.FORWARD))
LEFT = (*FORWARD, passed(Hook.POSTROUTING))


@dataclass(frozen=True)
class Case:
    id: str
    seen: Sightings
    outcome: Outcome
    reason: str
    stage: Stage
    why: str = ""


def routed(kind: str, error: str, **more: object) -> Sightings:
    return seen(*THROUGH, routed=Routed(kind, error=error), **more)


CASES = (
    Case(
        "a rule",
        seen(*THROUGH, rule("drop", Hook.FORWARD, Verdict.DROP)),
        DROPPED,
        "rule",
        Stage.FILTER,
        "dropped by a rule of ip t forward: drop",
    ),
    Case(
        "a rule that rejects",
        seen(
            *THROUGH, rule("reject", Hook.FORWARD, Verdict.DROP), departures=(ANSWER,)
        ),
        REJECTED,
        "rule",
        Stage.FILTER,
        "rejected by a rule",
    ),
    Case(
        "a rule that rejects in silence",
        seen(*THROUGH, rule("reject", Hook.FORWARD, Verdict.DROP)),
        DROPPED,
        "rule",
        Stage.FILTER,
    ),
    Case(
        "a rule that rejects the box's own",
        seen(rule("reject", Hook.OUTPUT, Verdict.DROP), question=OUT),
        REJECTED,
        "rule",
        Stage.FILTER,
    ),
    Case(
        "a rule that drops the box's own",
        seen(rule("drop", Hook.OUTPUT, Verdict.DROP), question=OUT),
        DROPPED,
        "rule",
        Stage.FILTER,
    ),
    Case(
        "a policy",
        seen(*THROUGH, policy(Hook.FORWARD, Verdict.DROP)),
        DROPPED,
        "policy",
        Stage.FILTER,
        "the policy of ip t forward drops it",
    ),
    Case(
        "a queue",
        seen(rule("queue to 7", Hook.FORWARD, Verdict.QUEUE)),
        Outcome.QUEUED,
        "queue",
        Stage.FILTER,
        "handed to a program",
    ),
    Case(
        "synproxy",
        seen(
            rule("synproxy mss 1460", Hook.FORWARD, Verdict.STOLEN),
            departures=(ANSWER,),
        ),
        Outcome.ANSWERED,
        "synproxy",
        Stage.FILTER,
    ),
    Case(
        "TPROXY",
        seen(rule("-j TPROXY --on-port 9", Hook.PREROUTING, Verdict.DROP)),
        Outcome.UNKNOWN,
        "tproxy",
        Stage.FILTER,
    ),
    Case(
        "an interface that is down",
        seen(is_up=False),
        DROPPED,
        "interface-down",
        Stage.ARRIVAL,
    ),
    Case(
        "larger than its link",
        seen(is_up=True, routed=Routed("unreachable", error="EMSGSIZE")),
        DROPPED,
        "mtu",
        Stage.ARRIVAL,
    ),
    Case("not taken in", seen(routed=ONWARD), DROPPED, "not-received", Stage.ARRIVAL),
    Case(
        "no route for the box's own",
        seen(question=OUT, routed=Routed("none", error="ENETUNREACH")),
        REJECTED,
        "no-route",
        Stage.ROUTING,
        "its program is told ENETUNREACH",
    ),
    Case(
        "a blackhole for the box's own",
        seen(question=OUT, routed=Routed("blackhole", error="EINVAL")),
        REJECTED,
        "blackhole",
        Stage.ROUTING,
    ),
    Case(
        "nothing known of the box's own",
        seen(question=OUT),
        REJECTED,
        "no-route",
        Stage.ROUTING,
    ),
    Case(
        "a fragment",
        seen(
            BEGUN, question=Question(replace(SYN, fragment=Fragment(more=True)), "lan")
        ),
        DROPPED,
        "fragment",
        Stage.CONNTRACK,
    ),
    Case(
        "a full table",
        seen(BEGUN, counters=(("conntrack.drop", 1),)),
        DROPPED,
        "table-full",
        Stage.CONNTRACK,
    ),
    Case("conntrack", seen(BEGUN), DROPPED, "conntrack", Stage.CONNTRACK),
    Case(
        "destination NAT that cannot",
        seen(
            BEGUN,
            rule(
                "dnat to 10.0.0.3",
                Hook.PREROUTING,
                Verdict.ACCEPT,
                kind="nat",
                priority=-100,
            ),
        ),
        DROPPED,
        "nat",
        Stage.DNAT,
    ),
    Case("no route", routed("none", "ENETUNREACH"), DROPPED, "no-route", Stage.ROUTING),
    Case(
        "a blackhole",
        routed("blackhole", "EINVAL"),
        DROPPED,
        "blackhole",
        Stage.ROUTING,
    ),
    Case(
        "a prohibition",
        routed("prohibit", "EACCES", departures=(ANSWER,)),
        REJECTED,
        "prohibit",
        Stage.ROUTING,
    ),
    Case(
        "unreachable",
        routed("unreachable", "EHOSTUNREACH", departures=(ANSWER,)),
        REJECTED,
        "unreachable",
        Stage.ROUTING,
    ),
    Case(
        "a martian",
        routed("martian", "EINVAL", sysctls=(("forwarding", "0"),)),
        DROPPED,
        "martian",
        Stage.ROUTING,
    ),
    Case("a group", routed("multicast", "EINVAL"), DROPPED, "multicast", Stage.ROUTING),
    Case(
        "reverse path, by its counter",
        seen(
            *THROUGH,
            routed=ONWARD,
            counters=(("TcpExt.IPReversePathFilter", 1),),
            sysctls=(("rp_filter", "1"),),
        ),
        DROPPED,
        "rp-filter",
        Stage.ROUTING,
        "(rp_filter=1)",
    ),
    Case(
        "reverse path, by the error",
        routed("unreachable", "EXDEV"),
        DROPPED,
        "rp-filter",
        Stage.ROUTING,
    ),
    Case(
        "forwarding off",
        routed("unreachable", "EHOSTUNREACH", sysctls=(("forwarding", "0"),)),
        DROPPED,
        "forwarding-off",
        Stage.ROUTING,
    ),
    Case(
        "forwarding off, IPv6",
        seen(
            *THROUGH,
            question=Question(UDP6, "lan"),
            routed=ONWARD,
            sysctls=(("forwarding", "0"),),
        ),
        DROPPED,
        "forwarding-off",
        Stage.ROUTING,
    ),
    Case(
        "a blackhole before the switch, IPv6",
        routed(
            "blackhole",
            "EINVAL",
            question=Question(UDP6, "lan"),
            sysctls=(("forwarding", "0"),),
        ),
        DROPPED,
        "blackhole",
        Stage.ROUTING,
    ),
    Case(
        "TTL",
        seen(
            *THROUGH,
            question=Question(replace(SYN, ttl=1), "lan"),
            routed=ONWARD,
            departures=(ANSWER,),
        ),
        REJECTED,
        "ttl",
        Stage.ROUTING,
        "the box answers",
    ),
    Case(
        "TTL, in silence",
        seen(*THROUGH, question=Question(replace(SYN, ttl=1), "lan"), routed=ONWARD),
        DROPPED,
        "ttl",
        Stage.ROUTING,
    ),
    Case(
        "too large, by the counter",
        seen(*THROUGH, routed=ONWARD, counters=(("Ip.FragFails", 1),)),
        DROPPED,
        "mtu",
        Stage.ROUTING,
    ),
    Case(
        "too large, by the answer",
        seen(
            *THROUGH,
            routed=ONWARD,
            departures=(replace(ANSWER, packet=replace(UNREACHABLE, icmp_code=4)),),
        ),
        REJECTED,
        "mtu",
        Stage.ROUTING,
    ),
    Case(
        "routing, and no word why",
        seen(*THROUGH, routed=ONWARD),
        DROPPED,
        "routing",
        Stage.ROUTING,
    ),
    Case(
        "no port free",
        seen(*LEFT, counters=(("conntrack.insert_failed", 1), ("conntrack.drop", 1))),
        DROPPED,
        "no-port",
        Stage.CONFIRM,
    ),
    Case(
        "confirmation",
        seen(*LEFT, counters=(("conntrack.drop", 1),)),
        DROPPED,
        "conntrack",
        Stage.CONFIRM,
    ),
    Case(
        "too large, behind forward",
        seen(*FORWARD, counters=(("Ip.FragFails", 1),)),
        DROPPED,
        "mtu",
        Stage.FILTER,
    ),
    Case(
        "source NAT that cannot",
        seen(
            *FORWARD,
            rule(
                "masquerade", Hook.POSTROUTING, Verdict.ACCEPT, kind="nat", priority=100
            ),
        ),
        DROPPED,
        "nat",
        Stage.SNAT,
    ),
    Case("nobody knows", seen(*LEFT), Outcome.UNKNOWN, "unknown", Stage.SNAT),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_end_of_a_way_has_a_reason(case: Case) -> None:
    end = stopped(case.seen)
    assert (end.outcome, end.reason, end.stage) == (
        case.outcome,
        case.reason,
        case.stage,
    )
    assert case.why in end.why


def test_the_rule_that_ended_it_is_named() -> None:
    last = rule("drop", Hook.FORWARD, Verdict.DROP)
    assert stopped(seen(*THROUGH, last)).by is last


def test_every_reason_is_in_the_documentation() -> None:
    page = Path(__file__).parents[3] / "docs/explain/what-a-rehearsal-knows.md"
    text = page.read_text()
    known = {case.reason for case in CASES} - {"conntrack", "routing", "unknown"}
    assert {reason for reason in known if f"`{reason}`" not in text} == set()


def test_what_nobody_asked_for_has_reasons_too() -> None:
    """A trace of real packets: no question, no counters."""
    assert stopped(Sightings(THROUGH)).reason == "routing"
    assert stopped(Sightings()).reason == "not-received"
