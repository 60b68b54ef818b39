"""Flows that are not translated, though a rule of today surely would.

By the text of the rules, so only where all of it is understood: what comes before the
rule, and what leads to its chain.  The interface of a flow is the main table's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natmatch import Asked
from natscope.codec.text.natrule import Span, given
from natscope.codec.text.natrules import by_chain
from natscope.codec.text.natsure import Taken, condition, leads, taken
from natscope.codec.text.ruleset import ChainName, RuleIndex
from natscope.codec.text.strings import emptied
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Hook, Rule
from natscope.table.flowtable import FlowTable
from natscope.table.kinds import Kinds
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
_RETURNS = re.compile(r"(?<!\S)(?:return|-j RETURN)(?!\S)")
_DEEPEST = 16
"""NFT_JUMP_STACK_SIZE."""
_MOST_CHAINS = 1000
"""Looked into at a hook; a chain many lead to counts as often as packets come to it."""


def untranslated(snapshot: Snapshot, rows: Mask) -> dict[str, Mask]:
    """By the text of a rule, the rows it would translate.

    Args:
        snapshot: the box.
        rows: flows that are not translated.
    """
    lost = np.flatnonzero(rows)
    if not len(lost) or is_routed_by_rules(snapshot.bundle):
        return {}
    kinds = Kinds(snapshot.bundle).of(snapshot.flows.take(lost))
    firsts = np.array([kind.rows[0] for kind in kinds], np.intp)
    found: dict[str, Mask] = {}
    for rule, taken_now in _by_rule(snapshot, snapshot.flows.take(lost[firsts])):
        mask = found.setdefault(rule, np.zeros(len(rows), np.bool_))
        for kind in taken_now.tolist():
            mask[lost[kinds[kind].rows]] = True
    return found


def _by_rule(
    snapshot: Snapshot, table: FlowTable
) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """By the text of a rule, the flows of a table it would translate."""
    ruleset = snapshot.ruleset
    rules = by_chain(ruleset)
    for version, at in by_version(table, np.ones(len(table), np.bool_)):
        first = _FirstPackets(snapshot, table.take(at), version)
        left = first.begin_elsewhere
        for hook in (Hook.PREROUTING, Hook.POSTROUTING):
            way = _Way(ruleset, rules, first, hook)
            for chain in base_chains(ruleset, VERSIONS[version].nft, hook, "nat"):
                here = left if hook is Hook.PREROUTING else left & first.leave
                way.through((chain.family, chain.table, chain.name), here)
            for text, there in way.found.items():
                yield text, at[there & left]
                left = left & ~there


class _Way:
    """What becomes of first packets in the NAT chains of a hook.

    Args:
        ruleset: of the box.
        rules: the same by chain.
        first: the packets.
        hook: where.
    """

    def __init__(
        self,
        ruleset: RuleIndex,
        rules: Mapping[ChainName, Sequence[Rule]],
        first: _FirstPackets,
        hook: Hook,
    ) -> None:
        self._rules, self._first, self._hook = rules, first, hook
        self._names = {(one.family, one.table, one.name) for one in ruleset.chains}
        self._harmless: dict[ChainName, bool] = {}
        self._visits = 0
        self.found: dict[str, Mask] = {}
        """By the text of a rule, the packets it surely takes."""

    def through(
        self, chain: ChainName, here: Mask, path: tuple[Asked, ...] = ()
    ) -> Mask:
        """Packets that come to a chain: those that surely come back from it.

        Args:
            chain: its name.
            here: the packets.
            path: what rules on the way asked of them.
        """
        back = np.zeros(len(here), np.bool_)
        self._visits += 1
        if self._visits > _MOST_CHAINS or len(path) >= _DEEPEST:
            return back
        for rule in self._rules.get(chain, ()):
            if not here.any():
                break
            what = condition(rule)
            surely, perhaps = self._first.meeting(what)
            to = self._target(rule)
            if given(rule.text) is not None:
                here = here & ~self._taken(rule, here & surely, path)
            elif _RETURNS.search(emptied(rule.text)):
                back |= here & surely
                here = here & ~perhaps
            elif to is None:
                here = here & ~perhaps  # it may accept them
            else:
                name, is_goto = to
                came = here & surely
                if what is not None and came.any():
                    came = self.through(name, came, (*path, what.asked))
                if is_goto or not self._is_harmless(name):
                    here = here & ~perhaps
                if is_goto:
                    back |= came
                else:
                    here = here & ~surely | came
        return back | here

    def _taken(self, rule: Rule, rows: Mask, path: Sequence[Asked]) -> Mask:
        """Of some packets that fit a NAT rule, those it surely takes."""
        what = taken(rule)
        if what is None or not self._is_told((*path, what.asked)):
            return np.zeros(len(rows), np.bool_)
        if rows.any():
            known = self.found.get(rule.text)
            self.found[rule.text] = rows if known is None else known | rows
        return rows

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

    def _is_harmless(self, chain: ChainName, depth: int = 0) -> bool:
        """Whether a chain lets all come back that it does not translate."""
        if chain not in self._harmless:
            self._harmless[chain] = False  # where it leads to itself
            self._harmless[chain] = depth < _DEEPEST and all(
                self._is_passing(rule, depth) for rule in self._rules.get(chain, ())
            )
        return self._harmless[chain]

    def _is_passing(self, rule: Rule, depth: int) -> bool:
        if given(rule.text) is not None or _RETURNS.search(emptied(rule.text)):
            return True
        to = self._target(rule)
        return to is not None and self._is_harmless(to[0], depth + 1)


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
    def leave(self) -> Mask:
        """Rows that come to postrouting: the box keeps for itself what is for it."""
        others = _NOT_FORWARDED[self._version]
        kept = addresses_within(self._table["orig_dst"], others)
        return ~(kept | self._is_own("orig_dst"))

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
