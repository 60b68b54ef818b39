"""Events to IPFIX records, many at a time.

A NEW of a translated flow is a NAT session created, its DESTROY one deleted
(RFC 8158); other flows are told with firewallEvent.  What ended is one
bidirectional flow (RFC 5103).  An UPDATE is no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.event import EventKind
from natscope.render.ipfix import templates
from natscope.render.ipfix.elements import INITIATOR, FirewallEvent, NatEvent
from natscope.render.ipfix.templates import Template
from natscope.table.ending import end_reasons, happened_ns
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_NS_PER_MS = np.uint64(10**6)
_COUNTERS = ("orig_bytes", "orig_packets", "reply_bytes", "reply_packets")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are made of events, and how they are told."""

    domain: int = 0
    """observationDomainId, of the message header."""
    instance: int = 0
    """natInstanceID of every record."""
    cisco: bool = False
    """natEvent 1 and 2, and counters as initiator's and responder's."""
    created: bool = True
    """Records of flows that begin, not only of those that ended."""
    untranslated: bool = True
    """Records of flows nothing translates."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one template, packed as they are sent."""

    template: Template
    values: NDArray[np.void]


def records(events: Events, wanted: Wanted) -> Iterator[Records]:
    """The records of a batch, template by template."""
    told = _Told(events, wanted)
    keep = told.events.kinds != EventKind.UPDATE
    if not wanted.created:
        keep &= told.ended
    if not wanted.untranslated:
        keep &= told.translated
    shapes = _shapes(told)
    yield from _by_shape(told, shapes, keep)


def binding_records(events: Events, wanted: Wanted) -> Iterator[Records]:
    """Bindings that began and ended, NAT44 BIB of RFC 8158: no destinations.

    Args:
        events: as ``table.bindings.Bindings`` tells them.
        wanted: how they are told.
    """
    told = _Told(events, wanted)
    shapes = _shapes(told) & ~np.uint16(templates.ENDED | templates.COUNTED)
    shapes |= np.uint16(templates.BINDING | templates.TRANSLATED)
    yield from _by_shape(told, shapes, np.ones(len(shapes), np.bool_))


class _Told:
    """What every record of a batch is made of."""

    def __init__(self, events: Events, wanted: Wanted) -> None:
        self.events = events
        self.wanted = wanted
        flows = events.flows
        self.ended: Mask = events.kinds == EventKind.DESTROY
        self.translated = translated(flows)
        end_ns = happened_ns(events)
        start_ns = np.where(flows.has("start_ns"), flows["start_ns"], end_ns)
        self.end_ms = end_ns // _NS_PER_MS
        self.start_ms = np.minimum(start_ns // _NS_PER_MS, self.end_ms)
        self.reasons = end_reasons(flows)


def translated(flows: FlowTable) -> Mask:
    """Flows the kernel translates: its status bits say so."""
    bits = np.uint32(uapi.Status.SRC_NAT | uapi.Status.DST_NAT)
    changed: Mask = flows["status"] & bits != 0
    return changed


def _shapes(told: _Told) -> NDArray[np.uint16]:
    """What each record is, as the parts of a template's number."""
    flows = told.events.flows
    # a dump shows that a flow is gone, not why, nor what it carried to its end
    seen = told.ended & (not told.events.repaired)
    counted = seen.copy()
    for name in _COUNTERS:
        counted &= flows.has(name)
    parts = (
        (templates.V6, flows["family"] == uapi.AF_INET6),
        (templates.ICMP, flows.has("orig_icmp_type")),
        (templates.PORTS, flows.has("orig_sport")),
        (templates.TRANSLATED, told.translated),
        (templates.ENDED, seen),
        (templates.COUNTED, counted),
    )
    start = templates.CISCO if told.wanted.cisco else 0
    shapes = np.full(len(flows), start, np.uint16)
    for part, rows in parts:
        shapes |= rows * np.uint16(part)
    return shapes


def _by_shape(told: _Told, shapes: NDArray[np.uint16], keep: Mask) -> Iterator[Records]:
    kept = shapes if keep.all() else shapes[keep]
    for shape in np.flatnonzero(np.bincount(kept)).tolist():
        found = np.flatnonzero(keep & (shapes == shape))
        rows = slice(None) if len(found) == len(shapes) else found
        template = templates.template(templates.FIRST + shape)
        yield Records(template, _filled(template, told, shape, rows))


def _filled(
    template: Template, told: _Told, shape: int, rows: NDArray[np.intp] | slice
) -> NDArray[np.void]:
    taken = _Rows(told, shape, rows)
    values = np.empty(len(taken.of(told.end_ms)), template.dtype)
    for element in template.elements:
        values[element.name] = _VALUES[element.name](taken)
    return values


class _Rows:
    """Some rows of a batch, all of one shape."""

    def __init__(self, told: _Told, shape: int, rows: NDArray[np.intp] | slice) -> None:
        self.told = told
        self.shape = shape
        self._rows = rows

    def column(self, name: str) -> Array:
        """A column of the flows."""
        return self.of(self.told.events.flows[name])

    def of(self, whole: Array) -> Array:
        """These rows of an array over the batch."""
        part: Array = whole[self._rows]
        return part

    def end(self, direction: str, end: str) -> Array:
        """A port, or the ICMP id in its place."""
        if self.shape & templates.ICMP:
            return self.column(f"{direction}_icmp_id")
        return self.column(f"{direction}_{end}")

    def event(self, created: int, deleted: int) -> Array:
        """The number of what happened."""
        return np.where(self.of(self.told.ended), deleted, created)

    def zone(self) -> Array:
        """The zone of the original direction."""
        flows = self.told.events.flows
        zone = self.column("zone")
        if "orig_zone" in flows.columns:
            own = self.of(flows.has("orig_zone"))
            zone = np.where(own, self.column("orig_zone"), zone)
        return zone


def _nat_event(rows: _Rows) -> Array:
    if rows.shape & templates.CISCO:
        return rows.event(NatEvent.TRANSLATION_CREATE, NatEvent.TRANSLATION_DELETE)
    if rows.shape & templates.BINDING:
        return rows.event(NatEvent.BIB_CREATE, NatEvent.BIB_DELETE)
    return rows.event(NatEvent.SESSION_CREATE, NatEvent.SESSION_DELETE)


def _icmp(rows: _Rows) -> Array:
    high = rows.column("orig_icmp_type").astype(np.uint16) << np.uint16(8)
    return high | rows.column("orig_icmp_code")


def _v4(name: str) -> Callable[[_Rows], Array]:
    return lambda rows: rows.column(name)[:, 1]


def _of(name: str) -> Callable[[_Rows], Array]:
    return lambda rows: rows.column(name)


def _ended_ms(rows: _Rows) -> Array:
    return rows.of(rows.told.end_ms)


_VALUES: dict[str, Callable[[_Rows], Any]] = {
    "observationTimeMilliseconds": _ended_ms,
    "natEvent": _nat_event,
    "firewallEvent": lambda rows: rows.event(
        FirewallEvent.CREATED, FirewallEvent.DELETED
    ),
    "flowStartMilliseconds": lambda rows: rows.of(rows.told.start_ms),
    "flowEndMilliseconds": _ended_ms,
    "protocolIdentifier": _of("proto"),
    "ingressVRFID": _Rows.zone,
    "natInstanceID": lambda rows: rows.told.wanted.instance,
    "sourceIPv4Address": _v4("orig_src"),
    "sourceIPv6Address": _of("orig_src"),
    "postNATSourceIPv4Address": _v4("reply_dst"),
    "postNATSourceIPv6Address": _of("reply_dst"),
    "sourceTransportPort": lambda rows: rows.end("orig", "sport"),
    "postNAPTSourceTransportPort": lambda rows: rows.end("reply", "dport"),
    "destinationIPv4Address": _v4("orig_dst"),
    "destinationIPv6Address": _of("orig_dst"),
    "postNATDestinationIPv4Address": _v4("reply_src"),
    "postNATDestinationIPv6Address": _of("reply_src"),
    "destinationTransportPort": _of("orig_dport"),
    "postNAPTDestinationTransportPort": _of("reply_sport"),
    "icmpTypeCodeIPv4": _icmp,
    "icmpTypeCodeIPv6": _icmp,
    "flowEndReason": lambda rows: rows.of(rows.told.reasons),
    "octetDeltaCount": _of("orig_bytes"),
    "packetDeltaCount": _of("orig_packets"),
    "reverseOctetDeltaCount": _of("reply_bytes"),
    "reversePacketDeltaCount": _of("reply_packets"),
    "initiatorOctets": _of("orig_bytes"),
    "responderOctets": _of("reply_bytes"),
    "initiatorPackets": _of("orig_packets"),
    "responderPackets": _of("reply_packets"),
    "biflowDirection": lambda rows: INITIATOR,
}
"""How each element is read off a batch."""
