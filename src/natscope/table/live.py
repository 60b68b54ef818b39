"""A table kept current: entries come, change and go, many at a time.

Rows are found by a 64-bit hash of the original tuple, the zone and the id the
kernel gives an entry, so that a successor with the same tuple is another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.model.event import EventKind
from natscope.table.columns import BIT, BY_NAME
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.table.index import GONE, KeyIndex, Keys, Rows

_SMALLEST = 1024
_COMPARED = ("status", "mark", "tcp_state", "sctp_state", "labels", "helper")
"""What an UPDATE tells, so that a change of it was missed."""
_NOT_MISSING = np.inf
_OF_AN_EVENT = ("event_ns", "stop_ns")
_START = np.uint64(1 << BIT["start_ns"])
_TIMEOUT = np.uint64(1 << BIT["timeout"])


def flow_keys(table: FlowTable) -> Keys:
    """What tells one entry from another, mixed into 64 bits.

    Of a million entries, two share a key once in thirty million tables.
    """
    word = table["proto"].astype(np.uint64)
    for name, bits in (("orig_sport", 16), ("orig_dport", 16), ("orig_icmp_id", 16)):
        word = word << np.uint64(bits) | table[name]
    rest = table["id"].astype(np.uint64)
    for name, bits in (("zone", 16), ("orig_icmp_type", 8), ("orig_icmp_code", 8)):
        rest = rest << np.uint64(bits) | table[name]
    keys = word
    ends = (table["orig_src"], table["orig_dst"])
    for one in (*(end[:, half] for end in ends for half in (0, 1)), rest):
        keys = _mixed(keys ^ one)
    return _mixed(keys ^ table["orig_zone"])


def _mixed(keys: Keys) -> Keys:
    """A step of splitmix64 (Steele, Lea, Flood 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ keys >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ keys >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return keys ^ keys >> np.uint64(31)


@dataclass(frozen=True, slots=True)
class Repair:
    """What a dump shows that events had not told."""

    born: FlowTable
    changed: FlowTable
    gone: FlowTable


class LiveRows:
    """Entries by key, with room for more; see the module."""

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._data: dict[str, NDArray[Any]] = {}
        self._present = np.zeros(_SMALLEST, np.uint64)
        self._keys = np.zeros(_SMALLEST, np.uint64)
        self._alive = np.zeros(_SMALLEST, np.bool_)
        self._heard = np.zeros(_SMALLEST, np.bool_)
        self._missing = np.full(_SMALLEST, _NOT_MISSING)
        self._free = np.arange(_SMALLEST)[::-1].copy()
        self._left = _SMALLEST

    def __len__(self) -> int:
        return len(self._alive) - self._left - self.missing

    @property
    def silent(self) -> int:
        """How many entries no event has told of, only dumps.

        With nf_conntrack_events at 2, a flow born while nobody listened never
        sends one, not of its end either (nf_conntrack_ecache.c).
        """
        return int((self._alive & ~self._heard).sum())

    @property
    def missing(self) -> int:
        """How many entries a dump no longer showed, but whose end is awaited."""
        return int((self._missing != _NOT_MISSING).sum())

    def table(self) -> FlowTable:
        """The entries as they are known to be now."""
        there = np.flatnonzero(self._alive & (self._missing == _NOT_MISSING))
        return self._gather(there).without(*_OF_AN_EVENT)

    def put(self, flows: FlowTable) -> None:
        """Add entries, or replace what is known of them.

        Of entries that stand twice, one is kept.
        """
        keys, first = np.unique(flow_keys(flows), return_index=True)
        flows = flows.take(first)
        at = self._index.find(keys)
        known = at >= 0
        self._overwrite(at[known], flows.take(known))
        self._insert(keys[~known], flows.take(~known))

    def apply(self, events: Events) -> Events:
        """Let entries come, change and go, in the order of the events.

        Returns:
            The events with all that is known of their flows.  Left out are a NEW
            of an entry that is there (a dump had shown it) and what is told
            of one that is gone.
        """
        if len(events) == 0:
            return events
        keys = flow_keys(events.flows)
        kept: list[NDArray[np.intp]] = []
        told: list[FlowTable] = []
        for rows in _rounds(keys):
            merged, keep = self._round(events.take(rows), keys[rows])
            kept.append(rows[keep])
            told.append(merged.mask(keep))
        rows = np.concatenate(kept)
        order = np.argsort(rows)
        flows = FlowTable.concat(told).take(order)
        return events.take(rows[order]).with_flows(flows)

    def _round(self, events: Events, keys: Keys) -> tuple[FlowTable, NDArray[np.bool_]]:
        """Apply events of different entries; what is known then, and what to tell."""
        kinds, flows = events.kinds, events.flows
        at = self._index.find(keys)
        new, destroy = kinds == EventKind.NEW, kinds == EventKind.DESTROY
        keep = np.where(new, at < 0, at != GONE)
        fresh = keep & (at < 0) & ~destroy
        if fresh.any():
            at[fresh] = self._insert(keys[fresh], flows.take(fresh))
            born = fresh & new & ~flows.has("start_ns")
            self._start(at[born], events.times_ns()[born])
        change = keep & ~fresh & (at >= 0)
        if change.any():
            self._update(at[change], flows.take(change))
        known = at >= 0
        self._heard[at[known]] = True
        ended = destroy & known
        # a DESTROY tells the time left where there was any, and only there
        self._present[at[ended & ~flows.has("timeout")]] &= ~_TIMEOUT
        if known.all():
            merged = self._gather(at)
        else:
            strangers = flows.take(~known)
            both = FlowTable.concat([self._gather(at[known]), strangers])
            place = np.empty(len(at), np.intp)
            place[np.r_[np.flatnonzero(known), np.flatnonzero(~known)]] = np.arange(
                len(at)
            )
            merged = both.take(place)
        if ended.any():
            self._remove(keys[ended], at[ended])
        return merged, keep

    def repair(
        self, dump: FlowTable, meanwhile: Events, *, now_s: float = 0, wait_s: float = 0
    ) -> tuple[Repair, Events]:
        """Take a dump for the truth, and what happened while it was made.

        Args:
            dump: every entry; begun when all earlier events had been applied.
            meanwhile: the events received from then until its end.
            now_s: the time.
            wait_s: how long an entry that no dump shows is waited for: its
                DESTROY may yet come.

        Returns:
            What no event had told, and ``meanwhile`` as ``apply`` returns it.
        """
        keys, first = np.unique(flow_keys(dump), return_index=True)
        dump = dump.take(first)
        before = np.flatnonzero(self._alive)
        their_keys = self._keys[before]
        at = self._index.find(keys)
        known = at >= 0
        self._missing[at[known]] = _NOT_MISSING
        changed = self._refresh(at[known], dump.take(known))
        born_now = flow_keys(meanwhile.flows)[meanwhile.kinds == EventKind.NEW]
        missed = ~known & ~np.isin(keys, born_now)
        born = dump.take(missed)
        self._insert(keys[missed], born)
        told = self.apply(meanwhile)
        unseen = before[~np.isin(their_keys, keys)]
        unseen = unseen[self._alive[unseen]]
        # a row may have a new tenant by now, or the same one born again
        old = np.isin(self._keys[unseen], their_keys)
        unseen = unseen[old & ~np.isin(self._keys[unseen], born_now)]
        if wait_s:
            self._missing[unseen] = np.minimum(self._missing[unseen], now_s)
            unseen = unseen[now_s - self._missing[unseen] >= wait_s]
        gone = self._gather(unseen)
        self._remove(self._keys[unseen], unseen)
        return Repair(born, changed, gone), told

    def _refresh(self, rows: Rows, flows: FlowTable) -> FlowTable:
        """Overwrite rows; those of which an UPDATE was missed."""
        before = self._gather(rows)
        differ = np.zeros(len(rows), np.bool_)
        for name in _COMPARED:
            both = before.has(name) & flows.has(name)
            unequal = before[name] != flows[name]
            differ |= both & (unequal.any(axis=1) if unequal.ndim == 2 else unequal)
        self._overwrite(rows, flows)
        return self._gather(rows[differ])

    def _gather(self, rows: Rows) -> FlowTable:
        if not self._data:
            return FlowTable.empty()
        data = {name: column[rows] for name, column in self._data.items()}
        return FlowTable(data, self._present[rows])

    def _insert(self, keys: Keys, flows: FlowTable) -> Rows:
        """Entries that are not there; their rows."""
        n = len(keys)
        while n > self._left:
            self._grow()
        rows = self._free[self._left - n : self._left].copy()
        self._left -= n
        self._index.put(keys, rows)
        self._alive[rows] = True
        self._heard[rows] = False
        self._keys[rows] = keys
        self._write(rows, flows)
        return rows

    def _write(self, rows: Rows, flows: FlowTable) -> None:
        """Make rows what a table says, and nothing else."""
        for name in flows.columns:
            self._column(name, flows)[rows] = flows[name]
        for name in self._data.keys() - set(flows.columns):
            column = self._data[name]
            column[rows] = (
                None if column.dtype == object else np.zeros((), column.dtype)
            )
        self._present[rows] = flows.present

    def _overwrite(self, rows: Rows, flows: FlowTable) -> None:
        """Make rows what a dump says; it may not know when they began."""
        told = flows.has("start_ns")
        starts = self._column("start_ns", flows)[rows]
        knew = self._present[rows] & _START != 0
        self._write(rows, flows)
        self._start(rows[knew & ~told], starts[knew & ~told])

    def _start(self, rows: Rows, times_ns: NDArray[np.uint64]) -> None:
        column = self._data.get("start_ns")
        if column is None:
            column = self._data["start_ns"] = np.zeros(len(self._alive), np.uint64)
        column[rows] = times_ns
        self._present[rows] |= _START

    def _update(self, rows: Rows, flows: FlowTable) -> None:
        """Set what a table says of rows; what it does not say stays."""
        for name in flows.columns:
            column, has = self._column(name, flows), flows.has(name)
            if has.all():
                column[rows] = flows[name]
            else:
                column[rows[has]] = flows[name][has]
        self._present[rows] |= flows.present

    def _remove(self, keys: Keys, rows: Rows) -> None:
        self._index.drop(keys)
        self._alive[rows] = False
        self._missing[rows] = _NOT_MISSING
        self._free[self._left : self._left + len(rows)] = rows
        self._left += len(rows)

    def _column(self, name: str, flows: FlowTable) -> NDArray[Any]:
        """The stored column, wide enough for what a table has in it."""
        values, column = flows[name], self._data.get(name)
        if column is not None and values.dtype.itemsize <= column.dtype.itemsize:
            return column
        schema = BY_NAME[name]
        dtype = values.dtype if schema.dtype == "S" else np.dtype(schema.dtype)
        shape = (len(self._alive), schema.width)[: 1 if schema.width == 1 else 2]
        wider = np.zeros(shape, dtype)
        wider[:] = _nothing(wider) if column is None else column
        self._data[name] = wider
        return wider

    def _grow(self) -> None:
        """Twice the room."""
        n = len(self._alive)
        for name, column in self._data.items():
            more = np.full_like(column, _nothing(column))
            self._data[name] = np.concatenate([column, more])
        self._present = np.concatenate([self._present, np.zeros(n, np.uint64)])
        self._keys = np.concatenate([self._keys, np.zeros(n, np.uint64)])
        self._alive = np.concatenate([self._alive, np.zeros(n, np.bool_)])
        self._heard = np.concatenate([self._heard, np.zeros(n, np.bool_)])
        self._missing = np.concatenate([self._missing, np.full(n, _NOT_MISSING)])
        free = np.zeros(2 * n, self._free.dtype)
        free[:n] = np.arange(n, 2 * n)[::-1]
        free[n : n + self._left] = self._free[: self._left]
        self._free, self._left = free, self._left + n


def _nothing(column: NDArray[Any]) -> Any:
    """What a column holds where it is absent."""
    return None if column.dtype == object else np.zeros((), column.dtype)


def _rounds(keys: Keys) -> list[NDArray[np.intp]]:
    """Rows whose keys differ from each other, each key's in their order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) == len(keys):
        return [np.arange(len(keys))]
    lengths = np.diff(np.r_[starts, len(keys)])
    rank = np.arange(len(keys)) - np.repeat(starts, lengths)
    turns = range(int(lengths.max()))
    return [np.sort(order[rank == turn]) for turn in turns]
