"""Whether this kernel flushes by filter exactly: tried in a namespace of its own.

Kernels differ: before 6.12 the filter of a flush is not heeded and everything
goes; on 6.18 the comparison of IPv6 addresses is turned round.  So each field
is tried once on entries made for it, and only what left exactly the right ones
is relied on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from natscope import uapi
from natscope.actions import changes
from natscope.codec import encode
from natscope.errors import KernelError, NamespaceError
from natscope.filter import parse
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.prefilter import KernelFilter, KernelTuple
from natscope.model.tuples import FlowTuple
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.sources.nlsocket import NetlinkSocket
from natscope.table.flowtable import FlowTable

TRIALS = {
    "family": "ip6",
    "mark": "mark 5/0xf",
    "status": "assured",
    "zone": "zone 7",
    "orig.proto": "ip and udp",
    "orig.src": "src 10.0.0.1",
    "orig.dst": "dst 198.51.100.1",
    "reply.src": "reply-src 198.51.100.1",
    "reply.dst": "reply-dst 10.0.0.1",
    "orig.sport": "ip and tcp and src port 1000",
    "orig.dport": "ip and udp and dst port 53",
    "reply.sport": "ip and udp and reply-src port 53",
    "reply.dport": "ip and tcp and reply-dst port 1000",
}
"""Field of a KernelFilter, and a filter that needs it."""


def flushes_exactly(prefilter: KernelFilter) -> bool:
    """Whether a flush with this filter deletes what it matches and no more.

    False where it cannot be tried: without the right to make a namespace.
    """
    return used_fields(prefilter) <= proved()


@lru_cache(maxsize=1)
def proved() -> frozenset[str]:
    """The fields of a flush filter this kernel heeds exactly."""
    try:
        return frozenset(name for name, text in TRIALS.items() if _holds(text))
    except (NamespaceError, KernelError):
        return frozenset()


def used_fields(prefilter: KernelFilter) -> frozenset[str]:
    """Names of the fields a filter sets, ``orig.src`` and the like."""
    return frozenset(_used(prefilter))


def _used(prefilter: KernelFilter) -> Iterator[str]:
    default = KernelFilter()
    for field in fields(KernelFilter):
        value = getattr(prefilter, field.name)
        if isinstance(value, KernelTuple):
            for part in fields(KernelTuple):
                if getattr(value, part.name) is not None:
                    yield f"{field.name}.{part.name}"
        elif value != getattr(default, field.name) and "mask" not in field.name:
            yield field.name


def _holds(text: str) -> bool:
    """Flush entries of every sort by a filter; is exactly the rest left?"""
    wanted = parse(text)
    prefilter = wanted.exact_kernel()
    if prefilter is None:
        return False
    with new_namespace("probe") as namespace, namespace.enter():
        kernel = Kernel()
        with closing(NetlinkSocket()) as sock:
            if changes.insert(sock, FlowTable.from_flows(_entries())).undone():
                return False
            table = kernel.table()
            matched = wanted.mask(table, Evidence())
            asked = encode.flush_request(prefilter, seq=sock.next_seq())
            sock.ask(asked, "probing a flush by filter")
        left = {flow.orig for flow in kernel.table()}
        right = {flow.orig for flow in table.mask(~matched)}
        return bool(matched.any()) and left == right


def _entries() -> Iterator[Flow]:
    """Entries that differ in one thing each."""
    for proto in (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, 89):
        state = 3 if proto == uapi.IPPROTO_TCP else None
        for host in (1, 2):
            for port in (1000, 1001):
                orig, reply = _tuples(
                    f"10.0.0.{host}", f"198.51.100.{host}", proto, port, 53 * host
                )
                yield Flow(orig, reply, status=2, timeout=60, tcp_state=state, mark=5)
                if proto == 89:
                    break
    udp6 = _tuples("fd00::1", "2001:db8::1", 17, 1000, 53)
    yield Flow(*udp6, status=6, timeout=60, mark=6)
    udp = _tuples("10.0.0.9", "198.51.100.9", 17, 1000, 53)
    yield Flow(*udp, status=6, timeout=60, mark=0x16, zone=7)


def _tuples(
    src: str, dst: str, proto: int, sport: int | None = None, dport: int | None = None
) -> tuple[FlowTuple, FlowTuple]:
    kind = IPv6Address if ":" in src else IPv4Address
    if proto == 89:
        sport = dport = None
    orig = FlowTuple(kind(src), kind(dst), proto, sport, dport)
    return orig, orig.reversed()
