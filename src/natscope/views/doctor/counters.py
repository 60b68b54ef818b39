"""What each counter tells, where the kernel counts it, and the rules it feeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from natscope.views.counters import MEANINGS


@dataclass(frozen=True, slots=True)
class Explained:
    """A counter in words."""

    name: str
    where: str
    """The file or command that shows it."""
    meaning: str
    rules: tuple[str, ...] = ()
    """Ids of the rules that look at it."""


_CONNTRACK = "natscope stats, conntrack -S"
_RULES: Mapping[str, tuple[str, ...]] = {
    "invalid": ("R14", "R15"),
    "insert_failed": ("R03", "R04", "R05", "R22"),
    "drop": ("R01", "R03", "R04", "R05", "R22"),
    "early_drop": ("R06",),
    "error": ("R35",),
    "clash_resolve": ("R05",),
    "chaintoolong": ("R02",),
}
_OTHERS = (
    Explained(
        "TcpExt.IPReversePathFilter",
        "/proc/net/netstat, nstat -az",
        "packets dropped because their source is routed through another interface "
        "than they came by (rp_filter)",
        ("R11", "R13"),
    ),
    Explained(
        "Ip.ForwDatagrams",
        "/proc/net/snmp, nstat -az",
        "IPv4 packets forwarded; while it rises and the table is empty, nothing is "
        "tracked here",
        ("R14", "R23"),
    ),
    Explained(
        "Ip6OutForwDatagrams",
        "/proc/net/snmp6",
        "IPv6 packets forwarded",
        ("R14", "R23"),
    ),
    Explained(
        "Udp.InCsumErrors",
        "/proc/net/snmp, nstat -az",
        "UDP datagrams for this box with a wrong checksum: of overlay tunnels "
        "translated twice, for one",
        ("R26",),
    ),
    Explained(
        "softnet.dropped",
        "/proc/net/softnet_stat, second column",
        "packets dropped because a CPU's backlog was full (netdev_max_backlog)",
        ("R33",),
    ),
    Explained(
        "softnet.squeezed",
        "/proc/net/softnet_stat, third column",
        "times a CPU stopped taking packets before the queue was empty (netdev_budget)",
        ("R33",),
    ),
    Explained(
        "conntrack_allowance_exceeded",
        "ethtool -S",
        "packets the cloud dropped before this box saw them: too many flows for this "
        "kind of instance (AWS ENA)",
        ("R28",),
    ),
    Explained(
        "conntrack_allowance_available",
        "ethtool -S",
        "flows that may still be opened before the cloud drops packets (AWS ENA, "
        "driver 2.8.1 and later)",
        ("R28",),
    ),
    Explained(
        "pps_allowance_exceeded",
        "ethtool -S",
        "packets the cloud queued or dropped: too many a second (AWS ENA)",
        ("R28",),
    ),
)
BY_NAME: Mapping[str, Explained] = {
    **{
        name: Explained(name, _CONNTRACK, meaning, _RULES.get(name, ()))
        for name, meaning in MEANINGS.items()
    },
    **{one.name: one for one in _OTHERS},
}
"""Every counter that can be explained."""


def explained(name: str) -> Explained | None:
    """A counter by its name, in any case, with or without what stands before a dot."""
    folded = name.casefold()
    for known, one in BY_NAME.items():
        if folded in (known.casefold(), known.rpartition(".")[2].casefold()):
            return one
    return None


def feeds(name: str) -> tuple[str, ...]:
    """The rules that look at a counter, by its exact name; of an unknown one, none."""
    one = BY_NAME.get(name)
    return () if one is None else one.rules


def nearest(name: str) -> str | None:
    """The name somebody may have meant."""
    near = get_close_matches(name, list(BY_NAME), 1)
    return near[0] if near else None
