"""IPFIX records and messages, read by a reader of the tests' own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from ipfix_reader import Key, Reader, numbers
from natscope import uapi
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render.ipfix import templates
from natscope.render.ipfix.elements import ELEMENTS
from natscope.render.ipfix.messages import (
    AGAIN_MESSAGES,
    SMALLEST,
    Packer,
    Session,
    Statistics,
)
from natscope.render.ipfix.records import Wanted, binding_records, records
from natscope.render.ipfix.templates import template
from natscope.table.bindings import Bindings
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

SECOND = 10**9
NOW = 1_795_228_493 * SECOND
BEGAN = NOW - 60 * SECOND
SNAT = uapi.Status.CONFIRMED | uapi.Status.SRC_NAT | uapi.Status.SRC_NAT_DONE
EVERYTHING = Wanted()
REVERSE = 29305
FORTH_AND_BACK = ((0, 1), (0, 2), (REVERSE, 1), (REVERSE, 2))


def flow_tuple(src: str, sport: int, dst: str, dport: int, proto: int = 6) -> FlowTuple:
    return FlowTuple(ip_address(src), ip_address(dst), proto, sport, dport)


def ping(src: str, dst: str, kind: int, proto: int = 1) -> FlowTuple:
    source, destination = ip_address(src), ip_address(dst)
    return FlowTuple(
        source, destination, proto, icmp_type=kind, icmp_code=0, icmp_id=4711
    )


NEW = Flow(
    orig=flow_tuple("10.0.0.2", 50000, "198.51.100.9", 443),
    reply=flow_tuple("198.51.100.9", 443, "203.0.113.7", 1024),
    status=SNAT,
    timeout=120,
    event_ns=NOW,
)
GONE = replace(
    NEW,
    timeout=None,
    tcp_state=uapi.TCP_STATES.index("TIME_WAIT"),
    orig_packets=6,
    orig_bytes=397,
    reply_packets=5,
    reply_bytes=1 << 40,
    start_ns=BEGAN,
    stop_ns=NOW - SECOND,
)
REFUSED = replace(GONE, tcp_state=uapi.TCP_STATES.index("CLOSE"), timeout=119)
PLAIN = replace(NEW, reply=NEW.orig.reversed(), status=uapi.Status.CONFIRMED)
V6 = Flow(
    orig=flow_tuple("fd00::2", 50000, "2001:db8::9", 443),
    reply=flow_tuple("2001:db8::9", 443, "2001:db8:ffff::7", 50000),
    status=SNAT,
    event_ns=NOW,
)
PING = Flow(
    orig=ping("10.0.0.2", "198.51.100.9", 8),
    reply=replace(ping("198.51.100.9", "203.0.113.7", 0), icmp_id=9),
    status=SNAT,
    event_ns=NOW,
)
OSPF = Flow(
    orig=FlowTuple(ip_address("10.0.0.2"), ip_address("198.51.100.9"), 89),
    reply=FlowTuple(ip_address("198.51.100.9"), ip_address("10.0.0.2"), 89),
    status=uapi.Status.CONFIRMED,
    event_ns=NOW,
)


def events(kind: EventKind, *flows: Flow, **more: Any) -> Events:
    kinds = np.full(len(flows), kind, np.uint8)
    return Events(FlowTable.from_flows(flows), kinds, received_ns=NOW, **more)


def read(batch: Events, wanted: Wanted = EVERYTHING, limit: int = 1400) -> Reader:
    packer, session, reader = Packer(limit), Session(wanted.domain, limit), Reader()
    parcels = [*packer.pack(records(batch, wanted)), *packer.flush()]
    for parcel in parcels:
        for message in session.wrap(parcel, NOW):
            reader.message(message)
    return reader


def one(batch: Events, wanted: Wanted = EVERYTHING) -> dict[Key, int]:
    ((_, record),) = read(batch, wanted).records
    return numbers(record)


def address(text: str) -> int:
    return int(ip_address(text))


def test_a_translated_flow_that_begins_is_a_nat44_session_created() -> None:
    assert one(events(EventKind.NEW, NEW), Wanted(instance=5)) == {
        (0, 323): NOW // 10**6,
        (0, 230): 4,
        (0, 152): NOW // 10**6,
        (0, 153): NOW // 10**6,
        (0, 4): 6,
        (0, 234): 0,
        (0, 463): 5,
        (0, 8): address("10.0.0.2"),
        (0, 225): address("203.0.113.7"),
        (0, 7): 50000,
        (0, 227): 1024,
        (0, 12): address("198.51.100.9"),
        (0, 226): address("198.51.100.9"),
        (0, 11): 443,
        (0, 228): 443,
    }


def test_its_end_is_one_bidirectional_flow_with_times_of_the_kernel() -> None:
    told = one(events(EventKind.DESTROY, GONE))
    assert (told[0, 230], told[0, 136], told[0, 239]) == (5, 3, 1)
    assert told[0, 152] == BEGAN // 10**6
    assert told[0, 153] == told[0, 323] == (NOW - SECOND) // 10**6
    assert [told[key] for key in FORTH_AND_BACK] == [397, 6, 1 << 40, 5]


@dataclass(frozen=True)
class Case:
    id: str
    kind: EventKind
    flow: Flow
    told: dict[Key, int]
    absent: tuple[Key, ...] = ()
    wanted: Wanted = EVERYTHING


CASES = [
    Case("no translation", EventKind.NEW, PLAIN, {(0, 233): 1}, ((0, 230), (0, 225))),
    Case("its end", EventKind.DESTROY, PLAIN, {(0, 233): 2}, ((0, 227),)),
    Case(
        "IPv6",
        EventKind.NEW,
        V6,
        {
            (0, 230): 4,
            (0, 27): address("fd00::2"),
            (0, 28): address("2001:db8::9"),
            (0, 281): address("2001:db8:ffff::7"),
            (0, 282): address("2001:db8::9"),
        },
        ((0, 8), (0, 225)),
    ),
    Case(
        "ICMP: type, code and ids",
        EventKind.NEW,
        PING,
        {(0, 32): 8 << 8, (0, 7): 4711, (0, 227): 9},
        ((0, 11), (0, 228)),
    ),
    Case(
        "its end has the same ids",
        EventKind.DESTROY,
        PING,
        {(0, 32): 8 << 8, (0, 7): 4711, (0, 227): 9},
        ((0, 11), (0, 228)),
    ),
    Case(
        "ICMPv6",
        EventKind.NEW,
        replace(V6, orig=ping("fd00::2", "::9", 128, 58), reply=ping("::9", "::7", 1)),
        {(0, 139): 128 << 8, (0, 4): 58},
        ((0, 32),),
    ),
    Case("no ports", EventKind.NEW, OSPF, {(0, 4): 89}, ((0, 7), (0, 11), (0, 32))),
    Case("a zone", EventKind.NEW, replace(NEW, zone=9), {(0, 234): 9}),
    Case(
        "a zone of one direction",
        EventKind.NEW,
        replace(NEW, orig=replace(NEW.orig, zone=3)),
        {(0, 234): 3},
    ),
    Case(
        "nothing counted",
        EventKind.DESTROY,
        replace(GONE, reply_bytes=None),
        {(0, 230): 5},
        FORTH_AND_BACK,
    ),
    Case(
        "no stop: the time of the event",
        EventKind.DESTROY,
        replace(GONE, stop_ns=None),
        {(0, 153): NOW // 10**6},
    ),
    Case(
        "no start: it cannot be told",
        EventKind.DESTROY,
        replace(GONE, start_ns=None),
        {(0, 152): (NOW - SECOND) // 10**6},
    ),
    Case(
        "a clock that was set back: no end before the start",
        EventKind.DESTROY,
        replace(GONE, start_ns=NOW),
        {(0, 152): (NOW - SECOND) // 10**6},
    ),
    Case("deleted", EventKind.DESTROY, replace(GONE, timeout=60), {(0, 136): 4}),
    Case("refused: reset before any reply", EventKind.DESTROY, REFUSED, {(0, 136): 3}),
    Case(
        "reset, and deleted before its time",
        EventKind.DESTROY,
        replace(REFUSED, status=SNAT | uapi.Status.SEEN_REPLY),
        {(0, 136): 4},
    ),
    Case(
        "expired",
        EventKind.DESTROY,
        replace(GONE, tcp_state=uapi.TCP_STATES.index("ESTABLISHED")),
        {(0, 136): 1},
    ),
    Case(
        "the Cisco dialect",
        EventKind.DESTROY,
        GONE,
        {(0, 230): 2, (0, 231): 397, (0, 232): 1 << 40, (0, 298): 6, (0, 299): 5},
        FORTH_AND_BACK,
        Wanted(cisco=True),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_record_tells_what_is_known_and_nothing_else(case: Case) -> None:
    told = one(events(case.kind, case.flow), case.wanted)
    assert {key: told.get(key) for key in case.told} == case.told
    assert not told.keys() & set(case.absent)


def test_what_a_dump_found_gone_has_neither_counters_nor_a_reason() -> None:
    told = one(events(EventKind.DESTROY, GONE, repaired=True))
    assert told[0, 230] == 5
    assert not told.keys() & {*FORTH_AND_BACK, (0, 136)}


def test_what_is_not_wanted_is_no_record() -> None:
    batch = Events.concat(
        [events(EventKind.NEW, NEW, PLAIN), events(EventKind.UPDATE, NEW)]
    )
    assert len(read(batch).records) == 2
    assert len(read(batch, Wanted(untranslated=False)).records) == 1
    assert len(read(batch, Wanted(created=False)).records) == 0


def test_bindings_have_no_destination_and_last_as_long_as_their_flows() -> None:
    second = replace(
        NEW,
        orig=flow_tuple("10.0.0.2", 50000, "192.0.2.99", 443),
        reply=flow_tuple("192.0.2.99", 443, "203.0.113.7", 1024),
    )
    bindings = Bindings(FlowTable.empty())
    story = [
        (EventKind.NEW, NEW, [8]),
        (EventKind.NEW, second, []),
        (EventKind.DESTROY, NEW, []),
        (EventKind.DESTROY, second, [9]),
    ]
    for kind, flow, expected in story:
        made = binding_records(bindings.follow(events(kind, flow)), Wanted())
        told = [record for part in made for record in part.values]
        assert [record["natEvent"] for record in told] == expected
        assert all("destinationIPv4Address" not in r.dtype.names for r in told)
    assert len(bindings) == 0


def many(count: int) -> Events:
    flows = [replace((NEW, PLAIN, V6, PING)[n % 4], zone=n) for n in range(count)]
    return events(EventKind.NEW, *flows)


@pytest.mark.parametrize("limit", [SMALLEST, 1352, 16384])
def test_messages_fit_and_hold_every_record_once(limit: int) -> None:
    reader = read(many(1000), limit=limit)
    assert max(len(message) for message in reader.messages) <= limit
    zones = sorted(numbers(record)[0, 234] for _, record in reader.records)
    assert zones == list(range(1000))


def test_records_of_one_template_keep_their_order() -> None:
    records_of: dict[int, list[int]] = {}
    for number, record in read(many(100)).records:
        records_of.setdefault(number, []).append(numbers(record)[0, 234])
    assert len(records_of) == 4
    assert all(zones == sorted(zones) for zones in records_of.values())


def test_a_template_goes_ahead_of_its_records_once_a_session() -> None:
    packer, session = Packer(1400), Session(7, 1400)
    for _ in range(2):
        session.begin()
        reader = Reader()
        for _ in range(3):
            parcels = [*packer.pack(records(many(8), Wanted())), *packer.flush()]
            for message in (m for p in parcels for m in session.wrap(p, NOW)):
                reader.message(message)
        assert len(reader.records) == 24
        assert len(reader.announced) == len(set(reader.announced)) == 4
        assert reader.domains == {7}


def test_over_udp_templates_are_sent_again_after_a_time() -> None:
    packer, session, reader = Packer(1400), Session(0, 1400, 60 * SECOND), Reader()
    for moment in (0, 59, 61, 62):
        parcels = [*packer.pack(records(many(4), Wanted())), *packer.flush()]
        for message in session.wrap(parcels[0], NOW + moment * SECOND):
            reader.message(message)
    assert sorted(reader.announced) == sorted(2 * reader.announced[:4])


def test_over_udp_templates_are_sent_again_after_a_number_of_messages() -> None:
    packer, session, reader = Packer(1400), Session(0, 1400, 60 * SECOND), Reader()
    (parcel,) = [*packer.pack(records(many(4), Wanted())), *packer.flush()]
    for _ in range(AGAIN_MESSAGES):
        for message in session.wrap(parcel, NOW):
            reader.message(message)
    assert len(reader.announced) == 8


def test_the_sequence_number_begins_again_after_its_end() -> None:
    packer, session = Packer(1400), Session(0, 1400)
    session._sequence = 0xFFFF_FFFF
    (parcel,) = [*packer.pack(records(many(4), Wanted())), *packer.flush()]
    session.wrap(parcel, NOW)
    assert session.wrap(parcel, NOW)[0][8:12] == (3).to_bytes(4, "big")


def test_the_exporter_tells_what_did_not_arrive() -> None:
    told = Statistics(BEGAN, messages=3, records=40, not_sent=5, lost=6)
    session, reader = Session(7, 1400), Reader()
    for message in session.wrap(told.parcel(7, NOW), NOW):
        reader.message(message)
    (record,) = reader.options
    assert numbers(record) == {
        (0, 149): 7,
        (0, 323): NOW // 10**6,
        (0, 160): BEGAN // 10**6,
        (0, 41): 3,
        (0, 42): 40,
        (0, 166): 5,
        (0, 164): 6,
    }


def test_every_template_is_packed_as_it_is_announced() -> None:
    shapes = [*range(templates.SHAPES), templates.STATISTICS - templates.FIRST]
    for shape in shapes:
        made = template(templates.FIRST + shape)
        assert made.dtype.itemsize == sum(e.length for e in made.elements)
        assert len(made.announcement) + 4 <= SMALLEST - 16


def test_elements_are_as_long_as_their_values() -> None:
    for element in ELEMENTS.values():
        assert np.dtype(element.kind).itemsize == element.length


def test_no_template_of_another_number_exists() -> None:
    with pytest.raises(KeyError):
        template(templates.STATISTICS + 1)
