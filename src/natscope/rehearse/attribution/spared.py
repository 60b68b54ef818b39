"""Flows that the NAT rules of a box say nothing about."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.bundle import Bundle
from natscope.table.attribution import Making, Origin
from natscope.table.flowtable import FlowTable

Mask = NDArray[np.bool_]

_EXPECTED = Making(Origin.NONE, why="as the flow that expected it")
_ZONED = Making(Origin.UNKNOWN, is_certain=False, why="in a zone no rule sets")
_CUT = Making(Origin.UNKNOWN, is_certain=False, why="its ports are not known")
_TURNED = Making(Origin.NONE, why="turned by something else than NAT rules")
_ZONING = re.compile(r"\bzone set\b|--zone")
_WITH_PORTS = tuple(uapi.PORT_PROTOCOLS)
_NAT = (
    ("orig_dst", "reply_src", uapi.Status.DST_NAT),
    ("orig_src", "reply_dst", uapi.Status.SRC_NAT),
)


def spared(table: FlowTable, bundle: Bundle) -> Iterator[tuple[Making, Mask]]:
    """Which rows no rule is asked about, by why; of a row told twice the last counts.

    Args:
        table: flows of the box.
        bundle: the box.
    """
    yield _TURNED, _turned_otherwise(table)
    ported = np.isin(table["proto"], _WITH_PORTS)
    yield _CUT, ported & ~(table.has("orig_sport") & table.has("orig_dport"))
    zoned = np.zeros(len(table), np.bool_)
    if not any(_ZONING.search(one.text) for one in bundle.rulesets):
        for name in ("zone", "orig_zone", "reply_zone"):
            zoned |= table[name] != 0
    yield _ZONED, zoned  # Open vSwitch translates there by rules of its own
    expected = table["status"] & np.uint32(uapi.Status.EXPECTED) != 0
    yield _EXPECTED, expected & table.has("status") | table.has("master_src")


def _turned_otherwise(table: FlowTable) -> Mask:
    """Tuples that differ without a bit that says so: IPVS (ip_vs_update_conntrack)."""
    found = np.zeros(len(table), np.bool_)
    for was, now, bit in _NAT:
        words = table[was] != table[now]
        differ = words[:, 0] | words[:, 1]
        found |= differ & (table["status"] & np.uint32(bit) == 0)
    told: Mask = table.has("status") & ~table.has("status_mask")
    return found & told
