"""A packet's way where positions saw it, and no rule is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.journey import (
    OWN_TABLES,
    Chain,
    Departure,
    Drop,
    Hook,
    Position,
    Sightings,
    Tracked,
    Verdict,
    Visit,
)
from natscope.model.packet import Packet
from natscope.views.journey import journey

SYN = Packet(
    ip_address("10.0.0.2"), ip_address("9.9.9.9"), uapi.IPPROTO_TCP,
    sport=7, dport=80, tcp_flags=uapi.TcpFlag.SYN,
)  # fmt: skip
TURNED = replace(SYN, src=ip_address("203.0.113.1"))
ENTRY = Flow(SYN.tuple, TURNED.tuple.reversed())
NEW, OLD = Tracked(8), Tracked(2)
DROPPED = Drop("NETFILTER_DROP", "nft_do_chain+0x5ad", 9)
BEGUN = [(Hook.PREROUTING, -301), (Hook.PREROUTING, -199), (Hook.PREROUTING, -99)]
THROUGH = [*BEGUN, (Hook.FORWARD, -1), (Hook.POSTROUTING, 99)]
SENT = [(Hook.OUTPUT, -301), (Hook.OUTPUT, -199), (Hook.OUTPUT, -99)]


def seen(
    way: list[tuple[Hook, int]],
    tracked: Tracked | None = NEW,
    before: Flow | None = None,
    drop: Drop | None = None,
) -> Sightings:
    """A packet at some positions; as it left, source NAT had turned it."""
    visits, positions = [], []
    for hook, priority in way:
        is_early = priority == -301
        is_begin = hook in (Hook.PREROUTING, Hook.OUTPUT)
        iif = None if hook is Hook.OUTPUT else "lan"
        oif = None if is_begin and hook is not Hook.OUTPUT else "wan"
        now = None if is_early else tracked
        name = f"{OWN_TABLES}positions"
        base = Chain("ip", name, f"{hook.name} {priority}", None, hook, priority)
        visits.append(
            Visit(base, base, Verdict.ACCEPT, packet=SYN, tracked=now, iif=iif, oif=oif)
        )
        positions.append(Position(hook, priority, "ip", SYN, 5, now, iif=iif, oif=oif))
    return Sightings(
        visits=tuple(visits),
        departures=() if drop else (Departure("wan", TURNED),),
        before=before,
        is_tracked=True,
        positions=tuple(positions),
        drop=drop,
    )


def said(sightings: Sightings) -> dict[str, str]:
    return {phase.stage.value: phase.said for phase in journey(sightings).phases}


def test_the_first_packet_is_not_translated_as_an_entry_says() -> None:
    assert said(seen(THROUGH))["snat"] == "source translated"


def test_a_later_packet_is() -> None:
    later = said(seen(THROUGH, OLD, ENTRY))
    assert later["snat"] == "source translated, as the entry says"


def test_an_entry_without_an_id_is_no_entry_none() -> None:
    again = said(seen(THROUGH, NEW, ENTRY))
    assert again["conntrack"] == "NEW still: its entry has seen no answer"


@dataclass(frozen=True)
class Case:
    id: str
    way: list[tuple[Hook, int]]
    phases: list[str]


CASES = [
    Case("in raw", BEGUN[:1], ["arrival", "raw"]),
    Case("in mangle", BEGUN[:2], ["arrival", "conntrack", "mangle"]),
    Case(
        "in forward",
        [*BEGUN, (Hook.FORWARD, -1)],
        ["arrival", "conntrack", "routing", "filter"],
    ),
    Case("in postrouting", THROUGH, ["arrival", "conntrack", "routing", "snat"]),
    Case("in raw, from the box itself", SENT[:1], ["arrival", "routing", "raw"]),
    Case("in output", SENT, ["arrival", "routing", "conntrack", "filter"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_drop_by_netfilter_ends_at_the_chains_that_come_next(case: Case) -> None:
    found = journey(seen(case.way, drop=DROPPED))
    assert [phase.stage.value for phase in found.phases] == case.phases
    assert (found.phases[-1].said, found.phases[-1].is_end) == ("drop", True)
    assert found.reason == "netfilter"
