"""Records made many at a time say what each flow says by itself."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ipfix_reader import Key, Reader, numbers
from natscope import uapi
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render.ipfix.messages import SMALLEST, Packer, Session
from natscope.render.ipfix.records import Wanted, records
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from strategies import flows

NOW = 1_795_228_493_123_456_789
KINDS = st.sampled_from(list(EventKind))
TRANSLATED = uapi.Status.SRC_NAT | uapi.Status.DST_NAT


@given(st.lists(st.tuples(KINDS, flows()), max_size=12), st.booleans())
def test_every_flow_is_told_as_it_would_be_alone(
    told: list[tuple[EventKind, Flow]], repaired: bool
) -> None:
    batch = Events(
        FlowTable.from_flows(flow for _, flow in told),
        np.array([kind for kind, _ in told], np.uint8),
        received_ns=NOW,
        repaired=repaired,
    )
    packer, session, reader = Packer(SMALLEST), Session(0, SMALLEST), Reader()
    for parcel in (*packer.pack(records(batch, Wanted())), *packer.flush()):
        for message in session.wrap(parcel, NOW):
            reader.message(message)
    expected = [
        record(kind, flow, repaired=repaired)
        for kind, flow in told
        if kind != EventKind.UPDATE
    ]
    got = [numbers(values) for _, values in reader.records]
    assert sorted(map(in_order, got)) == sorted(map(in_order, expected))


def in_order(record: dict[Key, int]) -> list[tuple[Key, int]]:
    return sorted(record.items())


def record(kind: EventKind, flow: Flow, *, repaired: bool) -> dict[Key, int]:
    """A record, one element after the other; the slow and clear form."""
    gone = kind == EventKind.DESTROY
    nat = bool((flow.status or 0) & TRANSLATED)
    end = flow.event_ns if flow.event_ns is not None else NOW
    if gone and flow.stop_ns is not None:
        end = flow.stop_ns
    start = flow.start_ns if flow.start_ns is not None else end
    zone = flow.orig.zone if flow.orig.zone is not None else flow.zone or 0
    told = {323: end // 10**6, 152: min(start, end) // 10**6, 153: end // 10**6}
    told |= {4: flow.proto, 234: zone, 463: 0}
    told |= {230: 5 if gone else 4} if nat else {233: 2 if gone else 1}
    v6 = flow.family == uapi.AF_INET6
    told |= ends(flow.orig, (27, 28) if v6 else (8, 12), (7, 11))
    if flow.orig.icmp_type is not None:
        icmp = flow.orig.icmp_type << 8 | (flow.orig.icmp_code or 0)
        told[139 if v6 else 32] = icmp
    if nat:
        turned = flow.reply.reversed()
        told |= ends(turned, (281, 282) if v6 else (225, 226), (227, 228))
    if gone and not repaired:
        told[136] = reason(flow)
    whole = {(0, number): value for number, value in told.items()}
    if gone and not repaired:
        whole |= counters(flow)
    return whole


def ends(
    one: FlowTuple, addresses: tuple[int, int], ports: tuple[int, int]
) -> dict[int, int]:
    told = {addresses[0]: int(one.src), addresses[1]: int(one.dst)}
    if one.icmp_id is not None:
        told[ports[0]] = one.icmp_id
    elif one.sport is not None and one.dport is not None:
        told |= {ports[0]: one.sport, ports[1]: one.dport}
    return told


def reason(flow: Flow) -> int:
    if flow.timeout:
        return 4
    closed = ("TIME_WAIT", "CLOSE")
    state = flow.tcp_state
    known = state is not None and state < len(uapi.TCP_STATES)
    return 3 if known and uapi.TCP_STATES[state or 0] in closed else 1


def counters(flow: Flow) -> dict[Key, int]:
    counted = [
        ((enterprise, element), getattr(flow, f"{way}_{what}"))
        for (enterprise, way), (element, what) in product(
            ((0, "orig"), (29305, "reply")), ((1, "bytes"), (2, "packets"))
        )
    ]
    if any(value is None for _, value in counted):
        return {}
    return {**dict(counted), (0, 239): 1}
