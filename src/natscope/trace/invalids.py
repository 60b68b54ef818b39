"""Packets conntrack complains of, each with the entry it would have found."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from natscope.codec import packets
from natscope.codec.nflog import LoggedPacket
from natscope.errors import DecodeError, KernelError
from natscope.filter import Filter
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.packet import Packet
from natscope.sources.closing import Closing
from natscope.sources.kernel import Kernel
from natscope.sources.lookup import entry_of
from natscope.sources.netns import inside, open_namespace
from natscope.sources.tracing import invalid_log


class Complaints(Closing):
    """Listens to nf_conntrack_log_invalid in one network namespace.

    The settings it takes are put back when it is closed.

    Args:
        netns: name, process id or path; None is the caller's own.
        filter: the flows whose packets are meant; what has no entry is compared by
            its header, either way.

    Raises:
        NamespaceError: no such namespace, or not permitted.
        KernelError: not permitted, another program has the log, or connection
            tracking is not loaded.
    """

    def __init__(self, netns: str | None = None, filter: Filter | None = None) -> None:
        self._filter = filter
        with ExitStack() as stack:
            self._namespace = (
                stack.enter_context(open_namespace(netns)) if netns else None
            )
            self._kernel = stack.enter_context(Kernel(netns))
            self._table = stack.enter_context(self._kernel.socket())
            self._log = stack.enter_context(invalid_log(self._namespace))
            self._before = self._count()
            self._open = stack.pop_all()
        self.count = 0
        """Packets that were logged so far, meant or not."""

    def close(self) -> None:
        """Put every setting back."""
        self._open.close()

    @property
    def lost(self) -> int:
        """Packets that found no room in the log."""
        return self._log.lost

    def invalid(self) -> int:
        """How many packets conntrack called INVALID since this began.

        Some are without a message: too short, an answer nobody asked for, an ICMP
        error about an unknown flow.
        """
        return self._count() - self._before

    def _count(self) -> int:
        return sum(cpu.counters.get("invalid", 0) for cpu in self._kernel.cpu_stats())

    def read(
        self, timeout: float = 0.0
    ) -> list[tuple[LoggedPacket, Packet | None, Flow | None, str | None]]:
        """What was logged: message, packet, its entry, where it came in.

        Raises:
            KernelError: the socket failed.
        """
        logged = self._log.read(timeout)
        self.count += len(logged)
        if not logged:
            return []
        evidence = Evidence() if self._filter is None else self._kernel.evidence()
        found = []
        for one in logged:
            packet = _packet(one.payload)
            entry = None if packet is None else self._entry(packet)
            if self._is_meant(packet, entry, evidence):
                found.append((one, packet, entry, self._interface(one.iif)))
        return found

    def _entry(self, packet: Packet) -> Flow | None:
        with suppress(KernelError):
            return entry_of(self._table, packet.tuple)
        return None

    def _is_meant(
        self, packet: Packet | None, entry: Flow | None, evidence: Evidence
    ) -> bool:
        if self._filter is None:
            return True
        flows = [entry] if entry is not None else list(_possible(packet))
        return any(self._filter.matches(flow, evidence) for flow in flows)

    def _interface(self, index: int | None) -> str | None:
        if not index:
            return None
        with inside(self._namespace), suppress(OSError):
            return socket.if_indextoname(index)
        return f"if{index}"


def _possible(packet: Packet | None) -> Iterator[Flow]:
    """What the entry would be, whichever end the packet is from."""
    if packet is not None:
        there = packet.tuple
        back = there.reversed()
        yield Flow(there, back)
        yield Flow(back, there)


def _packet(payload: bytes) -> Packet | None:
    try:
        return packets.decode(payload, cut=True)
    except DecodeError:
        return None
