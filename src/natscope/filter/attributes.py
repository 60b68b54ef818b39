"""Where an event's message holds what is settled, for programs that look at it.

A message is struct nlmsghdr, struct nfgenmsg and attributes; ``codec.schema``
has them all, one layer up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from natscope.uapi import Cta, CtaIp, CtaProto, CtaTuple

# nlmsg_type is in the host's order; its upper byte is the subsystem
SUBSYSTEM_AT = 5 if sys.byteorder == "little" else 4
FAMILY_AT = 16  # nfgen_family, after struct nlmsghdr
ATTRIBUTES_AT = 20  # after struct nfgenmsg
VALUE_AT = 4  # an attribute's value, after its header


@dataclass(frozen=True, slots=True)
class Field:
    """Where a column stands: under these nests, as an attribute of these types.

    ``size`` is in bytes; ``certain``: every event tells it.
    """

    parents: tuple[int, ...]
    types: tuple[int, ...]
    size: int = 2
    certain: bool = False


def _tuple_fields(side: str, attribute: int) -> Iterator[tuple[str, Field]]:
    ip = (attribute, CtaTuple.CTA_TUPLE_IP)
    l4 = (attribute, CtaTuple.CTA_TUPLE_PROTO)
    sources = (CtaIp.CTA_IP_V4_SRC, CtaIp.CTA_IP_V6_SRC)
    destinations = (CtaIp.CTA_IP_V4_DST, CtaIp.CTA_IP_V6_DST)
    ids = (CtaProto.CTA_PROTO_ICMP_ID, CtaProto.CTA_PROTO_ICMPV6_ID)
    yield f"{side}_src", Field(ip, sources, 4, certain=True)
    yield f"{side}_dst", Field(ip, destinations, 4, certain=True)
    yield f"{side}_sport", Field(l4, (CtaProto.CTA_PROTO_SRC_PORT,))
    yield f"{side}_dport", Field(l4, (CtaProto.CTA_PROTO_DST_PORT,))
    yield f"{side}_icmp_id", Field(l4, ids)
    yield f"{side}_zone", Field((attribute,), (CtaTuple.CTA_TUPLE_ZONE,))


_L4 = (Cta.CTA_TUPLE_ORIG, CtaTuple.CTA_TUPLE_PROTO)
_TYPES = (CtaProto.CTA_PROTO_ICMP_TYPE, CtaProto.CTA_PROTO_ICMPV6_TYPE)
_CODES = (CtaProto.CTA_PROTO_ICMP_CODE, CtaProto.CTA_PROTO_ICMPV6_CODE)
FIELDS = {
    **dict(_tuple_fields("orig", Cta.CTA_TUPLE_ORIG)),
    **dict(_tuple_fields("reply", Cta.CTA_TUPLE_REPLY)),
    "proto": Field(_L4, (CtaProto.CTA_PROTO_NUM,), 1, certain=True),
    "orig_icmp_type": Field(_L4, _TYPES, 1),
    "orig_icmp_code": Field(_L4, _CODES, 1),
    "status": Field((), (Cta.CTA_STATUS,), 4),
    "zone": Field((), (Cta.CTA_ZONE,)),
}
"""The columns that are settled: those a condition can ask for."""
