"""What a box counts, read twice, and what listens on it: for a diagnosis.

Kept in a bundle, so that another box's can be judged.  None is a part that was not
read; a mapping without a name is a counter that the kernel does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Totals = Mapping[str, int]
"""Counters by name."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits for strangers: TCP in LISTEN, UDP not connected."""

    proto: Literal["tcp", "udp"]
    address: IPv4Address | IPv6Address
    """The unspecified one: every address of the box."""
    port: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """Another network namespace of the host, and how many flows it tracks."""

    name: str
    count: int


STANDBY = frozenset({"conntrackd", "keepalived", "pacemakerd", "ucarp"})
"""Programs of a box that has a second one beside it, by their names."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the namespace that listens to netfilter, or keeps a standby."""

    pid: int
    name: str
    """/proc/PID/comm: conntrackd, keepalived, ulogd …"""


@dataclass(frozen=True, slots=True)
class PortsHeld:
    """Source ports of a public address in use for one destination."""

    public: IPv4Address | IPv6Address
    proto: int
    zone: int
    address: IPv4Address | IPv6Address
    port: int
    ports: int
    """How many; without those of closing connections."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Readings of one network namespace; see ``sources.snapshot``."""

    interval_ms: int = 0
    """Between the two readings; 0: there was one, and nothing is known to rise."""
    count: int | None = None
    """Entries of the namespace's table."""
    limit: int | None = None
    """nf_conntrack_max: of each namespace by itself."""
    buckets: int | None = None
    """Of the hash, which all namespaces of the host share."""
    stats: Totals | None = None
    """Conntrack's counters summed over the CPUs, since boot."""
    rose: Totals | None = None
    """By how much each rose between the readings."""
    counters: Totals | None = None
    """``TcpExt.IPReversePathFilter``, ``Ip.ForwDatagrams``, ``Ip6.InNoRoutes``,
    ``softnet.dropped``, ``cpu0.softirq`` (of ``cpu0.total``, in ticks),
    ``netlink.4711.dropped`` (by the port id of a netfilter socket)."""
    counters_rose: Totals | None = None
    listeners: tuple[Listener, ...] | None = None
    log: tuple[str, ...] | None = None
    """Lines of the kernel's log that are about netfilter or the network."""
    nics: Mapping[str, Totals] | None = None
    """ethtool statistics by interface, those about allowances and drops."""
    nics_rose: Mapping[str, Totals] | None = None
    is_initial: bool | None = None
    """Whether it is the namespace the host itself began with."""
    namespaces: tuple[Namespace, ...] | None = None
    """Every other network namespace of the host that could be entered."""
    missing: tuple[str, ...] = ()
    """What of this could not be read, and why, in words."""
    hits_rose: Totals | None = None
    """By how many packets the counter of each rule of a NAT chain rose, by the rule's
    place: ``ip nat prerouting 3``."""
    expectations: int | None = None
    """Entries of the namespace's table of expectations."""
    programs: tuple[Program, ...] | None = None
    """Programs of the namespace that listen to netfilter, or keep a standby."""
    unanswered: tuple[int, ...] | None = None
    """Ids of translated flows that were answered once, and between the readings sent
    several packets and got none; None: packets are not counted (nf_conntrack_acct)."""
    ports_before: tuple[PortsHeld, ...] | None = None
    """The destinations most source ports were in use for at the first reading."""
