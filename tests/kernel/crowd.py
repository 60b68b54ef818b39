"""Tables of flows made at random, for comparing tools on them."""

from __future__ import annotations

import errno
import random
from ipaddress import ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.actions import changes
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources.kernel import Kernel
from natscope.table.flowtable import FlowTable

V4 = ("10.0.0.2", "10.0.0.3", "198.51.100.9", "203.0.113.7")
V6 = ("fd00::2", "fd00:1::3", "2001:db8::9", "2001:db8:ffff::7", "::ffff:1.2.3.4")
PORTS = (53, 80, 443, 5000, 40000)
MARKS = (0, 1, 5, 0xBEEF)
ZONES = (None, None, None, 7, 9)
STATUS = (
    0,
    uapi.Status.SEEN_REPLY,
    uapi.Status.SEEN_REPLY | uapi.Status.ASSURED,
    uapi.Status.SEEN_REPLY | uapi.Status.FIXED_TIMEOUT,
)
ASSURED = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED | uapi.Status.CONFIRMED
_PROTOCOLS = (1, 6, 6, 6, 17, 17, 33, 47, 50, 89, 132, 136)


def flows(seed: int, count: int) -> list[Flow]:
    """Flows of every protocol, state, family, zone and translation."""
    chance = random.Random(seed)
    return [_flow(chance) for _ in range(count)]


def many(count: int, status: int = ASSURED, to: str = "9.9.9.9") -> FlowTable:
    """DNS queries, each of another source; assured ones do not give way."""
    sides = np.zeros((2, count, 2), np.uint64)
    sides[0, :, 1] = int(ip_address("100.64.0.0")) + np.arange(count)
    sides[1, :, 1] = int(ip_address(to))
    port = np.full(count, 53, np.uint16)
    data: dict[str, NDArray[Any]] = {
        "family": np.full(count, 2, np.uint8),
        "status": np.full(count, int(status), np.uint32),
        "timeout": np.full(count, 600, np.uint32),
    }
    for side, (src, dst) in {"orig": (0, 1), "reply": (1, 0)}.items():
        data |= {f"{side}_src": sides[src], f"{side}_dst": sides[dst]}
        data |= {f"{side}_sport": port, f"{side}_dport": port}
    data |= dict.fromkeys(("proto", "reply_proto"), np.full(count, 17, np.uint8))
    return FlowTable(data)


def insert(made: list[Flow]) -> None:
    """Put flows into this namespace's table; a tuple taken is taken."""
    with Kernel().socket() as sock:
        outcome = changes.insert(sock, FlowTable.from_flows(made))
    assert {why.errno for why in outcome.refused.values()} <= {errno.EEXIST}


def _flow(chance: random.Random) -> Flow:
    v6 = chance.random() < 0.3
    proto = chance.choice(_PROTOCOLS)
    if v6 and proto == uapi.IPPROTO_ICMP:
        proto = uapi.IPPROTO_ICMPV6
    orig = _tuple(chance, V6 if v6 else V4, proto)
    zone = chance.choice(ZONES)
    return Flow(
        orig,
        _reply(chance, orig),
        # the kernel's own status: a reply tuple is stored as told, for the port a
        # translation gets when it is taken is the kernel's to choose
        status=chance.choice(STATUS) | uapi.Status.CONFIRMED,
        timeout=chance.randrange(2000, 4000),
        mark=chance.choice(MARKS),
        zone=zone,
        tcp_state=chance.randrange(1, 10) if proto == 6 else None,
        sctp_state=chance.randrange(1, 8) if proto == 132 else None,
        sctp_vtag_orig=chance.getrandbits(32) if proto == 132 else None,
        sctp_vtag_reply=chance.getrandbits(32) if proto == 132 else None,
        helper="ftp" if proto == 6 and orig.dport == 80 and not v6 else None,
    )


def _tuple(chance: random.Random, pool: tuple[str, ...], proto: int) -> FlowTuple:
    src, dst = (ip_address(text) for text in chance.sample(pool, 2))
    if proto in (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6):
        kind = 8 if proto == uapi.IPPROTO_ICMP else 128
        ident = chance.randrange(1, 200)
        return FlowTuple(src, dst, proto, icmp_type=kind, icmp_code=0, icmp_id=ident)
    if proto in (*uapi.PORT_PROTOCOLS - {uapi.IPPROTO_DCCP}, uapi.IPPROTO_GRE):
        sport, dport = chance.choice(PORTS), chance.choice(PORTS)
        return FlowTuple(src, dst, proto, sport, dport)
    return FlowTuple(src, dst, proto)


def _reply(chance: random.Random, orig: FlowTuple) -> FlowTuple:
    """The plain reply, or one with the source, destination or both translated."""
    from dataclasses import replace

    reply = orig.reversed()
    pool = V4 if orig.src.version == 4 else V6
    what = chance.randrange(5)
    if what in (1, 3):
        reply = replace(reply, dst=ip_address(chance.choice(pool)))
        if reply.dport is not None and orig.proto in (6, 17):
            reply = replace(reply, dport=chance.choice((*PORTS, 1024)))
    if what in (2, 3):
        reply = replace(reply, src=ip_address(chance.choice(pool)))
    return reply
