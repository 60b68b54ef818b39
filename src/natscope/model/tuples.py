"""One direction of a flow, as the kernel keys it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from natscope import uapi

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class FlowTuple:
    """struct nf_conntrack_tuple: who to whom, by which protocol.

    ``None`` is absent, never zero.  For GRE, ``sport`` and ``dport`` are the
    keys (the kernel sends them as ports).
    """

    src: Address
    dst: Address
    proto: int
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    zone: int | None = None
    """CTA_TUPLE_ZONE: set only for a zone of this direction alone."""

    def reversed(self) -> FlowTuple:
        """The tuple a reply would carry if nothing were translated."""
        icmp_type = self.icmp_type
        if icmp_type is not None:
            v6 = self.proto == uapi.IPPROTO_ICMPV6
            pairs = uapi.ICMPV6_REPLY_TYPE if v6 else uapi.ICMP_REPLY_TYPE
            icmp_type = pairs.get(icmp_type, icmp_type)
        return FlowTuple(
            src=self.dst,
            dst=self.src,
            proto=self.proto,
            sport=self.dport,
            dport=self.sport,
            icmp_type=icmp_type,
            icmp_code=self.icmp_code,
            icmp_id=self.icmp_id,
        )
