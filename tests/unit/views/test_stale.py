"""Why flows are stale, and which are not judged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import numpy as np
import pytest

from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.model.bundle import Bundle, Link, LinkAddress, Ruleset
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.journey import Rule
from natscope.model.tuples import FlowTuple
from natscope.render.stale import text
from natscope.table.attribution import Attribution, Contradiction, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status
from natscope.views.stale import Reason, Stale, stale, too_young
from natscope.views.stalerecords import document, records, summary

UDP = uapi.IPPROTO_UDP
WORLD, ALICE, BOB, SERVER = "192.0.2.9", "10.0.0.2", "10.0.0.3", "198.51.100.9"
WAN, WAN2, GONE, POOL = "203.0.113.1", "198.18.0.1", "203.0.113.7", "203.0.113.99"
DNAT = Rule("ip", "nat", "pre", "dnat to 10.0.0.3", number=1)


def link(name: str, address: str) -> Link:
    own = (LinkAddress(ip_address(address), 24),)
    return Link(name, 1, up=True, mtu=1500, addresses=own)


BOX = Bundle(
    made_ns=0,
    links=(link("wan", WAN), link("wan2", WAN2)),
    rulesets=(
        Ruleset(
            "nft",
            "table ip nat { chain post { type nat hook postrouting priority 100\n"
            f"snat to {POOL}\n}} }}",
        ),
    ),
)


def flow(
    src: str, dst: str, target: str, public: str, port: int = 53, sport: int = 5000
) -> Flow:
    """From a source to a destination, which became a target and a public address."""
    ends = {word: ip_address(word) for word in (src, dst, target, public)}
    return Flow(
        FlowTuple(ends[src], ends[dst], UDP, 5000, 53),
        FlowTuple(ends[target], ends[public], UDP, port, sport),
        status=Status.SRC_NAT * (src != public) | Status.DST_NAT * (dst != target),
    )


PLAIN = flow(ALICE, SERVER, SERVER, ALICE)
FORWARDED = flow(WORLD, WAN, BOB, WORLD)
OUT = flow(ALICE, SERVER, SERVER, WAN)


def judged(rows: list[Flow], *makings: Making) -> tuple[Stale, FlowTable]:
    table = FlowTable.from_flows(rows)
    attribution = Attribution(makings, np.arange(len(rows)) % len(makings))
    return stale(table, attribution, BOX, nat_rules(BOX)), table


@dataclass(frozen=True)
class Case:
    id: str
    flow: Flow
    making: Making
    reasons: tuple[Reason, ...]
    said: str


def gone(dst: str | None = None, src: str | None = None) -> Making:
    """Stale at one end or at both: it would be something else."""
    to, of = (None if one is None else Contradiction(one) for one in (dst, src))
    return Making(Origin.STALE, dst=to, src=of)


def unasked(*, dst: bool = False, src: bool = False) -> Making:
    """The same by the text of the rules."""
    to, of = (Contradiction() if one else None for one in (dst, src))
    return Making(Origin.STALE, is_certain=False, dst=to, src=of, by_shape=True)


CASES = [
    Case(
        "another target", FORWARDED, gone("10.0.0.4:53"), (Reason.TARGET_CHANGED,),
        "going to 10.0.0.3:53; the rules of today say 10.0.0.4:53",
    ),
    Case(
        "no target", FORWARDED, gone("untranslated"), (Reason.RULE_GONE,),
        "going to 10.0.0.3:53; no rule of today leads there",
    ),
    Case(
        "no target, by shape", FORWARDED, unasked(dst=True), (Reason.RULE_GONE,),
        "going to 10.0.0.3:53; no rule of today leads there",
    ),
    Case(
        "another port", flow(WORLD, WAN, WAN, WORLD, 54), gone(WAN),
        (Reason.TARGET_CHANGED,), f"going to {WAN}:54; the rules of today say {WAN}:53",
    ),
    Case(
        "dropped", FORWARDED, Making(Origin.STALE, why="dropped by ip filter forward"),
        (Reason.DROPPED,),
        "translated; today the first packet would be dropped by ip filter forward",
    ),
    Case(
        "another source port", flow(WORLD, WAN, WAN, WORLD, sport=6000),
        gone(src=f"{WORLD}:5001"), (Reason.SOURCE_CHANGED,),
        f"leaving as {WORLD}:6000; the rules of today say {WORLD}:5001",
    ),
    Case(
        "an address that is gone", flow(ALICE, SERVER, SERVER, GONE), gone(src=WAN),
        (Reason.ADDRESS_GONE,),
        f"leaving as {GONE}, which the box no longer has; the rules of today say {WAN}",
    ),
    Case(
        "an address that is gone, by shape", flow(ALICE, SERVER, SERVER, GONE),
        unasked(src=True), (Reason.ADDRESS_GONE,),
        f"leaving as {GONE}, which the box no longer has",
    ),
    Case(
        "an address of a pool", flow(ALICE, SERVER, SERVER, POOL), gone(src=WAN),
        (Reason.SOURCE_CHANGED,), f"leaving as {POOL}; the rules of today say {WAN}",
    ),
    Case(
        "another way out", OUT, gone(src=WAN2), (Reason.ROUTE_MOVED,),
        f"leaving as {WAN} of wan; today by wan2 as {WAN2}",
    ),
    Case(
        "no source rule", OUT, gone(src="untranslated"), (Reason.RULE_GONE,),
        f"leaving as {WAN}; no rule of today translates it so",
    ),
    Case(
        "born before its rule", PLAIN, gone(src=WAN), (Reason.BORN_BEFORE,),
        f"not translated; the rules of today say {WAN}",
    ),
    Case(
        "born before its source rule", FORWARDED, gone(src=WAN),
        (Reason.BORN_BEFORE,), f"leaving as it came; the rules of today say {WAN}",
    ),
    Case(
        "born before both", PLAIN, gone("10.0.0.4:53", WAN), (Reason.BORN_BEFORE,),
        f"not translated; the rules of today say 10.0.0.4:53 and {WAN}",
    ),
    Case(
        "both ends", flow(ALICE, WAN, BOB, WAN2), gone("10.0.0.4:53", WAN),
        (Reason.TARGET_CHANGED, Reason.ROUTE_MOVED),
        "going to 10.0.0.3:53; the rules of today say 10.0.0.4:53; "
        f"leaving as {WAN2} of wan2; today by wan as {WAN}",
    ),
    Case(
        "the source of both", flow(ALICE, WAN, BOB, WAN2), gone(src=WAN),
        (Reason.ROUTE_MOVED,), f"leaving as {WAN2} of wan2; today by wan as {WAN}",
    ),
    Case(
        "the target of both", flow(ALICE, WAN, BOB, WAN2), gone("10.0.0.4:53"),
        (Reason.TARGET_CHANGED,),
        "going to 10.0.0.3:53; the rules of today say 10.0.0.4:53",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_stale_flow_has_its_reason(case: Case) -> None:
    found, _ = judged([case.flow], case.making)
    assert [(group.reasons, group.said) for group in found.groups] == [
        (case.reasons, case.said)
    ] * bool(case.reasons)


@pytest.mark.parametrize(
    "making",
    [
        Making(Origin.RULE, dnat=DNAT),
        Making(Origin.NONE),
        Making(Origin.UNKNOWN, why="no route"),
    ],
    ids=lambda making: making.origin.name,
)
def test_what_has_a_rule_or_is_not_known_is_not_stale(making: Making) -> None:
    found, _ = judged([FORWARDED], making)
    assert found.groups == ()
    assert found.not_judged == ({"no route": 1} if making.why else {})


def test_a_making_no_row_has_makes_nothing_stale() -> None:
    table = FlowTable.from_flows([PLAIN])
    makings = (Making(Origin.NONE), gone("10.0.0.4:53"))
    attribution = Attribution(makings, np.zeros(1, np.intp))
    found = stale(table, attribution, BOX, nat_rules(BOX))
    assert found.groups == ()


def test_flows_that_are_stale_alike_are_told_together() -> None:
    other = flow("192.0.2.10", WAN, BOB, "192.0.2.10")
    elsewhere = flow(WORLD, WAN, "10.0.0.9", WORLD)
    making = gone("10.0.0.4:53")
    found, table = judged([FORWARDED, elsewhere, other], making)
    assert [group.rows.tolist() for group in found.groups] == [[0, 2], [1]]
    lines = text(found, table, Evidence(), everything=False).splitlines()
    assert [line[:7] for line in lines] == ["2 flows", "    udp", "    udp", "1 flow ",
                                            "    udp"]  # fmt: skip


def test_flows_whose_said_port_differs_are_told_apart() -> None:
    rows = [flow(WORLD, WAN, WAN, WORLD, sport=port) for port in (6000, 6001, 6000)]
    found, _ = judged(rows, gone(src=f"{WORLD}:5001"))
    assert [group.rows.tolist() for group in found.groups] == [[0, 2], [1]]


def test_flows_whose_port_the_kernel_chose_are_told_together() -> None:
    rows = [flow(ALICE, SERVER, SERVER, WAN, sport=port) for port in (6000, 6001)]
    found, _ = judged(rows, gone(src=WAN2))
    assert [group.rows.tolist() for group in found.groups] == [[0, 1]]


def test_of_many_flows_some_are_shown_unless_all_are_asked_for() -> None:
    found, table = judged([FORWARDED] * 7, gone("10.0.0.4:53"))
    assert text(found, table, Evidence(), everything=False).count("udp") == 5
    assert "… and 2 more" in text(found, table, Evidence(), everything=False)
    assert text(found, table, Evidence(), everything=True).count("udp") == 7


def test_what_is_not_certain_is_marked_and_not_for_deletion() -> None:
    found, table = judged([FORWARDED], unasked(dst=True))
    assert found.rows(uncertain=False).tolist() == []
    assert found.rows(uncertain=True).tolist() == [0]
    line = text(found, table, Evidence(), everything=False).splitlines()[0]
    assert line.startswith("~ 1 flow going to ")
    assert line.endswith("(by the rules' shape)")


def test_programs_get_what_is_known_alone() -> None:
    found, table = judged([FORWARDED, OUT], gone("10.0.0.4:53"), gone(src=WAN2))
    rows = list(records(found, table, Evidence()))
    assert [row["reason"] for row in rows] == ["target-changed", "route-moved"]
    assert "idle" not in rows[0]
    told = document(found, rows)
    assert (told["schema"], told["flows"], told["stale"]) == ("natscope.stale/1", 2, 2)
    assert [group["flows"] for group in told["groups"]] == [1, 1]


def test_the_summary_says_what_was_not_judged() -> None:
    unknown = Making(Origin.UNKNOWN, is_certain=False, why="not asked")
    found, _ = judged([FORWARDED, PLAIN], gone("10.0.0.4:53"), unknown)
    assert list(summary(found)) == [
        "1 of 2 flows is stale, 1 beyond doubt",
        "1 not judged: not asked",
    ]


def test_of_many_reasons_why_flows_were_not_judged_the_most_frequent_are_said() -> None:
    whys = {f"no route leads to 10.0.0.{n}": n for n in range(1, 21)}
    lines = list(summary(Stale(210, (), whys)))
    assert lines[1] == "20 not judged: no route leads to 10.0.0.20"
    assert lines[-1] == "78 not judged for other reasons: --json tells them"
    assert len(lines) == 10


@dataclass(frozen=True)
class Age:
    """When a flow began, and whether it is too young to be judged."""

    id: str
    start_ns: int | None
    is_young: bool


NOW_NS = 10**18
AGES = [
    Age("half a second old", NOW_NS - 500_000_000, is_young=True),
    Age("two seconds old", NOW_NS - 2 * 10**9, is_young=False),
    Age("of unknown age", None, is_young=False),
]


@pytest.mark.parametrize("age", AGES, ids=lambda age: age.id)
def test_a_flow_whose_rule_may_have_come_with_it_is_left_alone(age: Age) -> None:
    table = FlowTable.from_flows([replace(FORWARDED, start_ns=age.start_ns)])
    assert too_young(table, Evidence(now_ns=NOW_NS)).tolist() == [age.is_young]
    found = stale(
        table.take(slice(0)), Attribution((), np.zeros(0, np.intp)), BOX, [], 1
    )
    assert (found.flows, found.not_judged) == (1, {"younger than a second": 1})


def test_the_summary_counts_as_people_do() -> None:
    stale_one, table = judged([FORWARDED], gone("10.0.0.4:53"))
    assert list(summary(stale_one)) == ["1 of 1 flow is stale, 1 beyond doubt"]
    both, _ = judged([FORWARDED, FORWARDED], gone("10.0.0.4:53"))
    assert list(summary(both)) == ["2 of 2 flows are stale, 2 beyond doubt"]
    for count, said in (
        (0, "there is no flow to judge"),
        (1, "the flow is not stale"),
        (2, "none of 2 flows is stale"),
    ):
        assert list(summary(replace(stale_one, flows=count, groups=()))) == [said]
    assert len(table) == 1


def test_a_target_without_a_port_keeps_that_of_the_flow() -> None:
    """Each port is a group of its own: of another this would be false."""
    to = ip_address(WAN)
    other = replace(FORWARDED, orig=replace(FORWARDED.orig, dst=to, dport=54))
    found, _ = judged([FORWARDED, other], gone("10.0.0.4"))
    assert [group.would for group in found.groups] == [
        ("10.0.0.4:53",),
        ("10.0.0.4:54",),
    ]
    named, _ = judged([FORWARDED, other], gone("10.0.0.4:80"))
    assert [len(group.rows) for group in named.groups] == [2]
