"""Events of the kernel to IPFIX messages and to lines: how many a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.fill import fill
from bench.runs import say
from natscope.codec.encode import flush_request
from natscope.model.prefilter import KernelFilter
from natscope.render import syslog
from natscope.render.ipfix.messages import Packer, Session
from natscope.render.ipfix.records import Wanted, records
from natscope.sources.events import EventStream
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.table.events import Events

SKB = 1280
"""What an event takes of a receive buffer."""
LIMITS = {"UDP, 1,352 octets": 1352, "TCP, 16 KiB": 16 << 10}


def measure(count: int) -> None:
    """Make messages and lines of ``count`` flows that begin, then of their ends.

    The table's limit must allow so many.
    """
    say(f"\nexporting {count} events")
    with (
        new_namespace("bench") as namespace,
        namespace.enter(),
        Kernel() as kernel,
        kernel.events(buffer=count * SKB) as stream,
    ):
        fill(count)
        _report("new", _read(stream, count))
        with kernel.socket() as sock:
            request = flush_request(KernelFilter(), seq=sock.next_seq())
            sock.ask(request, "flushing")
        _report("destroy", _read(stream, count))


def _read(stream: EventStream, count: int) -> list[Events]:
    batches: list[Events] = []
    while sum(map(len, batches)) < count and (batch := stream.read(1)) is not None:
        batches.append(batch)
    return batches


def _report(kind: str, batches: list[Events]) -> None:
    for name, limit in LIMITS.items():
        _time(f"{kind}, IPFIX over {name}", batches, _messages(limit))
    sender = syslog.Sender("bench", 1)
    _time(f"{kind}, syslog", batches, lambda batch: len(syslog.sessions(batch, sender)))


def _messages(limit: int) -> Callable[[Events], int]:
    packer, session = Packer(limit), Session(0, limit)

    def octets(batch: Events) -> int:
        now_ns = time.time_ns()
        parcels = packer.pack(records(batch, Wanted()))
        return sum(len(one) for p in parcels for one in session.wrap(p, now_ns))

    return octets


def _time(what: str, batches: list[Events], made: Callable[[Events], int]) -> None:
    start = time.perf_counter()
    octets = sum(map(made, batches))
    took, events = time.perf_counter() - start, sum(map(len, batches))
    say(f"  {what}: {events / took:,.0f} events/s, {octets / events:.0f} octets each")
