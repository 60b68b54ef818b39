"""``-E``: events as they come."""

from __future__ import annotations

import errno
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.cli import diagnostics
from natscope.cli.conntrack import select, showing
from natscope.cli.conntrack.request import EVENT_DESTROY, EVENT_NEW, EVENT_UPDATE
from natscope.codec import nlmsg
from natscope.codec.vector import decode_flows
from natscope.errors import KernelError
from natscope.model.evidence import Evidence
from natscope.render.conntrack.forms import EVENTS
from natscope.sources.nlsocket import NetlinkSocket
from natscope.sources.programs import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from natscope.cli.conntrack.request import Request
    from natscope.table.flowtable import FlowTable

NEW, UPDATE, DESTROY = 1, 2, 3
"""Codes of events, as render.conntrack.lines takes them."""

GROUPS = {
    EVENT_NEW: uapi.Group.CONNTRACK_NEW,
    EVENT_UPDATE: uapi.Group.CONNTRACK_UPDATE,
    EVENT_DESTROY: uapi.Group.CONNTRACK_DESTROY,
}
LOST = (
    "WARNING: We have hit ENOBUFS! We are losing events.\n"
    "This message means that the current netlink socket buffer size is too small.\n"
    "Please, check --buffer-size in conntrack(8) manpage."
)


BUFFER = "NOTICE: Netlink socket buffer size has been set to {} bytes."


class Stopped(Exception):
    """A signal asked for the end."""


def follow(request: Request) -> int:
    """Show events until SIGINT or SIGTERM; how many."""
    shown = _Events(request)
    with (
        suppress(Stopped),
        stopped_by_signals(),
        NetlinkSocket(wire=diagnostics.wire()) as sock,
    ):
        size = sock.listen(groups(request, GROUPS), request.buffer_size)
        if request.buffer_size is not None:
            diagnostics.note(BUFFER.format(size))
        while True:
            _take(sock, shown)
    shown.end()
    return shown.count


def groups(request: Request, known: dict[int, int]) -> list[int]:
    """The groups the event mask asks for; all without one."""
    mask = request.event_mask
    return [group for kind, group in known.items() if mask is None or mask & kind]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped in the body."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Stopped

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _take(sock: NetlinkSocket, shown: _Events) -> None:
    try:
        shown.show(sock.events())
    except KernelError as error:
        if error.errno != errno.ENOBUFS:
            raise
        diagnostics.note(LOST)


class _Events:
    """Shows events that the options do not filter out."""

    def __init__(self, request: Request) -> None:
        bits = showing.label_bits(request, request.labels) if request.labels else 0
        self._filter = select.wanted(request, bits)
        self._showing = showing.Showing(request)
        self._tails = "xml" not in request.output and "json" not in request.output
        self._programs = Programs()
        self.count = 0

    def show(self, found: list[bytes]) -> None:
        """Show a batch of event messages."""
        now = time.time_ns()
        table, events, ports = _decoded(found, now)
        keep = self._filter.mask(table, Evidence(now_ns=now))
        if not keep.any():
            return
        tails = [self._tail(port) for port in ports[keep].tolist()]
        self._showing.events(table.mask(keep), events[keep], tails)
        self.count += len(tails)

    def _tail(self, portid: int) -> bytes:
        if portid == 0 or not self._tails:
            return b""
        name = self._programs.name(portid)
        program = f" progname={name}" if name else ""
        return f" [USERSPACE] portid={portid}{program}".encode()

    def end(self) -> None:
        """What closes a document."""
        self._showing.end()


def _decoded(
    found: list[bytes], now_ns: int
) -> tuple[FlowTable, NDArray[np.uint8], NDArray[np.uint32]]:
    """The flows, what happened to each, and the port that made it happen."""
    heads = [nlmsg.HEADER.unpack_from(message) for message in found]
    events = np.array([_code(kind, flags) for _, kind, flags, _, _ in heads], np.uint8)
    ports = np.array([port for *_, port in heads], np.uint32)
    padded = b"".join(m + bytes(-len(m) & 3) for m in found)
    table = decode_flows(padded)
    told = table.has("event_ns")
    when = np.where(told, table["event_ns"], np.uint64(now_ns))
    return table.with_column("event_ns", when), events, ports


def kind_of(message: bytes) -> str:
    """What an event message tells of: new, update or destroy."""
    _, kind, flags, _, _ = nlmsg.HEADER.unpack_from(message)
    return EVENTS[_code(kind, flags)] or ""


def _code(kind: int, flags: int) -> int:
    """As event_cb() of conntrack has it: an entry is new when it was created."""
    if kind & 0xFF == uapi.CtMsg.DELETE:
        return DESTROY
    return NEW if flags & uapi.NLM_F_CREATE else UPDATE
