"""What stands in the frames of a recording: its header, entries, events.

Messages are ctnetlink's own, in the byte order of the machine that recorded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import ip_interface
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec.events import EventDecoder
from natscope.codec.recording import NLMSG_NOOP, TIME_SIZE, Frame
from natscope.codec.vector import Decoder, message_starts
from natscope.errors import DecodeError
from natscope.model.evidence import Evidence, Interface
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

ROTATED = "rotated"
"""The reason of a file that another follows without a gap."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where and how a recording was made; what is not known is None or empty.

    Attributes:
        start_ns: when the file was begun, ns since 1970.
        natscope: the version that recorded.
        hostname: of the machine, as uname(2) tells it.
        kernel: its release.
        boot_id: of /proc/sys/kernel/random; another one is another uptime.
        netns: the namespace that was asked for; None is the recorder's own.
        filter: which flows, in the normal form of a filter; empty is all.
        byteorder: of the messages, as sys.byteorder.
        clock: what times of reception are read from.
        sysctls: net.netfilter.nf_conntrack_ events, timestamp and acct as found.
        timeouts: as Evidence has them.
        addresses: the box's own, each with its prefix length, as text.
        dumps: whether the table stands in the file too.
        continues_ns: start_ns of the file that this one continues without a gap;
            0 is none.
    """

    start_ns: int = 0
    natscope: str = ""
    hostname: str = ""
    kernel: str = ""
    boot_id: str = ""
    netns: str | None = None
    filter: str = ""
    byteorder: str = sys.byteorder
    clock: str = "CLOCK_REALTIME"
    sysctls: Mapping[str, int] = field(default_factory=dict)
    timeouts: Mapping[str, int] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    dumps: bool = True
    continues_ns: int = 0

    def evidence(self, now_ns: int | None) -> Evidence:
        """The box as it was when the file was begun, at a moment.

        Raises:
            DecodeError: an address is none.
        """
        found: list[Interface] = []
        for address in self.addresses:
            try:
                found.append(ip_interface(address))
            except ValueError as error:
                raise _bad(f"addresses: {error}") from error
        return Evidence(now_ns, self.timeouts, tuple(found))


def encode_header(header: Header) -> bytes:
    """The payload of a HEADER frame."""
    return json.dumps(asdict(header), separators=(",", ":")).encode()


def decode_header(payload: bytes) -> Header:
    """Read the payload of a HEADER frame; keys it does not know are let be.

    Raises:
        DecodeError: it is no header, or of a machine of the other byte order.
    """
    told = _object(payload)
    known = {name: _checked(name, told[name]) for name in _TYPES if name in told}
    header = Header(**known)
    if header.byteorder != sys.byteorder:
        raise _bad(
            f"recorded on a {header.byteorder}-endian machine, this one is "
            f"{sys.byteorder}-endian"
        )
    return header


@dataclass(frozen=True, slots=True)
class Totals:
    """What a file holds, as its END frame tells.

    Attributes:
        reason: why it ends.
        events: event messages in it.
        lost: events the socket dropped.
        flows: entries of its dumps.
    """

    reason: str
    events: int
    lost: int
    flows: int


def encode_totals(totals: Totals) -> bytes:
    """The payload of an END frame."""
    return json.dumps(asdict(totals), separators=(",", ":")).encode()


def decode_totals(payload: bytes) -> Totals:
    """Read the payload of an END frame; keys it does not know are let be.

    Raises:
        DecodeError: it is none.
    """
    told = _object(payload)
    numbers = {name: told.get(name, 0) for name in ("events", "lost", "flows")}
    reason = told.get("reason", "")
    if not isinstance(reason, str) or not all(map(_is_number, numbers.values())):
        raise _bad("totals are numbers and a reason")
    return Totals(reason, **numbers)


class PayloadDecoder:
    """Decodes the payloads of DUMP and EVENTS frames to columns."""

    def __init__(self) -> None:
        self._flows = Decoder()
        self._events = EventDecoder()

    def dump(self, frame: Frame) -> FlowTable:
        """The entries of a DUMP frame.

        Raises:
            DecodeError: of the first bad message.
        """
        return self._flows.decode_at(frame.payload, _starts(frame.payload))

    def events(self, frame: Frame) -> list[Events]:
        """The events of an EVENTS frame, a batch for each time of reception.

        Raises:
            DecodeError: of the first bad message.
        """
        payload, starts = frame.payload, _starts(frame.payload)
        if len(starts) == 0:
            return []
        words = np.frombuffer(payload, np.uint32)
        marks = np.flatnonzero(words[(starts >> 2) + 1] & 0xFFFF == NLMSG_NOOP)
        marks = marks[words[starts[marks] >> 2] == TIME_SIZE]
        firsts = [0, *(marks + 1).tolist()]
        times = [frame.time_ns]
        for mark in starts[marks].tolist():
            at = mark + TIME_SIZE - 8
            times.append(int.from_bytes(payload[at : at + 8], sys.byteorder))
        ends = [*marks.tolist(), len(starts)]
        return [
            self._events.decode(payload, starts[first:end], received_ns=time_ns)
            for first, end, time_ns in zip(firsts, ends, times, strict=True)
            if end > first
        ]


def _starts(payload: bytes) -> NDArray[np.intp]:
    if len(payload) % 4:
        raise DecodeError(
            f"{len(payload)} bytes are no messages of 4-byte words",
            path=("frame",),
            offset=len(payload),
        )
    view = memoryview(payload)
    return np.array(message_starts(view, [(0, len(payload))]), np.intp)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _bad(f"no JSON: {error}") from error
    if not isinstance(told, dict):
        raise _bad("no JSON object")
    return told


_TEXT = ("natscope", "hostname", "kernel", "boot_id", "filter", "byteorder", "clock")
_TYPES = {
    **dict.fromkeys(_TEXT, "text"),
    **dict.fromkeys(("sysctls", "timeouts"), "numbers"),
    **dict.fromkeys(("start_ns", "continues_ns"), "number"),
    "netns": "text or null",
    "addresses": "texts",
    "dumps": "true or false",
}


def _checked(name: str, value: Any) -> Any:
    if not _is(value, _TYPES[name]):
        raise _bad(f"{name} is not {_TYPES[name]}")
    return tuple(value) if name == "addresses" else value


def _is(value: Any, wanted: str) -> bool:
    match wanted:
        case "text":
            return isinstance(value, str)
        case "text or null":
            return value is None or isinstance(value, str)
        case "number":
            return _is_number(value)
        case "true or false":
            return isinstance(value, bool)
        case "numbers":
            return isinstance(value, dict) and all(map(_is_number, value.values()))
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _bad(reason: str) -> DecodeError:
    return DecodeError(reason, path=("recording", "header"), offset=0)
