"""What events told of each flow, remembered until it ends.

An event says what is, not what changed; only beside what was known before does
it say what happened.  Facts are whole numbers in a row of int64 a flow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.index import KeyIndex, Keys, Rows
from natscope.table.live import flow_keys

Facts = NDArray[np.int64]

UNKNOWN = -1
"""No fact is negative."""
STATUS, STATE, MARK, LABELS, START, CLOSED = range(6)
"""Columns of facts: status bits, the protocol's state, mark, a hash of the labels,
when the flow began and when it was first seen closed (ns since 1970)."""
_WIDTH = 6
_STATES = ("tcp_state", "sctp_state", "dccp_state")
_ODD = np.uint64(0x9E3779B97F4A7C15)
_POSITIVE = np.uint64((1 << 63) - 1)
_SMALLEST = 1024
MOST = 1 << 22
"""Flows remembered at most: without repairs, some never seem to end."""


class Remembered:
    """The facts known of flows, by flow."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._index = KeyIndex()
        self._facts = np.full((_SMALLEST, _WIDTH), UNKNOWN, np.int64)
        self._free = np.arange(_SMALLEST)[::-1].copy()
        self._left = _SMALLEST

    def __len__(self) -> int:
        return len(self._facts) - self._left

    def learn(self, table: FlowTable) -> None:
        """Know flows without an event: a dump told them."""
        keys, first = np.unique(flow_keys(table), return_index=True)
        self._put(keys, facts_of(table)[first])

    def follow(self, events: Events, closes: NDArray[np.bool_]) -> tuple[Facts, Facts]:
        """Take events in.

        Args:
            events: a batch.
            closes: for every row, whether a state that it tells is a closed one.

        Returns:
            The facts before each event and after it, a row an event; a fact that
            neither it nor an earlier one told is UNKNOWN.
        """
        n = len(events)
        if n == 0:
            return np.empty((0, _WIDTH), np.int64), np.empty((0, _WIDTH), np.int64)
        keys = flow_keys(events.flows)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.r_[True, keys[1:] != keys[:-1]]
        told = _told(events)[order]
        kinds = events.kinds[order]
        # an entry that comes, or came after an end, is another one
        fresh = kinds == EventKind.NEW
        fresh[1:] |= kinds[:-1] == EventKind.DESTROY
        recalled = self._recall(keys, first & (kinds != EventKind.NEW))
        before, after = _carried(told, recalled, first | fresh, closes[order])
        last = np.r_[first[1:], True]
        ended = kinds == EventKind.DESTROY
        self._drop(keys[last & ended])
        self._put(keys[last & ~ended], after[last & ~ended])
        unsorted = np.empty(n, np.intp)
        unsorted[order] = np.arange(n)
        return before[unsorted], after[unsorted]

    def _recall(self, keys: Keys, wanted: NDArray[np.bool_]) -> Facts:
        """What is known of flows, a row each; nothing where not ``wanted``."""
        facts = np.full((len(keys), _WIDTH), UNKNOWN, np.int64)
        rows = self._index.find(keys[wanted])
        known = rows >= 0
        facts[np.flatnonzero(wanted)[known]] = self._facts[rows[known]]
        return facts

    def _put(self, keys: Keys, facts: Facts) -> None:
        """Set the facts of flows, each once."""
        rows = self._index.find(keys)
        new = np.flatnonzero(rows < 0)
        if len(self) + len(new) > MOST:
            self._forget()
            rows = np.full(len(keys), UNKNOWN, np.int64)
            new = np.arange(len(keys))
        while len(new) > self._left:
            self._grow()
        fresh = self._free[self._left - len(new) : self._left].copy()
        self._left -= len(new)
        rows[new] = fresh
        self._index.put(keys[new], fresh)
        self._facts[rows] = facts

    def _drop(self, keys: Keys) -> None:
        rows = self._index.find(keys)
        rows = rows[rows >= 0]
        self._index.drop(keys)
        self._free[self._left : self._left + len(rows)] = rows
        self._left += len(rows)

    def _grow(self) -> None:
        """Twice the room."""
        n = len(self._facts)
        self._facts = np.concatenate([self._facts, np.full_like(self._facts, UNKNOWN)])
        free: Rows = np.zeros(2 * n, np.int64)
        free[:n] = np.arange(n, 2 * n)[::-1]
        free[n : n + self._left] = self._free[: self._left]
        self._free, self._left = free, self._left + n


def _carried(
    told: Facts, recalled: Facts, first: NDArray[np.bool_], closes: NDArray[np.bool_]
) -> tuple[Facts, Facts]:
    """Facts before and after each event, of events sorted by flow.

    Args:
        told: by each event.
        recalled: of the flow, in the rows that are its ``first``.
        first: begins a flow.
        closes: tells a closed state.
    """
    after = np.empty_like(told)
    before = np.empty_like(told)
    for fact in (STATUS, STATE, MARK, LABELS, START, CLOSED):
        says = told[:, fact]
        if fact == CLOSED:
            # the first closed state counts, not those that repeat it
            changed = before[:, STATE] != after[:, STATE]
            says = np.where(closes & changed, says, UNKNOWN)
        start = np.where(first & (says == UNKNOWN), recalled[:, fact], says)
        source = np.where(first | (says != UNKNOWN), np.arange(len(says)), 0)
        after[:, fact] = start[np.maximum.accumulate(source)]
        before[0, fact] = UNKNOWN
        before[1:, fact] = after[:-1, fact]
        before[first, fact] = recalled[first, fact]
    return before, after


def _told(events: Events) -> Facts:
    """The facts each event tells; CLOSED is its time, if it is a closing."""
    facts = facts_of(events.flows)
    times = events.times_ns().astype(np.int64)
    new = (events.kinds == EventKind.NEW) & (facts[:, START] == UNKNOWN)
    facts[new, START] = times[new]
    facts[:, CLOSED] = times
    return facts


def facts_of(table: FlowTable) -> Facts:
    """What a table says, a row a flow."""
    facts = np.full((len(table), _WIDTH), UNKNOWN, np.int64)
    for fact, names in (
        (STATUS, ("status",)),
        (STATE, _STATES),
        (MARK, ("mark",)),
        (START, ("start_ns",)),
    ):
        for name in names:
            if name in table.columns:
                has = table.has(name)
                np.copyto(facts[:, fact], table[name].astype(np.int64), where=has)
    if "labels" in table.columns:
        words = table["labels"]
        mixed = (words[:, 0] * _ODD ^ words[:, 1]) & _POSITIVE
        has = table.has("labels")
        np.copyto(facts[:, LABELS], mixed.astype(np.int64), where=has)
    return facts
