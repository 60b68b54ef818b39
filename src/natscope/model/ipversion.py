"""What each version of IP is called, where NAT meets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from natscope import uapi
from natscope.model.tuples import Address

Family = Literal["inet", "inet6"]
"""As iproute2 says it."""


@dataclass(frozen=True, slots=True)
class IpVersion:
    """A version of IP under its names."""

    number: int
    """4 or 6, as ``ipaddress`` says it."""
    family: int
    """AF_INET or AF_INET6, as the kernel says it."""
    inet: Family
    nft: str
    """``ip`` or ``ip6``: tables and headers of nft."""
    ipv: str
    """``ipv4`` or ``ipv6``: sysctls, and ``meta nfproto``."""
    bits: int
    """Of an address."""


IPV4 = IpVersion(4, uapi.AF_INET, "inet", "ip", "ipv4", 32)
IPV6 = IpVersion(6, uapi.AF_INET6, "inet6", "ip6", "ipv6", 128)
VERSIONS = {one.number: one for one in (IPV4, IPV6)}
FAMILIES = {one.family: one for one in (IPV4, IPV6)}


def family_of(address: Address) -> int:
    """AF_INET or AF_INET6."""
    return VERSIONS[address.version].family
