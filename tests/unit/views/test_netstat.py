"""Which flows netstat-nat shows, and what it says of them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status
from natscope.views import netstat
from natscope.views.netstat import Hosts, Lines, Question, Show

BOX = Evidence(addresses=(ip_interface("192.168.77.1/24"), ip_interface("fd00::1/64")))
NAT = Status.SRC_NAT | Status.DST_NAT | Status.SEEN_REPLY


def flow(orig: str, reply: str, proto: int = 6, status: int = NAT) -> Flow:
    return Flow(one(orig, proto), one(reply, proto), status=int(status))


def one(text: str, proto: int) -> FlowTuple:
    """A tuple from ``src:sport>dst:dport``."""
    (src, _, sport), (dst, _, dport) = (end.rpartition(":") for end in text.split(">"))
    return FlowTuple(ip_address(src), ip_address(dst), proto, int(sport), int(dport))


SNAT = flow("192.168.77.2:1>198.51.100.9:2", "198.51.100.9:2>203.0.113.7:3")
DNAT = flow("198.51.100.9:4>203.0.113.7:5", "192.168.77.2:6>198.51.100.9:4")
TWICE = flow("192.168.77.2:7>203.0.113.7:8", "192.168.77.2:9>192.168.77.1:10")
REDIRECT = flow("192.168.77.2:11>192.168.77.1:12", "192.168.77.1:13>192.168.77.2:11")
PORT = flow("192.168.77.2:14>198.51.100.9:15", "198.51.100.9:15>192.168.77.2:16")
LOCAL = flow("192.168.77.2:17>192.168.77.1:18", "192.168.77.1:18>192.168.77.2:17")
ROUTED = flow("192.168.77.2:19>198.51.100.9:20", "198.51.100.9:20>192.168.77.2:19")
LOCAL_V6 = flow("fd00::1:21>2001:db8::9:22", "2001:db8::9:22>fd00::1:21", 17)
FLOWS = (SNAT, DNAT, TWICE, REDIRECT, PORT, LOCAL, ROUTED, LOCAL_V6)


def shown(question: Question, *flows: Flow) -> list[tuple[int, int, int]]:
    """Ports of source, gateway and destination of each line: they tell flows apart."""
    found = netstat.lines(FlowTable.from_flows(flows or FLOWS), BOX, question)
    columns = (found.source.port, found.gateway.port, found.destination.port)
    return list(zip(*(port.tolist() for port in columns), strict=True))


def test_translations_are_shown_by_what_is_translated() -> None:
    source = [(1, 3, 2), (7, 10, 9), (14, 16, 15)]
    forward = [(4, 5, 6), (7, 8, 9), (11, 12, 13)]
    assert shown(Question(Show.SOURCE)) == source
    assert shown(Question(Show.DESTINATION)) == forward
    assert shown(Question()) == [
        (1, 3, 2), (4, 5, 6), (7, 10, 9), (11, 12, 13), (14, 16, 15)
    ]  # fmt: skip


def test_the_rest_is_of_the_box_or_goes_through_it() -> None:
    assert [line[0] for line in shown(Question(Show.LOCAL))] == [17, 21]
    assert [line[0] for line in shown(Question(Show.ROUTED))] == [19]


def test_conditions_are_on_what_the_columns_show() -> None:
    def having(
        sources: str | None = None,
        destinations: str | None = None,
        gateways: str | None = None,
    ) -> list[int]:
        texts = (sources, destinations, gateways)
        asked = [None if text is None else (ip_network(text),) for text in texts]
        return [line[0] for line in shown(Question(Show.NAT, None, *asked))]

    assert having(sources="198.51.100.0/24") == [4]
    assert having(destinations="192.168.77.2") == [4, 7]
    assert having(gateways="203.0.113.0/24") == [1, 4]
    assert having(sources="192.168.77.2", gateways="203.0.113.7") == [1]
    assert having(sources="::/0") == []
    assert shown(Question(sources=())) == []


def test_a_protocol_is_a_condition() -> None:
    assert len(shown(Question(Show.LOCAL, protocols=frozenset({17})))) == 1
    assert shown(Question(protocols=frozenset({17, 45}))) == []


@dataclass(frozen=True)
class State:
    id: str
    word: str
    proto: int = uapi.IPPROTO_TCP
    status: int | None = int(Status.SEEN_REPLY)
    status_mask: int | None = None
    tcp_state: int | None = None
    sctp_state: int | None = None


SEEN, ASSURED = Status.SEEN_REPLY, Status.SEEN_REPLY | Status.ASSURED
STATES = [
    *(State(name, name, tcp_state=n) for n, name in enumerate(uapi.TCP_STATES) if n),
    State("NONE, answered", "", tcp_state=0),
    State("NONE, unanswered", "UNREPLIED", tcp_state=0, status=0),
    State("CLOSE, unanswered", "UNREPLIED", tcp_state=8, status=0),
    State("CLOSE_WAIT, unanswered", "CLOSE_WAIT", tcp_state=5, status=0),
    State("a state of a newer kernel", "STATE12", tcp_state=12),
    State("SCTP", "COOKIE_WAIT", 132, sctp_state=2),
    State("UDP unanswered", "UNREPLIED", 17, status=0),
    State("UDP answered", "", 17, status=SEEN),
    State("UDP assured", "ASSURED", 17, status=ASSURED),
    State("no status told", "", 17, status=None),
    State("the reply not told", "", 17, status=0, status_mask=int(Status.ASSURED)),
    State("told as unanswered", "UNREPLIED", 17, 0, status_mask=int(SEEN)),
    State("offloaded", "OFFLOAD", status=ASSURED | Status.OFFLOAD, tcp_state=3),
    State(
        "offloaded to hardware",
        "HW_OFFLOAD",
        status=Status.OFFLOAD | Status.HW_OFFLOAD,
        tcp_state=3,
    ),
]


@pytest.mark.parametrize("case", STATES, ids=lambda case: case.id)
def test_the_state_is_the_protocols_or_tells_of_replies(case: State) -> None:
    made = Flow(
        one("10.0.0.1:1>10.0.0.2:2", case.proto),
        one("10.0.0.2:2>10.0.0.1:1", case.proto),
        status=None if case.status is None else int(case.status),
        status_mask=case.status_mask,
        tcp_state=case.tcp_state,
        sctp_state=case.sctp_state,
    )
    table = FlowTable.from_flows([made])
    found = netstat.lines(table, BOX, Question(Show.ROUTED))
    assert [netstat.state_word(code) for code in found.state.tolist()] == [case.word]


def test_a_gre_key_is_no_port() -> None:
    gre = flow("10.0.0.1:1>10.0.0.2:2", "10.0.0.2:2>10.0.0.1:1", uapi.IPPROTO_GRE)
    table = FlowTable.from_flows([gre, ROUTED])
    found = netstat.lines(table, BOX, Question(Show.ROUTED))
    assert found.has_port.tolist() == [False, True]
    assert netstat.services(found, gateway=False) == [(6, 19), (6, 20)]


def test_lines_of_pieces_are_the_lines_of_the_whole() -> None:
    whole = netstat.lines(FlowTable.from_flows(FLOWS), BOX, Question())
    pieces = [
        netstat.lines(FlowTable.from_flows(part), BOX, Question())
        for part in (FLOWS[:1], FLOWS[5:6], FLOWS[1:5], FLOWS[6:])
    ]
    assert values(netstat.concat(pieces)) == values(whole)
    assert len(netstat.concat([])) == 0
    assert values(whole.take(slice(1, 3)))[0] == values(whole)[0][1:3]


def values(found: Lines) -> list[list[object]]:
    columns: list[list[object]] = [found.proto.tolist(), found.state.tolist()]
    hosts: tuple[Hosts, ...] = (found.source, found.gateway, found.destination)
    for one_column in hosts:
        columns += [one_column.words.tolist(), one_column.port.tolist()]
    return columns


def test_every_address_shown_is_named_once() -> None:
    found = netstat.lines(FlowTable.from_flows([SNAT, SNAT, DNAT]), BOX, Question())
    texts = netstat.addresses(found, gateway=False).values()
    assert sorted(texts) == ["192.168.77.2", "198.51.100.9"]
    texts = netstat.addresses(found, gateway=True).values()
    assert sorted(texts) == ["192.168.77.2", "198.51.100.9", "203.0.113.7"]
    assert netstat.addresses(netstat.concat([]), gateway=True) == {}
