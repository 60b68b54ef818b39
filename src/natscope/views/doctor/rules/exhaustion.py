"""R03: the source ports of one public address towards one destination.

How many are taken, out of which, and the chance that the kernel's search finds none is
what ``natscope ports`` tells (views.ports); here it is judged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Rule as TextRule
from natscope.model.measured import PortsHeld
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_words
from natscope.views.doctor.reading.losses import Losses
from natscope.views.doctor.reading.rows import Mask, examples
from natscope.views.doctor.remedies.edits import (
    KEEP,
    lacks_handle,
    replaced,
    with_addresses,
    without_ports,
)
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.makings import name
from natscope.views.pools import Destination, DestinationKey
from natscope.views.portalarms import PortLimits
from natscope.views.portranges import PortRange
from natscope.views.portsearch import FEW_LOST

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
    before = _before(snapshot)
    busiest = snapshot.ports.busiest(_MOST_FINDINGS, occupancy=thresholds.ports_warning)
    for one in busiest:
        first = before.pop(one.key, None)
        severity = limits.severity(one)
        if one.range.size < thresholds.ports_fewest and not failed:
            continue
        was_short = first is not None and is_short(first, thresholds)
        if failed and (was_short or is_short(one, thresholds)):
            severity = Severity.CRITICAL
        if severity is not None:
            peak = max(one.hard, 0 if first is None else first.hard)
            yield _finding(snapshot, one, severity, failed, peak)
    for first in before.values():
        if failed and is_short(first, thresholds):
            yield _finding(snapshot, first, Severity.CRITICAL, failed, None)


def is_short(one: Destination, thresholds: Thresholds) -> bool:
    """Whether new flows to a destination may have found no port, more than a few."""
    return one.loss >= FEW_LOST or one.occupancy >= thresholds.ports_high


def explains_failures(snapshot: Snapshot, thresholds: Thresholds) -> bool:
    """Whether new flows failed because some destination is short of ports."""
    worst = snapshot.ports.busiest(_MOST_FINDINGS, occupancy=thresholds.ports_high)
    readings = (*worst, *_before(snapshot).values())
    return any(is_short(one, thresholds) for one in readings)


def _before(snapshot: Snapshot) -> dict[DestinationKey, Destination]:
    """The fullest destinations as they were at the first reading.

    Of several ranges the largest is taken: whose the ports were is not known.
    """
    found = {}
    ranges = snapshot.ranges
    for held in snapshot.measured.ports_before or ():
        there = ranges.of(held.public.version, int(held.public), held.proto)
        there = tuple(r for r in there if r.is_for(int(held.address), held.port))
        if there:
            one = _as_it_was(held, max(there, key=lambda r: r.size))
            found[one.key] = one
    return found


def _as_it_was(held: PortsHeld, of: PortRange) -> Destination:
    return Destination(
        *(held.public, held.proto, held.zone, of, held.address, held.port),
        used=min(held.ports, of.size),
        closing=0,
        loss=0.0,
        evicts=False,
        hosts=0,
        top=(),
    )


def _finding(
    snapshot: Snapshot,
    one: Destination,
    severity: Severity,
    failed: int,
    peak: int | None,
) -> Finding:
    """What is said of a destination.

    Args:
        snapshot: the box.
        one: the destination.
        severity: how bad it is.
        failed: new flows that were dropped.
        peak: the most ports of both readings; None: the destination is as it was at
            the first.
    """
    remote = f"{uapi.protocol_name(one.proto)} {_shown(one.address, one.port)}"
    remote += f" in zone {one.zone}" if one.zone else ""
    what = "source ports" if one.port is not None else "ids"
    lost = f", and {failed} new flows were dropped" if failed else ""
    when = "are taken" if peak is not None else f"were taken {snapshot.interval} ago"
    return Finding(
        "R03",
        severity,
        f"{one.hard} of {one.range.size} {what} of {one.public} {when} towards "
        f"{remote}{lost}",
        tuple(_facts(one, failed, peak)),
        examples(snapshot.flows, _members(snapshot.flows, one)),
        why=_WHY,
        remedies=tuple(_remedies(snapshot, one)),
        verify="natscope ports: TAKEN falls, and LOSS is 0",
        about=f"{one.public} to {remote}",
    )


_WHY = (
    "Each flow to one destination needs a source port of its own on the public "
    "address. The kernel tries at most 248 ports: from about nine tenths on new flows "
    "fail, their packets are dropped, and nothing is logged. Other destinations go on "
    "as before."
)


def _facts(one: Destination, failed: int, peak: int | None) -> Iterator[Fact]:
    yield Fact("ports held", one.hard)
    if peak is not None and peak > one.hard:
        yield Fact("peak", peak)
    yield Fact("closing", one.closing)
    yield Fact("range", str(one.range))
    if one.loss >= FEW_LOST:
        yield Fact("lost", round(100 * one.loss, 2), "% of new flows")
    if failed:
        yield Fact("new flows dropped", failed, "packets")
    for top in one.top[:1]:
        yield Fact(f"ports of {top.address}", top.ports)


def _remedies(snapshot: Snapshot, one: Destination) -> Iterator[Remedy]:
    rule = _rule(snapshot, one)
    if rule is not None and (text := without_ports(rule)):
        yield Remedy(
            replaced(rule, text),
            f"{name(rule)} gives {one.range.size} ports alone: without a range it "
            f"gives 64512; {KEEP}",
            is_pattern=lacks_handle(rule),
        )
    family = VERSIONS[one.public.version].nft
    command = f"nft replace rule {family} TABLE CHAIN handle N snat to FIRST-LAST"
    about = "more public addresses, each with ports of its own"
    if rule is None:
        about += " (natscope rules tells table, chain and handle)"
    elif text := with_addresses(rule, one.public.version):
        command = replaced(rule, text)
    yield Remedy(command, about, is_pattern=True)
    if one.closing:
        about = "closed connections give their ports back sooner"
        yield Remedy(f"sysctl -w {_TIME_WAIT}=30", about, sysctl=(_TIME_WAIT, "30"))


def _rule(snapshot: Snapshot, one: Destination) -> TextRule | None:
    """The rule that gives these ports; the first of several."""
    public = one.public.version, int(one.public)
    return next(iter(snapshot.ranges.rules(*public, one.proto, one.range)), None)


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
