"""The same packets traced by rules and by positions: one answer.

What only one method can know is left out of the comparison: the rules, and chains
that let the packet be; the id of its entry; and the entry's state, which a trace of
rules asks for later.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from conftest import unavailable
from natscope.codec import packetline
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import EXAMPLES, Example, Traffic
from natscope.model.journey import Journey, Outcome, Phase, Sightings, Stage
from natscope.model.packet import Packet
from natscope.trace.bpf import loader
from natscope.trace.positions import Positions
from natscope.trace.rules import Rules
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

PATIENCE_S = 5.0
QUIET_S = 0.03
FILTER = f"tcp or udp or gre or icmp or (icmp6 and host {network.SERVER_V6})"
"""All but what hosts tell their neighbours when they like."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if (why := loader.available()) is not None:
        unavailable(why)
    try:
        with built() as made:
            yield made
    except NamespaceError as error:
        unavailable(str(error))


def both(
    lab: Lab, filter: str, make: Callable[[Traffic], object]
) -> tuple[list[Journey], list[Journey]]:
    """Some traffic, as rules and as positions tell it."""
    by_rules: list[Sightings] = []
    by_positions: list[Sightings] = []
    with (
        Rules(lab.box.path, filter, packets=100) as rules,
        Positions(lab.box.path, filter, packets=100) as positions,
        Traffic(lab) as traffic,
    ):
        make(traffic)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            is_quiet = not (rules.wait(QUIET_S) or positions.wait(QUIET_S))
            by_rules += rules.read()
            by_positions += positions.read()
            if is_quiet and len(by_rules) == len(by_positions) > 0:
                break
        assert (rules.lost, positions.lost) == (0, 0)
    return [journey(seen) for seen in by_rules], [journey(s) for s in by_positions]


def text(packet: Packet | None) -> str | None:
    return None if packet is None else packetline.text(packet)


def told(phase: Phase) -> tuple[object, ...] | None:
    """What both methods know of a phase; None if one of them knows of it at all."""
    if phase.stage in (Stage.ARRIVAL, Stage.ROUTING) or phase.is_turned:
        return phase.stage, phase.said, text(phase.packet)
    if phase.stage is Stage.CONNTRACK:
        return phase.stage, re.sub(r" of entry \d+|entry \d+|its entry", "", phase.said)
    if phase.stage is Stage.CONFIRM:
        return phase.stage, phase.said.partition(",")[0]
    return None


def answer(found: Journey) -> tuple[object, ...]:
    departures = [(d.interface, text(d.packet)) for d in found.departures]
    phases = [one for phase in found.phases if (one := told(phase)) is not None]
    entry = found.entry
    tuples = None if entry is None else (entry.orig, entry.reply)
    return found.outcome, departures, phases, tuples


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_both_methods_tell_the_same_of_the_labs_examples(
    lab: Lab, example: Example
) -> None:
    by_rules, by_positions = both(lab, FILTER, example.make)
    assert by_rules
    assert list(map(answer, by_rules)) == list(map(answer, by_positions))


def test_both_methods_find_a_reset_whose_entry_is_gone(lab: Lab) -> None:
    """It is alice's only once it is turned back, and it ends the entry."""
    alice = network.HOSTS["alice"].v4
    by_rules, by_positions = both(
        lab, f"host {alice}", lambda t: t.syn("alice", (network.SERVER_V4, 443))
    )
    for found in by_rules, by_positions:
        assert [text(d.packet) for one in found for d in one.departures][1:] == [
            text(found[1].departures[0].packet)
        ]
        assert [one.departures[0].interface for one in found] == ["wan", "lan"]


@dataclass(frozen=True)
class Dropped:
    id: str
    rules: str
    stage: Stage


DROPPED = [
    Dropped(
        "the policy of a forward chain",
        "chain f { type filter hook forward priority 0; policy drop; }",
        Stage.FILTER,
    ),
    Dropped(
        "a rule in raw",
        "chain r { type filter hook prerouting priority -300; udp dport 9 drop\n }",
        Stage.RAW,
    ),
]


@contextmanager
def rules_of(lab: Lab, case: Dropped) -> Iterator[None]:
    text = f"table inet test {{ {case.rules}\n }}"
    lab.run(network.BOX, ["nft", "-f", "-"], stdin=text)
    try:
        yield
    finally:
        lab.run(network.BOX, ["nft", "delete", "table", "inet", "test"])


@pytest.mark.parametrize("case", DROPPED, ids=lambda case: case.id)
def test_both_methods_tell_where_a_packet_was_dropped(lab: Lab, case: Dropped) -> None:
    """Why is another matter: only rules have a text."""
    with rules_of(lab, case):
        for found in both(
            lab, "udp", lambda t: t.udp("alice", (network.SERVER_V4, 9), sport=4100)
        ):
            (one,) = found
            assert one.outcome is Outcome.DROPPED
            assert [phase.stage for phase in one.phases if phase.is_end] == [case.stage]
