"""Which elements each sort of record has.

A value nobody told is no zero, so what may be missing makes another template:
ports, counters, a translation.  A template's number follows from what it is,
and is the same in every run: a collector that kept the old ones is not misled.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from natscope.render.ipfix.elements import (
    ELEMENTS,
    OPTIONS_TEMPLATE_SET,
    TEMPLATE_SET,
    Element,
)

FIRST = 256
"""Template numbers below name sets of other sorts."""

# the parts of a shape, and of a template's number
V6 = 1
ICMP, PORTS = 1 << 1, 1 << 2
TRANSLATED = 1 << 3
ENDED = 1 << 4
COUNTED = 1 << 5
BINDING = 1 << 6
CISCO = 1 << 7
SHAPES = 1 << 8

STATISTICS = FIRST + SHAPES
"""The options template."""
_STATISTICS = (
    "observationDomainId",  # the scope
    "observationTimeMilliseconds",
    "systemInitTimeMilliseconds",
    "exportedMessageTotalCount",
    "exportedFlowRecordTotalCount",
    "notSentFlowTotalCount",
    "ignoredPacketTotalCount",
)
_SCOPES = 1


@dataclass(frozen=True)
class Template:
    """The elements of one sort of record, in order."""

    number: int
    elements: tuple[Element, ...]
    scopes: int = 0
    """How many of them say what an options record is about."""

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """A record, packed as it is sent; fields are named as the elements."""
        return np.dtype([(element.name, element.kind) for element in self.elements])

    @cached_property
    def set(self) -> int:
        """The number of the set that announces it."""
        return OPTIONS_TEMPLATE_SET if self.scopes else TEMPLATE_SET

    @cached_property
    def announcement(self) -> bytes:
        """The template record, RFC 7011 sections 3.4.1 and 3.4.2.2."""
        head = struct.pack("!HH", self.number, len(self.elements))
        if self.scopes:
            head += struct.pack("!H", self.scopes)
        return head + b"".join(element.specifier() for element in self.elements)


@cache
def template(number: int) -> Template:
    """The template of this number.

    Raises:
        KeyError: no template of natscope's.
    """
    if number == STATISTICS:
        names, scopes = list(_STATISTICS), _SCOPES
    elif 0 <= number - FIRST < SHAPES:
        names, scopes = _names(number - FIRST), 0
    else:
        raise KeyError(number)
    return Template(number, tuple(ELEMENTS[name] for name in names), scopes)


def _names(shape: int) -> list[str]:
    """The elements of a record of flows; RFC 8158 section 5 for the translated."""
    names = ["observationTimeMilliseconds"]
    names.append("natEvent" if shape & TRANSLATED else "firewallEvent")
    names += ["flowStartMilliseconds", "flowEndMilliseconds", "protocolIdentifier"]
    names += ["ingressVRFID", "natInstanceID"]
    names += _source(shape)
    if not shape & BINDING:
        names += _destination(shape)
    if shape & ENDED and not shape & BINDING:
        names += ["flowEndReason"]
    if shape & COUNTED:
        names += _counters(shape)
    return names


def _source(shape: int) -> list[str]:
    family = "IPv6" if shape & V6 else "IPv4"
    names = [f"source{family}Address"]
    if shape & TRANSLATED:
        names.append(f"postNATSource{family}Address")
    if shape & (PORTS | ICMP):
        names.append("sourceTransportPort")
        if shape & TRANSLATED:
            names.append("postNAPTSourceTransportPort")
    return names


def _destination(shape: int) -> list[str]:
    family = "IPv6" if shape & V6 else "IPv4"
    names = [f"destination{family}Address"]
    if shape & TRANSLATED:
        names.append(f"postNATDestination{family}Address")
    if shape & ICMP:
        names.append(f"icmpTypeCode{family}")
    elif shape & PORTS:
        names.append("destinationTransportPort")
        if shape & TRANSLATED:
            names.append("postNAPTDestinationTransportPort")
    return names


def _counters(shape: int) -> list[str]:
    if shape & CISCO:
        octets = ["initiatorOctets", "responderOctets"]
        return [*octets, "initiatorPackets", "responderPackets"]
    forth = ["octetDeltaCount", "packetDeltaCount"]
    back = ["reverseOctetDeltaCount", "reversePacketDeltaCount"]
    return [*forth, *back, "biflowDirection"]
