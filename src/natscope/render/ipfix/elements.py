"""The information elements natscope sends, by their IANA names and numbers.

https://www.iana.org/assignments/ipfix; those of NAT are RFC 8158's, the reverse
ones RFC 5103's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

REVERSE = 29305
"""The enterprise number under which an element counts the reply direction."""
VERSION = 10
TEMPLATE_SET, OPTIONS_TEMPLATE_SET = 2, 3
ENTERPRISE_BIT = 0x8000


class NatEvent:
    """natEvent, the registry of RFC 8158; 1 and 2 are its Historic values."""

    TRANSLATION_CREATE = 1
    TRANSLATION_DELETE = 2
    SESSION_CREATE = 4
    SESSION_DELETE = 5
    BIB_CREATE = 8
    BIB_DELETE = 9


class FirewallEvent:
    """firewallEvent, for flows that nothing translates."""

    CREATED = 1
    DELETED = 2


INITIATOR = 1
"""biflowDirection: the source of the record is who began the flow (RFC 5103)."""


_U8, _U16, _U32, _U64, _V6 = "u1", ">u2", ">u4", ">u8", "(2,)>u8"
_LENGTHS = {_U8: 1, _U16: 2, _U32: 4, _U64: 8, _V6: 16}


@dataclass(frozen=True, slots=True)
class Element:
    """An information element as it is sent.

    ``kind`` is a NumPy type, in network order; an enterprise of 0 is IANA.
    """

    name: str
    number: int
    kind: str
    enterprise: int = 0

    @property
    def length(self) -> int:
        """Octets of a value."""
        return _LENGTHS[self.kind]

    def specifier(self) -> bytes:
        """The field specifier of a template, RFC 7011 section 3.2."""
        if self.enterprise:
            number = self.number | ENTERPRISE_BIT
            return struct.pack("!HHI", number, self.length, self.enterprise)
        return struct.pack("!HH", self.number, self.length)


_ALL = (
    Element("octetDeltaCount", 1, _U64),
    Element("packetDeltaCount", 2, _U64),
    Element("protocolIdentifier", 4, _U8),
    Element("sourceTransportPort", 7, _U16),
    Element("sourceIPv4Address", 8, _U32),
    Element("destinationTransportPort", 11, _U16),
    Element("destinationIPv4Address", 12, _U32),
    Element("sourceIPv6Address", 27, _V6),
    Element("destinationIPv6Address", 28, _V6),
    Element("icmpTypeCodeIPv4", 32, _U16),
    Element("exportedMessageTotalCount", 41, _U64),
    Element("exportedFlowRecordTotalCount", 42, _U64),
    Element("flowEndReason", 136, _U8),
    Element("icmpTypeCodeIPv6", 139, _U16),
    Element("observationDomainId", 149, _U32),
    Element("flowStartMilliseconds", 152, _U64),
    Element("flowEndMilliseconds", 153, _U64),
    Element("systemInitTimeMilliseconds", 160, _U64),
    Element("ignoredPacketTotalCount", 164, _U64),
    Element("notSentFlowTotalCount", 166, _U64),
    Element("postNATSourceIPv4Address", 225, _U32),
    Element("postNATDestinationIPv4Address", 226, _U32),
    Element("postNAPTSourceTransportPort", 227, _U16),
    Element("postNAPTDestinationTransportPort", 228, _U16),
    Element("natEvent", 230, _U8),
    Element("initiatorOctets", 231, _U64),
    Element("responderOctets", 232, _U64),
    Element("firewallEvent", 233, _U8),
    Element("ingressVRFID", 234, _U32),
    Element("biflowDirection", 239, _U8),
    Element("postNATSourceIPv6Address", 281, _V6),
    Element("postNATDestinationIPv6Address", 282, _V6),
    Element("initiatorPackets", 298, _U64),
    Element("responderPackets", 299, _U64),
    Element("observationTimeMilliseconds", 323, _U64),
    Element("natInstanceID", 463, _U32),
    Element("reverseOctetDeltaCount", 1, _U64, REVERSE),
    Element("reversePacketDeltaCount", 2, _U64, REVERSE),
)

ELEMENTS = {element.name: element for element in _ALL}
