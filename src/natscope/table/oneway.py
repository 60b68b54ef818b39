"""Flows that were heard from once, and of late send in vain.

SEEN_REPLY stays for ever, so one table cannot tell; two, some seconds apart, can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.table.flowtable import FlowTable

_TRANSLATED = uapi.Status.SRC_NAT | uapi.Status.DST_NAT
_FEWEST = 2
"""Packets in vain; one may be about to be answered."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many packets each translated flow that was answered has sent and got.

    20 bytes a flow: all that is kept of a table to compare a later one with.
    """

    ids: NDArray[np.uint32]
    sent: NDArray[np.uint64]
    got: NDArray[np.uint64]


def tally(table: FlowTable) -> Tally | None:
    """What a comparison needs of a table.

    Returns:
        None where no flow is counted: nf_conntrack_acct is off.
    """
    counted = table.has("orig_packets") & table.has("reply_packets") & table.has("id")
    if len(table) and not counted.any():
        return None
    status = np.where(table.has("status"), table["status"], 0)
    answered = status & np.uint32(uapi.Status.SEEN_REPLY) != 0
    rows = np.flatnonzero(counted & answered & (status & np.uint32(_TRANSLATED) != 0))
    return Tally(
        table["id"][rows], table["orig_packets"][rows], table["reply_packets"][rows]
    )


def unanswered(before: Tally, now: Tally) -> list[int]:
    """Ids of the flows that sent several packets in between, and got none."""
    ids, first, last = np.intersect1d(before.ids, now.ids, return_indices=True)
    sent = now.sent[last] >= before.sent[first] + np.uint64(_FEWEST)
    found: list[int] = ids[sent & (now.got[last] == before.got[first])].tolist()
    return found
