"""Commands on the table of expectations."""

from __future__ import annotations

import errno
import json
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from natscope import uapi
from natscope.cli import diagnostics, output
from natscope.cli.conntrack import messages
from natscope.cli.conntrack.request import EVENT_DESTROY, EVENT_NEW, EVENT_UPDATE
from natscope.codec.expect import decode_expectation
from natscope.errors import KernelError
from natscope.model.expectation import Expectation
from natscope.model.tuples import FlowTuple
from natscope.render.conntrack import expect as form
from natscope.render.conntrack.forms import EVENTS
from natscope.render.conntrack.stats import cpu_line
from natscope.sources import expectations as source
from natscope.sources.nlsocket import NetlinkSocket

if TYPE_CHECKING:
    from natscope.cli.conntrack.request import Request
    from natscope.codec.scalar import Cells

GROUPS = {
    EVENT_NEW: uapi.Group.CONNTRACK_EXP_NEW,
    EVENT_UPDATE: uapi.Group.CONNTRACK_EXP_UPDATE,
    EVENT_DESTROY: uapi.Group.CONNTRACK_EXP_DESTROY,
}


def perform(request: Request) -> int | None:
    """Carry out one request; how many expectations, None if that is not said.

    Raises:
        KernelError: the kernel refused.
    """
    with NetlinkSocket(wire=diagnostics.wire()) as sock:
        count: int | None = _COMMANDS[request.command](sock, request)
        return count


def _list(sock: NetlinkSocket, request: Request) -> int:
    shown = _Showing(request)
    found = source.expectations(sock, family=request.family)
    for one in found:
        shown.one(one)
    shown.end()
    return len(found)


def _get(sock: NetlinkSocket, request: Request) -> None:
    found = source.get(sock, tuple_of("orig", request.cells))
    if found is None:
        raise KernelError("looking up an expectation", errno.ENOENT, "there is none")
    shown = _Showing(request)
    shown.one(found)
    shown.end()


def _create(sock: NetlinkSocket, request: Request) -> None:
    proto = request.cells["proto"]
    made = Expectation(
        expected=tuple_of("orig", {**request.expected, "proto": proto}),
        mask=tuple_of("orig", {**request.mask, "proto": proto}),
        master=tuple_of("orig", request.cells),
        timeout=request.cells.get("timeout"),
        zone=request.cells.get("zone"),
    )
    source.create(sock, made)


def _delete(sock: NetlinkSocket, request: Request) -> int:
    if not source.delete(sock, tuple_of("orig", request.cells)):
        raise KernelError("deleting an expectation", errno.ENOENT, "there is none")
    return 1


def _flush(sock: NetlinkSocket, _: Request) -> None:
    source.flush(sock)
    diagnostics.note(messages.prefixed("expectation table has been emptied."))


def _count(sock: NetlinkSocket, request: Request) -> None:
    output.write(b"%d\n" % len(source.expectations(sock, family=request.family)))


def _stats(sock: NetlinkSocket, _: Request) -> None:
    found = source.cpu_stats(sock)
    output.write(b"".join(cpu_line(one.cpu, one.counters) for one in found))


def _event(_: NetlinkSocket, request: Request) -> int:
    from natscope.cli import stopping
    from natscope.cli.conntrack import events
    from natscope.codec.events import kind_of

    shown, lost = _Showing(request), 0
    with (
        stopping.heeded(hang_up=False) as stop,
        events.subscription(request, GROUPS) as found,
    ):
        while not stop:
            if not found.wait(events.LOOK_UP_S):
                continue
            received = found.receive()
            for message in received.messages():
                kind = EVENTS[kind_of(message)]
                shown.one(decode_expectation(message), kind)
            events.warn_of(received.lost)
            lost += received.lost
    events.tell_of(lost)
    shown.end()
    return shown.count


_COMMANDS: dict[str, Any] = {
    "list": _list,
    "get": _get,
    "create": _create,
    "delete": _delete,
    "flush": _flush,
    "count": _count,
    "stats": _stats,
    "event": _event,
}


class _Showing:
    """Writes expectations as ``-o`` asks, with what opens and closes them."""

    def __init__(self, request: Request) -> None:
        self._json = "json" in request.output
        self._xml = "xml" in request.output and not self._json
        self._timestamp = "timestamp" in request.output
        self.count = 0
        if self._json:
            output.write(b'{"schema": "natscope.expectations/1", "expectations": [')
        elif self._xml:
            output.write(form.PROLOG)

    def one(self, one: Expectation, event: str | None = None) -> None:
        """One expectation."""
        from natscope.codec.text.expectation import to_json

        moment = time.time_ns() if self._timestamp else None
        if self._json:
            told = to_json(one) | ({"event": event} if event else {})
            comma = b",\n" if self.count else b"\n"
            output.write(comma + json.dumps(told).encode())
        elif self._xml:
            output.write(form.xml(one, event=event, time_ns=moment))
        else:
            output.write(form.plain(one, event=event, time_ns=moment))
        self.count += 1

    def end(self) -> None:
        """What closes a document."""
        if self._json:
            output.write(b"\n]}\n")
        elif self._xml:
            output.write(form.END)


def tuple_of(side: str, cells: Cells) -> FlowTuple:
    """The tuple of some cells; an address that is not there is all zeros."""
    known = cells.get(f"{side}_src") or cells.get(f"{side}_dst") or bytes(4)
    none = bytes(len(known))
    ends = [ip_address(cells.get(f"{side}_{end}", none)) for end in ("src", "dst")]
    fields = ("sport", "dport", "icmp_type", "icmp_code", "icmp_id")
    rest = {name: cells.get(f"{side}_{name}") for name in fields}
    return FlowTuple(ends[0], ends[1], cells["proto"], **rest)
