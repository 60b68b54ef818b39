"""R01, R02, R06: the table, its hash, and what the kernel throws out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.rows import examples, is_unset, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_MAX = "net.netfilter.nf_conntrack_max"
_BUCKETS = "net.netfilter.nf_conntrack_buckets"
_FULL = re.compile(r"nf_conntrack: table full")
_STATES = 3
"""TCP states named, the most frequent first."""
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_SHORT_CHAINS = ((5, 15), (6, 2))
"""First and last release with the limit of 8 to 32 entries a chain (c9c3b6811f74);
distributions took it back, or did not."""


def table_near_limit(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R01: the entries of the namespace against nf_conntrack_max.

    Certain loss (packets dropped and no insertion failed) makes it critical from the
    first threshold on.
    """
    count, limit = snapshot.count, snapshot.limit
    if not limit:
        return  # 0: there is no limit (__nf_conntrack_alloc)
    share = count / limit
    severity = thresholds.of_table(share)
    dropped = _dropped_for_want_of_room(snapshot)
    logged = _logged(snapshot)
    if severity is None and not logged:
        return
    if severity is not None and dropped:
        severity = Severity.CRITICAL
    headline = f"the table is {share:.0%} full: {count} of {limit} entries"
    if severity is None:
        headline = f"the table was full within the hour; now {count} of {limit} entries"
    facts = [Fact("entries", count), Fact("limit", limit)]
    if dropped:
        facts.append(Fact("dropped", dropped, "packets"))
        headline += f", {dropped} packets dropped"
    facts += [Fact("log", line) for line in logged[-1:]]
    if snapshot.table is not None:
        facts += _who(snapshot.table)
    wanted = _power_of_two(2 * max(count, limit))
    yield Finding(
        "R01",
        Severity.WARNING if severity is None else severity,
        headline,
        tuple(facts),
        why="When the table is full, a new flow must push out one that nobody "
        "answered, or is dropped: new connections fail at random, old ones go on, "
        "and logging in from outside fails as well.",
        remedies=_larger(wanted),
        verify="natscope stats; natscope count --by inside",
    )


def chains_too_long(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R02: the hash is too small for all that is in it.

    Every entry hangs in two chains; the hash is shared by all namespaces, so their
    entries count too where they are known.
    """
    refused = snapshot.rose.get("chaintoolong", 0)
    others = sum(one.count for one in snapshot.measured.namespaces or ())
    entries = snapshot.count + others
    load = 2 * entries / max(snapshot.buckets, 1)
    # a container can neither help it nor change it
    is_ours = snapshot.measured.is_initial is not False
    if refused:
        severity = Severity.CRITICAL
        headline = f"{refused} new flows were refused: their hash chains are too long"
    elif is_ours and load >= thresholds.load_critical:
        severity = Severity.CRITICAL
        headline = f"{load:.0f} entries in each hash chain: refusals begin about here"
    elif is_ours and load >= thresholds.load_warning:
        severity = Severity.WARNING
        headline = f"{load:.1f} entries in each hash chain: every look-up walks them"
    else:
        return
    wanted = str(_power_of_two(max(entries, snapshot.measured.limit or 0, 1)))
    about = "in the initial namespace; 8 bytes a bucket"
    yield Finding(
        "R02",
        severity,
        headline,
        (
            Fact("refused", refused, "flows"),
            Fact("entries of all namespaces", entries),
            Fact("buckets", snapshot.buckets),
            Fact("load", load, "entries a chain"),
        ),
        why=_CHAINS
        + (_upgrade(snapshot.bundle.kernel) if refused and load < 1 else ""),
        remedies=(
            Remedy(f"sysctl -w {_BUCKETS}={wanted}", about, sysctl=(_BUCKETS, wanted)),
        ),
        verify="natscope stats --interval 10: chaintoolong no longer rises",
    )


_CHAINS = (
    "Every packet walks a chain, and a chain of 50 to 80 entries takes no more: the "
    "new flow is dropped though the table has room."
)


def _upgrade(release: str | None) -> str:
    if not _may_have_short_chains(release):
        return ""
    return (
        f" Linux {release} may still have the limit of 8 to 32, which is hit long "
        "before that: upgrade it."
    )


def early_drops(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R06: entries that nobody has answered yet are thrown out for new ones."""
    evicted = snapshot.rose.get("early_drop", 0)
    if evicted < thresholds.early_drops:
        return
    facts = [
        Fact("thrown out", evicted, "entries"),
        Fact("in", snapshot.interval_s, "s"),
    ]
    flows: tuple[Flow, ...] = ()
    if snapshot.table is not None:
        unreplied = is_unset(snapshot.table, uapi.Status.SEEN_REPLY)
        flows = examples(snapshot.table, unreplied)
        share = 100 * float(unreplied.mean()) if len(unreplied) else 0.0
        facts.append(Fact("not answered", share, "% of the table"))
    limit = snapshot.measured.limit
    yield Finding(
        "R06",
        Severity.HIGH,
        f"{evicted} young entries were thrown out to make room for new flows",
        tuple(facts),
        flows,
        why="The table is at its limit, and the kernel deletes entries that are not "
        "assured (early_drop): connections just begun lose their translation, and "
        "their answers come back to nobody.",
        remedies=_larger(_power_of_two(2 * limit)) if limit else (),
        verify="natscope stats --interval 10: early_drop no longer rises",
    )


def _dropped_for_want_of_room(snapshot: Snapshot) -> int:
    """Packets dropped while no insertion failed: the table was full."""
    rose = snapshot.measured.rose or {}
    return 0 if rose.get("insert_failed", 0) else rose.get("drop", 0)


def _logged(snapshot: Snapshot) -> list[str]:
    """What the kernel said of this namespace within the hour."""
    return [line for line in snapshot.measured.log or () if _FULL.search(line)]


def _who(table: FlowTable) -> Iterator[Fact]:
    """Who fills it: the source with most flows, and the states they are in."""
    if len(table) == 0:
        return
    top = most(table, "orig_src", np.ones(len(table), np.bool_))
    if top is not None:
        share = 100 * top.count / len(table)
        yield Fact(f"flows of {top.address}", share, "%")
    unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
    yield Fact("not answered", 100 * float(unreplied.mean()), "%")
    states = table["tcp_state"][table.has("tcp_state")]
    counts = np.bincount(states, minlength=len(uapi.TCP_STATES))
    for state in np.argsort(-counts, kind="stable")[:_STATES].tolist():
        if counts[state] and state < len(uapi.TCP_STATES):
            share = 100 * int(counts[state]) / len(table)
            yield Fact(f"TCP {uapi.TCP_STATES[state]}", share, "%")


def _larger(wanted: int) -> tuple[Remedy, ...]:
    megabytes = wanted * 320 >> 20
    return (
        Remedy(
            f"sysctl -w {_MAX}={wanted}",
            f"in the initial namespace; about {megabytes} MiB when it is full, "
            f"320 bytes an entry; and as many buckets: sysctl -w {_BUCKETS}={wanted} "
            "(natscope capacity has the arithmetic)",
            sysctl=(_MAX, str(wanted)),
        ),
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _may_have_short_chains(release: str | None) -> bool:
    found = _RELEASE.match(release or "")
    if found is None:
        return False
    version = int(found[1]), int(found[2])
    return _SHORT_CHAINS[0] <= version <= _SHORT_CHAINS[1]


RULES = (
    Rule(
        "R01",
        "table-full",
        "the table near its limit",
        ("count", "limit"),
        table_near_limit,
        "__nf_conntrack_alloc(), gc_worker(); node_exporter#1629, k8s#18604",
    ),
    Rule(
        "R02",
        "hash-chains",
        "hash chains too long",
        ("count", "buckets", "rose"),
        chains_too_long,
        "__nf_conntrack_confirm(), c9c3b6811f74; netdev 2023-03-07",
    ),
    Rule(
        "R06",
        "early-drop",
        "young entries thrown out",
        ("rose",),
        early_drops,
        "early_drop(), early_drop_list()",
    ),
)
