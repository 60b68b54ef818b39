"""Flows that are not translated, though a rule of today surely would.

By the text of the rules, so only where all of it is understood: the rule stands in a
base chain, before it stand none but rules that translate, and the interface of a flow
is the main table's to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natrule import Span, given
from natscope.codec.text.natrules import by_chain
from natscope.codec.text.natsure import Taken, taken
from natscope.model.journey import Chain, Hook, Rule
from natscope.table.flowtable import FlowTable
from natscope.table.nat import is_local
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.ways import is_routed_by_rules, outgoing

Mask = NDArray[np.bool_]
_V4 = uapi.AF_INET
_MULTICAST = (0xE000_0000, 0xFFFF_FFFF)
"""224.0.0.0 and all above: multicast, reserved, broadcast."""


def untranslated(snapshot: Snapshot, rows: Mask) -> dict[str, Mask]:
    """By the text of a rule, the rows it would translate; IPv4 alone.

    Args:
        snapshot: the box.
        rows: flows that are not translated.
    """
    if is_routed_by_rules(snapshot.bundle):
        return {}
    at = np.flatnonzero(rows & (snapshot.flows["family"] == _V4))
    found: dict[str, Mask] = {}
    if len(at) == 0:
        return found
    table = snapshot.flows.take(at)
    forwarded = ~is_local(
        table["family"], table["orig_src"], snapshot.evidence.addresses
    )
    for chain, rule, what in _sure(snapshot):
        taken_now = _matching(snapshot, table, chain, what) & forwarded
        if taken_now.any():
            mask = np.zeros(len(rows), np.bool_)
            mask[at[taken_now]] = True
            found[rule.text] = mask
            forwarded &= ~taken_now
    return found


def _sure(snapshot: Snapshot) -> Iterator[tuple[Chain, Rule, Taken]]:
    """NAT rules whose packets are known, each with its base chain."""
    ruleset = snapshot.ruleset
    rules = by_chain(ruleset)
    hooks = (Hook.PREROUTING, Hook.POSTROUTING)
    for chain in ruleset.base_chains():
        if chain.type != "nat" or chain.hook not in hooks:
            continue
        for rule in rules.get((chain.family, chain.table, chain.name), ()):
            if given(rule.text) is None:
                break  # it may accept or return: what comes behind is not certain
            what = taken(rule)
            if what is not None and what.asked.version in (4, None):
                yield chain, rule, what


def _matching(snapshot: Snapshot, table: FlowTable, chain: Chain, what: Taken) -> Mask:
    """Of some flows that are forwarded those whose first packet a rule would take."""
    asked = what.asked
    nothing = np.zeros(len(table), np.bool_)
    found = ~nothing
    if chain.hook is Hook.PREROUTING:
        if not asked.dst or not asked.dports:
            return nothing
    else:
        if asked.oif is None:
            return nothing
        # what the box keeps for itself does not come to postrouting
        own = snapshot.evidence.addresses
        found &= ~is_local(table["family"], table["orig_dst"], own)
        found &= ~_within(table, "orig_dst", (_MULTICAST,))
        found &= _leads_to(snapshot, table["orig_dst"], asked.oif)
    if what.iif is not None:
        found &= _leads_to(snapshot, table["orig_src"], what.iif)
    if asked.protos:
        found &= np.isin(table["proto"], list(asked.protos))
    if asked.src:
        found &= _within(table, "orig_src", asked.src)
    if asked.dst:
        found &= _within(table, "orig_dst", asked.dst)
    if asked.dports:
        ports = table["orig_dport"]
        told = [(ports >= first) & (ports <= last) for first, last in asked.dports]
        found &= table.has("orig_dport") & np.logical_or.reduce(told)
    return found


def _leads_to(snapshot: Snapshot, words: NDArray[np.uint64], name: str) -> Mask:
    """Addresses the main table leads to through an interface."""
    names, codes = outgoing(snapshot.bundle, words)
    if name not in names:
        return np.zeros(len(words), np.bool_)
    found: Mask = codes == names.index(name)
    return found


def _within(table: FlowTable, column: str, spans: tuple[Span, ...]) -> Mask:
    """IPv4 rows whose address lies in one of some ranges."""
    low = table[column][:, 1]
    told = [
        (low >= np.uint64(first)) & (low <= np.uint64(min(last, 0xFFFF_FFFF)))
        for first, last in spans
    ]
    found: Mask = np.logical_or.reduce(told)
    return found
