"""Changes to real tables: what is deleted, set and put back, and what is not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from ipaddress import ip_address

import numpy as np
import pytest

import natscope
from kernel import crowd, stock
from natscope import uapi
from natscope.actions import changes, entry, plan, probe, undo
from natscope.actions.settings import Settings
from natscope.codec.encode import cells_of
from natscope.errors import NatscopeError
from natscope.model.flow import Flow
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

_ADDRESSES = ip_address("10.0.0.2"), ip_address("198.51.100.9")
GIVEN_BY_THE_KERNEL = {"id", "use", "start_ns", "timeout"} | {
    f"{side}_{what}" for side in ("orig", "reply") for what in ("packets", "bytes")
}


def kept(flow: Flow) -> dict[str, object]:
    """What an insert can bring back."""
    return {
        field.name: getattr(flow, field.name)
        for field in fields(flow)
        if field.name not in GIVEN_BY_THE_KERNEL
    }


def keyed(table: natscope.FlowTable) -> dict[object, dict[str, object]]:
    return {(flow.orig, flow.zone): kept(flow) for flow in table}


def test_what_is_deleted_is_what_was_listed() -> None:
    stock.insert_all()
    kernel = Kernel()
    everything = len(kernel.table())
    for text in ("udp", "tcp and dst port 443", "ip6 and snat", "zone 7", "proto 89"):
        listed = keyed(kernel.table(text))
        planned = plan.delete(kernel, text)
        assert keyed(planned.table) == listed
        before = keyed(kernel.table())
        outcome = planned.run()
        assert outcome.done == len(listed)
        left = {key: flow for key, flow in before.items() if key not in listed}
        assert keyed(kernel.table()) == left
        everything -= len(listed)
        assert kernel.count()[0] == everything


def test_every_kind_of_flow_comes_back_as_it_was() -> None:
    stock.insert_all()
    kernel = Kernel()
    before = kernel.table()
    assert plan.flush(kernel).run().done == len(before)
    assert kernel.count()[0] == 0
    outcome = plan.insert(kernel, before).run()
    assert (outcome.done, outcome.refused) == (len(before), {})
    assert keyed(kernel.table()) == keyed(before)
    again = plan.insert(kernel, before).run()
    assert (again.done, len(again.present)) == (0, len(before))


def test_replacing_changes_what_is_there() -> None:
    stock.insert_all()
    kernel = Kernel()
    before = kernel.table()
    values = {"mark": 77, "timeout": 4000}
    plan.update(kernel, "tcp or udp", values).run()
    outcome = plan.insert(kernel, before, replace=True).run()
    assert (outcome.done, outcome.refused) == (len(before), {})
    assert keyed(kernel.table()) == keyed(before)
    assert kernel.table()["timeout"].max() <= before["timeout"].max()


def test_a_crowd_comes_back_as_it_was() -> None:
    crowd.insert(crowd.flows(7, 400))
    kernel = Kernel()
    before = kernel.table()
    assert plan.flush(kernel).run().done == len(before) > 200
    assert plan.insert(kernel, before).run().refused == {}
    assert keyed(kernel.table()) == keyed(before)


def test_every_kind_of_flow_is_found_and_deleted_by_itself() -> None:
    stock.insert_all()
    kernel = Kernel()
    with kernel.socket() as sock:
        for flow in kernel.table():
            found = entry.get(sock, cells_of(flow))
            assert found is not None
            assert found["id"] == flow.id
            assert entry.delete(sock, cells_of(flow))
            assert not entry.delete(sock, cells_of(flow))
            assert entry.get(sock, cells_of(flow)) is None
    assert kernel.count()[0] == 0


def test_a_successor_is_not_deleted_in_its_place() -> None:
    stock.insert_all()
    kernel = Kernel()
    planned = plan.delete(kernel, "tcp")
    aged = planned.table.with_column("id", planned.table["id"] ^ np.uint32(1))
    outcome = replace(planned, table=aged).run()
    assert outcome.done == 0
    assert sorted(outcome.vanished) == list(range(len(aged)))
    assert len(kernel.table("tcp")) == len(aged)


def test_an_update_sets_marks_under_a_mask_in_every_zone() -> None:
    stock.insert_all()
    kernel = Kernel()
    plan.update(kernel, "tcp or udp", {"mark": 0xAB00}).run()
    planned = plan.update(kernel, "tcp or udp", {"mark": 0x12}, mark_mask=0xFF)
    assert planned.run().done == len(planned) == len(kernel.table("tcp or udp"))
    assert set(kernel.table("tcp or udp")["mark"].tolist()) == {0xAB12}
    again = plan.update(kernel, "tcp or udp", {"mark": 0x12}, mark_mask=0xFF)
    assert len(again) == 0


def test_an_update_is_taken_back() -> None:
    stock.insert_all()
    kernel = Kernel()
    before = keyed(kernel.table())
    values = {"mark": 99, "timeout": 77, "tcp_state": 8}
    planned = plan.update(kernel, "tcp", values)
    assert planned.run().done == len(planned)
    assert set(kernel.table("tcp")["tcp_state"].tolist()) == {8}
    (back,) = undo.plan(kernel, undo.before(planned))
    assert back.run().done == len(planned)
    assert keyed(kernel.table()) == before


def test_status_bits_are_added_to_those_there_are() -> None:
    stock.insert_all()
    kernel = Kernel()
    fixed = uapi.Status.FIXED_TIMEOUT
    planned = plan.update(kernel, "tcp and snat", {"status": fixed})
    outcome = planned.run()
    assert outcome.refused == {}
    after = kernel.table("tcp and snat")
    assert (after["status"] & np.uint32(fixed)).all()
    assert len(after) == len(planned)


def test_what_the_kernel_refuses_is_told_by_row() -> None:
    stock.insert_all()
    kernel = Kernel()
    table = kernel.table("tcp")
    with kernel.socket() as sock:
        outcome = changes.update(sock, table, Settings({"helper": "no-such"}))
    assert outcome.done == 0
    assert set(outcome.undone()) == set(range(len(table)))


def test_nothing_is_changed_without_a_filter() -> None:
    stock.insert_all()
    kernel = Kernel()
    with pytest.raises(NatscopeError, match="no filter"):
        plan.delete(kernel, " ")
    with pytest.raises(NatscopeError, match="no filter"):
        plan.update(kernel, "", {"mark": 1})


def test_a_helper_and_a_master_come_back(netns: Namespace) -> None:
    kernel = Kernel()
    ftp = natscope.FlowTuple(*_ADDRESSES, proto=6, sport=40000, dport=21)
    data = natscope.FlowTuple(*_ADDRESSES, proto=6, sport=40001, dport=50000)
    base = Flow(ftp, ftp.reversed(), status=6, timeout=500, tcp_state=3)
    flows = [
        replace(base, orig=data, reply=data.reversed(), master=ftp),
        replace(base, helper="ftp"),
    ]
    outcome = plan.insert(kernel, flows).run()
    assert (outcome.done, outcome.refused) == (2, {})
    found = {flow.orig.dport: flow for flow in kernel.table()}
    assert found[21].helper == "ftp"
    assert found[50000].master == ftp
    assert (found[50000].status or 0) & uapi.Status.EXPECTED


@dataclass(frozen=True)
class Flushed:
    filter: str
    at_once: bool


FLUSHED = [
    Flushed("", at_once=True),
    Flushed("ip6", at_once=True),
    Flushed("ip and tcp and dst port 443", at_once=True),
    Flushed("mark 5", at_once=True),
    Flushed("zone 7", at_once=True),
    Flushed("assured", at_once=True),
    Flushed("src 10.0.0.2", at_once=True),
    Flushed("src fd00::2", at_once=False),
    Flushed("sctp and dst port 2", at_once=False),
    Flushed("dst port 1-500", at_once=False),
]


@pytest.mark.parametrize("case", FLUSHED, ids=lambda case: case.filter or "all")
def test_a_flush_leaves_what_its_filter_does_not_match(case: Flushed) -> None:
    stock.insert_all()
    kernel = Kernel()
    before, listed = keyed(kernel.table()), keyed(kernel.table(case.filter))
    planned = plan.flush(kernel, case.filter)
    assert (planned.at_once is not None) == case.at_once
    assert planned.run().done == len(listed) > 0
    left = {key: flow for key, flow in before.items() if key not in listed}
    assert keyed(kernel.table()) == left


def test_this_kernel_heeds_every_field_of_a_flush_filter() -> None:
    """6.18 does; where one does not, that flush goes entry by entry."""
    assert probe.proved() <= probe.TRIALS.keys()
    assert "family" in probe.proved()
