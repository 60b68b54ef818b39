"""New flows that conntrack dropped, told apart by the counters that rose together.

* ``drop`` alone: no entry was to be had for the flow.
* ``drop`` and ``insert_failed``: another had its tuple when it was to be entered.
* ``insert_failed`` and ``chaintoolong``: its hash chain was too long.

See resolve_normal_ct(), nf_ct_resolve_clash() and __nf_conntrack_confirm().
"""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.measured import Totals
from natscope.views.doctor.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class Losses:
    """First packets that were dropped in an interval, by why."""

    no_entry: int = 0
    """The table was full, or there was no memory."""
    taken: int = 0
    """Another flow had the tuple when it was to be entered."""
    chained: int = 0
    """The hash chain was too long."""

    @classmethod
    def of(cls, rose: Totals | None, thresholds: Thresholds) -> Losses:
        """What the counters tell; of counters that were not read, nothing."""
        rose = rose or {}
        dropped, chained = rose.get("drop", 0), rose.get("chaintoolong", 0)
        taken = min(max(rose.get("insert_failed", 0) - chained, 0), dropped)
        rest = dropped - taken
        is_told = rest > thresholds.same_counters * dropped
        return cls(rest if is_told else 0, taken, chained)
