"""Flows that contradict the box: translated as no rule of today would, or not at all.

What made the flows is asked elsewhere (``rehearse.attribution``); here it is told apart
why they are stale, and flows alike are put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrules import NatRule
from natscope.model.bundle import Bundle
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import Endpoint
from natscope.table.age import age_s
from natscope.table.attribution import (
    UNTRANSLATED,
    Attribution,
    Contradiction,
    Making,
    Origin,
)
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.views.who import show

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Address = IPv4Address | IPv6Address

YOUNGEST_S = 1
"""Younger flows are left alone: their rule may have been on its way with them."""
TOO_YOUNG = "younger than a second"


class Reason(StrEnum):
    """Why a flow is stale."""

    TARGET_CHANGED = "target-changed"
    """The rules of today send it to another target."""
    SOURCE_CHANGED = "source-changed"
    """The rules of today give it another public address."""
    ROUTE_MOVED = "route-moved"
    """It would leave by another interface today, and as that one's address."""
    ADDRESS_GONE = "address-gone"
    """It leaves as an address that neither the box has nor a rule names."""
    RULE_GONE = "rule-gone"
    """No rule of today translates it so."""
    BORN_BEFORE = "born-before-rule"
    """It is not translated, and the rules of today would."""
    DROPPED = "dropped"
    """It is translated, and today its first packet would be dropped."""


@dataclass(frozen=True, slots=True)
class Group:
    """Flows that are stale alike."""

    reasons: tuple[Reason, ...]
    """Of the destination first, where both ends are stale."""
    said: str
    """What follows "7 flows"."""
    now: tuple[str, ...]
    """The target, then the public address; as they are."""
    would: tuple[str, ...]
    """The same as the rules of today give it; empty where that was not asked."""
    is_rehearsed: bool
    """Asked of the kernel; else told by the rules' shape."""
    is_certain: bool
    rows: Rows


@dataclass(frozen=True, slots=True)
class Stale:
    """The stale flows of a table, the largest groups first."""

    flows: int
    """How many were looked at."""
    groups: tuple[Group, ...]
    not_judged: Mapping[str, int]
    """Flows that are not called stale, though they may be, by why."""

    def rows(self, *, uncertain: bool) -> Rows:
        """The stale flows; without ``uncertain`` those beyond doubt alone."""
        found = [one.rows for one in self.groups if one.is_certain or uncertain]
        return np.sort(np.concatenate([np.zeros(0, np.intp), *found]))

    def count(self) -> int:
        """How many are stale."""
        return sum(len(group.rows) for group in self.groups)


def too_young(table: FlowTable, evidence: Evidence) -> Mask:
    """Which rows are not to be judged yet, where it is known when they began."""
    age, known = age_s(table, evidence)
    return known & (age < YOUNGEST_S)


def stale(
    table: FlowTable,
    attribution: Attribution,
    box: Bundle,
    rules: list[NatRule],
    young: int = 0,
) -> Stale:
    """The stale flows, and why each is.

    Args:
        table: flows of the box.
        attribution: what made each.
        box: its addresses tell why.
        rules: of the box, for the addresses they give.
        young: flows that are not in the table: see ``too_young``.
    """
    groups = list(_groups(table, attribution, _Facts(box, rules)))
    groups.sort(key=lambda group: (not group.is_certain, -len(group.rows)))
    not_judged = {TOO_YOUNG: young} if young else {}
    of_making = np.bincount(attribution.of_row, minlength=len(attribution.makings))
    for making, count in zip(attribution.makings, of_making.tolist(), strict=True):
        if making.origin is not Origin.STALE and count and making.why:
            not_judged[making.why] = not_judged.get(making.why, 0) + count
    return Stale(len(table) + young, tuple(groups), not_judged)


class _Facts:
    """What tells why a public address is stale."""

    def __init__(self, box: Bundle, rules: list[NatRule]) -> None:
        self._link = {
            str(address.local): link.name
            for link in box.links
            for address in link.addresses
        }
        self._given = [
            span
            for nat in rules
            if nat.gives is not None and nat.gives.is_source
            for span in nat.gives.addresses
        ]

    def source_reason(self, now: Endpoint, would: str | None) -> Reason:
        """Why a public address is stale; with a port, only that was exchanged."""
        own = self._link.get(str(now.address))
        number = int(now.address)
        is_known = own is not None or any(a <= number <= b for a, b in self._given)
        if now.port is None and not is_known:
            return Reason.ADDRESS_GONE
        if would in (None, UNTRANSLATED):
            return Reason.RULE_GONE
        other = self._link.get(would or "")
        if own is not None and other is not None and own != other:
            return Reason.ROUTE_MOVED
        return Reason.SOURCE_CHANGED

    def link(self, address: str) -> str:
        """The interface that has an address."""
        return self._link[address]


def _groups(
    table: FlowTable, attribution: Attribution, facts: _Facts
) -> Iterator[Group]:
    rows = np.flatnonzero(attribution.of(Origin.STALE))
    if not len(rows):
        return
    codes = attribution.of_row[rows]
    first, of_row = _alike(table, rows, attribution)
    parts = np.split(
        rows[np.argsort(of_row, kind="stable")], np.cumsum(np.bincount(of_row))[:-1]
    )
    flows = table.take(rows[first])
    for code, flow, alike in zip(codes[first].tolist(), flows, parts, strict=True):
        making = attribution.makings[code]
        said = list(_parts(flow, making, facts))
        yield Group(
            tuple(part.reason for part in said),
            "; ".join(part.said for part in said),
            tuple(part.now for part in said if part.now),
            tuple(part.would for part in said if part.would),
            not making.by_shape,
            making.is_certain,
            alike,
        )


def _alike(table: FlowTable, rows: Rows, attribution: Attribution) -> tuple[Rows, Rows]:
    """Rows of which the same is said: see ``FlowTable.group``."""
    codes = attribution.of_row[rows]
    words = [codes, table["family"][rows], table["proto"][rows]]
    is_kept = np.array([_keeps_port(making) for making in attribution.makings])[codes]
    for end, names in (
        ("dst", ("orig_dst", "reply_src", "orig_dport", "reply_sport")),
        ("src", ("orig_src", "reply_dst", "orig_sport", "reply_dport")),
    ):
        told = [getattr(making, end) is not None for making in attribution.makings]
        is_stale = np.array(told)[codes]
        was, now, old_port, port = (table[name][rows] for name in names)
        is_other = (was != now).any(axis=1)
        moved = is_other | (old_port != port)
        # where a source gets another address, the kernel chooses the port
        told_port = np.where(is_other, 0, port) if end == "src" else port
        # of what is not said, rows may differ
        words += [np.where(is_stale, moved, False)]
        words += [np.where(is_kept & moved & (end == "dst"), old_port, 0)]
        words += [np.where(is_stale & moved, w, 0) for w in (*now.T, told_port)]
    varying = [word for word in words if (word != word[0]).any()]
    return group_rows(varying, len(rows))


@dataclass(frozen=True, slots=True)
class _Part:
    """What is said of one end, or of a flow as a whole."""

    reason: Reason
    now: str
    would: str
    said: str


def _parts(flow: Flow, making: Making, facts: _Facts) -> Iterator[_Part]:
    orig, reply = flow.orig, flow.reply
    is_moved = (orig.dst, orig.dport) != (reply.src, reply.sport)
    born_before = []
    if making.dst is not None:
        if is_moved:
            target = show(Endpoint(reply.src, reply.sport), flow.proto)
            yield _destination(target, _target(making.dst.would, flow))
        else:
            born_before.append(making.dst.would)
    if making.src is not None:
        if orig.src != reply.dst:
            yield _source(Endpoint(reply.dst), flow.proto, making.src, facts)
        elif orig.sport != reply.dport:
            now = Endpoint(reply.dst, reply.dport)
            yield _source(now, flow.proto, making.src, facts)
        else:
            born_before.append(making.src.would)
    if born_before:
        would = [one for one in born_before if one]
        how = "leaving as it came" if is_moved else "not translated"
        said = f"{how}; the rules of today say {' and '.join(would)}"
        yield _Part(Reason.BORN_BEFORE, "", ", ".join(would), said)
    elif making.dst is None and making.src is None:
        why = making.why or ""
        said = f"translated; today the first packet would be {why}"
        yield _Part(Reason.DROPPED, "", why, said)


def _target(would: str | None, flow: Flow) -> str | None:
    """With the port, which a rule that names none leaves as it is."""
    address = _address(would)
    if address is None:
        return would
    return show(Endpoint(address, flow.orig.dport), flow.proto)


def _keeps_port(making: Making) -> bool:
    return making.dst is not None and _address(making.dst.would) is not None


def _address(would: str | None) -> Address | None:
    """An end without a port."""
    try:
        return ip_address(would or "")
    except ValueError:
        return None


def _destination(now: str, would: str | None) -> _Part:
    if would in (None, UNTRANSLATED):
        said = f"going to {now}; no rule of today leads there"
        return _Part(Reason.RULE_GONE, now, would or "", said)
    said = f"going to {now}; the rules of today say {would}"
    return _Part(Reason.TARGET_CHANGED, now, would, said)


def _source(now: Endpoint, proto: int, end: Contradiction, facts: _Facts) -> _Part:
    would = end.would
    reason, own = facts.source_reason(now, would), show(now, proto)
    match reason:
        case Reason.ADDRESS_GONE:
            said = f"leaving as {own}, which the box no longer has"
            if would not in (None, UNTRANSLATED):
                said += f"; the rules of today say {would}"
        case Reason.ROUTE_MOVED:
            there = facts.link(would or "")
            said = f"leaving as {own} of {facts.link(own)}; today by {there} as {would}"
        case Reason.SOURCE_CHANGED:
            said = f"leaving as {own}; the rules of today say {would}"
        case _:
            said = f"leaving as {own}; no rule of today translates it so"
    return _Part(reason, own, would or "", said)
