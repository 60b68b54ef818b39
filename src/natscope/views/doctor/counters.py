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
        "nf_conntrack_max",
        "natscope count; sysctl net.netfilter.nf_conntrack_max",
        "entries each namespace may have; beyond, new flows are dropped",
        ("R01",),
    ),
    Explained(
        "nf_conntrack_buckets",
        "natscope stats; sysctl net.netfilter.nf_conntrack_buckets",
        "hash chains, shared by all namespaces of the host",
        ("R02",),
    ),
    Explained(
        "nf_conntrack_expect_max",
        "sysctl net.netfilter.nf_conntrack_expect_max",
        "expectations a namespace may have; beyond, helpers' flows are not expected",
        ("R20",),
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
    "count": "entries",
    "nf_conntrack_count": "entries",
    "entries_limit": "nf_conntrack_max",
    "max": "nf_conntrack_max",
    "buckets": "nf_conntrack_buckets",
    "expect_max": "nf_conntrack_expect_max",
    "softnet_dropped": "softnet.dropped",
    "softnet_times_squeezed": "softnet.squeezed",
    "softnet_stat.dropped": "softnet.dropped",
    "softnet_stat.squeezed": "softnet.squeezed",
}
"""Columns of /proc/net/stat/nf_conntrack (ct_cpu_seq_show()), by their usual names, and
the names of exporters without what they put before them."""
_EXPORTERS = re.compile(
    r"(?:node_)?nf_conntrack_(?:stat_)?|conntrack_stats_|node_(?:ethtool_|(?=softnet_))|"
    r"system\.(?:net\.conntrack\.|net\.aws\.ec2\.|(?=softnet_))|ethtool_"
)
"""What node_exporter, conntrack-stats-exporter, Datadog and netdata put before one."""
_NETSTAT = "node_netstat_"
"""node_exporter's, of what nstat(8) shows: ``node_netstat_TcpExt_SyncookiesSent``."""
_CHART = re.compile(r"netfilter\.conntrack_([a-z]+)(?:[._]([a-z_]+))?")
_CHARTS: Mapping[str, Mapping[str, str]] = {
    "sockets": {"connections": "entries"},
    "new": {"new": "new", "ignore": "ignore", "invalid": "invalid"},
    "changes": {
        "inserted": "insert",
        "deleted": "delete",
        "delete_list": "delete_list",
    },
    "expect": {
        "created": "expect_create",
        "deleted": "expect_delete",
        "new": "expect_new",
    },
    "search": {
        "searched": "searched",
        "restarted": "search_restart",
        "found": "found",
    },
    "errors": {
        "icmp_error": "error",
        "insert_failed": "insert_failed",
        "drop": "drop",
        "early_drop": "early_drop",
    },
}
"""The charts of netdata (proc_net_stat_conntrack.c), and their dimensions."""
_NUMBERED = {
    "cpun.": re.compile(r"cpu[0-9]+\."),
    "netlink.port.": re.compile(r"netlink\.[0-9]+\."),
}


def _names(known: str) -> tuple[str, ...]:
    """As the doctor writes it, without what stands before a dot, and as nstat does."""
    folded = known.casefold()
    return folded, folded.rpartition(".")[2], folded.replace(".", "")


_BY_ANY_NAME: Mapping[str, str] = {
    **{name: known for known in reversed([*BY_NAME]) for name in _names(known)},
    **_OTHER_NAMES,
}


def explained(name: str) -> tuple[Explained, ...]:
    """What a name stands for, in any case: a counter, or all of a chart of netdata.

    Names are those of the kernel's files, of conntrack(8) and nstat(8), and what
    exporters make of them.
    """
    folded = name.casefold()
    if (chart := _CHART.fullmatch(folded)) is not None:
        dimensions = _CHARTS.get(chart[1], {})
        return tuple(
            BY_NAME[one] for word, one in dimensions.items() if chart[2] in (None, word)
        )
    for generic, pattern in _NUMBERED.items():
        folded = pattern.sub(generic, folded)
    for one in (folded, _bare(folded)):
        if one in _BY_ANY_NAME:
            return (BY_NAME[_BY_ANY_NAME[one]],)
    return ()


def _bare(folded: str) -> str:
    """Without what an exporter puts around a name."""
    if folded.startswith(_NETSTAT):
        return folded.removeprefix(_NETSTAT).replace("_", "")
    found = _EXPORTERS.match(folded)
    bare = folded if found is None else folded[found.end() :]
    return bare.removesuffix("_total")


def feeds(name: str) -> tuple[str, ...]:
    """The rules that look at a counter, by its exact name; of an unknown one, none."""
    one = BY_NAME.get(name)
    return () if one is None else one.rules


def nearest(name: str) -> str | None:
    """The name somebody may have meant."""
    near = get_close_matches(_bare(name.casefold()), _BY_ANY_NAME, 1)
    return _BY_ANY_NAME[near[0]] if near else None
