"""R28, R32, R33: what the cloud, the link and the CPU allow."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from natscope.model.bundle import Family, Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.measured import Totals
from natscope.views.doctor.chains import clamps_mss
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.doctor.ways import default_devices, link

_EXCEEDED = "_allowance_exceeded"
_AVAILABLE = "conntrack_allowance_available"
_TRACKED = "conntrack"
_INTERNET = 1500
"""MTU the world counts on: hosts behind a smaller one must be told."""
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
                    ),
                ),
                verify=f"ethtool -S {nic} | grep conntrack_allowance",
                about=f"{nic} {_AVAILABLE}",
            )


def _exceeded(snapshot: Snapshot, nic: str, name: str, packets: int) -> Finding:
    what = name.removesuffix(_EXCEEDED)
    is_tracking = what == _TRACKED
    return Finding(
        "R28",
        Severity.CRITICAL if is_tracking else Severity.WARNING,
        f"{nic}: the cloud dropped or held back {packets} packets in "
        f"{snapshot.interval}, beyond its allowance of {what}",
        (Fact(name, packets, "packets"), Fact("interval", snapshot.interval_s, "s")),
        why="The limit is the instance type's, and lies before this kernel: no counter "
        "of Linux shows it, and no sysctl moves it.",
        remedies=(
            Remedy(
                "a larger instance type, or traffic over several",
                "and fewer short flows: connection reuse, longer-lived clients",
            ),
        ),
        verify=f"ethtool -S {nic} | grep allowance: it rises no more",
        about=f"{nic} {what}",
    )


def small_mtu(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R32: a way out with a small MTU, and TCP is not told.

    Only below 1500: at that, hosts with jumbo frames are bounded by their peers.
    """
    ways: dict[str, str] = {}
    for family, switch in _FORWARDING.items():
        if snapshot.sysctl(switch):
            for name in default_devices(snapshot.bundle, family):
                ways.setdefault(name, "ip" if family == "inet" else "ip6")
    for name, family_of_rule in ways.items():
        out = link(snapshot.bundle, name)
        if out is None or out.mtu >= _INTERNET:
            continue
        inner = _larger(snapshot, out, ways.keys())
        if inner and not clamps_mss(snapshot.ruleset):
            yield _unclamped(out, inner, family_of_rule)


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


def _unclamped(out: Link, inner: list[Link], family: str) -> Finding:
    names = ", ".join(one.name for one in inner[:3])
    return Finding(
        "R32",
        Severity.WARNING,
        f"{out.name} has MTU {out.mtu}, {names} {inner[0].mtu}, and no rule sets TCP's "
        "maximum segment size",
        (
            Fact(f"MTU of {out.name}", out.mtu, "bytes"),
            Fact(f"MTU of {inner[0].name}", inner[0].mtu, "bytes"),
        ),
        why="Hosts inside offer segments too large for the way out. Servers must be "
        "told by ICMP, which many filter: connections open, and stall with the first "
        "large packet.",
        remedies=(
            Remedy(
                f'nft add rule {family} TABLE forward oifname "{out.name}" tcp flags '
                "syn tcp option maxseg size set rt mtu",
                "and the same with iifname, for connections from outside",
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
        f"{cpu} spends {share:.0%} of its time on packets",
        (
            Fact(f"softirq of {cpu}", round(share * 100), "%"),
            Fact("dropped by the backlog", dropped, "packets"),
        ),
        why="Packets of one queue, or of one flow, are the work of one CPU. A stream "
        "into nowhere does that too: see R07 and R19.",
        remedies=(
            Remedy("natscope list --sort -packets", "which flow it is"),
            Remedy(
                "ethtool -L DEV combined N",
                "more queues; or RPS: /sys/class/net/DEV/queues/rx-0/rps_cpus",
            ),
        ),
        verify="mpstat -P ALL 1: soft is even",
        about=cpu,
    )


def _overflow(snapshot: Snapshot, dropped: int) -> Finding:
    setting = ("net.core.netdev_max_backlog", "10000")
    return Finding(
        "R33",
        Severity.WARNING,
        f"the backlog dropped {dropped} packets in {snapshot.interval}",
        (Fact("softnet.dropped", dropped, "packets"),),
        why="A CPU's queue of received packets was full (net.core.netdev_max_backlog).",
        remedies=(
            Remedy(
                f"sysctl -w {setting[0]}={setting[1]}",
                "or spread the load over more CPUs: RPS",
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
