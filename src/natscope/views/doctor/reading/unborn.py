"""Flows that are not translated, though a rule of today surely would.

By the text of the rules, so only where all of it is understood: what comes before the
rule, and what leads to its chain.  The interface of a flow is the main table's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_interface

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natmatch import Asked
from natscope.codec.text.natrule import Given, given
from natscope.codec.text.natsure import Taken, condition, leads, returns, taken
from natscope.codec.text.ruleset import ChainName, RuleIndex
from natscope.model.bundle import Bundle, Network
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Hook, Rule, Verdict
from natscope.table.flowtable import FlowTable
from natscope.table.kinds import Kinds
from natscope.table.nat import is_local
from natscope.views.doctor.reading.chains import base_chains
from natscope.views.doctor.reading.passage import dropping, is_off
from natscope.views.doctor.reading.rows import Mask, by_version
from natscope.views.doctor.reading.spans import (
    addresses_within,
    is_of,
    ports_within,
    span_of,
)
from natscope.views.doctor.reading.ways import LOCAL, is_routed_by_rules, outgoing
from natscope.views.doctor.snapshot import Snapshot

_NOT_FORWARDED: Mapping[int, tuple[Network, ...]] = {
    4: (IPv4Network("224.0.0.0/3"),),
    6: (IPv6Network("fe80::/10"), IPv6Network("ff00::/8")),
}
"""Multicast, broadcast and what is reserved; in IPv6 link-local addresses too."""
_DEEPEST = 16
"""NFT_JUMP_STACK_SIZE."""
_MOST_RULES = 50_000
"""Looked at on the way through a hook; one many chains lead to counts each time."""


def untranslated(snapshot: Snapshot, rows: Mask) -> Iterator[tuple[str, Mask]]:
    """By the text of a rule, the rows it would translate.

    Args:
        snapshot: the box.
        rows: flows that are not translated.

    Raises:
        NotRead: the rules or the routes were not all read.
    """
    lost = np.flatnonzero(rows)
    if not len(lost) or not snapshot.routes or is_routed_by_rules(snapshot.bundle):
        return
    constants = [one for version in VERSIONS for one in _kept(snapshot.bundle, version)]
    kinds = Kinds(snapshot.bundle, constants).of(snapshot.flows.take(lost))
    firsts = np.array([kind.rows[0] for kind in kinds], np.intp)
    found: dict[str, list[int]] = {}
    for rule, taken_now in _by_rule(snapshot, snapshot.flows.take(lost[firsts])):
        found.setdefault(rule, []).extend(taken_now.tolist())
    for rule, numbers in found.items():
        mask = np.zeros(len(rows), np.bool_)
        for number in numbers:
            mask[lost[kinds[number].rows]] = True
        yield rule, mask


def _kept(bundle: Bundle, version: int) -> list[Network]:
    """Destinations of which nothing is forwarded: the box's own, broadcasts …"""
    found = [*_NOT_FORWARDED[version]]
    found += [
        route.dst
        for route in bundle.routes
        if route.table == LOCAL and route.dst.version == version
    ]
    for link in bundle.links:
        for one in link.addresses:
            network = ip_interface(f"{one.local}/{one.prefix}").network
            if isinstance(network, IPv4Network) and version == 4:
                found.append(IPv4Network(network.broadcast_address))
    return found


def _by_rule(
    snapshot: Snapshot, table: FlowTable
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """By the text of a rule, the flows of a table it would translate."""
    ruleset = snapshot.ruleset
    if _is_mixed(ruleset):
        return
    for version, at in by_version(table, np.ones(len(table), np.bool_)):
        if is_off(snapshot.bundle, version) or dropping(snapshot, version):
            continue
        first = _FirstPackets(snapshot, table.take(at), version)
        left = first.begin_elsewhere
        for hook in (Hook.PREROUTING, Hook.POSTROUTING):
            way = _Way(ruleset, first, hook)
            if hook is Hook.POSTROUTING:
                left = left & first.leave
            for base in base_chains(ruleset, VERSIONS[version].nft, hook, "nat"):
                left = way.through((base.family, base.table, base.name), left)
                if base.policy is not Verdict.ACCEPT:
                    left = np.zeros(len(left), np.bool_)
            for text, there in way.found.items():
                if there.any():
                    yield text, at[there]


def _is_mixed(ruleset: RuleIndex) -> bool:
    """Whether two tools have a table of one name: their chains are not told apart."""
    tools: dict[tuple[str, str], str] = {}
    return any(
        tools.setdefault((one.family, one.table), one.tool) != one.tool
        for one in ruleset.rules
    )


class _Way:
    """What becomes of first packets in the NAT chains of a hook.

    Args:
        ruleset: of the box.
        first: the packets.
        hook: where.
    """

    def __init__(self, ruleset: RuleIndex, first: _FirstPackets, hook: Hook) -> None:
        self._rules, self._first, self._hook = ruleset.by_chain, first, hook
        self._names = {(one.family, one.table, one.name) for one in ruleset.chains}
        self._ends: dict[ChainName, Mask] = {}
        self._looked = 0
        self.found: dict[str, Mask] = {}
        """By the text of a rule, the packets it surely takes."""

    def through(
        self, chain: ChainName, here: Mask, path: tuple[Asked, ...] = ()
    ) -> Mask:
        """Packets that come to a chain: those that surely come back as they were.

        Args:
            chain: its name.
            here: the packets.
            path: what rules on the way asked of them.
        """
        back = np.zeros(len(here), np.bool_)
        for rule in self._looked_at(chain, len(path)):
            if not here.any():
                break
            what = condition(rule)
            surely, perhaps = self._first.meeting(what)
            to = self._target(rule)
            if to is not None:
                name, is_goto = to
                came = into = here & surely
                if what is not None and into.any():
                    came = self.through(name, into, (*path, what.asked))
                stays = here & ~perhaps
                if not is_goto:
                    stays |= here & ~surely & ~self._may_end(name, len(path))
                here, back = (stays, back | came) if is_goto else (stays | came, back)
                continue
            if returns(rule):
                back |= here & surely
            elif given(rule.text) is not None:
                self._take(rule, here & surely, path)
            here = here & ~perhaps
        return back | here

    def _looked_at(self, chain: ChainName, depth: int) -> Iterator[Rule]:
        """The rules of a chain; of too many the last is one no packet comes through."""
        for rule in self._rules.get(chain, ()):
            self._looked += 1
            if self._looked > _MOST_RULES or depth >= _DEEPEST:
                yield replace(rule, text="")
                return
            yield rule

    def _may_end(self, chain: ChainName, depth: int) -> Mask:
        """Packets that, had they come to a chain, might not come back as they were."""
        if chain not in self._ends:
            found = np.zeros(self._first.count, np.bool_)
            self._ends[chain] = ~found  # where it leads to itself
            for rule in self._looked_at(chain, depth):
                to = self._target(rule)
                if not returns(rule) or to is not None:
                    _, perhaps = self._first.meeting(condition(rule))
                    if to is not None:
                        perhaps = perhaps & self._may_end(to[0], depth + 1)
                    found = found | perhaps
            self._ends[chain] = found
        return self._ends[chain]

    def _take(self, rule: Rule, rows: Mask, path: Sequence[Asked]) -> None:
        """Note which packets that fit a NAT rule it surely takes, and changes."""
        what, gives = taken(rule), given(rule.text)
        if what is None or gives is None or not self._is_told((*path, what.asked)):
            return
        rows = rows & self._first.changed(gives)
        known = self.found.get(rule.text)
        self.found[rule.text] = rows if known is None else known | rows

    def _is_told(self, path: Sequence[Asked]) -> bool:
        """Whether the rules on a way ask enough for a finding that is laid to them."""
        if self._hook is Hook.POSTROUTING:
            return any(asked.oif for asked in path)
        return any(asked.dst for asked in path) and any(asked.dports for asked in path)

    def _target(self, rule: Rule) -> tuple[ChainName, bool] | None:
        """The chain a rule leads to, and whether for good."""
        told = leads(rule)
        if told is None or (rule.family, rule.table, told.chain) not in self._names:
            return None
        return (rule.family, rule.table, told.chain), told.is_goto


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
        self.count = len(table)

    @cached_property
    def begin_elsewhere(self) -> Mask:
        """Rows whose source is another host."""
        return ~self._is_own("orig_src")

    @cached_property
    def leave(self) -> Mask:
        """Rows that come to postrouting: the box keeps for itself what is for it."""
        spans = tuple(map(span_of, _kept(self._snapshot.bundle, self._version)))
        kept = addresses_within(self._table["orig_dst"], spans)
        return ~(kept | self._is_own("orig_dst"))

    def changed(self, gives: Given) -> Mask:
        """Rows whose first packet would not be what it is, had a rule taken it.

        A source within the range keeps its address, and a flow its port.
        """
        column = "orig_src" if gives.is_source else "orig_dst"
        if gives.kind in ("masquerade", "redirect"):
            return ~self._is_own(column)
        spans = tuple(one for one in gives.addresses if is_of(one, self._version))
        found = addresses_within(self._table[column], spans)
        return ~found if spans else np.zeros(self.count, np.bool_)

    def _is_own(self, column: str) -> Mask:
        """Rows with an address of the box itself."""
        own = self._snapshot.addresses
        return is_local(self._table["family"], self._table[column], own)

    def meeting(self, what: Taken | None) -> tuple[Mask, Mask]:
        """Rows a rule's condition surely fits, and those it may fit.

        Args:
            what: the condition; None: it is not understood.
        """
        table = self._table
        found = np.ones(len(table), np.bool_)
        if what is None:
            return ~found, found
        asked = what.asked
        if asked.version not in (None, self._version):
            return ~found, ~found
        if asked.dports:
            found &= table.has("orig_dport")
            found &= ports_within(table["orig_dport"], asked.dports)
        for column, spans in (("orig_src", asked.src), ("orig_dst", asked.dst)):
            if not found.any():
                return found, found  # as of most of a thousand rules
            if spans:
                found &= addresses_within(table[column], spans)
        if asked.protos:
            found &= np.isin(table["proto"], list(asked.protos))
        perhaps = found
        for column, name in (("orig_dst", asked.oif), ("orig_src", what.iif)):
            if name is not None:
                names, codes = self._way(column)
                there = codes == (names.index(name) if name in names else len(names))
                found, perhaps = found & there, perhaps & (there | (codes == 0))
        return found, perhaps

    def _way(self, column: str) -> tuple[list[str], NDArray[np.intp]]:
        """The interface the main table leads through to a column's addresses."""
        if column not in self._ways:
            words, bundle = self._table[column], self._snapshot.bundle
            self._ways[column] = outgoing(bundle, self._version, words)
        return self._ways[column]
