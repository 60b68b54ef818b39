"""R19: a scan or a flood fills the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.rows import Most, examples, is_unset, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds


def flood(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R19: most flows are unanswered, and many of them are of one address.

    With no address that stands out there is nobody to stop: no finding.
    """
    table = snapshot.flows
    rows = is_unset(table, uapi.Status.SEEN_REPLY)
    unreplied = int(np.count_nonzero(rows))
    if unreplied <= thresholds.flood_flows:
        return
    if unreplied <= thresholds.flood_share * len(table):
        return
    enough = thresholds.flood_source_share * unreplied
    source = most(table, "orig_src", rows)
    target = most(table, "orig_dst", rows)
    if source is not None and source.count > enough:
        yield _finding(table, unreplied, source, "from")
    elif target is not None and target.count > enough:
        yield _finding(table, unreplied, target, "to")


def _finding(table: FlowTable, unreplied: int, top: Most, way: str) -> Finding:
    family, side = ("ip6", "ip6") if top.address.version == 6 else ("ip", "ip")
    side += " saddr" if way == "from" else " daddr"
    word = "src" if way == "from" else "dst"
    return Finding(
        "R19",
        Severity.HIGH,
        f"{unreplied} of {len(table)} flows are unanswered, {top.count} of these "
        f"{way} {top.address}",
        (
            Fact("unanswered", unreplied),
            Fact("flows", len(table)),
            Fact(f"{way} {top.address}", top.count),
            *_spread(table, top, way),
        ),
        examples(table, top.rows),
        "A scan or a flood: each first packet opens an entry that waits for an answer. "
        "They crowd out the flows of others, up to the limit of the table.",
        (
            Remedy(
                f"nft add rule {family} TABLE CHAIN {side} {top.address} drop",
                "in a chain of prerouting before conntrack (priority raw): no entry "
                "is made",
            ),
            Remedy(
                f"nft add rule {family} TABLE CHAIN ct state new meter perhost "
                f"{{ {family} saddr ct count over 1000 }} drop",
                "bounds what any one host may have open",
            ),
            Remedy(
                f"natscope delete {word} {top.address} and unreplied --dry-run",
                "what is there; without --dry-run it is removed",
                is_destructive=True,
            ),
        ),
        f"natscope count {word} {top.address} and unreplied: it falls",
        about=f"{way} {top.address}",
    )


def _spread(table: FlowTable, top: Most, way: str) -> tuple[Fact, ...]:
    """Over how many hosts and ports it goes: a scan goes over many."""
    at = np.flatnonzero(top.rows)
    other = "orig_dst" if way == "from" else "orig_src"
    words = table[other][at]
    # the halves are mixed: a count of distinct addresses need not be exact
    mixed = words[:, 1] ^ (words[:, 0] * np.uint64(0x9E3779B97F4A7C15))
    ports = table["orig_dport"][at][table.has("orig_dport")[at]]
    name = "destinations" if way == "from" else "sources"
    found = [Fact(name, len(np.unique(mixed)))]
    if len(ports):
        found.append(Fact("destination ports", len(np.unique(ports))))
    return tuple(found)


RULES = (
    Rule(
        "R19",
        "unreplied-flood",
        "a scan or flood of unanswered flows",
        ("flows",),
        flood,
        "init_conntrack(); segfault#50",
    ),
)
