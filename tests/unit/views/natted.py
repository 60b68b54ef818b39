"""Flows with their source translated, for what counts ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable

PUBLIC = "203.0.113.7"
SERVER = "198.51.100.9"
ESTABLISHED = uapi.TCP_STATES.index("ESTABLISHED")
TIME_WAIT = uapi.TCP_STATES.index("TIME_WAIT")
DONE = uapi.Status.CONFIRMED | uapi.Status.SRC_NAT | uapi.Status.SRC_NAT_DONE


def flow(
    port: int,
    *,
    inside: str = "10.0.0.5",
    public: str = PUBLIC,
    server: str = SERVER,
    to_port: int = 443,
    proto: int = uapi.IPPROTO_TCP,
    state: int = ESTABLISHED,
) -> Flow:
    """A flow from inside to the server, seen there as the public address and port."""
    ends = (ip_address(inside), ip_address(server))
    return Flow(
        FlowTuple(*ends, proto, 40_000, to_port),
        FlowTuple(ends[1], ip_address(public), proto, to_port, port),
        status=DONE,
        timeout=100,
        tcp_state=state if proto == uapi.IPPROTO_TCP else None,
    )


def flows(ports: Iterable[int], **given: str | int) -> Iterator[Flow]:
    """One of each public port."""
    return (flow(port, **given) for port in ports)  # type: ignore[arg-type]


def table(*parts: Iterable[Flow]) -> FlowTable:
    """All of them."""
    return FlowTable.from_flows([flow for part in parts for flow in part])
