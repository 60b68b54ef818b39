"""The ways a flow may have come and gone by, whatever the rules of today say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest

from natscope import uapi
from natscope.model.bundle import (
    Bundle,
    Link,
    LinkAddress,
    Nexthop,
    Route,
    RoutingRule,
    Ruleset,
)
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.doubts import Doubts
from natscope.table.flowtable import FlowTable

ADDRESSES = {"wan": "203.0.113.1", "wan2": "198.18.0.1", "lan": "10.0.0.1"}
LINKS = tuple(
    Link(name, index, up=True, mtu=1500,
         addresses=(LinkAddress(ip_address(own), 24),))
    for index, (name, own) in enumerate(ADDRESSES.items(), 2)
)  # fmt: skip


def route(dst: str, dev: str, table: int = 254) -> Route:
    return Route(ip_network(dst), table, dev=dev)


BOX = Bundle(
    made_ns=0,
    links=LINKS,
    routes=(route("0.0.0.0/0", "wan"), route("10.0.0.0/24", "lan")),
)
TWO = replace(BOX, routes=(*BOX.routes, route("0.0.0.0/0", "wan2", 102)))
HOPS = tuple(Nexthop(dev=name) for name in ("wan", "wan2"))
CHANCE = replace(
    BOX, routes=(*BOX.routes, Route(ip_network("198.51.100.0/24"), 254, nexthops=HOPS))
)
MARKED = replace(TWO, rules=(RoutingRule("inet", 100, fwmark=2),))


def ruleset(*rules: str) -> tuple[Ruleset, ...]:
    lines = "\n".join(rules)
    return (Ruleset("nft", f"table ip t {{\n chain c {{\n{lines}\n}}\n}}"),)


SETS_BY_CHANCE = ruleset("meta mark set numgen inc mod 2")
LIMITS_AND_SETS = ruleset("limit rate 1/second accept", "meta mark set 2")
LIMITS = ruleset("limit rate 1/second accept")


def flow(src: str, dst: str, target: str = "") -> Flow:
    a, b, c = (ip_address(one) for one in (src, dst, target or dst))
    return Flow(
        FlowTuple(a, b, uapi.IPPROTO_UDP, 5000, 53),
        FlowTuple(c, a, uapi.IPPROTO_UDP, 53, 5000),
    )


OUT = flow("10.0.0.2", "198.51.100.9")
BY_WAN, BY_WAN2 = (flow(ADDRESSES[name], "192.0.2.9") for name in ("wan", "wan2"))


@dataclass(frozen=True)
class Case:
    """A flow, and what may have chosen its way out."""

    id: str
    box: Bundle
    flow: Flow
    by_chance: bool = False
    own: bool = False


CASES = [
    Case("one way", BOX, OUT),
    Case("two ways, by tables", TWO, OUT),
    Case("next hops", CHANCE, OUT, by_chance=True),
    Case("next hops to elsewhere", CHANCE, flow("10.0.0.2", "192.0.2.9")),
    Case("next hops to the target", CHANCE,
         flow("192.0.2.9", "203.0.113.1", "198.51.100.9"), by_chance=True),
    Case("marks by rule", replace(MARKED, rulesets=ruleset("meta mark set 2")), OUT),
    Case("marks by chance", replace(MARKED, rulesets=SETS_BY_CHANCE), OUT,
         by_chance=True),
    Case("marks beside a limit", replace(MARKED, rulesets=LIMITS_AND_SETS), OUT,
         by_chance=True),
    Case("a limit, and marks elsewhere", replace(MARKED, rulesets=LIMITS), OUT),
    Case("marks by chance that no route asks for",
         replace(TWO, rulesets=SETS_BY_CHANCE), OUT),
    Case("the box's own, one way", BOX, BY_WAN),
    Case("the box's own, two ways", TWO, BY_WAN, own=True),
    Case("the box's own, to a network of its own", BOX, flow("10.0.0.1", "10.0.0.2")),
    Case("the box's own, bound to where no route leads by", BOX, BY_WAN2, own=True),
    Case("the box's own, marked", MARKED, flow("10.0.0.1", "10.0.0.2"), own=True),
    Case("another's, marked", MARKED, OUT),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_may_have_chosen_the_way_out_is_known(case: Case) -> None:
    doubts, table = Doubts(case.box), FlowTable.from_flows([case.flow])
    assert doubts.several_ways(table).tolist() == [case.by_chance]
    assert doubts.own_choice(table).tolist() == [case.own]


@dataclass(frozen=True)
class WayIn:
    """A flow, and the interfaces it may have come in by."""

    id: str
    box: Bundle
    flow: Flow
    ways: set[str]


FORWARDED = flow("192.0.2.9", "203.0.113.1", "10.0.0.3")
WAYS = [
    WayIn("one", BOX, FORWARDED, {"wan"}),
    WayIn("by each table", TWO, FORWARDED, {"wan", "wan2"}),
    WayIn("by next hops", CHANCE, flow("198.51.100.9", "203.0.113.1"), {"wan", "wan2"}),
    WayIn("by the one that has the address", BOX, flow("192.0.2.9", "198.18.0.1"),
          {"wan", "wan2"}),
    WayIn("from inside", BOX, OUT, {"lan"}),
    WayIn("from inside, where another table has a way", TWO, OUT, {"lan", "wan2"}),
    WayIn("of another family", TWO, flow("2001:db8::9", "2001:db8::1"), set()),
]  # fmt: skip


@pytest.mark.parametrize("case", WAYS, ids=lambda case: case.id)
def test_the_ways_in_are_those_that_lead_to_the_source(case: WayIn) -> None:
    assert Doubts(case.box).ways(case.flow) == case.ways


def test_networks_of_one_family_hold_no_address_of_the_other() -> None:
    table = FlowTable.from_flows([flow("fd00::2", "2001:db8::1"), flow("::1", "::2")])
    everywhere = replace(MARKED, routes=(replace(CHANCE.routes[-1],
                         dst=ip_network("0.0.0.0/0")),))  # fmt: skip
    assert Doubts(everywhere).several_ways(table).tolist() == [False, False]
