"""R19: a scan or a flood fills the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.reading.rows import Most, examples, is_unset, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds


def flood(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R19: most flows are unanswered, and many of them are of one address.

    With no address that stands out there is nobody to stop: no finding.  A flow of
    many packets is a stream nobody has to answer: syslog, statsd.
    """
    table = snapshot.flows
    rows = is_unset(table, uapi.Status.SEEN_REPLY)
    rows &= ~(
        table.has("orig_packets") & (table["orig_packets"] > thresholds.flood_packets)
    )
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
    family = VERSIONS[top.address.version].nft
    word = "src" if way == "from" else "dst"
    ends = f"{family} {word[0]}addr {top.address}"
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
                _in_a_table(f"{ends} ct state new limit rate over 20/second drop"),
                f"{way} it what is open goes on, and 20 new flows a second, whosever "
                "they are; nft delete table inet natscope-flood takes it back",
                is_destructive=way == "to",
            ),
            Remedy(
                f"natscope delete '{word} {top.address} and unreplied'",
                "makes room at once; without the rule they come back",
                is_destructive=True,
            ),
        ),
        f"natscope count {word} {top.address} and unreplied: it falls",
        about=f"{way} {top.address}",
    )


def _in_a_table(rule: str) -> str:
    """Commands that put a rule behind conntrack: what it drops makes no entry."""
    return (
        "nft add table inet natscope-flood\n"
        "nft add chain inet natscope-flood prerouting "
        "'{ type filter hook prerouting priority mangle; }'\n"
        f"nft add rule inet natscope-flood prerouting {rule}"
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
