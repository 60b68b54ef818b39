"""The rules behind translations, as they are told."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from ipaddress import ip_address

import numpy as np
import pytest

from natscope.codec.text.natrule import given
from natscope.codec.text.natrules import NatRule
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.journey import Rule
from natscope.model.tuples import FlowTuple
from natscope.render import records, rules
from natscope.table.attribution import Attribution, Contradiction, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status
from natscope.views.listing import listing
from natscope.views.makings import brief, name, said
from natscope.views.query import RULE_FIELDS, Query
from natscope.views.rules import RuleUses, document, shown_rules, uses

FORWARD = Rule("ip", "nat", "pre", 'iif "wan" dnat to 10.0.0.2', 7, 1)
MASQUERADE = Rule("ip", "nat", "post", "counter masquerade", None, 2)
EXEMPT = Rule("ip", "nat", "post", "ip daddr 10.0.0.0/8 return", 3, 1)
SAVED = Rule("ip", "nat", "DOCKER", "-A DOCKER -m comment --comment \"a b\" -j DNAT",
             12, 4, "iptables-nft")  # fmt: skip


@dataclass(frozen=True)
class Case:
    id: str
    making: Making
    said: str


CASES = [
    Case(
        "a rule",
        Making(Origin.RULE, dnat=FORWARD),
        'ip nat pre #7: iif "wan" dnat to 10.0.0.2',
    ),
    Case(
        "two rules",
        Making(Origin.RULE, dnat=FORWARD, snat=MASQUERADE),
        'ip nat pre #7: iif "wan" dnat to 10.0.0.2 + ip nat post rule 2: masquerade',
    ),
    Case(
        "not certain",
        Making(Origin.RULE, snat=MASQUERADE, is_certain=False),
        "~ ip nat post rule 2: masquerade",
    ),
    Case("nothing to say", Making(Origin.NONE), ""),
    Case(
        "no rule needed",
        Making(Origin.NONE, why="the kernel moved the port"),
        "no rule: the kernel moved the port",
    ),
    Case(
        "stale",
        Making(Origin.STALE, dst=Contradiction("10.0.0.9:80")),
        "no rule now (would be 10.0.0.9:80)",
    ),
    Case(
        "stale at both ends",
        Making(
            Origin.STALE, dst=Contradiction("10.0.0.9"), src=Contradiction("10.0.0.1")
        ),
        "no rule now (would be 10.0.0.9, 10.0.0.1)",
    ),
    Case(
        "stale by the rules' text",
        Making(Origin.STALE, dst=Contradiction(), is_certain=False, by_shape=True),
        "~ no rule now",
    ),
    Case(
        "stale, for it is dropped",
        Making(Origin.STALE, why="dropped by ip filter forward", is_certain=False),
        "~ no rule now (dropped by ip filter forward)",
    ),
    Case(
        "not known",
        Making(Origin.UNKNOWN, why="no route", is_certain=False),
        "not known: no route",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_made_a_translation_is_said(case: Case) -> None:
    assert said(case.making) == case.said


def test_a_rule_of_iptables_has_the_number_iptables_gives_it() -> None:
    assert name(SAVED) == "ip nat DOCKER rule 4"
    assert brief(SAVED) == "-j DNAT"


def test_a_long_rule_is_cut_and_nothing_of_it_obeyed_by_a_terminal() -> None:
    rule = replace(FORWARD, text='log prefix "\x1b[2J" ' + "ip daddr 10.0.0.1 " * 9)
    assert len(brief(rule, 30)) <= 30
    assert brief(rule).startswith('log prefix "\\x1b[2J" ip')


def test_of_a_long_rule_what_it_does_is_kept() -> None:
    rule = replace(FORWARD, text="ip daddr 10.0.0.1 " * 9 + "dnat to 10.0.0.2:80")
    assert brief(rule, 48).startswith("ip daddr 10.0.0.1")
    assert brief(rule, 48).endswith(" dnat to 10.0.0.2:80")


def flow(sport: int, reply: str) -> Flow:
    orig = FlowTuple(ip_address("10.0.0.5"), ip_address("192.0.2.1"), 6, sport, 80)
    back = FlowTuple(ip_address("192.0.2.1"), ip_address(reply), 6, 80, sport)
    return Flow(orig, back, status=int(Status.CONFIRMED | Status.SRC_NAT))


FLOWS = [flow(port, "203.0.113.7") for port in range(4000, 4006)]
TABLE = FlowTable.from_flows(FLOWS)
MAKINGS = (
    Making(Origin.RULE, snat=MASQUERADE),
    Making(Origin.RULE, snat=MASQUERADE, is_certain=False),
    Making(Origin.STALE, dst=Contradiction("10.0.0.9")),
    Making(Origin.RULE, dnat=FORWARD, snat=MASQUERADE),
)
OF_ROW = dict(zip(range(4000, 4006), (0, 0, 1, 2, 3, 2),
                                           strict=True))  # fmt: skip


def attribute(table: FlowTable) -> Attribution:
    codes = [OF_ROW[port] for port in table["orig_sport"].tolist()]
    return Attribution(MAKINGS, np.array(codes, np.intp))


def nat_rule(rule: Rule, packets: int | None = None) -> NatRule:
    octets = None if packets is None else packets * 60
    return NatRule(rule, given(rule.text), packets, octets)


UNUSED = replace(FORWARD, text="counter dnat to 10.0.0.7", number=2, handle=8)
ALL = [
    nat_rule(FORWARD),
    nat_rule(UNUSED, 0),
    nat_rule(EXEMPT),
    nat_rule(MASQUERADE, 9),
]


def used() -> RuleUses:
    return uses(ALL, (TABLE, attribute(TABLE)))


def test_flows_are_counted_by_the_rule_that_made_them() -> None:
    found = {use.nat.rule: use for use in used().rules}
    assert {rule: use.flows for rule, use in found.items()} == {
        FORWARD: 1,
        UNUSED: 0,
        EXEMPT: None,
        MASQUERADE: 4,
    }
    assert found[MASQUERADE].uncertain == 1
    assert found[MASQUERADE].example == FLOWS[0]
    assert (used().flows, used().stale, used().unknown) == (6, 2, 0)


def test_rules_are_a_line_each_and_below_it_an_example_or_that_it_is_unused() -> None:
    found = used()
    text = rules.text(found, shown_rules(found, everything=False), heading=True)
    assert [line.split()[:7] for line in text.splitlines()] == [
        ["RULE", "NAT", "FLOWS", "HITS", "BYTES", "TEXT"],
        ["ip", "nat", "pre", "#7", "dnat", "1", "-"],
        ["tcp", "10.0.0.5:4004", "to", "192.0.2.1:80", "as", "203.0.113.7:4004"],
        ["ip", "nat", "pre", "#8", "dnat", "0", "0"],
        ["no", "flow;", "0", "hits", "since", "it", "was"],
        ["ip", "nat", "post", "rule", "2", "masquerade", "~4"],
        ["tcp", "10.0.0.5:4000", "to", "192.0.2.1:80", "as", "203.0.113.7:4000"],
    ]


def test_a_program_is_told_what_is_known_alone() -> None:
    found = used()
    told = document(found, shown_rules(found, everything=True))
    assert [(r.get("flows"), r.get("hits"), r.get("unused")) for r in told["rules"]] == [
        (1, None, None), (0, 0, True), (None, None, None), (4, 9, None)]  # fmt: skip
    assert told["stale_flows"] == 2


def test_a_listing_asks_of_the_flows_it_shows_alone() -> None:
    asked: list[int] = []

    def asking(table: FlowTable) -> Attribution:
        asked.append(len(table))
        return attribute(table)

    query = Query(columns=("orig_sport", "rule_state", "snat_rule_number"), limit=4)
    pages = list(listing([(TABLE, Evidence())], query, asking))
    text = b"".join(records.Separated().write(page) for page in pages).decode()
    assert text.splitlines()[1:] == [
        "4000,exact,2", "4001,exact,2", "4002,uncertain,2", "4003,stale,"
    ]  # fmt: skip
    assert asked == [4]


def test_a_rule_with_quotes_is_sound_in_json_and_csv() -> None:
    query = Query(columns=RULE_FIELDS, rules=True)
    (page,) = listing([(TABLE, Evidence())], query, attribute)
    objects = [
        json.loads(line) for line in records.JsonLines().write(page).splitlines()
    ]
    assert objects[4]["dnat_rule_text"] == FORWARD.text
    assert objects[4]["dnat_rule_handle"] == 7
    assert "snat_rule_handle" not in objects[4]
    text = records.Separated().write(page).decode()
    assert list(csv.DictReader(io.StringIO(text)))[4]["dnat_rule_text"] == FORWARD.text


def test_without_anybody_to_ask_no_rule_is_told() -> None:
    query = Query(columns=("orig_sport", *RULE_FIELDS))
    (page,) = listing([(TABLE, Evidence())], query)
    first = json.loads(records.JsonLines().write(page).splitlines()[0])
    assert first == {"orig_sport": 4000}


def test_flows_are_grouped_by_their_rule() -> None:
    query = Query(group=("rule_state",), rules=True)
    (page,) = listing([(TABLE, Evidence())], query, attribute)
    counts = [json.loads(line) for line in records.JsonLines().write(page).splitlines()]
    assert {row["rule_state"]: row["flows"] for row in counts} == {
        "exact": 3, "uncertain": 1, "stale": 2}  # fmt: skip
