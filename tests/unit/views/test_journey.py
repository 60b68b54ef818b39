"""A packet's way, phase by phase, from what was seen of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.journey import (
    Chain,
    Departure,
    Hook,
    Journey,
    Outcome,
    Routed,
    Sightings,
    Stage,
    Tracked,
    Verdict,
    Visit,
)
from natscope.views.journey import journey, stage
from unit.views.sightings import (
    ANSWER,
    BEGUN,
    ENTRY,
    NEW,
    ONWARD,
    OUT,
    SYN,
    THROUGH,
    chain,
    passed,
    policy,
    rule,
    seen,
)

PUBLIC = ip_address("203.0.113.1")
MASQUERADED = replace(SYN, src=PUBLIC, sport=1024)
PAID = replace(ENTRY, reply=MASQUERADED.tuple.reversed())
MASQUERADE = rule(
    "masquerade", Hook.POSTROUTING, Verdict.ACCEPT, kind="nat", priority=100
)
FORWARD = policy(Hook.FORWARD, packet=SYN, tracked=NEW, iif="lan", oif="wan")
THERE = Departure("wan", MASQUERADED)
LOCAL = Routed("local", "lo", prefix="10.0.0.1", table="local")
MASQUERADING = seen(
    *THROUGH, FORWARD, MASQUERADE, routed=ONWARD, after=PAID, departures=(THERE,)
)


def shown(way: Journey) -> list[tuple[str, str]]:
    return [(phase.stage.value, phase.said) for phase in way.phases]


def test_a_new_packet_is_followed_from_arrival_to_its_entry() -> None:
    way = journey(MASQUERADING)
    assert way.outcome == Outcome.FORWARDED
    assert (way.reason, way.why, way.by) == (None, None, None)
    assert shown(way) == [
        ("arrival", "in lan"),
        ("conntrack", "NEW: no entry yet"),
        ("routing", "out wan (default)"),
        ("filter", "accept"),
        ("snat", "source translated"),
        ("confirm", "makes an entry, SYN_SENT, 120 s"),
    ]
    (snat,) = [phase for phase in way.phases if phase.stage == Stage.SNAT]
    assert (snat.packet, snat.is_turned) == (MASQUERADED, True)
    assert not any(phase.is_end for phase in way.phases)


def test_a_port_the_kernel_chose_is_said_to_be_one_of_several() -> None:
    (note,) = journey(MASQUERADING).notes
    assert note.startswith("source port 1024 is one the kernel chose")


def test_chains_of_natscope_are_not_shown() -> None:
    way = journey(MASQUERADING)
    tables = {visit.base.table for phase in way.phases for visit in phase.visits}
    assert tables == {"t"}


def test_a_later_packet_is_translated_as_the_entry_says() -> None:
    old = replace(MASQUERADING, visits=(*THROUGH, FORWARD), before=PAID)
    assert ("snat", "source translated, as the entry says") in shown(journey(old))


def test_a_packet_to_the_box_is_delivered() -> None:
    visits = (*THROUGH, policy(Hook.INPUT, packet=SYN))
    there = (Departure(None, SYN),)
    way = journey(seen(*visits, routed=LOCAL, after=ENTRY, departures=there))
    assert way.outcome == Outcome.DELIVERED
    assert ("routing", "to the box itself (10.0.0.1 table local)") in shown(way)
    assert way.notes == (
        "whether a program listens there is not known to the rehearsal",
    )


def test_what_the_box_sends_is_routed_before_its_first_hook() -> None:
    visits = (policy(Hook.OUTPUT, packet=SYN, tracked=NEW), policy(Hook.POSTROUTING))
    way = journey(seen(*visits, question=OUT, routed=ONWARD, departures=(THERE,)))
    assert way.outcome == Outcome.SENT
    assert [where for where, _ in shown(way)][:2] == ["arrival", "routing"]
    assert ("arrival", "from the box itself") in shown(way)


def test_the_phase_where_it_ended_is_the_last_and_is_marked() -> None:
    drop = rule("tcp dport 80 drop", Hook.FORWARD, Verdict.DROP)
    way = journey(seen(*THROUGH, drop, routed=ONWARD))
    assert (way.outcome, way.reason, way.by) == (Outcome.DROPPED, "rule", drop)
    assert [phase.is_end for phase in way.phases] == [False, False, False, True]
    assert shown(way)[-1] == ("filter", "drop")


def test_a_packet_that_found_no_route_ends_there_with_the_kernels_word() -> None:
    way = journey(
        seen(*THROUGH, routed=Routed("prohibit", error="EACCES"), departures=(ANSWER,))
    )
    assert (way.outcome, way.reason) == (Outcome.REJECTED, "prohibit")
    assert shown(way)[-1] == ("routing", "prohibit: EACCES")


def test_a_packet_dropped_before_conntrack_was_not_tracked() -> None:
    raw = rule("drop", Hook.PREROUTING, Verdict.DROP, priority=-300)
    way = journey(seen(BEGUN, raw))
    assert shown(way) == [("arrival", "in lan"), ("raw", "drop")]


@dataclass(frozen=True)
class Told:
    """What conntrack made of a packet, and how that is said."""

    id: str
    said: str
    tracked: Tracked | None = NEW
    before: Flow | None = None
    invalid: tuple[str, ...] = ()
    is_tracked: bool = True


KNOWN = (
    Told("new", "NEW: no entry yet"),
    Told("new still", "NEW still: entry 1 has seen no answer", before=ENTRY),
    Told(
        "established", "ESTABLISHED of entry 1, original direction", Tracked(2), ENTRY
    ),
    Told("a reply", "ESTABLISHED of entry 1, reply direction", Tracked(2, 1), ENTRY),
    Told("related", "RELATED to an entry", Tracked(4)),
    Told("untracked", "UNTRACKED, by a rule", Tracked(64)),
    Told("invalid", "INVALID", None),
    Told("invalid, and why", "INVALID: invalid new", None, invalid=("invalid new ",)),
    Told(
        "off",
        "off: no rule of this box needs connection tracking",
        None,
        is_tracked=False,
    ),
)


@pytest.mark.parametrize("told", KNOWN, ids=lambda told: told.id)
def test_what_conntrack_made_of_it_is_said(told: Told) -> None:
    visits = (BEGUN, passed(Hook.PREROUTING, packet=SYN, tracked=told.tracked))
    sightings = Sightings(
        visits,
        departures=(Departure("wan", SYN),),
        before=told.before,
        invalid=told.invalid,
        is_tracked=told.is_tracked,
    )
    assert ("conntrack", told.said) in shown(journey(sightings))


def test_a_template_is_no_entry() -> None:
    """A rule that sets a zone hands conntrack a template (nft_ct_set_zone_eval)."""
    template = Tracked(2, status=int(uapi.Status.TEMPLATE), id=9)
    raw = policy(Hook.PREROUTING, priority=-200, tracked=template)
    way = journey(replace(MASQUERADING, visits=(BEGUN, raw, *MASQUERADING.visits[1:])))
    assert ("conntrack", "NEW: no entry yet") in shown(way)


def test_what_a_bridge_would_do_with_a_hairpin_is_said() -> None:
    turned = replace(SYN, dst=ip_address("10.0.0.3"))
    asked = seen(*THROUGH, departures=(Departure("lan", turned),))
    assert not any("hairpin mode" in note for note in journey(asked).notes)
    bridged = replace(asked, is_bridge=True)
    assert any("hairpin mode" in note for note in journey(bridged).notes)


STAGES = (
    (Chain("netdev", "t", "c", "filter", Hook.INGRESS, 0), Stage.ARRIVAL),
    (chain(Hook.PREROUTING, -300), Stage.RAW),
    (chain(Hook.PREROUTING, -150), Stage.MANGLE),
    (chain(Hook.PREROUTING, -100, "nat"), Stage.DNAT),
    (chain(Hook.PREROUTING, 10), Stage.FILTER),
    (chain(Hook.OUTPUT, -150, "route"), Stage.MANGLE),
    (chain(Hook.OUTPUT, -100, "nat"), Stage.DNAT),
    (chain(Hook.INPUT, 0), Stage.FILTER),
    (chain(Hook.INPUT, 100, "nat"), Stage.SNAT),
    (chain(Hook.FORWARD, -150), Stage.MANGLE),
    (chain(Hook.FORWARD, 0), Stage.FILTER),
    (chain(Hook.POSTROUTING, -150), Stage.MANGLE),
    (chain(Hook.POSTROUTING, 100, "nat"), Stage.SNAT),
)


@pytest.mark.parametrize(("base", "expected"), STAGES)
def test_a_chain_belongs_to_a_stage_by_its_hook_and_priority(
    base: Chain, expected: Stage
) -> None:
    assert stage(Visit(base, base, Verdict.ACCEPT)) == expected
