"""Flows that contradict the box: translated as no rule of today would, or not at all.

What made the flows is asked elsewhere (``rehearse.staleness``); here it is told apart
why they are stale, and flows alike are put together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natrules import NatRule
from natscope.model.bundle import Bundle
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import Endpoint
from natscope.table.age import age_s
from natscope.table.attribution import Attribution, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.views.who import show

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

YOUNGEST_S = 1
"""Younger flows are left alone: their rule may have been on its way with them."""
_UNTRANSLATED = "untranslated"
_DROPPED = "dropped"
_ZONING = re.compile(r"\bzone set\b|--zone")
_NAT = {
    "orig_dst": ("reply_src", uapi.Status.DST_NAT),
    "orig_src": ("reply_dst", uapi.Status.SRC_NAT),
}


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
    left_out: Mapping[str, int]
    """Flows that were not judged, by why."""
    not_rehearsed: Mapping[str, int]
    """Flows only the rules' shape was asked about, which does not contradict them."""

    def rows(self, *, uncertain: bool) -> Rows:
        """The stale flows; without ``uncertain`` those beyond doubt alone."""
        found = [one.rows for one in self.groups if one.is_certain or uncertain]
        return np.sort(np.concatenate([np.zeros(0, np.intp), *found]))

    def count(self) -> int:
        """How many are stale."""
        return sum(len(group.rows) for group in self.groups)


def left_out(
    table: FlowTable, evidence: Evidence, bundle: Bundle
) -> Iterator[tuple[str, Mask]]:
    """Which rows the box's rules say nothing about, by why; a row may be there twice.

    Args:
        table: flows of the box.
        evidence: read with them.
        bundle: the box, read after them.
    """
    age, known = age_s(table, evidence)
    yield "younger than a second", known & (age < YOUNGEST_S)
    expected = table["status"] & np.uint32(uapi.Status.EXPECTED) != 0
    yield (
        "expected by a helper, and translated as their master is",
        (expected & table.has("status")) | table.has("master_src"),
    )
    if not any(_ZONING.search(one.text) for one in bundle.rulesets):
        zoned = np.zeros(len(table), np.bool_)
        for name in ("zone", "orig_zone", "reply_zone"):
            zoned |= table[name] != 0
        yield "in zones no rule sets", zoned
    yield "turned by something else than NAT rules", _turned_otherwise(table)


def _turned_otherwise(table: FlowTable) -> Mask:
    """Tuples that differ without a bit that says so: IPVS (ip_vs_update_conntrack)."""
    found = np.zeros(len(table), np.bool_)
    for was, (now, bit) in _NAT.items():
        differ = (table[was] != table[now]).any(axis=1)
        found |= differ & (table["status"] & np.uint32(bit) == 0)
    told: Mask = table.has("status") & ~table.has("status_mask")
    return found & told


def stale(
    table: FlowTable,
    attribution: Attribution,
    is_rehearsed: Mask,
    box: Bundle,
    rules: list[NatRule],
    left_out: Mapping[str, int],
) -> Stale:
    """The stale flows, and why each is.

    Args:
        table: flows of the box.
        attribution: what made each.
        is_rehearsed: of which the twin was asked.
        box: its addresses tell why.
        rules: of the box, for the addresses they give.
        left_out: see Stale; flows that are not in the table.
    """
    facts = _Facts(box, rules)
    groups = [
        group
        for group in _groups(table, attribution, is_rehearsed, facts)
        if group.reasons
    ]
    groups.sort(key=lambda group: (not group.is_certain, -len(group.rows)))
    unsaid: dict[str, int] = {}
    of_making = np.bincount(attribution.of_row, minlength=len(attribution.makings))
    for making, count in zip(attribution.makings, of_making.tolist(), strict=True):
        if making.origin is Origin.UNKNOWN and count and making.why:
            unsaid[making.why] = unsaid.get(making.why, 0) + count
    flows = len(table) + sum(left_out.values())
    return Stale(flows, tuple(groups), left_out, unsaid)


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
        """Why a public address is stale."""
        own = self._link.get(str(now.address))
        number = int(now.address)
        if own is None and not any(a <= number <= b for a, b in self._given):
            return Reason.ADDRESS_GONE
        if would in (None, _UNTRANSLATED):
            return Reason.RULE_GONE
        other = self._link.get(would or "")
        if own is not None and other is not None and own != other:
            return Reason.ROUTE_MOVED
        return Reason.SOURCE_CHANGED

    def link(self, address: str) -> str:
        """The interface that has an address."""
        return self._link[address]


def _groups(
    table: FlowTable, attribution: Attribution, is_rehearsed: Mask, facts: _Facts
) -> Iterator[Group]:
    is_stale = np.array([m.origin is Origin.STALE for m in attribution.makings], bool)
    if not is_stale.any():
        return
    rows = np.flatnonzero(is_stale[attribution.of_row])
    if not len(rows):
        return
    found = table.take(rows)
    codes, rehearsed = attribution.of_row[rows], is_rehearsed[rows]
    moved = [(found[was] != found[now]).any(axis=1) for was, (now, _) in _NAT.items()]
    moved[0] |= found["orig_dport"] != found["reply_sport"]
    words = [codes, rehearsed, *moved, found["family"], found["proto"]]
    words += [*np.where(moved[0][:, None], found["reply_src"], 0).T]
    words += [np.where(moved[0], found["reply_sport"], 0)]
    words += [*np.where(moved[1][:, None], found["reply_dst"], 0).T]
    varying = [word for word in words if (word != word[0]).any()]
    first, of_row = group_rows(varying, len(found))
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row)).tolist()
    slices = map(slice, [0, *ends[:-1]], ends)
    flows = found.take(first)
    for row, flow, part in zip(first.tolist(), flows, slices, strict=True):
        making = attribution.makings[codes[row]]
        ends_moved = bool(moved[0][row]), bool(moved[1][row])
        alike = np.sort(rows[order[part]])
        yield _group(flow, making, ends_moved, alike, bool(rehearsed[row]), facts)


def _group(
    flow: Flow, making: Making, moved: tuple[bool, bool], rows: Rows,
    is_rehearsed: bool, facts: _Facts,
) -> Group:  # fmt: skip
    parts = list(_parts(flow, making, moved, facts))
    return Group(
        tuple(reason for reason, *_ in parts),
        "; ".join(said for _, _, _, said in parts),
        tuple(now for _, now, _, _ in parts if now),
        tuple(would for _, _, would, _ in parts if would),
        is_rehearsed,
        making.is_certain,
        rows,
    )


_Part = tuple[Reason, str, str, str]
"""Why, how it is, how it would be, and both in words."""


def _parts(
    flow: Flow, making: Making, moved: tuple[bool, bool], facts: _Facts
) -> Iterator[_Part]:
    """What is stale of a flow: nothing, where it is not translated and not to be."""
    why = making.why or ""
    if why.startswith(_DROPPED):
        if any(moved):
            said = f"translated; today the first packet would be {why}"
            yield Reason.DROPPED, "", why, said
        return
    would = why.split(", ") if why else []
    if moved[0] and making.dnat is None:
        target = show(Endpoint(flow.reply.src, flow.reply.sport), flow.proto)
        yield _destination(target, would.pop(0) if would else None)
    if moved[1] and making.snat is None:
        now = Endpoint(flow.reply.dst)
        yield _source(now, would.pop() if would else None, facts)
    if would and not (moved[0] and making.dnat is None):
        how = "leaves as it came" if moved[0] else "not translated"
        said = f"{how}; the rules of today say {' and '.join(would)}"
        yield Reason.BORN_BEFORE, "", ", ".join(would), said


def _destination(now: str, would: str | None) -> _Part:
    if would is None or would == _UNTRANSLATED:
        said = f"goes to {now}; no rule of today sends it there"
        return Reason.RULE_GONE, now, would or "", said
    said = f"goes to {now}; the rules of today say {would}"
    return Reason.TARGET_CHANGED, now, would, said


def _source(now: Endpoint, would: str | None, facts: _Facts) -> _Part:
    reason, own = facts.source_reason(now, would), str(now.address)
    match reason:
        case Reason.ADDRESS_GONE:
            said = f"leaves as {own}, which the box no longer has"
            if would not in (None, _UNTRANSLATED):
                said += f"; the rules of today say {would}"
        case Reason.ROUTE_MOVED:
            there = facts.link(would or "")
            said = f"leaves as {own} of {facts.link(own)}; today by {there} as {would}"
        case Reason.SOURCE_CHANGED:
            said = f"leaves as {own}; the rules of today say {would}"
        case _:
            said = f"leaves as {own}; no rule of today translates it so"
    return reason, own, would or "", said
