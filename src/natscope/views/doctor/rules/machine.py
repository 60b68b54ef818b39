"""R28, R32, R33: what the cloud, the link and the CPU allow."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from natscope.model.bundle import Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import Family
from natscope.model.measured import Totals
from natscope.views.doctor.reading.chains import clamps_mss
from natscope.views.doctor.reading.ways import default_devices, link
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.shares import percent

_EXCEEDED = "_allowance_exceeded"
_AVAILABLE = "conntrack_allowance_available"
_TRACKED = "conntrack"
_ALLOWED = {
    "bw_in": "bandwidth inward",
    "bw_out": "bandwidth outward",
    "pps": "packets a second",
    "conntrack": "tracked connections",
    "linklocal": "packets to its DNS, metadata and time services",
}
_INTERNET = 1500
"""MTU the world counts on: hosts behind a smaller one must be told."""
_TABLES: dict[Family, str] = {"inet": "ip", "inet6": "ip6"}
_WORDS: dict[Family, str] = {"inet": "IPv4", "inet6": "IPv6"}
_FORWARDING: dict[Family, str] = {
    "inet": "net/ipv4/ip_forward",
    "inet6": "net/ipv6/conf/all/forwarding",
}


def allowances(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R28: the cloud drops packets before this kernel sees them (ENA)."""
    for nic, rose in (snapshot.measured.nics_rose or {}).items():
        for name, packets in rose.items():
            if name.endswith(_EXCEEDED) and packets:
                yield _exceeded(snapshot, nic, name, packets)
    for nic, told in snapshot.nics.items():
        left = told.get(_AVAILABLE)
        if left is None:
            continue
        # what the cloud tracks of this box is at least about what the box does
        size = left + snapshot.count
        if left < thresholds.allowance_share * size:
            yield Finding(
                "R28",
                Severity.WARNING,
                f"{nic}: {left} flows are left of what the cloud tracks",
                (
                    Fact(_AVAILABLE, left, "flows"),
                    Fact("tracked here", snapshot.count, "entries"),
                ),
                why="Security groups track connections by themselves, with a limit "
                "that depends on the instance type. Beyond it new ones are dropped.",
                remedies=(
                    Remedy(
                        "a larger instance, or security groups that allow all",
                        "both ways: flows of such rules are not tracked",
                        is_pattern=True,
                    ),
                ),
                verify=f"ethtool -S {nic} | grep conntrack_allowance",
                about=f"{nic} {_AVAILABLE}",
            )


def _exceeded(snapshot: Snapshot, nic: str, name: str, packets: int) -> Finding:
    what = name.removesuffix(_EXCEEDED)
    number = "1 packet" if packets == 1 else f"{packets} packets"
    is_tracking = what == _TRACKED
    return Finding(
        "R28",
        Severity.CRITICAL if is_tracking else Severity.WARNING,
        f"{nic}: the cloud dropped or held back {number} in {snapshot.interval}, "
        f"beyond its allowance of {_ALLOWED.get(what, what)}",
        (Fact(name, packets, "packets"), Fact("interval", snapshot.interval_s, "s")),
        why="The limit is the instance type's, and lies before this kernel: no counter "
        "of Linux shows it, and no sysctl moves it.",
        remedies=(
            Remedy(
                "a larger instance type, or traffic over several",
                "and fewer short flows: connection reuse, longer-lived clients",
                is_pattern=True,
            ),
        ),
        verify=f"ethtool -S {nic} | grep allowance: it rises no more",
        about=f"{nic} {what}",
    )


def small_mtu(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R32: a way out with a small MTU, and TCP is not told.

    Only below 1500: at that, hosts with jumbo frames are bounded by their peers.
    """
    unclamped = {
        family: default_devices(snapshot.bundle, family)
        for family, switch in _FORWARDING.items()
        if snapshot.sysctl(switch) and not clamps_mss(snapshot.ruleset, _TABLES[family])
    }
    every = {name for one in _TABLES for name in default_devices(snapshot.bundle, one)}
    for name in dict.fromkeys(name for names in unclamped.values() for name in names):
        out = link(snapshot.bundle, name)
        if out is None or out.mtu >= _INTERNET:
            continue
        inner = _larger(snapshot, out, every)
        if inner:
            yield _unclamped(
                out, inner, [_WORDS[one] for one in unclamped if name in unclamped[one]]
            )


def _larger(snapshot: Snapshot, out: Link, ways: Collection[str]) -> list[Link]:
    """Interfaces with hosts behind that may send larger packets; no way out."""
    return [
        one
        for one in snapshot.bundle.links
        if one.up
        and one.mtu > out.mtu
        and one.name not in (out.link, *ways)
        and "LOOPBACK" not in one.flags
        and any(address.scope == "global" for address in one.addresses)
    ]


def _unclamped(out: Link, inner: list[Link], families: list[str]) -> Finding:
    names = ", ".join(one.name for one in inner[:3])
    chain = "inet natscope-mss forward"
    sets = "tcp flags syn tcp option maxseg size set rt mtu"
    return Finding(
        "R32",
        Severity.WARNING,
        f"{out.name} has MTU {out.mtu}, {names} {inner[0].mtu}, and no rule sets TCP's "
        "maximum segment size",
        (
            Fact("family", " and ".join(families)),
            Fact(f"MTU of {out.name}", out.mtu, "bytes"),
            Fact(f"MTU of {inner[0].name}", inner[0].mtu, "bytes"),
        ),
        why="Hosts inside offer segments too large for the way out. Servers must be "
        "told by ICMP, which many filter: connections open, and stall with the first "
        "large packet.",
        remedies=(
            Remedy(
                "nft add table inet natscope-mss\n"
                f"nft add chain {chain} "
                "'{ type filter hook forward priority mangle; }'\n"
                f"nft add rule {chain} oifname '\"{out.name}\"' {sets}\n"
                f"nft add rule {chain} iifname '\"{out.name}\"' {sets}",
                "for connections in both directions; until the next boot",
            ),
        ),
        verify=f"tcpdump -ni {out.name} 'tcp[13] & 2 != 0': mss fits the MTU",
        about=out.name,
    )


def busy_cpu(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R33: one CPU does nothing but packets, or the backlog overflows.

    A budget that runs out (squeezed) is normal of a busy box.
    """
    rose = snapshot.counters_rose
    dropped = rose.get("softnet.dropped", 0)
    share, cpu = max(_shares(rose), default=(0.0, ""))
    if share >= thresholds.softirq_share:
        yield _busy(cpu, share, dropped)
    elif dropped >= thresholds.softnet_packets:
        yield _overflow(snapshot, dropped)


def _shares(rose: Totals) -> Iterator[tuple[float, str]]:
    """The share of its time each CPU spent in softirq."""
    for name, ticks in rose.items():
        cpu, _, kind = name.partition(".")
        total = rose.get(f"{cpu}.total", 0)
        if kind == "softirq" and total:
            yield ticks / total, cpu


def _busy(cpu: str, share: float, dropped: int) -> Finding:
    return Finding(
        "R33",
        Severity.HIGH,
        f"{cpu} spends {percent(share)} of its time on packets",
        (
            Fact(f"softirq of {cpu}", round(share * 100), "%"),
            Fact("dropped by the backlog", dropped, "packets"),
        ),
        why="Packets of one queue, or of one flow, are the work of one CPU. A stream "
        "into nowhere does that too: see R07 and R19.",
        remedies=(
            Remedy(
                "natscope list --sort -packets", "which flow it is", is_pattern=True
            ),
            Remedy(
                "ethtool -L DEV combined N",
                "more queues; or RPS: /sys/class/net/DEV/queues/rx-0/rps_cpus",
                is_pattern=True,
            ),
        ),
        verify="mpstat -P ALL 1: soft is even",
        about=cpu,
    )


def _overflow(snapshot: Snapshot, dropped: int) -> Finding:
    now = snapshot.sysctl("net/core/netdev_max_backlog") or 0
    setting = ("net.core.netdev_max_backlog", str(max(10_000, 2 * now)))
    return Finding(
        "R33",
        Severity.WARNING,
        f"the backlog dropped {dropped} packets in {snapshot.interval}",
        (Fact("softnet.dropped", dropped, "packets"),),
        why="A CPU's queue of received packets was full (net.core.netdev_max_backlog). "
        "Interfaces without NAPI, tunnels and RPS use it.",
        remedies=(
            Remedy(
                f"sysctl -w {setting[0]}={setting[1]}",
                "in the initial namespace; or spread the load over more CPUs: RPS",
                setting,
            ),
        ),
        verify="/proc/net/softnet_stat, the second column: it rises no more",
        about="backlog",
    )


RULES = (
    Rule(
        "R28",
        "cloud-allowance",
        "limits of the cloud, before this kernel",
        ("nics", "count"),
        allowances,
        "ENA driver, ena_ethtool.c; fck-nat#39, amzn-drivers#291",
    ),
    Rule(
        "R32",
        "small-mtu",
        "a small MTU that TCP is not told of",
        ("links", "routes", "ruleset"),
        small_mtu,
        "RFC 2923 §2.1, RFC 4459; alternat#62",
    ),
    Rule(
        "R33",
        "busy-cpu",
        "one CPU full of packets",
        ("counters_rose",),
        busy_cpu,
        "enqueue_to_backlog(); kubernetes#139628",
    ),
)
