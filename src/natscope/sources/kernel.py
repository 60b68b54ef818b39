"""The live table of one network namespace, over ctnetlink.

A dump is not atomic and never marked interrupted (nf_conntrack_netlink.c sets
no cb->seq), so repeated entries are dropped: see :class:`_Repeats`.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import encode, request, stats
from natscope.errors import (
    DecodeError,
    KernelError,
)
from natscope.model.evidence import Evidence
from natscope.model.prefilter import KernelFilter
from natscope.sources import box
from natscope.sources.base import Pieces, understood
from natscope.sources.closing import Closing
from natscope.sources.netns import (
    Namespace,
    identity,
    open_namespace,
)
from natscope.sources.nlsocket import NetlinkSocket

if TYPE_CHECKING:
    from natscope.codec.vector import Decoder
    from natscope.filter import Filter
    from natscope.model.event import EventKind
    from natscope.model.expectation import Expectation
    from natscope.sources.events import EventStream
    from natscope.sources.live import LiveTable
    from natscope.sources.nlsocket import Wire
    from natscope.sources.receiver import Datagrams
    from natscope.table.flowtable import FlowTable

_CT_NEW = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
DUMP = "listing the connection tracking table"


class Kernel(Closing, Pieces):
    """The connection tracking table of this or another network namespace.

    Args:
        netns: name, process id or path; None is the caller's own.
        wire: sees every netlink datagram, for debugging.

    Raises:
        NamespaceError: no such namespace, or not permitted.
    """

    lacks: tuple[str, ...] = ()
    """What this source cannot tell: nothing."""

    def __init__(self, netns: str | None = None, *, wire: Wire | None = None) -> None:
        self.netns = netns
        self._wire = wire
        self._namespace: Namespace | None = open_namespace(netns) if netns else None

    def close(self) -> None:
        """Let go of the namespace."""
        if self._namespace is not None:
            self._namespace.close()

    def chunks(
        self,
        filter: Filter | str | None = None,
        *,
        command: int = uapi.CtMsg.GET,
        any_order: bool = False,
    ) -> Iterator[FlowTable]:
        """The table in pieces of some thousand rows, in the kernel's order.

        Memory stays bounded whatever the size of the table.

        Args:
            filter: which flows.
            command: GET_CTRZERO also sets the counters of what the kernel sends
                to zero; GET_DYING and GET_UNCONFIRMED are other lists.
            any_order: the kernel's order does not matter, only the time it takes.

        Raises:
            KernelError: the kernel refused; PermissionNeeded without
                CAP_NET_ADMIN.
        """
        wanted = understood(filter)
        if wanted is None:
            yield from self.dump(KernelFilter(), command=command)
            return
        beside = wanted.needs() & {"addresses", "timeouts", "start"}
        evidence = self.evidence() if beside else Evidence()
        prefilters = wanted.kernels() if any_order else (wanted.kernel(),)
        for prefilter in prefilters:
            for chunk in self.dump(prefilter, command=command):
                kept = chunk.mask(wanted.mask(chunk, evidence))
                if len(kept):
                    yield kept

    def table(self, filter: Filter | str | None = None) -> FlowTable:
        """The flows a filter keeps, each entry once, as one table.

        In no particular order.
        """
        from natscope.table.flowtable import FlowTable

        return FlowTable.concat(list(self.chunks(filter, any_order=True))).dedupe()

    def identity(self) -> tuple[int, int]:
        """Device and inode of the namespace: see ``netns.identity``."""
        with self._inside():
            return identity()

    def evidence(self) -> Evidence:
        """The time now, and the box's timeouts and addresses."""
        with self._inside():
            timeouts = box.read_timeouts()
            addresses = box.read_addresses(self._wire)
        return Evidence(time.time_ns(), timeouts, addresses)

    def expectations(self) -> list[Expectation]:
        """What helpers expect, each with its zone where that is not 0.

        Raises:
            KernelError: the kernel refused.
        """
        from natscope.sources import expectations as source

        with self.socket() as sock:
            return list(source.with_zones(sock, source.expectations(sock)))

    def events(
        self,
        filter: Filter | str | None = None,
        *,
        kinds: Iterable[EventKind | str] | None = None,
        reliable: bool = False,
        buffer: int | None = None,
    ) -> EventStream:
        """Changes of the table from now on, until it is closed.

        Each event is judged by what it tells itself: only a DESTROY tells
        counters, and none a helper's end.  ``live`` judges whole flows, and
        repairs losses.

        Args:
            filter: which events.
            kinds: NEW, UPDATE, DESTROY; None is all three.
            reliable: a DESTROY that finds no room is kept by the kernel and
                sent again; ``lost`` counts it nevertheless.
            buffer: a fixed receive buffer in bytes; None grows with need.

        Raises:
            KernelError: the kernel refused; PermissionNeeded without
                CAP_NET_ADMIN.
        """
        from natscope.sources.events import EventStream, groups
        from natscope.sources.subscription import Subscription

        wanted = understood(filter)
        subscription = Subscription(
            groups(kinds),
            self._namespace,
            program=wanted.socket_program() if wanted else None,
            buffer=buffer,
            reliable=reliable,
            wire=self._wire,
        )
        return EventStream(subscription, wanted, self.evidence())

    def live(
        self,
        filter: Filter | str | None = None,
        *,
        reliable: bool = False,
        buffer: int | None = None,
    ) -> LiveTable:
        """The table now, kept current; see :class:`LiveTable`.

        Args:
            filter: which flows are listed and told.
            reliable: as for ``events``.
            buffer: as for ``events``.

        Raises:
            KernelError: the kernel refused; PermissionNeeded without
                CAP_NET_ADMIN.
        """
        from natscope.sources.live import LiveTable

        wanted = understood(filter)
        stream = self.events(reliable=reliable, buffer=buffer)
        try:
            return LiveTable(
                lambda: self.dump(KernelFilter()), stream, wanted, reliable=reliable
            )
        except BaseException:
            stream.close()
            raise

    def neighbours(self) -> list[box.Neighbour]:
        """The hosts the box sees on its links."""
        with self._inside():
            return box.read_neighbours(self._wire)

    def sysctl(self, name: str) -> int | None:
        """A ``net.netfilter`` sysctl of the namespace."""
        with self._inside():
            return box.read_sysctl(name)

    def count(self) -> tuple[int, int | None]:
        """Entries in the table, and the limit (None on kernels before 5.9)."""
        with self.socket() as sock:
            asked = request.statistics(seq=sock.next_seq())
            (answer,) = sock.ask(asked, "reading the entry count")
        entries, limit = stats.decode_global_stats(answer)
        return entries or 0, limit

    def cpu_stats(self) -> list[stats.CpuStats]:
        """The counters of every CPU, IPCTNL_MSG_CT_GET_STATS_CPU."""
        with self.socket() as sock:
            asked = request.statistics_by_cpu(seq=sock.next_seq())
            answers = sock.ask(asked, "reading the per-CPU counters")
        return [stats.decode_cpu_stats(answer) for answer in answers]

    def _inside(self) -> AbstractContextManager[None]:
        return nullcontext() if self._namespace is None else self._namespace.enter()

    def socket(self) -> NetlinkSocket:
        """A netlink socket in the namespace, for changes; ``with`` closes it."""
        return NetlinkSocket(namespace=self._namespace, wire=self._wire)

    def dump(
        self, prefilter: KernelFilter, *, command: int = uapi.CtMsg.GET
    ) -> Iterator[FlowTable]:
        """The chunks of a dump, less what the kernel may leave out of it."""
        try:
            yield from self._dump_with(prefilter, command)
        except KernelError as error:
            unknown = (errno.EINVAL, errno.EOPNOTSUPP, errno.ERANGE)
            zeroing = command == uapi.CtMsg.GET_CTRZERO
            if prefilter == KernelFilter() or error.errno not in unknown or zeroing:
                raise
            # refused before the first entry: this kernel cannot filter so
            yield from self._dump_with(KernelFilter(), command)

    def _dump_with(self, prefilter: KernelFilter, command: int) -> Iterator[FlowTable]:
        with self.socket() as sock:
            asked = encode.dump_request(prefilter, seq=sock.next_seq(), command=command)
            # the receiver must be done with the socket before it is closed
            with closing(sock.dump(asked, DUMP)) as buffers:
                next(buffers)
                from natscope.codec.vector import Decoder  # while the kernel works

                decoder, repeats = Decoder(), _Repeats()
                for datagrams in buffers:
                    yield repeats.drop(_decode(decoder, datagrams))


def _decode(decoder: Decoder, datagrams: Datagrams) -> FlowTable:
    import numpy as np

    from natscope.codec.vector import message_starts

    starts = np.array(message_starts(datagrams.buffer, datagrams.extents), np.intp)
    kinds = np.frombuffer(datagrams.buffer, np.uint16)[(starts >> 1) + 2]
    odd = np.flatnonzero(kinds != _CT_NEW)
    if len(odd):
        at = int(starts[odd[0]])
        reason = f"message type {int(kinds[odd[0]]):#x} in a dump of flows"
        raise DecodeError(reason, path=("nlmsghdr",), offset=at)
    return decoder.decode_at(datagrams.buffer, starts)


class _Repeats:
    """Drops entries the dump repeats.

    ctnetlink_dump_table() starts a bucket again when the entry it stopped at
    has gone, so a repeat is at most one buffer behind.  Equal ids are looked
    for first (they are rare and cheap to find); what decides is the whole key.
    """

    def __init__(self) -> None:
        self._previous: FlowTable | None = None

    def drop(self, chunk: FlowTable) -> FlowTable:
        import numpy as np

        from natscope.table.flowtable import DUPLICATE_KEY, FlowTable

        before = self._previous
        self._previous = chunk
        ids = [chunk["id"]] if before is None else [before["id"], chunk["id"]]
        ordered = np.sort(np.concatenate(ids))
        suspects = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(suspects) == 0 or "id" not in chunk.columns:
            return chunk
        skip = 0 if before is None else len(before)
        both = chunk if before is None else FlowTable.concat([before, chunk])
        first, of_row = both.group(*DUPLICATE_KEY)
        again = first[of_row] != np.arange(len(both))
        return chunk.mask(~again[skip:])
