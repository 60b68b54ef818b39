"""What each counter tells, where the kernel counts it, and the rules it feeds."""

from __future__ import annotations

import re
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
_STAT = "/proc/net/stat/nf_conntrack"
_ETHTOOL = "ethtool -S"
_RULES: Mapping[str, tuple[str, ...]] = {
    "invalid": ("R14", "R15"),
    "insert_failed": ("R02", "R03", "R04", "R05", "R22"),
    "drop": ("R01", "R03", "R04", "R05", "R22"),
    "early_drop": ("R06",),
    "error": ("R35",),
    "clash_resolve": ("R05",),
    "chaintoolong": ("R02",),
}
_OTHERS = (
    Explained(
        "entries",
        f"{_STAT}, first column; natscope count",
        "entries of the namespace's table, on the line of each CPU the same",
        ("R01", "R02", "R23", "R24"),
    ),
    Explained(
        "expect_new",
        _STAT,
        "new flows that a helper had expected (FTP's data, for one)",
    ),
    Explained("expect_create", _STAT, "expectations that helpers made"),
    Explained("expect_delete", _STAT, "expectations that were met, or ran out"),
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
        "Udp6InCsumErrors",
        "/proc/net/snmp6",
        "the same as Udp.InCsumErrors, of IPv6",
        ("R26",),
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
        "cpuN.softirq",
        "/proc/stat, seventh number of the line cpuN; mpstat -P ALL",
        "ticks a CPU spent on packets and timers; cpuN.total is all its ticks",
        ("R33",),
    ),
    Explained(
        "netlink.PORT.dropped",
        "/proc/net/netlink, column Drops, by the port id of the socket",
        "netfilter messages a program lost because its receive buffer was full",
        ("R34",),
    ),
    *(
        Explained(
            f"{name}_allowance_exceeded",
            _ETHTOOL,
            f"packets the cloud {why} (AWS ENA)",
            ("R28",),
        )
        for name, why in (
            ("conntrack", "dropped: too many flows for this kind of instance"),
            ("pps", "queued or dropped: too many a second"),
            ("bw_in", "queued or dropped: too many bytes a second inward"),
            ("bw_out", "queued or dropped: too many bytes a second outward"),
            ("linklocal", "dropped: too many a second to its DNS, clock and metadata"),
        )
    ),
    Explained(
        "conntrack_allowance_available",
        _ETHTOOL,
        "flows that may still be opened before the cloud drops packets (AWS ENA, "
        "driver 2.8.1 and later)",
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


_OTHER_NAMES: Mapping[str, str] = {
    "clashres": "clash_resolve",
    "chainlength": "chaintoolong",
    "icmp_error": "error",
}
"""Columns of /proc/net/stat/nf_conntrack (ct_cpu_seq_show()), by their usual names."""
_EXPORTERS = re.compile(
    r"node_nf_conntrack_stat_|system\.net\.conntrack\.|system\.net\.aws\.ec2\."
)
"""What node_exporter and Datadog put before a name."""
_NUMBERED = {
    "cpun.": re.compile(r"cpu[0-9]+\."),
    "netlink.port.": re.compile(r"netlink\.[0-9]+\."),
}


def explained(name: str) -> Explained | None:
    """A counter by its name, in any case, with or without what stands before a dot.

    Names are those of the kernel's files and of conntrack(8), and what exporters make
    of them.
    """
    folded = _EXPORTERS.sub("", name.casefold(), count=1)
    for generic, pattern in _NUMBERED.items():
        folded = pattern.sub(generic, folded)
    folded = _OTHER_NAMES.get(folded, folded)
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
