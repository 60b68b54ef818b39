"""When and why flows ended, as far as the kernel lets one see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

IDLE, DETECTED, FORCED = 1, 3, 4
"""flowEndReason of IPFIX: silence until the timeout, the protocol's own end, and
somebody's order: a delete, a flush, or the kernel making room."""
_TIME_WAIT = uapi.TCP_STATES.index("TIME_WAIT")
_CLOSE = uapi.TCP_STATES.index("CLOSE")


def end_reasons(flows: FlowTable) -> NDArray[np.uint8]:
    """The flowEndReason of flows as their DESTROY told them.

    A DESTROY tells the time left only where there was any
    (ctnetlink_dump_timeout, skip_zero): the entry did not expire.  A full table
    (early_drop) looks like a delete.  A TCP reset before any reply takes the entry
    out at once (nf_conntrack_tcp_packet): a connection that was refused.
    """
    closed = (flows["tcp_state"] == _TIME_WAIT) | (flows["tcp_state"] == _CLOSE)
    closed &= flows.has("tcp_state")
    reasons = np.where(closed, np.uint8(DETECTED), np.uint8(IDLE))
    left = flows.has("timeout") & (flows["timeout"] > 0)
    refused = closed & flows.has("status") & (flows["tcp_state"] == _CLOSE)
    refused &= flows["status"] & np.uint32(uapi.Status.SEEN_REPLY) == 0
    reasons[left & ~refused] = FORCED
    return reasons


def happened_ns(events: Events) -> NDArray[np.uint64]:
    """When each happened: of a flow that ended its stop, where the kernel keeps it.

    Garbage collection finds an expired entry up to a minute late; the stop is
    right (nf_ct_delete() subtracts the delay).
    """
    flows = events.flows
    if "stop_ns" not in flows.columns:
        return events.times_ns()
    stopped = flows.has("stop_ns") & (events.kinds == EventKind.DESTROY)
    return np.where(stopped, flows["stop_ns"], events.times_ns())
