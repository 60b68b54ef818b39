"""Read all that a diagnosis needs of a box: some of it twice.

What counts since boot says little; what rose in an interval says what is wrong now.
Each part is optional: what could not be read is None, and named in ``missing``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from natscope.codec.stats import CpuStats
from natscope.codec.text import counters, sockets
from natscope.codec.text.natrules import nat_rules, place
from natscope.errors import NatscopeError, PermissionNeeded
from natscope.model.bundle import Bundle, Link
from natscope.model.measured import (
    Listener,
    Measured,
    Namespace,
    PortsHeld,
    Program,
    Totals,
)
from natscope.sources import bundle as bundles
from natscope.sources import daemons, ethtool, kmsg
from natscope.sources.kernel import Kernel
from natscope.sources.netns import named_namespaces, open_namespace
from natscope.table.oneway import Tally, tally, unanswered
from natscope.table.portsheld import ports_held

if TYPE_CHECKING:
    from natscope.table.flowtable import FlowTable

_PROC = Path("/proc")
_OWN = _PROC / "thread-self"
_TABLE = "net/stat/nf_conntrack"
_OF_THE_HOST = Path("/proc/sys/net/core/netdev_max_backlog")
"""Registered for init_net alone (net_core_table of net/core/sysctl_net_core.c)."""
_FULL = re.compile(r"nf_conntrack: table full(?: in netns (\d+))?")
_NIC_WORDS = ("allowance", "drop", "discard", "miss", "error", "err_", "no_buf")
"""What of a driver's hundreds of statistics is of interest."""
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class _Reading:
    """What counts, at one moment."""

    at: float
    stats: list[CpuStats] | None
    counters: Totals | None
    nics: dict[str, Totals] | None
    bundle: Bundle
    flows: FlowTable | None
    tally: Tally | None
    """Of the flows that are compared; None: not read, or packets are not counted."""
    ports: tuple[PortsHeld, ...] | None = None
    """Of one that is kept."""

    def kept(self) -> _Reading:
        """What a later one is compared with: without the flows, which take room."""
        ports = None if self.flows is None else ports_held(self.flows)
        return replace(self, flows=None, ports=ports)


def collect(
    netns: str | None = None,
    interval_s: float = 0.0,
    *,
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Bundle, FlowTable | None]:
    """All that a diagnosis needs of a network namespace.

    Args:
        netns: name, process id or path; None is the calling thread's.
        interval_s: between the two readings; 0: one, and nothing is known to rise.
        wait: passes the time.

    Returns:
        The bundle with ``measured``, and the flows; None where they cannot be read.

    Raises:
        NamespaceError: no such namespace, or not permitted.
    """
    with Kernel(netns) as kernel:
        collector = _Collector(kernel, netns)
        before = collector.reading().kept() if interval_s > 0 else None
        if before is not None:
            wait(interval_s)
        return collector.collected(before, collector.reading())


def follow(
    netns: str | None, interval_s: float, *, wait: Callable[[float], object]
) -> Iterator[tuple[Bundle, FlowTable | None]]:
    """The same again and again, each reading against the one before.

    Args:
        netns: as for :func:`collect`.
        interval_s: between two readings.
        wait: passes the time.

    Raises:
        NamespaceError: as for :func:`collect`.
    """
    with Kernel(netns) as kernel:
        before = _Collector(kernel, netns).reading().kept()
        while True:
            wait(interval_s)
            collector = _Collector(kernel, netns)
            now = collector.reading()
            yield collector.collected(before, now)
            before = now.kept()


@dataclass
class _Collector:
    """Reads part by part, and keeps what could not be read."""

    kernel: Kernel
    netns: str | None
    missing: dict[str, None] = field(default_factory=dict)

    def collected(
        self, before: _Reading | None, now: _Reading
    ) -> tuple[Bundle, FlowTable | None]:
        """The last reading, with what is read once alone."""
        counted = self._told("the entry count", self._count)
        count, limit = counted if counted is not None else (None, None)
        measured = Measured(
            count=count,
            limit=limit or self.kernel.sysctl("nf_conntrack_max"),
            buckets=self.kernel.sysctl("nf_conntrack_buckets"),
            stats=None if now.stats is None else _summed(now.stats),
            counters=now.counters,
            nics=now.nics,
            listeners=self._told("listening sockets", self._listeners),
            log=self._told("the kernel's log", self._log),
            is_initial=self._is_initial(),
            namespaces=self._told("other namespaces", self._namespaces),
            expectations=self._told("expectations", self._expectations),
            programs=self._told("programs", self._programs),
        )
        if before is not None:
            measured = _risen(measured, before, now)
        measured = replace(measured, missing=tuple(self.missing))
        return replace(now.bundle, measured=measured), now.flows

    def reading(self) -> _Reading:
        """What counts, now."""
        at = time.monotonic()
        stats = self._told("conntrack's counters", self.kernel.cpu_stats)
        counted = self._told("counters of /proc", self._counters)
        found = bundles.collect(self.netns)
        nics = self._told("statistics of interfaces", lambda: self._nics(found.links))
        flows = self._told("flows", self.kernel.table)
        told = None if flows is None else tally(flows)
        return _Reading(at, stats, counted, nics, found, flows, told)

    def _count(self) -> tuple[int, int | None]:
        """Entries and limit; an ordinary user may read them as settings."""
        try:
            return self.kernel.count()
        except PermissionNeeded:
            entries = self.kernel.sysctl("nf_conntrack_count")
            if entries is None:
                raise
            return entries, None

    def _inside(self) -> AbstractContextManager[object]:
        if self.netns is None:
            return nullcontext()
        return _entered(self.netns)

    def _counters(self) -> Totals:
        with self._inside():
            files = {path: _text(_OWN / path) for path in counters.FILES[:-1]}
        files[counters.STAT] = _text(_PROC / counters.STAT)
        return counters.counters(files)

    def _nics(self, links: tuple[Link, ...]) -> dict[str, Totals]:
        """Of the interfaces that are hardware, and up."""
        found: dict[str, Totals] = {}
        with self._inside():
            for link in links:
                if link.kind is not None or not link.up or "LOOPBACK" in link.flags:
                    continue
                try:
                    told = ethtool.statistics(link.name)
                except OSError:
                    continue  # a driver that keeps none
                found[link.name] = {
                    name: value
                    for name, value in told.items()
                    if any(word in name.lower() for word in _NIC_WORDS)
                }
        return found

    def _listeners(self) -> tuple[Listener, ...]:
        with self._inside():
            return tuple(_listening())

    def _expectations(self) -> int:
        return len(self.kernel.expectations())

    def _programs(self) -> tuple[Program, ...]:
        with self._inside():
            return daemons.programs()

    def _log(self) -> tuple[str, ...]:
        """Lines of the kernel's log that are about this namespace, or about all."""
        own, is_first = self._inode(), self._is_initial()
        return tuple(
            line for line in kmsg.recent() if is_about(line, own, is_initial=is_first)
        )

    def _is_initial(self) -> bool:
        """Settings of the whole host are shown in its first namespace alone."""
        with self._inside():
            return _OF_THE_HOST.exists()

    def _inode(self) -> int:
        with self._inside():
            return (_OWN / "ns/net").stat().st_ino

    def _namespaces(self) -> tuple[Namespace, ...]:
        return tuple(_other_namespaces(self._inode()))

    def _told(self, what: str, read: Callable[[], Part]) -> Part | None:
        try:
            return read()
        except NatscopeError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.missing[f"{what}: {error}{hint}"] = None
        except OSError as error:
            self.missing[f"{what}: {error.strerror or error}"] = None
        return None


def _risen(measured: Measured, before: _Reading, now: _Reading) -> Measured:
    """With what rose between two readings."""
    hits = _hits(before.bundle)
    return replace(
        measured,
        interval_ms=max(1, round((now.at - before.at) * 1000)),
        rose=_stats_rise(before.stats, now.stats),
        counters_rose=_rise(before.counters, now.counters),
        nics_rose=None
        if before.nics is None or now.nics is None
        else {
            name: _rise(before.nics.get(name), told) or {}
            for name, told in now.nics.items()
        },
        hits_rose={
            where: max(0, packets - hits[where, text])
            for (where, text), packets in _hits(now.bundle).items()
            if (where, text) in hits
        },
        unanswered=None
        if before.tally is None or now.tally is None
        else tuple(unanswered(before.tally, now.tally)),
        ports_before=before.ports,
    )


def _rise(before: Totals | None, now: Totals | None) -> Totals | None:
    """What is in both, and by how much it rose; what was set back did not rise."""
    if before is None or now is None:
        return None
    both = now.keys() & before.keys()
    return {name: max(0, now[name] - before[name]) for name in now if name in both}


def _stats_rise(
    before: list[CpuStats] | None, now: list[CpuStats] | None
) -> Totals | None:
    """The kernel counts in 32 bits a CPU, and wraps."""
    if before is None or now is None:
        return None
    earlier = {one.cpu: one.counters for one in before}
    found: dict[str, int] = {}
    for one in now:
        for name, value in one.counters.items():
            grown = value - earlier.get(one.cpu, one.counters).get(name, 0)
            found[name] = found.get(name, 0) + grown % (1 << 32)
    return found


def _summed(stats: list[CpuStats]) -> Totals:
    found: dict[str, int] = {}
    for one in stats:
        for name, value in one.counters.items():
            found[name] = found.get(name, 0) + value
    return found


def _hits(found: Bundle) -> dict[tuple[str, str], int]:
    """Packets of each rule's own counter, by the place of the rule and its text: a rule
    that was put before it moves it."""
    return {
        (" ".join(map(str, place(one.rule))), one.rule.text): one.packets
        for one in nat_rules(found)
        if one.packets is not None
    }


def is_about(line: str, own: int, *, is_initial: bool) -> bool:
    """Whether a line of the kernel's log is not about another namespace's table.

    Kernels since 2025 name the namespace, but for the initial one; older ones name
    none, and then it may be any: it is taken to be the initial one's.

    Args:
        line: of the log.
        own: the inode of the namespace.
        is_initial: it is the one the host began with.
    """
    found = _FULL.search(line)
    if found is None:
        return True
    return int(found[1]) == own if found[1] else is_initial


def _listening() -> Iterator[Listener]:
    for path in sockets.PROTOCOLS:
        try:
            with (_OWN / path).open() as lines:
                next(lines)
                yield from sockets.listeners(path, lines)
        except FileNotFoundError:
            continue  # a kernel without IPv6


def _other_namespaces(own: int) -> Iterator[Namespace]:
    """Those of ip-netns(8), then those that only processes hold."""
    seen = {own}
    for name in named_namespaces():
        try:
            with _entered(name):
                inode = (_OWN / "ns/net").stat().st_ino
                entries = counters.entries(_text(_OWN / _TABLE))
        except NatscopeError:
            continue  # it has gone, or is not ours to enter
        if inode not in seen and entries is not None:
            yield Namespace(name, entries)
        seen.add(inode)
    for path in _PROC.iterdir():
        if not path.name.isdigit():
            continue
        try:
            inode = (path / "ns/net").stat().st_ino
            if inode in seen:
                continue
            seen.add(inode)
            entries = counters.entries(_text(path / _TABLE))
            if entries is not None:
                yield Namespace(f"pid {path.name}", entries)
        except OSError:
            continue  # it has ended, or is another user's


def _text(path: Path) -> str:
    """A file of /proc; of one this kernel does not have, nothing."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@contextmanager
def _entered(netns: str) -> Iterator[None]:
    """Have the thread in a namespace."""
    with open_namespace(netns) as namespace, namespace.enter():
        yield
