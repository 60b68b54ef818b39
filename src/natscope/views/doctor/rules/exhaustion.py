"""R03: the source ports of one public address towards one destination.

How many are taken, out of which, and the chance that the kernel's search finds none is
what ``natscope ports`` tells (views.ports); here it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_words
from natscope.views.doctor.reading.losses import Losses
from natscope.views.doctor.reading.rows import Mask, examples
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.pools import Destination
from natscope.views.portalarms import PortLimits

_MOST_FINDINGS = 10
"""Destinations told of; each is a cause of its own."""
_TIME_WAIT = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"


def exhausted(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R03: nearly all ports towards one destination are taken.

    A range of a few ports is meant to be full, unless flows fail for it.
    """
    failed = Losses.of(snapshot.measured.rose, thresholds).taken
    limits = PortLimits(
        thresholds.ports_warning,
        thresholds.ports_high,
        thresholds.ports_critical,
        fewest=thresholds.ports_fewest,
    )
    busiest = snapshot.ports.busiest(_MOST_FINDINGS, occupancy=thresholds.ports_warning)
    for one in busiest:
        severity = limits.severity(one)
        if one.range.size < thresholds.ports_fewest and not failed:
            continue
        if failed and is_short(one, thresholds):
            severity = Severity.CRITICAL
        if severity is not None:
            yield _finding(snapshot, one, severity, failed)


def is_short(one: Destination, thresholds: Thresholds) -> bool:
    """Whether a new flow to a destination may have found no port."""
    return one.loss > 0 or one.occupancy >= thresholds.ports_high


def explains_failures(snapshot: Snapshot, thresholds: Thresholds) -> bool:
    """Whether new flows failed because some destination is short of ports."""
    worst = snapshot.ports.busiest(1, occupancy=thresholds.ports_high)
    return any(is_short(one, thresholds) for one in worst)


def _finding(
    snapshot: Snapshot, one: Destination, severity: Severity, failed: int
) -> Finding:
    proto = uapi.protocol_name(one.proto)
    remote = f"{proto} {_shown(one.address, one.port)}"
    what = "source ports" if one.port is not None else "ids"
    facts = [
        Fact("ports held", one.hard),
        Fact("closing", one.closing),
        Fact("range", str(one.range)),
    ]
    if one.loss:
        facts.append(Fact("lost", round(100 * one.loss, 2), "% of new flows"))
    if failed:
        facts.append(Fact("new flows dropped", failed, "packets"))
    facts += [Fact(f"ports of {top.address}", top.ports) for top in one.top[:1]]
    zone = f" in zone {one.zone}" if one.zone else ""
    lost = f", and {failed} new flows were dropped" if failed else ""
    return Finding(
        "R03",
        severity,
        f"{one.hard} of {one.range.size} {what} of {one.public} are taken towards "
        f"{remote}{zone}{lost}",
        tuple(facts),
        examples(snapshot.flows, _members(snapshot.flows, one)),
        why="Each flow to one destination needs a source port of its own on the public "
        "address. The kernel tries at most 248 ports: from about nine tenths on new "
        "flows fail, their packets are dropped, and nothing is logged. Other "
        "destinations go on as before.",
        remedies=tuple(_remedies(one)),
        verify="natscope ports: TAKEN falls, and LOSS is 0",
        about=f"{one.public} to {remote}{zone}",
    )


def _remedies(one: Destination) -> Iterator[Remedy]:
    family = "ip" if one.public.version == 4 else "ip6"
    replace = f"nft replace rule {family} TABLE CHAIN handle N"
    yield Remedy(
        f"{replace} snat to FIRST-LAST",
        "more public addresses, each with ports of its own (natscope rules tells "
        "table, chain and handle)",
        is_pattern=True,
    )
    if one.range.rule:
        yield Remedy(
            f"{replace} snat to ADDRESS",
            f"{one.range.rule} gives {one.range.size} ports alone: without a range it "
            "gives 64512",
            is_pattern=True,
        )
    if one.closing:
        about = "closed connections give their ports back sooner"
        yield Remedy(f"sysctl -w {_TIME_WAIT}=30", about, sysctl=(_TIME_WAIT, "30"))


def _members(table: FlowTable, one: Destination) -> Mask:
    """The flows to a destination, by the address and range their ports are of."""
    ports = table["reply_dport" if one.port is not None else "reply_icmp_id"]
    found: Mask = (ports >= one.range.first) & (ports <= one.range.last)
    found &= table["proto"] == one.proto
    if one.port is not None:
        found &= table["reply_sport"] == one.port
    for column, address in (("reply_dst", one.public), ("reply_src", one.address)):
        found &= np.all(table[column] == np.array(address_words(address)), axis=1)
    return found


def _shown(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


RULES = (
    Rule(
        "R03",
        "snat-ports",
        "source ports used up towards one destination",
        ("flows", "ruleset"),
        exhausted,
        "get_unique_tuple(), nf_nat_l4proto_unique_tuple(); cilium#23604, #32152",
    ),
)
