"""Events of the real kernel: all of them, in order, or counted and repaired."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest

import natscope
from kernel import crowd, oracle
from kernel.stock import SYSCTLS, conntrack, insert_all
from natscope.model.event import Event, EventKind
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources.events import EventStream
from natscope.sources.kernel import Kernel
from natscope.sources.live import LiveTable
from natscope.sources.namespaces import AllNamespaces
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.live import flow_keys

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

TINY = 4608
"""A receive buffer of a few events: SOCK_MIN_RCVBUF doubled."""
SAME = ("status", "mark", "tcp_state", "sctp_state", "labels", "helper")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel() as made:
        yield made


def all_there(stream: EventStream | LiveTable) -> list[Events]:
    """What comes until a moment of silence."""
    found = []
    while (batch := stream.read(0.05)) is not None:
        found.append(batch)
    return found


def events_of(batches: list[Events]) -> list[Event]:
    return [event for batch in batches for event in batch]


def test_every_flow_tells_its_birth_change_and_end(kernel: Kernel) -> None:
    with kernel.events() as stream:
        count = insert_all()
        oracle.ours("-U", "-p", "tcp", "-m", "77")
        conntrack("-F")
        found = events_of(all_there(stream))
    by_kind = {kind: [e for e in found if e.kind == kind] for kind in EventKind}
    assert len(by_kind[EventKind.NEW]) == len(by_kind[EventKind.DESTROY]) == count
    assert {e.flow.mark for e in by_kind[EventKind.UPDATE]} == {77}
    born = {(e.flow.orig, e.flow.zone) for e in by_kind[EventKind.NEW]}
    assert born == {(e.flow.orig, e.flow.zone) for e in by_kind[EventKind.DESTROY]}
    assert all(e.portid for e in found)  # a program made them, not packets
    assert stream.lost == 0


@pytest.mark.parametrize("kind", EventKind)
def test_kinds_are_chosen_by_group(kernel: Kernel, kind: EventKind) -> None:
    with kernel.events(kinds=[kind]) as stream:
        insert_all()
        oracle.ours("-U", "-p", "tcp", "-m", "77")
        conntrack("-F")
        found = events_of(all_there(stream))
    assert {event.kind for event in found} == {kind}


def test_a_filter_judges_what_an_event_tells(kernel: Kernel) -> None:
    with kernel.events("src 10.0.0.2 and mark 5") as stream:
        insert_all()
        found = events_of(all_there(stream))
    assert [(str(e.flow.orig.src), e.flow.mark) for e in found] == [("10.0.0.2", 5)]


def test_what_is_lost_is_counted_to_the_last(kernel: Kernel) -> None:
    with kernel.events(buffer=TINY) as stream:
        crowd.insert(crowd.flows(1, 400))
        there = len(kernel.table())
        batches = all_there(stream)
    assert stream.lost == sum(batch.lost for batch in batches) > 0
    assert stream.count + stream.lost == there


def test_the_count_of_losses_is_that_of_proc_net_netlink(kernel: Kernel) -> None:
    with kernel.events(buffer=TINY) as stream:
        crowd.insert(crowd.flows(2, 400))
        all_there(stream)
        told = Path("/proc/net/netlink").read_text()
        rows = [line.split() for line in told.splitlines()]
    head = rows[0]
    drops = {int(row[head.index("Drops")]) for row in rows[1:]}
    assert stream.lost in drops
    assert stream.lost > 0


def test_a_reliable_stream_gets_every_destroy(kernel: Kernel) -> None:
    kinds = [EventKind.DESTROY]
    with kernel.events(kinds=kinds, buffer=TINY, reliable=True) as stream:
        crowd.insert(crowd.flows(3, 300))
        there = {(f.orig, f.zone, f.id) for f in kernel.flows()}
        natscope.delete(kernel, "proto 0-255").run()
        told: set[object] = set()
        for _ in range(200):  # the kernel tries again every so often
            told |= {(e.flow.orig, e.flow.zone, e.flow.id) for e in stream_now(stream)}
            if told == there:
                break
    assert told == there


def stream_now(stream: EventStream) -> list[Event]:
    batch = stream.read(0.1)
    return [] if batch is None else list(batch)


def same_as_kernel(live: LiveTable, kernel: Kernel) -> None:
    """The live table holds what a fresh dump does."""
    ours, theirs = by_key(live.table()), by_key(kernel.table())
    assert np.array_equal(flow_keys(ours), flow_keys(theirs))
    for name in SAME:
        assert np.array_equal(ours[name], theirs[name]), name
        assert np.array_equal(ours.has(name), theirs.has(name)), name


def by_key(table: FlowTable) -> FlowTable:
    return table.take(np.argsort(flow_keys(table)))


@pytest.mark.parametrize("buffer", [None, 1 << 16, TINY], ids=["ample", "64k", "tiny"])
@pytest.mark.parametrize("seed", range(3))
def test_a_live_table_is_the_kernels_after_any_storm(
    kernel: Kernel, buffer: int | None, seed: int
) -> None:
    crowd.insert(crowd.flows(seed, 50))
    with kernel.live(buffer=buffer) as live:
        same_as_kernel(live, kernel)
        for step in range(4):
            crowd.insert(crowd.flows(10 * seed + step + 100, 200))
            natscope.update(kernel, "tcp", {"mark": step + 1}).run()
            natscope.delete(kernel, "udp or icmp or mark 2").run()
        batches = all_there(live)
        lost = sum(batch.lost for batch in batches)
        assert (lost > 0) == (buffer == TINY or live.lost > 0)
        assert live.lost == lost
        live.refresh()  # flows born before anybody listened end in silence
        assert live.true
        same_as_kernel(live, kernel)
        if buffer is None:
            assert lost == 0


def test_a_loss_is_told_as_what_it_hid(kernel: Kernel) -> None:
    crowd.insert(crowd.flows(7, 100))
    with kernel.live(buffer=TINY) as live:
        known = {event_key(flow) for flow in live.table()}
        crowd.insert([replace(f, mark=9) for f in crowd.flows(8, 300)])
        natscope.delete(kernel, "mark 0").run()
        told = events_of(all_there(live))
        live.refresh()
        repaired = events_of(all_there(live))
        assert all(event.repaired for event in repaired)
        for event in told + repaired:
            key = event_key(event.flow)
            if event.kind == EventKind.DESTROY:
                known.remove(key)
            elif event.kind == EventKind.NEW:
                assert key not in known
                known.add(key)
        assert known == {event_key(flow) for flow in kernel.flows()}


def event_key(flow: natscope.Flow) -> object:
    return flow.orig, flow.zone, flow.id


def test_a_loss_is_repaired_though_nothing_follows_it(kernel: Kernel) -> None:
    with kernel.live(buffer=8 << 20) as live:
        crowd.insert(crowd.flows(20, 40))
        fill(8000)
        natscope.flush(kernel).run()
        all_there(live)
        assert live.lost > 0
        while not live.true:  # the time for another dump depends on the first
            live.read(0.05)
        same_as_kernel(live, kernel)


@pytest.mark.parametrize("reliable", [False, True], ids=["", "reliable"])
def test_who_stops_reading_is_told_at_once_what_a_loss_hid(
    kernel: Kernel, *, reliable: bool
) -> None:
    fill(200)
    with kernel.live(buffer=TINY, reliable=reliable) as live:
        there = {event_key(flow) for flow in live.table()}
        natscope.flush(kernel).run()
        live.settle()
        told = []
        while (batch := live.read(0)) is not None:
            told += list(batch)
    assert {event_key(event.flow) for event in told} == there
    assert len(told) == len(there) == 199
    assert any(event.repaired for event in told)


def fill(count: int) -> None:
    flows = [
        Flow(one, one.reversed(), timeout=600)
        for one in (
            FlowTuple(ip_address("10.0.0.1"), ip_address("10.9.0.1"), 17, port, 53)
            for port in range(1, count)
        )
    ]
    natscope.insert(Kernel(), flows).run()


def test_a_reliable_live_table_waits_for_ends_that_come_again(kernel: Kernel) -> None:
    (SYSCTLS / "nf_conntrack_acct").write_text("1")
    with kernel.live(reliable=True, buffer=1 << 16) as live:
        fill(2000)
        natscope.flush(kernel).run()
        told = []
        for _ in range(100):  # the kernel tries again every so often
            told += [e for batch in all_there(live) for e in batch]
            ends = [e for e in told if e.kind == EventKind.DESTROY]
            if len(ends) == 1999:
                break
        assert len({event_key(e.flow) for e in ends}) == len(ends) == 1999
        assert not any(e.repaired for e in ends)
        assert len(live) == 0


def test_coroutines_may_be_broken_off_and_begun_again(kernel: Kernel) -> None:
    async def twice() -> list[int]:
        seen = []
        for turn in (1, 2):
            for follow in (kernel.events, kernel.live):
                with follow() as stream:
                    crowd.insert(crowd.flows(30 + turn, 3))
                    natscope.flush(kernel).run()
                    async with asyncio.timeout(5):
                        async for batch in stream:
                            seen.append(len(batch))
                            break
        return seen

    assert len(asyncio.run(twice())) == 4


def test_silent_ends_reach_coroutines(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("natscope.sources.live.DUMP_EVERY_S", 0.2)
    (SYSCTLS / "nf_conntrack_events").write_text("0")
    crowd.insert(crowd.flows(33, 3))

    async def first() -> Events:
        with kernel.live() as live:
            natscope.flush(kernel).run()
            async for batch in live:
                return batch
        raise AssertionError

    batch = asyncio.run(asyncio.wait_for(first(), 5))
    assert set(batch.kinds.tolist()) == {EventKind.DESTROY}
    assert batch.repaired


def test_what_cannot_be_is_refused_in_words(kernel: Kernel) -> None:
    with pytest.raises(natscope.NatscopeError, match="receive buffer"):
        kernel.events(buffer=1 << 40)
    with pytest.raises(natscope.NatscopeError, match="no kind of event"):
        kernel.events(kinds=["birth"])
    stream = kernel.events(kinds=["new"])
    stream.close()
    with pytest.raises(natscope.NatscopeError, match="closed"):
        stream.read(0)


def test_an_end_tells_what_only_the_beginning_told(kernel: Kernel) -> None:
    (SYSCTLS / "nf_conntrack_timestamp").write_text("0")
    with kernel.live("tcp") as live:
        words = "-I -p tcp -s 10.0.0.2 -d 10.0.0.3 --sport 5 --dport 21 -t 60"
        conntrack(*words.split(), "--state", "ESTABLISHED", "-m", "3")
        conntrack("-F")
        found = events_of(all_there(live))
    first, last = found[0], found[-1]
    assert (first.kind, last.kind) == (EventKind.NEW, EventKind.DESTROY)
    assert last.flow.start_ns == first.time_ns


def test_batches_come_to_coroutines_too(kernel: Kernel) -> None:
    async def first_of(stream: EventStream) -> Events:
        async for batch in stream:
            return batch
        raise AssertionError

    async def both() -> tuple[Events, Events]:
        with kernel.events() as one, kernel.live() as other:
            waiting = asyncio.gather(
                first_of(one), asyncio.wait_for(first_live(other), 10)
            )
            await asyncio.sleep(0)
            crowd.insert(crowd.flows(4, 3))
            got = await waiting
            return got[0], got[1]

    async def first_live(live: LiveTable) -> Events:
        async for batch in live:
            return batch
        raise AssertionError

    for batch in asyncio.run(asyncio.wait_for(both(), 10)):
        assert batch.kinds.tolist() == [EventKind.NEW] * len(batch)
        assert len(batch)


def test_a_closed_stream_ends(kernel: Kernel) -> None:
    stream = kernel.events()
    crowd.insert(crowd.flows(5, 3))
    seen = 0
    for batch in stream:
        seen += len(batch)
        stream.close()
    assert seen == len(kernel.table())


def test_namespaces_are_followed_together() -> None:
    names = [f"natscope-test-{os.getpid()}-{side}" for side in "ab"]
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with AllNamespaces() as all_of_them, all_of_them.live() as live:
            for port, name in enumerate(names, 1):
                words = (
                    f"-I -p udp -s 10.0.0.{port} -d 10.0.0.9 --sport 1 --dport 2 -t 9"
                )
                inside = ["ip", "netns", "exec", name, "conntrack", *words.split()]
                subprocess.run(inside, check=True, capture_output=True)
            found = []
            while (batch := live.read(0.1)) is not None:
                found += [(e.flow.netns, str(e.flow.orig.src)) for e in batch]
            listed = {(f.netns, str(f.orig.src)) for f in live.table()}
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=True)
    expected = [(names[0], "10.0.0.1"), (names[1], "10.0.0.2")]
    assert sorted(one for one in found if one[0] in names) == expected
    assert listed >= set(expected)
