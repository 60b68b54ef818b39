"""What events say of flows, in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from natscope import uapi
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views.lifecycle import WORDS, Lifecycle, Told
from unit.table.flows import tcp

NEW, UPDATE, DESTROY = EventKind
S = 10**9
BORN = 1_700_000_000 * S
SEEN = uapi.Status.SEEN_REPLY
ASSURED = SEEN | uapi.Status.ASSURED
STATES = {name: value for value, name in enumerate(uapi.TCP_STATES)}

FLOW = Flow(tcp(), tcp("192.0.2.1", 443, "10.0.0.5", 40_000), status=0, id=1)
UDP = replace(
    FLOW,
    orig=tcp(proto=uapi.IPPROTO_UDP),
    reply=tcp("192.0.2.1", 443, "10.0.0.5", 40_000, uapi.IPPROTO_UDP),
)


def in_state(name: str, **other: int) -> Flow:
    return replace(FLOW, tcp_state=STATES[name], **other)  # type: ignore[arg-type]


def events(
    *told: tuple[EventKind, Flow], portid: int = 0, repaired: bool = False
) -> Events:
    """A batch of events, a second apart."""
    timed = [
        replace(flow, event_ns=BORN + second * S)
        for second, (_, flow) in enumerate(told)
    ]
    kinds = np.array([kind for kind, _ in told], np.uint8)
    ports = np.full(len(told), portid, np.uint32)
    table = FlowTable.from_flows(timed)
    return Events(table, kinds, ports, received_ns=BORN, repaired=repaired)


def words(told: Told) -> list[str]:
    return [WORDS[word] for word in told.words]


@dataclass(frozen=True)
class Case:
    id: str
    told: tuple[tuple[EventKind, Flow], ...]
    words: list[str]
    portid: int = 0
    repaired: bool = False


CASES = [
    Case(
        "a TCP connection",
        (
            (NEW, in_state("SYN_SENT")),
            (UPDATE, in_state("SYN_RECV", status=SEEN)),
            (UPDATE, in_state("ESTABLISHED", status=ASSURED)),
            (UPDATE, in_state("FIN_WAIT", status=ASSURED)),
            (UPDATE, in_state("CLOSE_WAIT", status=ASSURED)),
            (UPDATE, in_state("LAST_ACK", status=ASSURED)),
            (UPDATE, in_state("TIME_WAIT", status=ASSURED)),
            (DESTROY, in_state("TIME_WAIT", status=ASSURED)),
        ),
        [
            *("opened", "replied", "established", "closing", "half closed"),
            *("last ack", "time wait", "closed"),
        ],
    ),
    Case(
        "a TCP connection that was answered, and reset",
        (
            (NEW, in_state("SYN_SENT")),
            (UPDATE, in_state("CLOSE", status=SEEN)),
            (DESTROY, in_state("CLOSE", status=SEEN)),
        ),
        ["opened", "reset", "reset"],
    ),
    Case(
        "a refused TCP connection: taken out at once, with time left",
        ((NEW, in_state("SYN_SENT")), (DESTROY, in_state("CLOSE", timeout=119))),
        ["opened", "refused"],
    ),
    Case(
        "a refused one that a program deleted",
        ((DESTROY, in_state("CLOSE", timeout=9)),),
        ["deleted"],
        portid=7,
    ),
    Case(
        "a reset with time left, after an answer",
        ((DESTROY, in_state("CLOSE", timeout=9, status=SEEN)),),
        ["removed"],
    ),
    Case(
        "a DESTROY without a state, as before Linux 5.11",
        ((UPDATE, in_state("TIME_WAIT")), (DESTROY, FLOW)),
        ["time wait", "closed"],
    ),
    Case(
        "a UDP stream",
        (
            (NEW, UDP),
            (UPDATE, replace(UDP, status=SEEN)),
            (UPDATE, replace(UDP, status=ASSURED)),
            (DESTROY, replace(UDP, status=ASSURED)),
        ),
        ["opened", "replied", "steady", "expired"],
    ),
    Case(
        "a question nobody answered",
        ((NEW, UDP), (DESTROY, UDP)),
        ["opened", "unanswered"],
    ),
    Case(
        "a connection that ran before tracking began",
        ((NEW, in_state("ESTABLISHED")),),
        ["picked up"],
    ),
    Case(
        "an entry a program put in",
        ((NEW, in_state("ESTABLISHED")), (DESTROY, in_state("ESTABLISHED"))),
        ["opened", "deleted"],
        portid=7,
    ),
    Case(
        "what a helper expected",
        ((NEW, replace(UDP, status=uapi.Status.EXPECTED)),),
        ["opened, expected"],
    ),
    Case(
        "an entry with time left that no program took out",
        ((DESTROY, replace(UDP, timeout=30)),),
        ["removed"],
    ),
    Case("found by a dump", ((NEW, UDP), (DESTROY, UDP)), ["opened", "gone"], 0, True),
    Case(
        "the same again",
        ((NEW, UDP), (UPDATE, UDP)),
        ["opened", "updated"],
    ),
    Case(
        "moved to the flow table",
        ((NEW, UDP), (UPDATE, replace(UDP, status=uapi.Status.OFFLOAD))),
        ["opened", "offloaded"],
    ),
    Case(
        "another flow with the ports of one that is gone",
        (
            (NEW, in_state("SYN_SENT")),
            (DESTROY, in_state("SYN_SENT")),
            (NEW, in_state("SYN_SENT")),
            (UPDATE, in_state("SYN_RECV", status=SEEN)),
        ),
        ["opened", "unanswered", "opened", "replied"],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_event_has_its_word(case: Case) -> None:
    batch = events(*case.told, portid=case.portid, repaired=case.repaired)
    assert words(Lifecycle().tell(batch)) == case.words
    one_by_one = Lifecycle()
    found = [words(one_by_one.tell(batch.take(slice(n, n + 1))))
             for n in range(len(batch))]  # fmt: skip
    assert [word for (word,) in found] == case.words


def test_a_mark_alone_is_a_change_of_the_mark_and_nothing_else() -> None:
    told = Lifecycle().tell(
        events((NEW, UDP), (UPDATE, replace(UDP, mark=5)), (UPDATE, replace(UDP)))
    )
    assert words(told) == ["opened", "", "updated"]
    assert told.marked.tolist() == [False, True, False]


def test_a_mark_beside_a_state_is_told_with_it() -> None:
    told = Lifecycle().tell(
        events((NEW, UDP), (UPDATE, replace(UDP, status=SEEN, mark=5)))
    )
    assert words(told) == ["opened", "replied"]
    assert told.marked.tolist() == [False, True]


def test_labels_that_change_are_told_and_those_that_stay_are_not() -> None:
    labelled = [replace(UDP, labels=bits) for bits in (1, 1, 3, 0)]
    told = Lifecycle().tell(events((NEW, UDP), *((UPDATE, f) for f in labelled)))
    assert told.labelled.tolist() == [False, True, False, True, True]


def test_what_was_there_before_is_not_told_as_new() -> None:
    flows = Lifecycle()
    flows.learn(FlowTable.from_flows([replace(UDP, status=ASSURED, mark=5)]))
    told = flows.tell(events((UPDATE, replace(UDP, status=ASSURED, mark=6))))
    assert (words(told), told.marked.tolist()) == ([""], [True])


def test_a_connection_lasts_until_it_is_closed_not_until_it_is_forgotten() -> None:
    closed = in_state("TIME_WAIT", status=ASSURED)
    told = Lifecycle().tell(
        events(
            (NEW, in_state("SYN_SENT")),
            (UPDATE, in_state("ESTABLISHED", status=ASSURED)),
            (UPDATE, closed),
            (UPDATE, replace(closed, mark=1)),
            (DESTROY, replace(closed, stop_ns=BORN + 120 * S)),
        )
    )
    assert told.lasted_ns.tolist() == [-1, -1, -1, -1, 2 * S]
    assert told.began_ns.tolist() == [BORN] * 5


def test_a_flow_lasts_until_its_stop_not_until_the_event_of_it() -> None:
    stopped = replace(UDP, start_ns=BORN - 50 * S, stop_ns=BORN - 10 * S)
    told = Lifecycle().tell(events((DESTROY, stopped)))
    assert told.lasted_ns.tolist() == [40 * S]


def test_without_a_beginning_no_duration_is_told() -> None:
    told = Lifecycle().tell(events((DESTROY, replace(UDP, stop_ns=BORN))))
    assert (told.lasted_ns.tolist(), told.began_ns.tolist()) == ([-1], [-1])


def test_ended_flows_are_forgotten() -> None:
    flows = Lifecycle()
    flows.tell(events((NEW, UDP), (NEW, FLOW)))
    assert len(flows) == 2
    flows.tell(events((DESTROY, UDP)))
    assert len(flows) == 1
