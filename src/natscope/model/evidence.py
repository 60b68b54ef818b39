"""What a question about a table needs to know beside the table.

Views and filters never read a clock, a file or a socket; a source collects
this for them.  Each part may be missing, and what depends on it is then
unknown, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Evidence:
    """The moment and the box a table was read from."""

    now_ns: int | None = None
    """Wall clock at the time of reading, nanoseconds since the epoch."""
    timeouts: Mapping[str, int] = field(default_factory=dict)
    """``net.netfilter.nf_conntrack_*timeout*`` in seconds, by the part of the
    name after ``nf_conntrack_``: ``tcp_timeout_established``, ``udp_timeout``."""
    addresses: tuple[Interface, ...] = ()
    """The box's own addresses, each with its on-link prefix."""
