"""Where the row of a key is: a hash table over arrays, asked in bulk.

Open addressing with linear probing.  A key that was taken out leaves a mark, so
that "never there" can be told from "gone".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]

NONE, GONE = -1, -2
"""Answers of ``find`` that are no row."""
_SMALLEST = 1024


class KeyIndex:
    """Rows by 64-bit keys; the keys are hashes already."""

    def __init__(self) -> None:
        self._resize(_SMALLEST)

    def _resize(self, capacity: int) -> None:
        self._keys = np.zeros(capacity, np.uint64)
        self._rows = np.full(capacity, NONE, np.int64)
        self._mask = np.uint64(capacity - 1)
        self._used = 0

    def find(self, keys: Keys) -> Rows:
        """The row of each key, NONE or GONE."""
        found = self._rows[self._slots(keys)]
        rows: Rows = found
        return rows

    def put(self, keys: Keys, rows: Rows) -> None:
        """Set the rows of keys, which differ from each other."""
        if (self._used + len(keys)) * 2 > len(self._keys):
            self._make_room(len(keys))
        slots = self._slots(keys)
        new = self._rows[slots] == NONE
        self._rows[slots[~new]] = rows[~new]
        self._add(keys[new], rows[new])

    def drop(self, keys: Keys) -> None:
        """Mark keys as gone; those that are not there are left alone."""
        slots = self._slots(keys)
        self._rows[slots[self._rows[slots] >= 0]] = GONE

    def _slots(self, keys: Keys) -> NDArray[np.uint64]:
        """The slot that holds each key, or the empty one where it would be."""
        slots = keys & self._mask
        left = np.arange(len(keys))
        while len(left):
            at = slots[left]
            elsewhere = (self._keys[at] != keys[left]) & (self._rows[at] != NONE)
            left = left[elsewhere]
            slots[left] = (slots[left] + np.uint64(1)) & self._mask
        return slots

    def _add(self, keys: Keys, rows: Rows) -> None:
        """Place keys that are not there yet."""
        while len(keys):
            slots = self._slots(keys)
            # of several keys that want one slot, the last written has it
            self._keys[slots] = keys
            placed = self._keys[slots] == keys
            self._rows[slots[placed]] = rows[placed]
            self._used += int(placed.sum())
            keys, rows = keys[~placed], rows[~placed]

    def _make_room(self, more: int) -> None:
        """Grow, or forget what is gone."""
        kept = self._rows >= 0
        keys, rows = self._keys[kept], self._rows[kept]
        capacity = _SMALLEST
        while capacity < 4 * (len(keys) + more):
            capacity *= 2
        self._resize(capacity)
        self._add(keys, rows)
