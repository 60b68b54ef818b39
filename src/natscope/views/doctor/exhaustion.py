"""R03: the source ports of one public address towards one destination.

A port is taken as far as one destination goes: the reply tuple of every flow must be
its own (nf_nat_used_tuple).  So ports are counted for each destination by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natrule import Given, Span
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_at
from natscope.views.doctor.rows import examples, in_tcp_state, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

CLASSES: tuple[Span, ...] = ((1, 511), (600, 1023), (1024, 65535))
"""Ports the kernel draws from where no rule says which, by the class of the port a flow
had before (nf_nat_l4proto_unique_tuple)."""
EVICTS = (6, 5)
"""From this release on the port of a closing connection is taken over."""
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_WITH_PORTS = (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, uapi.IPPROTO_SCTP)


@dataclass(frozen=True, slots=True)
class Taken:
    """The ports flows have taken towards one destination."""

    proto: int
    public: Address
    remote: Address
    remote_port: int
    ports: Span
    """The range they come from."""
    rows: Rows
    """The flows that hold one."""
    closing: int
    """Of these, flows whose port the kernel would give to another."""

    @property
    def size(self) -> int:
        """Ports there are."""
        return self.ports[1] - self.ports[0] + 1

    @property
    def held(self) -> int:
        """Ports no new flow can have."""
        return len(self.rows) - self.closing

    @property
    def share(self) -> float:
        """Of the range, 1 is all."""
        return self.held / self.size


def fullest(snapshot: Snapshot, at_least: float, fewest: int = 1) -> list[Taken]:
    """Destinations towards which this share of the ports is taken, fullest first.

    Args:
        snapshot: the box.
        at_least: the share, 1 is all.
        fewest: ports of the ranges looked at.
    """
    table = snapshot.flows
    rows, first, of_row = snapshot.destinations
    if len(rows) == 0:
        return []
    ports = table["reply_dport"][rows]
    totals = np.bincount(of_row, minlength=len(first))
    closing = _closing(snapshot)
    claimed = np.zeros(len(first), np.bool_)
    found: list[Taken] = []
    for span, given in _spans(snapshot):
        within = (ports >= span[0]) & (ports <= span[1])
        counts = np.bincount(of_row[within], minlength=len(first))
        if given is not None:
            chosen = _given(table, rows[first], given) & (counts >= _MOSTLY * totals)
            chosen &= counts > 0
            claimed |= chosen
        else:
            chosen = ~claimed
        size = span[1] - span[0] + 1
        if size < fewest:
            continue
        chosen &= counts >= at_least * size
        for group in np.flatnonzero(chosen).tolist():
            members = rows[within & (of_row == group)]
            found.append(_taken(table, members, span, closing))
    found = [one for one in found if one.share >= at_least]
    return sorted(found, key=lambda one: -one.share)


def exhausted(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R03: nearly all ports towards one destination are taken.

    A range of a few ports is meant to be full, unless flows fail for it.
    """
    failed = _failed(snapshot, thresholds)
    fewest = 2 if failed else thresholds.ports_fewest
    for one in fullest(snapshot, thresholds.ports_warning, fewest)[:_MOST_FINDINGS]:
        yield _finding(snapshot, thresholds, one, failed)


_MOST_FINDINGS = 10
"""Destinations told of; each is a cause of its own."""


def _finding(
    snapshot: Snapshot, thresholds: Thresholds, one: Taken, failed: int
) -> Finding:
    severity = thresholds.of_ports(one.share)
    if failed and one.share >= thresholds.ports_high:
        severity = Severity.CRITICAL
    proto = uapi.protocol_name(one.proto)
    remote = f"{proto} {_shown(one.remote, one.remote_port)}"
    members = np.zeros(len(snapshot.flows), np.bool_)
    members[one.rows] = True
    facts = [
        Fact("ports held", one.held),
        Fact("closing", one.closing),
        Fact("range", f"{one.ports[0]}-{one.ports[1]}"),
    ]
    if failed:
        facts.append(Fact("new flows dropped", failed, "packets"))
    top = most(snapshot.flows, "orig_src", members)
    if top is not None:
        facts.append(Fact(f"ports of {top.address}", top.count))
    lost = f", and {failed} packets were dropped for want of one" if failed else ""
    return Finding(
        "R03",
        severity or Severity.WARNING,
        f"{one.held} of {one.size} source ports of {one.public} are taken towards "
        f"{remote}{lost}",
        tuple(facts),
        examples(snapshot.flows, members),
        why="Each flow to one destination needs a source port of its own on the public "
        "address. The kernel tries at most 248 ports: from about nine tenths on new "
        "flows fail, their packets are dropped, and nothing is logged. Other "
        "destinations go on as before.",
        remedies=_remedies(one),
        verify=f"natscope ports; natscope count '{proto} and dst {one.remote} and "
        f"dst port {one.remote_port}'",
        about=f"{one.public} to {remote}",
    )


def _remedies(one: Taken) -> tuple[Remedy, ...]:
    family = "ip" if one.public.version == 4 else "ip6"
    found = [
        Remedy(
            f"nft replace rule {family} TABLE CHAIN handle N snat to FIRST-LAST",
            "more public addresses, each with ports of its own (natscope rules tells "
            "table, chain and handle)",
            is_pattern=True,
        ),
    ]
    if one.ports not in CLASSES:
        found.append(
            Remedy(
                f"nft replace rule {family} TABLE CHAIN handle N snat to ADDRESS",
                f"the rule gives {one.size} ports alone: without a range it gives "
                "64512",
                is_pattern=True,
            )
        )
    if one.proto == uapi.IPPROTO_TCP:
        name = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
        about = "closed connections give their ports back sooner"
        found.append(Remedy(f"sysctl -w {name}=30", about, sysctl=(name, "30")))
    return tuple(found)


def _taken(table: FlowTable, rows: Rows, span: Span, closing: Mask) -> Taken:
    """The ports of one range that flows to one destination hold."""
    return Taken(
        int(table["proto"][rows[0]]),
        _address(table, "reply_dst", rows[0]),
        _address(table, "reply_src", rows[0]),
        int(table["reply_sport"][rows[0]]),
        span,
        rows,
        int(closing[rows].sum()),
    )


def _spans(snapshot: Snapshot) -> Iterator[tuple[Span, Given | None]]:
    """The ranges of source rules, then the kernel's own."""
    for nat in snapshot.nat_rules:
        gives = nat.gives
        if gives is not None and gives.is_source and gives.ports is not None:
            yield gives.ports, gives
    for span in CLASSES:
        yield span, None


def _given(table: FlowTable, rows: Rows, given: Given) -> Mask:
    """Which rows have an address a rule may have given."""
    if not given.addresses:
        return np.ones(len(rows), np.bool_)
    words = table["reply_dst"][rows]
    found = [_within(words, first, last) for first, last in given.addresses]
    within: Mask = np.logical_or.reduce(found)
    return within


def _within(words: NDArray[np.uint64], first: int, last: int) -> Mask:
    """Addresses in a range; where it is IPv6's, by the half in which it differs."""
    high, low = words[:, 0], words[:, 1]
    if first >> 64 != last >> 64:
        wide: Mask = (high >= np.uint64(first >> 64)) & (high <= np.uint64(last >> 64))
        return wide
    lowest, highest = np.uint64(first & _WORD), np.uint64(last & _WORD)
    found: Mask = (high == np.uint64(first >> 64)) & (low >= lowest) & (low <= highest)
    return found


_WORD = (1 << 64) - 1
_MOSTLY = 0.5
"""Of the ports towards a destination, those in a rule's range, for the rule to be the
one in force there."""


def _closing(snapshot: Snapshot) -> Mask:
    """Rows whose port another flow is given: closing TCP, of kernels that do so."""
    table = snapshot.flows
    found = _RELEASE.match(snapshot.bundle.kernel or "")
    if found is None or (int(found[1]), int(found[2])) < EVICTS:
        return np.zeros(len(table), np.bool_)
    return in_tcp_state(table, "TIME_WAIT", "CLOSE")


def _failed(snapshot: Snapshot, thresholds: Thresholds) -> int:
    """Packets dropped because insertion failed, where that is what was measured."""
    rose = snapshot.measured.rose or {}
    failed, dropped = rose.get("insert_failed", 0), rose.get("drop", 0)
    apart = abs(dropped - failed)
    return failed if failed and apart <= thresholds.same_counters * failed else 0


def _address(table: FlowTable, column: str, row: int) -> Address:
    high, low = table[column][row].tolist()
    return address_at(int(table["family"][row]), high, low)


def _shown(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


RULES = (
    Rule(
        "R03",
        "snat-ports",
        "source ports used up towards one destination",
        ("flows",),
        exhausted,
        "get_unique_tuple(), nf_nat_l4proto_unique_tuple(); cilium#23604, #32152",
    ),
)
