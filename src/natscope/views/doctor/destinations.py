"""Flows that hold a source port of one public address, by where they go."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.views.doctor.rows import is_set

Rows = NDArray[np.intp]

_WITH_PORTS = (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, uapi.IPPROTO_SCTP)


def destinations(table: FlowTable) -> tuple[Rows, Rows, Rows]:
    """The rows that hold a port of an address that is given to others, in groups.

    A group has one protocol, public address, destination address and port, and zone:
    within it each row holds a port of its own.

    Returns:
        The rows; of each group the place of its first among them; the group of each.
    """
    names = ("reply_sport", "reply_dport")
    with_ports = np.isin(table["proto"], _WITH_PORTS)
    for name in names:
        with_ports &= table.has(name)
    translated = with_ports & is_set(table, uapi.Status.SRC_NAT)
    # the box's own flows from a public address hold its ports as well
    public = table["reply_dst"]
    key = public[:, 0] ^ public[:, 1]
    holds = with_ports & np.isin(key, np.unique(key[translated]))
    rows = np.flatnonzero(holds)
    words: list[NDArray[Any]] = [
        table["proto"][rows].astype(np.uint64) << np.uint64(32)
        | table["reply_sport"][rows].astype(np.uint64) << np.uint64(16)
        | table["reply_zone"][rows]
    ]
    source, dst = table["reply_src"][rows], public[rows]
    if source[:, 0].any() or dst[:, 0].any():
        words += [source[:, 0], source[:, 1], dst[:, 0], dst[:, 1]]
    else:
        words.append(source[:, 1] << np.uint64(32) | dst[:, 1])
    if "zone" in table.columns:
        words.append(table["zone"][rows])
    return rows, *group_rows(words, len(rows))
