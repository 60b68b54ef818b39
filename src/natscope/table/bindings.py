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
from natscope.table.live import flow_keys

_PARTS = (
    *("proto", "zone", "orig_zone", "orig_src", "orig_sport", "orig_icmp_id"),
    *("reply_dst", "reply_dport", "reply_icmp_id"),
)


class Bindings:
    """The bindings in use, by which flows use each.

    A flow counts once, however often it is told: one that is there already may
    have its NEW still to come (see ``LiveTable``).  Port forwards are no bindings:
    the ruleset holds them, with or without a flow.
    """

    def __init__(self, flows: FlowTable) -> None:
        """Begin with the flows there are."""
        flows = flows.mask(_source_translated(flows))
        self._of = dict(zip(flow_keys(flows).tolist(), _keys(flows), strict=True))
        self._uses = Counter(self._of.values())

    def __len__(self) -> int:
        return len(self._uses)

    def follow(self, events: Events) -> Events:
        """The events that began a binding or ended one, each told by its flow."""
        counts = events.kinds != EventKind.UPDATE
        events = events.mask(counts & _source_translated(events.flows))
        flows = flow_keys(events.flows).tolist()
        told = zip(flows, _keys(events.flows), events.kinds.tolist(), strict=True)
        kept = [
            row
            for row, (flow, binding, kind) in enumerate(told)
            if (self._begins if kind == EventKind.NEW else self._ends)(flow, binding)
        ]
        return events.take(np.array(kept, np.intp))

    def _begins(self, flow: int, binding: bytes) -> bool:
        if flow in self._of:
            return False
        self._of[flow] = binding
        self._uses[binding] += 1
        return self._uses[binding] == 1

    def _ends(self, flow: int, binding: bytes) -> bool:
        """Also of a flow that was there before anything was known."""
        if self._of.pop(flow, None) is None:
            return binding not in self._uses
        self._uses[binding] -= 1
        if self._uses[binding]:
            return False
        del self._uses[binding]
        return True


def _source_translated(flows: FlowTable) -> NDArray[np.bool_]:
    changed: NDArray[np.bool_] = flows["status"] & np.uint32(uapi.Status.SRC_NAT) != 0
    return changed


def _keys(flows: FlowTable) -> list[bytes]:
    packed = np.column_stack([flows[name].astype(np.uint64) for name in _PARTS])
    width = packed.shape[1] * packed.itemsize
    whole = packed.tobytes()
    return [whole[at : at + width] for at in range(0, len(whole), width)]
