"""``-E``: events as they come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from natscope import uapi
from natscope.cli import diagnostics, stopping
from natscope.cli.conntrack import select, showing
from natscope.cli.conntrack.request import EVENT_DESTROY, EVENT_NEW, EVENT_UPDATE
from natscope.model.evidence import Evidence
from natscope.sources.events import EventStream
from natscope.sources.programs import Programs
from natscope.sources.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscope.cli.conntrack.request import Request
    from natscope.table.events import Events

GROUPS = {
    EVENT_NEW: uapi.Group.CONNTRACK_NEW,
    EVENT_UPDATE: uapi.Group.CONNTRACK_UPDATE,
    EVENT_DESTROY: uapi.Group.CONNTRACK_DESTROY,
}
BUFFER = "NOTICE: Netlink socket buffer size has been set to {} bytes."
LOST = (
    "WARNING: We have hit ENOBUFS! We are losing events.\n"
    "This message means that the current netlink socket buffer size is too small.\n"
    "Please, check --buffer-size in conntrack(8) manpage."
)
LOOK_UP_S = 0.1
"""So often a quiet stream is left to see whether a signal came."""
DRAIN_S = 1.0
"""What came before the signal is shown, unless more comes all the time."""


def follow(request: Request) -> int:
    """Show events until SIGINT or SIGTERM; how many."""
    shown = _Events(request)
    with (
        stopping.heeded(hang_up=False) as stop,
        subscription(request, GROUPS, shown.program) as found,
    ):
        stream = EventStream(found, shown.filter, Evidence(now_ns=time.time_ns()))
        batch = None
        while not stop or (batch and time.monotonic() < stop.at + DRAIN_S):
            batch = stream.read(0 if stop else LOOK_UP_S)
            if batch is not None:
                warn_of(batch.lost)
                shown.show(batch)
        tell_of(stream.lost)
    shown.end()
    return shown.count


def subscription(
    request: Request, groups: Mapping[int, int], program: bytes | None = None
) -> Subscription:
    """Listen to the groups the event mask asks for; all without one."""
    mask = request.event_mask
    made = Subscription(
        [group for kind, group in groups.items() if mask is None or mask & kind],
        program=program,
        buffer=request.buffer_size,
        wire=diagnostics.wire(),
    )
    if request.buffer_size is not None:
        diagnostics.note(BUFFER.format(made.buffer_size))
    return made


def warn_of(lost: int) -> None:
    """Say at once that events were lost, and how many."""
    if lost:
        diagnostics.note(f"{LOST}\n{lost} events were lost.")


def tell_of(lost: int) -> None:
    """Say at the end how many events were lost, if any were."""
    if lost:
        diagnostics.note(f"{lost} events were lost in all.")


class _Events:
    """Shows events that the options do not filter out."""

    def __init__(self, request: Request) -> None:
        bits = showing.label_bits(request, request.labels) if request.labels else 0
        self.filter = select.wanted(request, bits)
        self.program = self.filter.socket_program()
        self._showing = showing.Showing(request)
        self._tails = "xml" not in request.output and "json" not in request.output
        self._programs = Programs()
        self.count = 0

    def show(self, batch: Events) -> None:
        """Show a batch."""
        if len(batch) == 0:
            return
        flows = batch.flows.with_column("event_ns", batch.times_ns())
        ports, of_row = np.unique(batch.portids, return_inverse=True)
        tails = [self._tail(port) for port in ports.tolist()]
        self._showing.events(flows, batch.kinds, [tails[at] for at in of_row.tolist()])
        self.count += len(batch)

    def _tail(self, portid: int) -> bytes:
        if portid == 0 or not self._tails:
            return b""
        name = self._programs.name(portid)
        program = f" progname={name}" if name else ""
        return f" [USERSPACE] portid={portid}{program}".encode()

    def end(self) -> None:
        """What closes a document."""
        self._showing.end()
