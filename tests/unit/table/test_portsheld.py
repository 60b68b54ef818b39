"""Ports in use for one destination are counted as a person would count them."""

from __future__ import annotations

import random
from collections import defaultdict
from ipaddress import ip_address

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.measured import PortsHeld
from natscope.model.tuples import Address, FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.table.portsheld import MOST, ports_held

INSIDE = ip_address("10.0.0.2")
CLOSED = uapi.TCP_STATES.index("TIME_WAIT")
Key = tuple[Address, int, int, Address, int]


def flow(
    key: Key, port: int, *, status: int = uapi.Status.SRC_NAT, state: int = 3
) -> Flow:
    public, proto, zone, remote, rport = key
    inside = INSIDE if public.version == 4 else ip_address("fd00::2")
    orig = FlowTuple(inside, remote, proto, port, rport)
    reply = FlowTuple(remote, public, proto, rport, port)
    told = state if proto == uapi.IPPROTO_TCP else None
    return Flow(orig, reply, status=status, zone=zone, tcp_state=told)


def key(at: int) -> Key:
    """Two that differ differ in one part at least."""
    ends = ("203.0.113.", "198.51.100.") if at % 2 else ("2001:db8::", "2001:db8:9::")
    return (
        ip_address(f"{ends[0]}{1 + at % 3}"),
        (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP)[at % 4 // 2],
        at % 5 // 4,
        ip_address(f"{ends[1]}{1 + at % 7}"),
        443 + at % 11,
    )


def test_the_fullest_destinations_are_told_with_their_ports() -> None:
    draw = random.Random(1)
    taken: dict[Key, set[int]] = defaultdict(set)
    for at in range(40):
        taken[key(at)] |= set(draw.sample(range(1024, 2048), 3 * at))
    flows = [flow(one, port) for one, ports in taken.items() for port in ports]
    draw.shuffle(flows)
    told = ports_held(FlowTable.from_flows(flows))
    most = sorted(map(len, taken.values()), reverse=True)[:MOST]
    assert [one.ports for one in told] == most
    for one in told:
        of = (one.public, one.proto, one.zone, one.address, one.port)
        assert one.ports == len(taken[of])


def test_what_takes_no_port_for_long_is_left_out() -> None:
    one = key(1)
    eight = [flow(one, port) for port in range(2000, 2008)]
    closing = [flow(one, port, state=CLOSED) for port in range(3000, 3099)]
    untranslated = [flow(one, port, status=0) for port in range(4000, 4099)]
    told = ports_held(FlowTable.from_flows(eight + closing + untranslated))
    assert told == (PortsHeld(*one, ports=8),)
    assert ports_held(FlowTable.from_flows(eight[1:])) == ()
    assert ports_held(FlowTable.empty()) == ()
