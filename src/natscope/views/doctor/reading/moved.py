"""Flows whose route has moved to another interface, by the texts of the rules.

Only where it is certain: the main table alone chooses the way, and of the interface it
leads to today every source rule's addresses are known.
"""

from __future__ import annotations

import numpy as np

from natscope.codec.text.natmatch import asked
from natscope.codec.text.natrule import Span
from natscope.codec.text.natrules import NatRule
from natscope.table.nat import is_local
from natscope.views.doctor.reading.rows import Mask, by_version
from natscope.views.doctor.reading.spans import addresses_within, is_of
from natscope.views.doctor.reading.ways import is_routed_by_rules, link, outgoing
from natscope.views.doctor.snapshot import Snapshot


def moved(snapshot: Snapshot, rows: Mask) -> Mask:
    """Rows with a public address that no rule gives where they would leave today.

    Args:
        snapshot: the box.
        rows: flows with a translated source.
    """
    found = np.zeros(len(rows), np.bool_)
    if is_routed_by_rules(snapshot.bundle):
        return found
    for version, at in by_version(snapshot.flows, rows):
        table = snapshot.flows.take(at)
        names, codes = outgoing(snapshot.bundle, version, table["reply_src"])
        own = snapshot.addresses
        # the box's own packets may be bound to an interface
        others = ~is_local(table["family"], table["orig_src"], own)
        for code, dev in enumerate(names):
            given = _given(snapshot, dev, version) if dev else ()
            if given:
                elsewhere = ~addresses_within(table["reply_dst"], given)
                found[at] |= others & (codes == code) & elsewhere
    return found


def _given(snapshot: Snapshot, dev: str, version: int) -> tuple[Span, ...]:
    """Every public address of an interface; empty where they are not all known."""
    found: tuple[Span, ...] = ()
    is_named = False
    for nat in snapshot.nat_rules:
        what = asked(nat.rule)
        if nat.gives is None or not nat.gives.is_source:
            continue
        if what.version not in (None, version) or what.oif not in (None, dev):
            continue
        spans = _addresses(snapshot, nat, dev, version)
        if spans is None:
            return ()
        found += spans
        is_named |= what.oif == dev
    return found if is_named else ()


def _addresses(
    snapshot: Snapshot, nat: NatRule, dev: str, version: int
) -> tuple[Span, ...] | None:
    """What a rule gives there; None where that is not known."""
    assert nat.gives is not None
    if nat.gives.kind != "masquerade":
        if nat.gives.is_map or not nat.gives.addresses:
            return None
        return tuple(one for one in nat.gives.addresses if is_of(one, version))
    there = link(snapshot.bundle, dev)
    own = [one.local for one in there.addresses] if there is not None else []
    found = tuple((int(one), int(one)) for one in own if one.version == version)
    return found or None
