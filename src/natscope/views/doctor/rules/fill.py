"""R01, R02, R06: the table, its hash, and what the kernel throws out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.model.release import release
from natscope.table.flowtable import FlowTable
from natscope.views.capacity import BUCKET_BYTES, ENTRY_BYTES, EXTENSION_BYTES
from natscope.views.doctor.reading.losses import Losses
from natscope.views.doctor.reading.rows import Mask, examples, is_unset, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.shares import percent

_MAX = "net.netfilter.nf_conntrack_max"
_BUCKETS = "net.netfilter.nf_conntrack_buckets"
_FULL = re.compile(r"nf_conntrack: table full")
_STATES = 3
"""TCP states named, the most frequent first."""
_WORTH_NAMING = 1.0
"""Per cent of the flows, for an address to be named."""
_SHORT_CHAINS = ((5, 15), (6, 2))
"""First and last release with the limit of 8 to 32 entries a chain (c9c3b6811f74);
distributions took it back, or did not."""


def table_near_limit(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R01: the entries of the namespace against nf_conntrack_max.

    Certain loss (packets dropped for want of an entry) makes it critical from the
    first threshold on; below it, the loss itself is told.
    """
    count, limit = snapshot.count, snapshot.limit
    if not limit:
        return  # 0: there is no limit (__nf_conntrack_alloc)
    dropped = Losses.of(snapshot.measured.rose, thresholds).no_entry
    logged = _logged(snapshot, thresholds)
    severity = thresholds.of_table(count / limit)
    is_full = severity is not None or bool(logged)
    told = f"{count} of {limit} entries"
    if severity is not None:
        severity = Severity.CRITICAL if dropped else severity
        headline = f"the table is {percent(count / limit)} full: {told}"
        headline += f", {dropped} packets dropped" if dropped else ""
    elif dropped >= thresholds.no_entry:
        severity = Severity.HIGH
        headline = f"{dropped} packets were dropped for want of an entry; now {told}"
    elif logged:
        severity = Severity.WARNING
        headline = f"the table was full within the hour; now {told}"
    else:
        return
    facts = [Fact("entries", count), Fact("limit", limit)]
    facts += [Fact("dropped", dropped, "packets")] if dropped else []
    facts += [Fact("log", line) for line in logged[-1:]]
    facts += _who(snapshot.table) if snapshot.table is not None else ()
    yield Finding(
        "R01",
        severity,
        headline,
        tuple(facts),
        why=_FULL_TABLE,
        remedies=(() if is_full else (_LOOK,))
        + _larger(_power_of_two(2 * max(count, limit))),
        verify="natscope stats --interval 10: drop no longer rises",
    )


def _logged(snapshot: Snapshot, thresholds: Thresholds) -> list[str]:
    """What the kernel said of this table within the hour.

    It names a namespace by a number that a later one may have again, but the initial
    one; the counters of each begin at 0, and know whether packets were dropped here.
    """
    ever = snapshot.measured.stats
    may_be_reused = snapshot.measured.is_initial is not True and ever is not None
    if may_be_reused and not Losses.of(ever, thresholds).no_entry:
        return []
    return [line for line in snapshot.measured.log or () if _FULL.search(line)]


_LOOK = Remedy(
    "dmesg | grep -E 'nf_conntrack|allocation failure'",
    "whether the table was full, or there was no memory",
    is_pattern=True,
)
_FULL_TABLE = (
    "When the table is full, a new flow must push out one that is not assured, or is "
    "dropped: new connections fail at random, old ones go on, and logging in from "
    "outside fails as well. Packets are dropped in the same way where there is no "
    "memory for an entry."
)


def chains_too_long(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R02: the hash is too small for all that is in it.

    Every entry hangs in two chains; the hash is shared by all namespaces, so their
    entries count too where they are known.
    """
    others = snapshot.measured.namespaces or ()
    entries = snapshot.count + sum(one.count for one in others)
    load = 2 * entries / max(snapshot.buckets, 1)
    # a container can neither help it nor change it
    is_ours = snapshot.measured.is_initial is not False
    is_loaded = is_ours and load >= thresholds.load_warning
    rose = snapshot.measured.rose if is_loaded else snapshot.rose
    refused = Losses.of(rose, thresholds).chained
    severity = Severity.CRITICAL
    if refused:
        headline = f"{refused} new flows were refused: their hash chains are too long"
    elif not is_loaded:
        return
    elif load >= thresholds.load_critical:
        headline = f"{load:.0f} entries in each hash chain: refusals begin about here"
    else:
        severity = Severity.WARNING
        headline = f"{load:.1f} entries in each hash chain: every look-up walks them"
    facts = [Fact("refused", refused, "flows")] if rose is not None else []
    facts += [
        Fact("entries of all namespaces", entries),
        Fact("buckets", snapshot.buckets),
        Fact("load", round(load, 2), "entries a chain"),
    ]
    if others:
        largest = max(others, key=lambda one: one.count)
        facts.append(Fact(f"entries of {largest.name}", largest.count))
    why = _CHAINS
    if refused and load < 1:
        why += _upgrade(snapshot.bundle.kernel)
    remedies = (_more_buckets(snapshot, entries, is_refused=refused > 0),)
    verify = "natscope stats --interval 10: chaintoolong no longer rises"
    yield Finding("R02", severity, headline, tuple(facts), (), why, remedies, verify)


_CHAINS = (
    "Every packet walks a chain, and a chain of 50 to 80 entries takes no more: the "
    "new flow is dropped though the table has room."
)


def _more_buckets(snapshot: Snapshot, entries: int, *, is_refused: bool) -> Remedy:
    """As many as entries; four times those there are, where that is not enough."""
    enough = max(entries, snapshot.measured.limit or 0)
    if is_refused:
        enough = max(enough, 4 * snapshot.buckets)
    wanted = str(_power_of_two(enough))
    about = "in the initial namespace; 8 bytes a bucket"
    return Remedy(f"sysctl -w {_BUCKETS}={wanted}", about, sysctl=(_BUCKETS, wanted))


def _upgrade(kernel: str | None) -> str:
    found = release(kernel)
    if found is None or not _SHORT_CHAINS[0] <= found[:2] <= _SHORT_CHAINS[1]:
        return ""
    return (
        f" Linux {kernel} may still have the limit of 8 to 32, which is hit long "
        "before that: upgrade it."
    )


def early_drops(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R06: entries that are not assured are thrown out for new ones."""
    evicted = snapshot.rose.get("early_drop", 0)
    if evicted < thresholds.early_drops:
        return
    facts = [
        Fact("thrown out", evicted, "entries"),
        Fact("in", snapshot.interval_s, "s"),
    ]
    flows: tuple[Flow, ...] = ()
    table = snapshot.table
    if table is not None and len(table):
        unassured = is_unset(table, uapi.Status.ASSURED)
        unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
        flows = examples(table, unassured)
        facts += [
            Fact("not assured", _percent(unassured), "% of the table"),
            Fact("not answered", _percent(unreplied), "%"),
        ]
        if (top := most(table, "orig_src", unassured)) is not None:
            facts.append(Fact(f"not assured of {top.address}", top.count, "entries"))
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


def _who(table: FlowTable) -> Iterator[Fact]:
    """What fills it: the busiest source and service, and the states of the flows."""
    if len(table) == 0:
        return
    everything = np.ones(len(table), np.bool_)
    for column, word in (("orig_src", "flows of"), ("orig_dst", "flows to")):
        top = most(table, column, everything)
        if top is not None and (share := _percent(top.rows)) >= _WORTH_NAMING:
            service = _service(table, top.rows) if column == "orig_dst" else ""
            yield Fact(f"{word} {top.address}{service}", share, "%")
    unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
    yield Fact("not answered", _percent(unreplied), "%")
    states = table["tcp_state"][table.has("tcp_state")]
    counts = np.bincount(states, minlength=len(uapi.TCP_STATES))
    for state in np.argsort(-counts, kind="stable")[:_STATES].tolist():
        if counts[state] and state < len(uapi.TCP_STATES):
            share = 100 * int(counts[state]) / len(table)
            yield Fact(f"TCP {uapi.TCP_STATES[state]}", share, "%")


def _service(table: FlowTable, rows: Mask) -> str:
    """The port most of some flows go to, in words."""
    ports = table["orig_dport"][rows & table.has("orig_dport")]
    if len(ports) == 0:
        return ""
    return f", mostly port {np.bincount(ports).argmax()}"


def _percent(rows: Mask) -> float:
    return 100 * float(rows.mean())


def _larger(wanted: int) -> tuple[Remedy, ...]:
    takes = wanted * (ENTRY_BYTES + EXTENSION_BYTES) + wanted * BUCKET_BYTES
    return (
        Remedy(
            f"sysctl -w {_MAX}={wanted}",
            f"in the initial namespace; and as many buckets: sysctl -w {_BUCKETS}="
            f"{wanted}; about {takes >> 20} MiB when it is full (natscope capacity has "
            "the arithmetic)",
            sysctl=(_MAX, str(wanted)),
        ),
    )


def _power_of_two(number: int) -> int:
    return 1 << (max(number, 1) - 1).bit_length()


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
        ("count", "buckets"),
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
