"""Which flows use a binding of an inside to a public port."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import numpy as np

from natscope import uapi
from natscope.model.event import EventKind
from natscope.model.flow import Flow
from natscope.table.bindings import Bindings
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from unit.table.flows import tcp

NEW, UPDATE, DESTROY = EventKind
FLOW = Flow(
    tcp(),
    tcp("192.0.2.1", 443, "203.0.113.7", 40_000),
    status=uapi.Status.SRC_NAT | uapi.Status.SRC_NAT_DONE,
    id=1,
)
ELSEWHERE = replace(
    FLOW,
    orig=replace(FLOW.orig, dst=ip_address("192.0.2.2")),
    reply=replace(FLOW.reply, src=ip_address("192.0.2.2")),
    id=2,
)
FORWARD = replace(FLOW, status=uapi.Status.DST_NAT, id=3)


def told(bindings: Bindings, *events: tuple[EventKind, Flow]) -> list[EventKind]:
    """What of these events begins a binding, or ends one."""
    kinds = np.array([kind for kind, _ in events], np.uint8)
    flows = FlowTable.from_flows([flow for _, flow in events])
    found = bindings.follow(Events(flows, kinds, received_ns=0))
    return [EventKind(kind) for kind in found.kinds.tolist()]


def test_a_binding_lasts_from_its_first_flow_to_its_last() -> None:
    bindings = Bindings(FlowTable.empty())
    assert told(bindings, (NEW, FLOW), (NEW, ELSEWHERE)) == [NEW]
    assert len(bindings) == 1
    assert told(bindings, (DESTROY, FLOW)) == []
    assert told(bindings, (DESTROY, ELSEWHERE)) == [DESTROY]
    assert len(bindings) == 0


def test_a_flow_that_is_told_twice_counts_once() -> None:
    bindings = Bindings(FlowTable.from_flows([FLOW]))
    assert told(bindings, (NEW, FLOW), (NEW, FLOW)) == []
    assert told(bindings, (DESTROY, FLOW)) == [DESTROY]


def test_an_end_that_is_told_twice_takes_no_other_flow_away() -> None:
    bindings = Bindings(FlowTable.from_flows([FLOW, ELSEWHERE]))
    assert told(bindings, (DESTROY, FLOW), (DESTROY, FLOW)) == []
    assert len(bindings) == 1


def test_the_end_of_a_flow_nobody_knew_ends_its_binding() -> None:
    assert told(Bindings(FlowTable.empty()), (DESTROY, FLOW)) == [DESTROY]


def test_updates_and_port_forwards_are_no_bindings() -> None:
    bindings = Bindings(FlowTable.from_flows([FORWARD]))
    assert told(bindings, (UPDATE, FLOW), (NEW, FORWARD), (DESTROY, FORWARD)) == []
    assert len(bindings) == 0
