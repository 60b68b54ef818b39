"""Packets seen between the chains of the live box, without any rule.

Programs at chosen priorities of the netfilter hooks write down each packet that is
asked about: so what each step made of it can be told, though not by which rule.
Nothing of the ruleset is touched, and the programs go with the process.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from natscope.errors import KernelError
from natscope.filter import Filter, parse
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.journey import Hook, Sightings
from natscope.sources.closing import Closing
from natscope.sources.kernel import Kernel
from natscope.sources.netns import inside, open_namespace
from natscope.trace import kfree_skb, layout, programs, recorder, records
from natscope.trace.bpf import loader
from natscope.trace.bpf.shared import Counters, Ring
from natscope.trace.drops import Reasons
from natscope.trace.needles import needles
from natscope.trace.sightings import Points, Reader

LAST = (1 << 31) - 2
"""Just before INT_MAX, where conntrack confirms (nf_confirm)."""
POINTS: Points = {
    Hook.PREROUTING: (-301, -199, -101, -99),
    Hook.INPUT: (-1, 49, LAST),
    Hook.FORWARD: (-1, 49),
    Hook.OUTPUT: (-301, -199, -101, -99, 49),
    Hook.POSTROUTING: (99, 101, LAST),
}
"""Beside the priorities of enum nf_ip_hook_priorities: before raw (-300), after
conntrack (-200), around dstnat (-100), around filter (0, and 10 of firewalld),
around srcnat (100), before confirm."""
_AFTER = frozenset({-199, -99, 49, 101})
"""Where the next priority up will do as well; of the others, the next down."""
_TRIES = 8
PACKETS = 10
RING_SIZE = 4 << 20
SETTLED_NS = 20_000_000
"""A packet that came to its end is told when nothing more was heard for so long: the
reason of a drop, which takes microseconds."""
LINGERING_NS = 1_000_000_000
"""One that did not may wait in a program's queue (NFQUEUE)."""
_SEEN = 4096
_ENDS = (Hook.INPUT, Hook.POSTROUTING, records.DROPPED)
_DROP_TRACEPOINT = "kfree_skb"


@dataclass(slots=True)
class _Packet:
    """What was recorded of one packet so far."""

    records: list[records.Record] = field(default_factory=list)

    def is_through(self, now_ns: int) -> bool:
        """Whether nothing more is to be heard of it."""
        last = self.records[-1]
        wait = SETTLED_NS if last.hook in _ENDS else LINGERING_NS
        return last.time_ns + wait < now_ns


class Positions(Closing):
    """Watches the packets of a filter at the hooks of one network namespace.

    Args:
        netns: name, process id or path; None is the caller's own.
        filter: the flows whose packets are meant, either way, before and after
            translation; what has no entry (INVALID) is compared by its header.
        packets: so many, and no more, are watched.
        points: ascending priorities at each hook; the second of PREROUTING and of
            OUTPUT stands after conntrack.

    Raises:
        NamespaceError: no such namespace, or not permitted.
        MissingTool: this kernel tells no types, or not those needed.
        KernelError: bpf(2) refused; the hint says what it takes.
    """

    def __init__(
        self,
        netns: str | None = None,
        filter: Filter | str | None = None,
        *,
        packets: int = PACKETS,
        points: Points = POINTS,
    ) -> None:
        self._netns = netns
        self._filter = filter if isinstance(filter, Filter) else parse(filter or "")
        self._waiting: dict[int, _Packet] = {}
        self._told: set[int] = set()
        self._left = packets
        self._points = points
        with ExitStack() as stack:
            self._namespace = (
                stack.enter_context(open_namespace(netns)) if netns else None
            )
            self._ring = Ring(RING_SIZE)
            stack.callback(self._ring.close)
            self._counters = Counters(3)
            stack.callback(self._counters.close)
            self._attach(stack, self._points)
            # none is admitted before all programs are there to see it
            self._counters[recorder.LIMIT // 8] = packets
            self._open = stack.pop_all()

    def close(self) -> None:
        """Detach every program."""
        self._open.close()

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._ring.fd

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        return self._ring.wait(timeout)

    @property
    def lost(self) -> int:
        """Records that found the ring full."""
        return self._counters[recorder.LOST // 8]

    @property
    def is_done(self) -> bool:
        """Whether as many packets as were asked for have been read."""
        return self._left <= 0

    def read(self, *, all: bool = False) -> list[Sightings]:
        """The packets that are through, each once, in the order they came.

        Args:
            all: those too of which more may be heard.
        """
        for data in self._ring.read():
            self._add(records.decode(data, self._layout))
        now = time.monotonic_ns()
        through = [
            number
            for number, packet in self._waiting.items()
            if all or packet.is_through(now)
        ]
        self._told.update(through)
        found = [self._waiting.pop(number) for number in sorted(through)]
        evidence = self._evidence() if found else Evidence()
        meant = [packet for packet in found if self._is_meant(packet, evidence)]
        # the program's test is wider than the filter: others may take their places
        self._counters[recorder.LIMIT // 8] += len(found) - len(meant)
        self._left -= len(meant)
        return [self._reader.sightings(packet.records) for packet in meant]

    def collect(self, seconds: float) -> Iterator[Sightings]:
        """The packets as they come, until it is done or the time is up."""
        end = time.monotonic() + seconds
        while not self.is_done and (left := end - time.monotonic()) > 0:
            self.wait(min(left, SETTLED_NS / 1e9) if self._waiting else left)
            yield from self.read()
        yield from self.read(all=True)

    def _add(self, record: records.Record) -> None:
        if record.number in self._told:
            return  # long after: a drop because no neighbour answered
        self._waiting.setdefault(record.number, _Packet()).records.append(record)

    def _attach(self, stack: ExitStack, points: Points) -> None:
        btf = layout.running_btf()
        self._layout = layout.read_layout(btf)
        reasons = Reasons(btf.enum("skb_drop_reason"))
        self._reader = Reader(points, reasons, self._interface)
        seen = loader.create_map(loader.MAP_LRU_HASH, 8, recorder.SEEN_VALUE, _SEEN)
        stack.callback(os.close, seen)
        notebook = loader.create_map(loader.MAP_PERCPU_ARRAY, 4, recorder.NOTEBOOK, 1)
        stack.callback(os.close, notebook)
        maps = recorder.Maps(self._ring.fd, seen, self._counters.fd, notebook)
        drop = loader.load_program(
            loader.PROG_RAW_TRACEPOINT, kfree_skb.drop_program(self._layout, maps)
        )
        stack.callback(os.close, drop)
        stack.callback(os.close, loader.open_raw_tracepoint(drop, _DROP_TRACEPOINT))
        wanted = needles(self._filter.tree)
        with inside(self._namespace):
            for family in wanted.families:
                for place in range(max(map(len, points.values()))):
                    code = programs.position_program(
                        self._layout, maps, wanted, family=family, place=place
                    )
                    program = loader.load_program(loader.PROG_NETFILTER, code)
                    stack.callback(os.close, program)
                    for hook, priorities in points.items():
                        if place < len(priorities):
                            link = _link(program, family, hook, priorities[place])
                            stack.callback(os.close, link)

    def _evidence(self) -> Evidence:
        with Kernel(self._netns) as kernel:
            return kernel.evidence()

    def _is_meant(self, packet: _Packet, evidence: Evidence) -> bool:
        return any(
            self._filter.matches(flow, evidence) for flow in _flows(packet.records)
        )

    def _interface(self, index: int) -> str:
        with inside(self._namespace):
            return socket.if_indextoname(index)


def _link(program: int, family: int, hook: Hook, priority: int) -> int:
    """Attach at a priority, or near it.

    The kernel takes no program where another hook has the priority: a chain, a
    second natscope, or IPv6's confirm, which is one below that of IPv4.
    """
    step = 1 if priority in _AFTER else -1
    for attempt in range(_TRIES):
        try:
            return loader.link_netfilter(
                program, family, hook, priority + attempt * step
            )
        except KernelError as error:
            if error.errno != errno.EBUSY or attempt == _TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _flows(seen: list[records.Record]) -> list[Flow]:
    """The entry, as it was from position to position.

    Without one, what it would be, whichever end the packet is from.
    """
    flows = [record.flow for record in seen if record.flow is not None]
    if not flows:
        for record in seen:
            if record.packet is not None:
                there = record.packet.tuple
                back = there.reversed()
                flows += [Flow(there, back), Flow(back, there)]
    return flows
