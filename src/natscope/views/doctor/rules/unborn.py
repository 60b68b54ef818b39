"""Flows that are not translated, though a rule of today surely would.

By the text of the rules, so only where all of it is understood: the rule stands in a
base chain, before it stand none but rules that translate, and the interface of a flow
is the main table's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrule import Span, given
from natscope.codec.text.natrules import by_chain
from natscope.codec.text.natsure import Taken, taken
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Chain, Hook, Rule
from natscope.table.flowtable import FlowTable
from natscope.table.nat import is_local
from natscope.views.doctor.reading.chains import base_chains
from natscope.views.doctor.reading.rows import Mask, by_version
from natscope.views.doctor.reading.spans import addresses_within, ports_within
from natscope.views.doctor.reading.ways import is_routed_by_rules, outgoing
from natscope.views.doctor.snapshot import Snapshot

_NOT_FORWARDED: Mapping[int, tuple[Span, ...]] = {
    4: ((0xE000_0000, 0xFFFF_FFFF),),
    6: ((0xFE80 << 112, (0xFEC0 << 112) - 1), (0xFF << 120, (1 << 128) - 1)),
}
"""Multicast, broadcast and what is reserved; in IPv6 link-local addresses too."""


def untranslated(snapshot: Snapshot, rows: Mask) -> dict[str, Mask]:
    """By the text of a rule, the rows it would translate.

    Args:
        snapshot: the box.
        rows: flows that are not translated.
    """
    found: dict[str, Mask] = {}
    if is_routed_by_rules(snapshot.bundle):
        return found
    for version, at in by_version(snapshot.flows, rows):
        table = snapshot.flows.take(at)
        first = _FirstPackets(snapshot, table, version)
        left = first.begin_elsewhere
        for chain, rule, what in _sure(snapshot, version):
            taken_now = first.matching(chain, what) & left
            if taken_now.any():
                mask = found.setdefault(rule.text, np.zeros(len(rows), np.bool_))
                mask[at[taken_now]] = True
                left &= ~taken_now
    return found


def _sure(snapshot: Snapshot, version: int) -> Iterator[tuple[Chain, Rule, Taken]]:
    """NAT rules whose packets are known, each with its base chain."""
    ruleset = snapshot.ruleset
    rules = by_chain(ruleset)
    family = VERSIONS[version].nft
    for hook in (Hook.PREROUTING, Hook.POSTROUTING):
        for chain in base_chains(ruleset, family, hook, "nat"):
            for rule in rules.get((chain.family, chain.table, chain.name), ()):
                if given(rule.text) is None:
                    break  # it may accept or return: what comes behind is not certain
                what = taken(rule)
                if what is not None and what.asked.version in (version, None):
                    yield chain, rule, what


class _FirstPackets:
    """Flows of one family, and what their first packets meet.

    Args:
        snapshot: the box.
        table: flows it forwards.
        version: 4 or 6.
    """

    def __init__(self, snapshot: Snapshot, table: FlowTable, version: int) -> None:
        self._snapshot, self._table, self._version = snapshot, table, version
        self._ways: dict[str, tuple[list[str], NDArray[np.intp]]] = {}

    @cached_property
    def begin_elsewhere(self) -> Mask:
        """Rows whose source is another host."""
        return ~self._is_own("orig_src")

    @cached_property
    def _leave(self) -> Mask:
        """Rows that come to postrouting: the box keeps for itself what is for it."""
        others = _NOT_FORWARDED[self._version]
        kept = addresses_within(self._table["orig_dst"], others)
        return ~(kept | self._is_own("orig_dst"))

    def _is_own(self, column: str) -> Mask:
        """Rows with an address of the box itself."""
        own = self._snapshot.addresses
        return is_local(self._table["family"], self._table[column], own)

    def matching(self, chain: Chain, what: Taken) -> Mask:
        """The rows whose first packet a rule would take."""
        table, asked = self._table, what.asked
        if chain.hook is Hook.PREROUTING:
            found = np.full(len(table), bool(asked.dst and asked.dports))
        elif asked.oif is None:
            found = np.zeros(len(table), np.bool_)
        else:
            found = self._leads_to("orig_dst", asked.oif) & self._leave
        if asked.dports:
            found &= table.has("orig_dport")
            found &= ports_within(table["orig_dport"], asked.dports)
        for column, spans in (("orig_src", asked.src), ("orig_dst", asked.dst)):
            if not found.any():
                return found  # as of most of a thousand rules
            if spans:
                found &= addresses_within(table[column], spans)
        if asked.protos:
            found &= np.isin(table["proto"], list(asked.protos))
        if what.iif is not None:
            found &= self._leads_to("orig_src", what.iif)
        return found

    def _leads_to(self, column: str, name: str) -> Mask:
        """Rows to whose address the main table leads through an interface."""
        if column not in self._ways:
            words, bundle = self._table[column], self._snapshot.bundle
            self._ways[column] = outgoing(bundle, self._version, words)
        names, codes = self._ways[column]
        if name not in names:
            return np.zeros(len(codes), np.bool_)
        found: Mask = codes == names.index(name)
        return found
