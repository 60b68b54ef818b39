"""Which inside address and port has which public one, and since when.

Linux keeps no binding of its own: every flow holds its translation.  A binding
here is what the flows of one inside address and port have in common, from the
first of them to the end of the last.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

_PARTS = (
    *("proto", "zone", "orig_zone", "orig_src", "orig_sport", "orig_icmp_id"),
    *("reply_dst", "reply_dport", "reply_icmp_id"),
)


class Bindings:
    """The bindings in use, by how many flows use each.

    Port forwards are no bindings: the ruleset holds them, with or without a flow.
    """

    def __init__(self, flows: FlowTable) -> None:
        """Begin with the flows there are."""
        self._uses = Counter(_keys(flows.mask(_source_translated(flows))))

    def __len__(self) -> int:
        return len(self._uses)

    def follow(self, events: Events) -> Events:
        """The events that began a binding or ended one, each told by its flow."""
        counts = events.kinds != EventKind.UPDATE
        events = events.mask(counts & _source_translated(events.flows))
        kept = [
            row
            for row, (key, kind) in enumerate(
                zip(_keys(events.flows), events.kinds.tolist(), strict=True)
            )
            if (self._begins if kind == EventKind.NEW else self._ends)(key)
        ]
        return events.take(np.array(kept, np.intp))

    def _begins(self, key: bytes) -> bool:
        self._uses[key] += 1
        return self._uses[key] == 1

    def _ends(self, key: bytes) -> bool:
        left = self._uses[key] - 1
        if left > 0:
            self._uses[key] = left
            return False
        del self._uses[key]
        return True


def _source_translated(flows: FlowTable) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = flows["status"] & np.uint32(uapi.Status.SRC_NAT) != 0
    return changed


def _keys(flows: FlowTable) -> list[bytes]:
    packed = np.column_stack([flows[name].astype(np.uint64) for name in _PARTS])
    width = packed.shape[1] * packed.itemsize
    whole = packed.tobytes()
    return [whole[at : at + width] for at in range(0, len(whole), width)]
