"""Ports counted by columns are those counted one by one; the search is the kernel's."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.nat import translations
from natscope.views.pools import TOP_HOSTS, DestinationKey
from natscope.views.portranges import CLASSES, IDS, PortRange, PortRanges
from natscope.views.ports import port_use
from natscope.views.portsearch import HARDER, MOST_TRIES, ROUNDS, loss
from property.crowd import crowds
from strategies import flows

ICMP = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)
CLOSING = (7, 8)
PoolKey = tuple[Address, int, int, PortRange]
"""Public address, protocol, zone and range."""


def port_of(flow: Flow) -> int | None:
    if flow.proto in ICMP:
        return flow.reply.icmp_id
    return flow.reply.dport if flow.proto in uapi.PORT_PROTOCOLS else None


def zone_of(flow: Flow) -> int:
    return flow.reply.zone if flow.reply.zone is not None else flow.zone or 0


def takers(rows: list[Flow]) -> Iterator[tuple[PoolKey, Flow, int, bool]]:
    """Each flow that takes a port: its pool, the port, and whether it closes."""
    seen = translations(FlowTable.from_flows(rows), Evidence())
    moved = (seen.snat | seen.spat).tolist()
    taking = [
        (flow, port, is_moved)
        for flow, is_moved in zip(rows, moved, strict=True)
        if (port := port_of(flow)) is not None
    ]
    pools = {
        (f.reply.dst, f.proto, zone_of(f)) for f, _, is_moved in taking if is_moved
    }
    for flow, port, is_moved in taking:
        pool = (flow.reply.dst, flow.proto, zone_of(flow))
        status = flow.status or 0
        stuck = status & (uapi.Status.FIXED_TIMEOUT | uapi.Status.DYING)
        is_closing = is_moved and flow.tcp_state in CLOSING and not stuck
        for r in IDS if flow.proto in ICMP else CLASSES:
            if pool in pools and r.first <= port <= r.last:
                yield (*pool, r), flow, port, is_closing


def counted(rows: list[Flow], *, evicts: bool) -> dict[DestinationKey, tuple[int, int]]:
    """Ports taken and ports closing of each destination, flow by flow."""
    hard: dict[DestinationKey, dict[int, bool]] = defaultdict(dict)
    for pool, flow, port, is_closing in takers(rows):
        to_port = None if flow.proto in ICMP else flow.reply.sport or 0
        ports = hard[(*pool, flow.reply.src, to_port)]
        ports[port] = ports.get(port, False) or not is_closing
    return {
        key: (len(ports), sum(not held for held in ports.values()))
        for key, ports in hard.items()
    }


@given(crowds | st.lists(flows(), max_size=8), st.booleans())
def test_ports_are_counted_as_one_by_one(rows: list[Flow], evicts: bool) -> None:
    use = port_use(FlowTable.from_flows(rows), PortRanges(), evicts=evicts)
    found = {of.key: (of.used, of.closing) for of in use.busiest(len(use))}
    assert found == counted(rows, evicts=evicts)


@given(crowds | st.lists(flows(), max_size=8))
def test_the_destinations_of_a_pool_are_all_there(rows: list[Flow]) -> None:
    use = port_use(FlowTable.from_flows(rows), PortRanges(), evicts=True)
    assert sum(pool.destinations for pool in use.pools) == len(use)
    for of in use.busiest(len(use)):
        assert use.hard_of(of.key) == of.hard
        assert sum(host.ports for host in of.top) <= len(rows)


@given(crowds | st.lists(flows(), max_size=8))
def test_the_hosts_of_a_pool_are_those_with_most_ports(rows: list[Flow]) -> None:
    ports: dict[PoolKey, dict[Address, set[int]]] = {}
    for pool, flow, port, _ in takers(rows):
        ports.setdefault(pool, {}).setdefault(flow.orig.src, set()).add(port)
    use = port_use(FlowTable.from_flows(rows), PortRanges(), evicts=True)
    for one in use.pools:
        hosts = ports.get((one.public, one.proto, one.zone, one.range), {})
        most = sorted((len(own) for own in hosts.values()), reverse=True)
        assert [host.ports for host in one.top] == most[:TOP_HOSTS]
        assert all(len(hosts[host.address]) == host.ports for host in one.top)
        assert one.hosts == len(hosts)


def round_fails(taken: set[int], hard: set[int], size: int, tries: int) -> float:
    """One round of nf_nat_l4proto_unique_tuple(), over every number it may draw."""
    failed = 0
    for begin in range(size):
        at = begin
        for left in range(tries, 0, -1):
            if at not in (hard if left <= HARDER else taken):
                break
            at = (at + 1) % size
        else:
            failed += len(range(begin, 1 << 16, size))
    return failed / (1 << 16)


def lost(taken: set[int], hard: set[int], size: int) -> float:
    rounds = [size] if size <= MOST_TRIES else list(ROUNDS)
    chance = 1.0
    for tries in rounds:
        chance *= round_fails(taken, hard, size, tries)
    return chance


@st.composite
def searched(draw: st.DrawFn) -> tuple[set[int], set[int], int]:
    """A range with clumps of taken ports, some of them closing."""
    size = draw(st.integers(2, 300))
    free = draw(st.sets(st.integers(0, size - 1), max_size=2))
    closing = draw(st.sets(st.integers(0, size - 1), max_size=3))
    taken = set(range(size)) - free
    return taken, taken - closing, size


@given(searched())
def test_the_chance_of_loss_is_what_trying_every_draw_gives(
    found: tuple[set[int], set[int], int],
) -> None:
    taken, hard, size = found
    ports = np.array(sorted(taken), np.int64)
    is_hard = np.array([port in hard for port in ports.tolist()], np.bool_)
    group = np.ones(len(ports), np.int64)
    # a first group without any port must not be mixed up with it
    got = loss(group, ports, is_hard, np.array([size, size]))
    assert got.tolist() == pytest.approx([0.0, lost(taken, hard, size)])


def search(taken: bytearray, size: int, chance: random.Random) -> int | None:
    """The kernel's search in ports given twice, one range behind the other."""
    for tries in ROUNDS:
        at = chance.randrange(1 << 16) % size
        found = taken.find(0, at, at + tries)
        if found >= 0:
            return found % size
    return None


MEASURED = {90: 0.0015, 95: 0.049, 97: 0.17, 98: 0.27, 99: 0.42}
"""Loss of a new flow at so many per cent of 64,512 ports, measured on Linux 6.18."""


@pytest.mark.slow
def test_a_simulated_box_loses_flows_as_the_kernel_did() -> None:
    size, chance = 64_512, random.Random(7)
    taken, used = bytearray(2 * size), 0
    tried, failed = defaultdict[int, int](int), defaultdict[int, int](int)
    reckoned: dict[int, list[float]] = {}
    while used < 0.99 * size:
        percent = 100 * used // size + 1
        at = search(taken, size, chance)
        tried[percent] += 1
        if at is None:
            failed[percent] += 1
            continue
        taken[at] = taken[at + size] = 1
        used += 1
        if percent in MEASURED and used % 100 == 0:
            ports = np.flatnonzero(np.frombuffer(taken[:size], np.uint8))
            group = np.zeros(used, np.int64)
            now = loss(group, ports, np.ones(used, np.bool_), np.array([size]))
            reckoned.setdefault(percent, []).append(float(now[0]))
    for percent, measured in MEASURED.items():
        simulated = failed[percent] / tried[percent]
        mean = sum(reckoned[percent]) / len(reckoned[percent])
        assert mean == pytest.approx(simulated, rel=0.25, abs=0.005)
        assert mean == pytest.approx(measured, rel=0.35, abs=0.005)
