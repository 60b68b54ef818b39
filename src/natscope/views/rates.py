"""Rates: what changed between two readings of the same table."""

from __future__ import annotations

import numpy as np

from natscope.table.flowtable import DUPLICATE_KEY, FlowTable

_MOST = 2.0**63
"""More bytes a second than there will be; keeps the cast in range."""


def with_rates(before: FlowTable, now: FlowTable, elapsed_s: float) -> FlowTable:
    """The later table with a ``rate`` column, bytes per second both ways.

    A flow has a rate when both readings hold it (same tuple, zone and id) with
    counters that did not go back.
    """
    if "orig_bytes" not in now.columns or elapsed_s <= 0 or len(before) == 0:
        return now
    both = FlowTable.concat([before, now])
    first, of_row = both.group(*DUPLICATE_KEY)
    earlier = first[of_row[len(before) :]]
    known = earlier < len(before)
    counted = both.has("orig_bytes") & both.has("reply_bytes")
    known &= counted[earlier] & counted[len(before) :]
    total = both["orig_bytes"] + both["reply_bytes"]
    then, later = total[earlier], total[len(before) :]
    known &= later >= then
    moved = np.where(known, later - np.where(known, then, 0), 0)
    rate = np.minimum(moved / elapsed_s, _MOST).astype(np.uint64)
    return now.with_column("rate", rate, known)
