"""NAT sessions as syslog lines (RFC 5424), both tuples in every one.

The structured data are those of draft-ietf-behave-syslog-nat-logging-06, as VPP
writes them: I is the inside of the translation, the packet as it came; X the
outside, as it went on; S and D are source and destination.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.event import EventKind
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.table.ending import happened_ns
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

_INFO, _WARNING = 16 << 3 | 6, 16 << 3 | 4
"""Facility local0."""
_IDS = (b"", b"SADD", b"SUPD", b"SDEL")
_FAMILIES = (b"IPv4", b"IPv6")
_ENDS = (
    ("I", "S", "orig_src", ("orig_sport", "orig_icmp_id")),
    ("I", "D", "orig_dst", ("orig_dport",)),
    ("X", "S", "reply_dst", ("reply_dport", "reply_icmp_id")),
    ("X", "D", "reply_src", ("reply_sport",)),
)
_COUNTERS = ("orig_packets", "orig_bytes", "reply_packets", "reply_bytes")
_NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Sender:
    """Who a line says it comes from."""

    host: str
    pid: int

    def head(self, message_id: bytes) -> bytes:
        """What follows the time: host, application, process, kind of message."""
        return b" %s NAT %d %s " % (self.host.encode(), self.pid, message_id)


def sessions(events: Events, sender: Sender) -> bytes:
    """A line for every translated flow that began (SADD) or ended (SDEL)."""
    events = _told(events)
    if len(events) == 0:
        return b""
    flows, n = events.flows, len(events)
    parts = [*_head(events, sender), cells.literal(b"[nsess SSUBIX=", n)]
    parts += [_quoted(cells.decimal(flows["zone"]))]
    family = (flows["family"] == uapi.AF_INET6).astype(np.intp)
    for side in ("I", "X"):
        parts += [_name(f"{side}ATYP", n), _quoted(cells.lookup(family, _FAMILIES))]
        for where, end, address, ports in _ENDS:
            if where == side:
                parts += _end(flows, where + end, address, ports)
    parts += [_name("PROTO", n), _quoted(cells.decimal(flows["proto"]))]
    parts += [cells.literal(b"]", n), *_message(events), cells.literal(b"\n", n)]
    return cells.lines(parts)


def with_messages(events: Events, sender: Sender, messages: list[bytes]) -> bytes:
    """A line for every event, with a message of its own instead of structured data.

    Raises:
        ValueError: there are not as many messages as events.
    """
    n = len(events)
    if n == 0:
        return b""
    heads = cells.lines([*_head(events, sender), cells.literal(b"- \n", n)])
    pairs = zip(heads.splitlines(), messages, strict=True)
    return b"".join(head + message + b"\n" for head, message in pairs)


def loss(lost: int, time_ns: int, sender: Sender) -> bytes:
    """A line that says how many events were lost just before."""
    time = _times(np.array([time_ns], np.uint64))
    head = b"<%d>1 %sZ" % (_WARNING, cells.lines([time]))
    return head + sender.head(b"LOSS") + b"- %d events lost\n" % lost


def _told(events: Events) -> Events:
    bits = np.uint32(uapi.Status.SRC_NAT | uapi.Status.DST_NAT)
    translated = events.flows["status"] & bits != 0
    return events.mask(translated & (events.kinds != EventKind.UPDATE))


def _head(events: Events, sender: Sender) -> Iterator[Cell]:
    n = len(events)
    yield cells.literal(b"<%d>1 " % _INFO, n)
    yield _times(happened_ns(events))
    yield cells.literal(b"Z", n)
    heads = [sender.head(message_id) for message_id in _IDS]
    yield cells.lookup(events.kinds.astype(np.intp), heads)


def _times(times_ns: NDArray[np.uint64]) -> Cell:
    """RFC 5424 takes six digits of a second at most."""
    micros = (times_ns // np.uint64(_NS_PER_US)).astype("datetime64[us]")
    return cells.strings(micros.astype("S26"))


def _end(
    flows: FlowTable, name: str, address: str, ports: tuple[str, ...]
) -> Iterator[Cell]:
    n = len(flows)
    yield _name(f"{name}ADDR", n)
    yield _quoted(cells.addresses(flows["family"], flows[address]))
    for port in ports:
        there = flows.has(port)
        if there.any():
            yield _name(f"{name}PORT", n).only(there)
            yield _quoted(cells.decimal(flows[port])).only(there)


def _message(events: Events) -> Iterator[Cell]:
    """Of a flow that ended, what it carried and how long: free text."""
    flows, n = events.flows, len(events)
    ended = events.kinds == EventKind.DESTROY
    began = ended & flows.has("start_ns")
    if began.any():
        yield cells.literal(b" start=", n).only(began)
        yield _times(flows["start_ns"]).only(began)
        yield cells.literal(b"Z", n).only(began)
    for name in _COUNTERS:
        there = ended & flows.has(name)
        if there.any():
            yield cells.literal(f" {name}=".encode(), n).only(there)
            yield cells.decimal(flows[name]).only(there)


def _name(name: str, n: int) -> Cell:
    return cells.literal(f" {name}=".encode(), n)


def _quoted(cell: Cell) -> Cell:
    mark = cells.literal(b'"', len(cell.length))
    return cells.concat([mark, cell, mark])
