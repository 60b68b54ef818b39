"""Whether what became of a packet is what a case expects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest

from natscope.codec.text import question
from natscope.model.cases import OUTCOMES, Case, Endpoint, Expectation, Step
from natscope.model.journey import (
    Chain,
    Departure,
    Hook,
    Rule,
    Sightings,
    Tracked,
    Verdict,
    Visit,
)
from natscope.model.packet import Packet, answer
from natscope.views.checking import differences, settled, translation

ASKED = question.parse("tcp 192.0.2.9:4000 to 203.0.113.1:8080 in wan")
TARGET = ip_address("10.0.0.3")
TURNED = replace(ASKED.packet, dst=TARGET, dport=80)
LEFT = Sightings(question=ASKED, departures=(Departure("lan", TURNED),))
BOX = Sightings(question=ASKED, departures=(Departure(None, ASKED.packet),))
SENT = replace(LEFT, question=replace(ASKED, iif=None))
LOST = Sightings(question=ASKED)
RESET = replace(answer(ASKED.packet), tcp_flags=4)
UNREACHABLE = question.parse(
    "icmp 203.0.113.1 to 192.0.2.9 in wan type destination-unreachable "
    "about tcp 192.0.2.9:4000 to 203.0.113.1:8080"
).packet


def _answered(packet: Packet) -> Sightings:
    return replace(LOST, departures=(Departure("wan", packet, is_answer=True),))


def _case(**expected: object) -> Case:
    return Case("web", (Step(ASKED),), Expectation(**expected))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Untraced:
    """What was seen of a packet without a trace, and what is then sure."""

    id: str
    seen: Sightings
    sure: str


UNTRACED = [
    Untraced("it left", LEFT, "forwarded accepted"),
    Untraced("it came", BOX, "delivered accepted"),
    Untraced("it was sent", SENT, "sent accepted"),
    Untraced("nothing", LOST, "dropped stopped"),
    Untraced("reset", _answered(RESET), "rejected stopped"),
    Untraced(
        "SYN/ACK: a synproxy's",
        _answered(replace(RESET, tcp_flags=0x12)),
        "stopped",
    ),
    Untraced("its own, nothing", replace(LOST, question=SENT.question), "stopped"),
    Untraced(
        "no route, or a rule's refusal",
        _answered(replace(UNREACHABLE, icmp_code=0)),
        "stopped",
    ),
    Untraced(
        "port unreachable",
        _answered(replace(UNREACHABLE, icmp_code=3)),
        "rejected stopped",
    ),
]


@pytest.mark.parametrize("case", UNTRACED, ids=lambda case: case.id)
def test_without_a_trace_only_what_is_sure_is_settled(case: Untraced) -> None:
    found = [word for word in OUTCOMES if settled(_case(expect=word), (case.seen,))]
    assert sorted(found) == sorted(case.sure.split())


TRACED = [{"rule": "dnat"}, {"comment": "x"}, {"reason": "policy"}, {"ct": "new"}]


@pytest.mark.parametrize("expected", TRACED, ids=lambda expected: next(iter(expected)))
def test_what_only_a_trace_tells_is_never_settled(expected: dict[str, str]) -> None:
    assert not settled(_case(**expected), (LEFT,))


def test_a_packet_that_was_never_sent_is_never_settled() -> None:
    case = replace(_case(expect="dropped"), steps=(Step(ASKED), Step(None)))
    assert not settled(case, (LOST,))
    assert [one.key for one in differences(case, (LOST,))] == ["packets"]


def _turned(**changes: object) -> Packet:
    return replace(ASKED.packet, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Turned:
    """A packet that left, and how it was translated."""

    id: str
    left: Packet
    nat: str


TRANSLATED = [
    Turned("not", ASKED.packet, "none"),
    Turned("the target", TURNED, "dnat"),
    Turned("the target's port", _turned(dport=80), "dnat"),
    Turned("the source", _turned(src=TARGET), "snat"),
    Turned("the source's port", _turned(sport=1), "snat"),
    Turned("both", _turned(src=TARGET, dst=TARGET), "both"),
    Turned("a TTL is none", _turned(ttl=63), "none"),
]


@pytest.mark.parametrize("case", TRANSLATED, ids=lambda case: case.id)
def test_a_translation_is_named(case: Turned) -> None:
    assert translation(ASKED.packet, case.left) == case.nat


def _told(seen: Sightings, **expected: object) -> list[tuple[str, str, str]]:
    found = differences(_case(**expected), (seen,))
    return [(one.key, one.expected, one.got) for one in found]


def test_all_that_differs_is_told_at_once() -> None:
    end = Endpoint("10.0.0.4", ip_network("10.0.0.4"))
    assert _told(LEFT, expect="dropped", out="dmz", dst=end, nat="none") == [
        ("expect", "dropped", "forwarded out lan"),
        ("out", "dmz", "lan"),
        ("to", "10.0.0.4", "10.0.0.3:80"),
        ("nat", "none", "dnat"),
    ]


def test_of_a_packet_that_was_stopped_the_outcome_is_told_alone() -> None:
    lost = [one[0] for one in _told(LOST, expect="forwarded", out="lan", reply="sent")]
    assert lost == ["expect"]
    assert _told(LOST, out="lan") == [("out", "lan", "nothing left")]


def test_a_packet_that_is_delivered_leaves_by_no_interface() -> None:
    assert _told(BOX, out="lan") == [("out", "lan", "delivered to the box itself")]


BASE = Chain("ip", "nat", "prerouting", "nat", Hook.PREROUTING, -100)


def _matching(text: str, tool: str = "nft") -> Sightings:
    rule = Rule("ip", "nat", "prerouting", text, tool=tool)
    own = replace(BASE, table="natscope_twin")
    hidden = Visit(own, own, Verdict.CONTINUE, replace(rule, text="meta nftrace set 1"))
    return replace(LEFT, visits=(hidden, Visit(BASE, BASE, Verdict.ACCEPT, rule)))


@dataclass(frozen=True)
class Words:
    """Words of a case and a rule, and whether it has them."""

    id: str
    words: str
    rule: str
    found: bool


NFT = (
    'iifname "wan" tcp dport { 80, 8080 } counter packets 3 bytes 180 dnat to 10.0.0.3'
)
IPTABLES = (
    "-A PRE -i wan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.3:80"
)
RULES = [
    Words("in order", "dport 8080 dnat", NFT, True),
    Words("quotes do not matter", "iifname wan", NFT, True),
    Words("counters do not matter", "counter dnat to", NFT, True),
    Words("nor whose rule it is", "dport 8080 dnat", IPTABLES, True),
    Words("another order", "dnat dport", NFT, False),
    Words("whole words", "dport 808", NFT, False),
    Words("a counter's value is no word", "bytes", NFT, False),
    Words("natscope's own rules are none", "nftrace", NFT, False),
]


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.id)
def test_a_rule_is_known_by_its_words(case: Words) -> None:
    assert (_told(_matching(case.rule), rule=case.words) == []) == case.found


COMMENTED = ['accept comment "two words"', "-A F -m comment --comment web -j ACCEPT"]


@pytest.mark.parametrize("rule", COMMENTED)
def test_a_rule_is_known_by_its_comment(rule: str) -> None:
    word = "web" if rule.startswith("-") else "two words"
    assert _told(_matching(rule), comment=word) == []
    assert _told(_matching(rule), comment="two") == [("comment", "two", word)]


LATE = replace(BASE, hook=Hook.FORWARD, priority=0)
STATES = {
    "new": replace(
        LEFT, visits=(Visit(LATE, LATE, Verdict.ACCEPT, tracked=Tracked(8)),)
    ),
    "invalid": replace(LEFT, visits=(Visit(LATE, LATE, Verdict.ACCEPT),)),
    "nothing: it was stopped before": LOST,
    "nothing: no rule of this box needs connection tracking": replace(
        LEFT, is_tracked=False
    ),
}


@pytest.mark.parametrize("got", STATES)
def test_the_state_is_named_as_nft_does(got: str) -> None:
    assert _told(STATES[got], ct="related") == [("ct", "related", got)]


def _back(packet: Packet, interface: str | None = "wan") -> Sightings:
    return Sightings(departures=(Departure(interface, packet),))


@dataclass(frozen=True)
class Reply:
    """How an answer came back, and what is not right with it."""

    id: str
    back: Sightings
    told: list[tuple[str, str, str]]


THERE, FROM = "192.0.2.9:4000", "203.0.113.1:8080"
REPLIES = [
    Reply("rightly", _back(answer(ASKED.packet)), []),
    Reply(
        "as from the target",
        _back(answer(TURNED)),
        [("reply", f"{FROM} > {THERE}", f"10.0.0.3:80 > {THERE}")],
    ),
    Reply(
        "elsewhere",
        _back(answer(ASKED.packet), "dmz"),
        [("reply", "out wan", "out dmz")],
    ),
]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.id)
def test_a_reply_must_come_back_to_its_asker(case: Reply) -> None:
    found = differences(_case(reply="accepted"), (LEFT, case.back))
    assert [(one.key, one.expected, one.got) for one in found] == case.told
    assert settled(_case(reply="accepted"), (LEFT, case.back)) == (case.told == [])
