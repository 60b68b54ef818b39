"""The destinations that most source ports of an address are in use for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.measured import PortsHeld
from natscope.table.flowtable import FlowTable
from natscope.table.records import address_at

MOST = 20
"""Destinations told of."""
_FEWEST = 8
"""Ports, from which on a range may be meant to be shared."""
_CLOSING = (uapi.TCP_STATES.index("TIME_WAIT"), uapi.TCP_STATES.index("CLOSE"))
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)
"""Factors that spread addresses over 64 bits."""
_ENDS = ("reply_src", "reply_dst")
_NUMBERS = ("proto", "reply_sport", "zone", "family")


def ports_held(table: FlowTable) -> tuple[PortsHeld, ...]:
    """The destinations with most ports, the most first.

    Of translated sources; connections that close are left out, for new ones may have
    their ports.
    """
    status = np.where(table.has("status"), table["status"], 0)
    rows = (status & np.uint32(uapi.Status.SRC_NAT) != 0) & table.has("reply_dport")
    rows &= ~(table.has("tcp_state") & np.isin(table["tcp_state"], _CLOSING))
    at = np.flatnonzero(rows)
    _, first, of_row, flows = np.unique(
        _mixed(table, at), return_index=True, return_inverse=True, return_counts=True
    )
    # as many flows as ports, but for those that share one by their zones
    fullest = np.argsort(-flows, kind="stable")[:MOST]
    found = [
        _held(table, at[first[one]], at[of_row == one])
        for one in fullest.tolist()
        if flows[one] >= _FEWEST
    ]
    return tuple(sorted(found, key=lambda one: -one.ports))


def _mixed(table: FlowTable, at: NDArray[np.intp]) -> NDArray[np.uint64]:
    """A number for each row's destination, another one for another."""
    mixed = np.zeros(len(at), np.uint64)
    words = [table[end][at, side] for end in _ENDS for side in (0, 1)]
    for word, factor in zip(words, _ODD, strict=True):
        mixed = (mixed ^ word) * np.uint64(factor)
    for name in _NUMBERS:
        mixed = (mixed ^ table[name][at].astype(np.uint64)) * np.uint64(_ODD[0])
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _held(table: FlowTable, row: np.intp, rows: NDArray[np.intp]) -> PortsHeld:
    family = int(table["family"][row])
    remote, public = (address_at(family, *table[end][row].tolist()) for end in _ENDS)
    return PortsHeld(
        public=public,
        proto=int(table["proto"][row]),
        zone=int(table["zone"][row]),
        address=remote,
        port=int(table["reply_sport"][row]),
        ports=len(np.unique(table["reply_dport"][rows])),
    )
