"""Packets of the live box by the rules they match: nftables' own trace.

A table of natscope's own has the packets traced that a filter means; no rule of
anybody else is touched, and the table goes when this is closed.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

from natscope import uapi
from natscope.codec.text.ruleset import RuleIndex
from natscope.codec.traversal import Assembler, Visits
from natscope.errors import KernelError
from natscope.filter import Filter, parse
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.journey import Departure, Hook, Sightings, Tracked, Verdict, Visit
from natscope.sources import tools
from natscope.sources.closing import Closing
from natscope.sources.kernel import Kernel
from natscope.sources.lookup import entry_of
from natscope.sources.netns import inside, open_namespace
from natscope.sources.rulesets import read_ruleset
from natscope.sources.tracing import PacketLog, Traces, packet_log
from natscope.trace import legacy, sweeping, watching
from natscope.trace.legacy import LegacySteps
from natscope.trace.needles import needles

PACKETS = 10
SETTLED_S = 0.02
"""A packet nothing more was told of for so long is through; its way through the
kernel takes microseconds."""
_RELATED = 4
"""nft's ct state of what is about another flow, an ICMP error for one."""


class Rules(Closing):
    """Traces the packets of a filter in one network namespace.

    Args:
        netns: name, process id or path; None is the caller's own.
        filter: the flows whose packets are meant, either way, before and after
            translation; what has no entry is compared by its header.
        packets: so many are wanted; see ``is_done``.
        clock: in seconds, monotonic.

    Raises:
        NamespaceError: no such namespace, or not permitted.
        MissingTool: nft(8) is not installed.
        NatscopeError: not permitted, or the kernel does not take the table.
    """

    def __init__(
        self,
        netns: str | None = None,
        filter: Filter | str | None = None,
        *,
        packets: int = PACKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._filter = filter if isinstance(filter, Filter) else parse(filter or "")
        self._left = packets
        self._clock = clock
        self._settled_at = clock()
        self._is_tracked: bool | None = None
        self._log: PacketLog | None = None
        self._steps: LegacySteps | None = None
        self._sought: set[tuple[str, str, int]] = set()
        self.notes: tuple[str, ...] = ()
        """What is not shown, and why."""
        with ExitStack() as stack:
            self._namespace = (
                stack.enter_context(open_namespace(netns)) if netns else None
            )
            self._kernel = stack.enter_context(Kernel(netns))
            self._table = stack.enter_context(self._kernel.socket())
            self._traces = stack.enter_context(Traces(self._namespace))
            stack.callback(self._remove)
            self.name = self._install()
            ruleset = read_ruleset(self._namespace)
            self._assembler = Assembler(ruleset, self._interface)
            if legacy.has_rules(ruleset):
                self._listen_to_legacy(stack, ruleset)
            self._open = stack.pop_all()

    def close(self) -> None:
        """Remove the table."""
        self._open.close()

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._traces.fileno()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        return self._traces.wait(timeout)

    @property
    def lost(self) -> int:
        """Messages that found no room: packets then lack steps."""
        return self._traces.lost + (self._log.lost if self._log is not None else 0)

    @property
    def is_done(self) -> bool:
        """Whether as many packets as were asked for have been read."""
        return self._left <= 0

    def is_intact(self) -> bool:
        """Whether the table is there still; whoever flushes the ruleset takes it."""
        with inside(self._namespace):
            return self.name in tools.run(["nft", "list", "tables"]).split()

    def read(self, *, all: bool = False) -> list[Sightings]:
        """The packets that are through, each once, in the order they came.

        Args:
            all: those too of which more may be told.
        """
        through: list[Visits] = []
        for message in self._traces.read():
            through += self._assembler.feed(message)
        if self._log is not None and self._steps is not None:
            for logged in self._log.read():
                self._steps.add(logged)
        now = self._clock()
        if all:
            through += self._assembler.flush()
        elif now - self._settled_at >= SETTLED_S:
            self._settled_at = now
            through += self._assembler.settle()
        if self._assembler.unlisted - self._sought:
            through = self._listed_anew(through)
        evidence = self._kernel.evidence() if through else Evidence()
        found = [
            seen
            for visits in through
            if (seen := self._sightings(visits, evidence)) is not None
        ]
        found = found[: max(self._left, 0)]
        self._left -= len(found)
        return found

    def _install(self) -> str:
        with inside(self._namespace):
            sweeping.sweep()
            name = sweeping.own_name()
            text = watching.ruleset(name, needles(self._filter.tree))
            tools.run(["nft", "-f", "-"], stdin=text)
        return name

    def _remove(self) -> None:
        with inside(self._namespace):
            sweeping.remove(sweeping.own_name())

    def _listen_to_legacy(self, stack: ExitStack, ruleset: RuleIndex) -> None:
        """Have iptables-legacy tell its part, if no other program has the log."""
        try:
            self._log = stack.enter_context(packet_log(self._namespace))
        except KernelError as error:
            self.notes = (f"rules of iptables-legacy are not shown: {error}",)
        else:
            self._steps = LegacySteps(ruleset, self._interface)

    def _listed_anew(self, packets: list[Visits]) -> list[Visits]:
        """List the rules again, as some are younger; the packets with their texts.

        A rule in a chain without a name is in no listing, and asked for once.
        """
        self._sought |= self._assembler.unlisted
        self._assembler.ruleset = read_ruleset(self._namespace)
        return [tuple(map(self._named, visits)) for visits in packets]

    def _named(self, visit: Visit) -> Visit:
        rule, ruleset = visit.rule, self._assembler.ruleset
        if rule is None or rule.handle is None:
            return visit
        found = ruleset.rule(rule.family, rule.table, rule.handle)
        return visit if found is None else replace(visit, rule=found)

    def _interface(self, index: int) -> str | None:
        with inside(self._namespace), suppress(OSError):
            return socket.if_indextoname(index)
        return None

    def _sightings(self, visits: Visits, evidence: Evidence) -> Sightings | None:
        """What was seen of a packet; None if it is not of a flow that is meant."""
        first = visits[0]
        if first.packet is None:
            return None  # no IP packet, or its begin was lost
        if self._steps is not None:
            visits = self._steps.merged(visits)
        entry = self._entry(visits)
        flows = [entry] if entry is not None else list(_possible(visits))
        if not any(self._filter.matches(flow, evidence) for flow in flows):
            return None
        told = [visit.tracked for visit in visits if visit.tracked is not None]
        if told:
            self._is_tracked = True
        return Sightings(
            visits=visits,
            departures=tuple(_departures(visits)),
            before=_before(told, entry, flows),
            after=entry,
            is_tracked=self._is_tracked,
        )

    def _entry(self, visits: Visits) -> Flow | None:
        """The packet's entry, by what it was when it came and when it went."""
        shown = [visit.packet for visit in visits if visit.packet is not None]
        for packet in (shown[0], shown[-1]):
            try:
                found = entry_of(self._table, packet.tuple)
            except KernelError as error:
                if error.errno == errno.EPERM:
                    raise
                return None  # a kernel without connection tracking
            if found is not None:
                return found
        return None


def _before(
    told: list[Tracked], entry: Flow | None, possible: list[Flow]
) -> Flow | None:
    """The entry a packet found; of one that is gone by now, what the packet tells."""
    # a template comes before the entry itself
    tracked = next((one for one in told if not one.status & uapi.Status.TEMPLATE), None)
    if tracked is None or not tracked.status & uapi.Status.CONFIRMED:
        return None
    if entry is None and tracked.state != _RELATED and len(possible) == 1:
        return replace(possible[0], id=tracked.id, status=tracked.status)
    return entry


def _possible(visits: Visits) -> Iterator[Flow]:
    """What the entry would be, or was: a reset ends one before it can be asked for.

    How the packet came is a tuple of it, and how it went the other one's reverse.
    """
    shown = [visit.packet for visit in visits if visit.packet is not None]
    came, went = shown[0].tuple, shown[-1].tuple.reversed()
    directions = {v.tracked.direction for v in visits if v.tracked is not None}
    if directions != {1}:
        yield Flow(came, went)
    if directions != {0}:
        yield Flow(went, came)


def _departures(visits: Visits) -> Iterator[Departure]:
    """How it went on, where it passed the last chain of its last hook."""
    last = visits[-1]
    if last.verdict is not Verdict.ACCEPT or not last.base.name.endswith(watching.END):
        return
    begin = _begin(visits)
    if begin.packet is None:
        return
    if last.base.hook is Hook.INPUT:
        yield Departure(None, begin.packet)
    elif last.base.hook is Hook.POSTROUTING:
        yield Departure(begin.oif, begin.packet)


def _begin(visits: Visits) -> Visit:
    """The visit that told the headers, of the base chain that was visited last."""
    return next(v for v in reversed(visits) if v.base == visits[-1].base and v.packet)
