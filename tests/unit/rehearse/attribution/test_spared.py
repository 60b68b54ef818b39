"""Flows that the NAT rules of a box say nothing about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from bundles import LINKS
from natscope import uapi
from natscope.model.bundle import Bundle, Ruleset
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.shapes import by_shape
from natscope.rehearse.attribution.spared import spared
from natscope.table.attribution import Origin
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status

WORLD, WAN, BOB = map(ip_address, ("192.0.2.9", "203.0.113.1", "10.0.0.3"))
FORWARDED = Flow(
    FlowTuple(WORLD, WAN, uapi.IPPROTO_UDP, 5000, 53),
    FlowTuple(BOB, WORLD, uapi.IPPROTO_UDP, 53, 5000),
    status=int(Status.DST_NAT),
)
PLAIN = Bundle(made_ns=0, links=LINKS)
ZONING = Bundle(
    made_ns=0, links=LINKS, rulesets=(Ruleset("nft", 'iifname "a" ct zone set 3'),)
)


@dataclass(frozen=True)
class Case:
    """A flow that is, or is not, left alone; and why."""

    id: str
    flow: Flow
    why: str | None
    box: Bundle = PLAIN


HELPED = "as the flow that expected it"
CASES = [
    Case("an ordinary one", FORWARDED, None),
    Case(
        "expected",
        replace(FORWARDED, status=int(Status.EXPECTED | Status.DST_NAT)),
        HELPED,
    ),
    Case("with a master", replace(FORWARDED, master=FORWARDED.orig), HELPED),
    Case(
        "expected, in a zone", replace(FORWARDED, master=FORWARDED.orig, zone=3), HELPED
    ),
    Case("in a zone", replace(FORWARDED, zone=3), "in a zone no rule sets"),
    Case("in a zone of the rules", replace(FORWARDED, zone=3), None, ZONING),
    Case(
        "of IPVS",
        replace(FORWARDED, status=int(Status.SEEN_REPLY)),
        "turned by something else than NAT rules",
    ),
    Case(
        "without ports",
        replace(FORWARDED, orig=replace(FORWARDED.orig, dport=None)),
        "its ports are not known",
    ),
    Case("of a listing without status", replace(FORWARDED, status=None), None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_flows_the_rules_say_nothing_about_are_left_alone(case: Case) -> None:
    table = FlowTable.from_flows([case.flow])
    whys = [making.why for making, rows in spared(table, case.box) if rows.any()]
    assert whys[-1:] == [case.why] * bool(case.why)
    # no rule gives it: all others are stale
    found = by_shape(table, [], case.box)
    making = found.makings[int(found.of_row[0])]
    assert (making.origin is Origin.STALE, making.why) == (case.why is None, case.why)
