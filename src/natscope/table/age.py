"""Age and silence of every row: ``model.age`` said of columns."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from natscope.model.age import (
    BY_PROTOCOL,
    BY_STATE,
    BY_STREAM,
    NO_CLOCK,
    NS_PER_S,
    STREAM,
)
from natscope.model.evidence import Evidence
from natscope.table.flowtable import FlowTable

Mask = NDArray[np.bool_]
Seconds = NDArray[np.int64]
Known: TypeAlias = tuple[Seconds, Mask]

_UNKNOWN = -1


def age_s(table: FlowTable, evidence: Evidence) -> Known:
    """Seconds since each flow began; for one that ended, how long it lived.

    Returns:
        Seconds, and where they are known.
    """
    ended = table.has("stop_ns")
    known = table.has("start_ns") & (ended | (evidence.now_ns is not None))
    end = np.where(ended, table["stop_ns"], np.uint64(evidence.now_ns or 0))
    start = table["start_ns"]
    # unsigned: a start after the end must not wrap round
    lived = np.where(known & (end > start), end - start, np.uint64(0))
    seconds = (lived // np.uint64(NS_PER_S)).astype(np.int64)
    if "delta_time" in table.columns:
        told = table.has("delta_time")
        seconds[told] = table["delta_time"][told]
        known = known | told
    return seconds, known


def idle_s(table: FlowTable, evidence: Evidence) -> Known:
    """Seconds since the last packet of each flow, an estimate.

    Returns:
        Seconds, and where they are known.
    """
    configured = configured_timeout_s(table, evidence)
    left = table["timeout"].astype(np.int64)
    known = table.has("timeout") & (configured >= left)
    return np.where(known, configured - left, 0), known


def configured_timeout_s(table: FlowTable, evidence: Evidence) -> Seconds:
    """The timeout every packet of a flow sets in its state; -1 where unknown."""
    proto = table["proto"]
    configured = _by_protocol(evidence)[proto]
    for number, (column, prefix, states) in BY_STATE.items():
        if column in table.columns:
            rows = np.flatnonzero((proto == number) & table.has(column))
            by_state = _by_state(prefix, states, evidence)
            configured[rows] = by_state[table[column][rows]]
    if "status" in table.columns:
        _stream(table, evidence, configured)
        configured[table.has("status") & (_bits(table, NO_CLOCK) != 0)] = _UNKNOWN
    return configured


def _by_protocol(evidence: Evidence) -> Seconds:
    """For each protocol number; unknown where state or status decides."""
    seconds = np.full(256, evidence.timeouts.get("generic_timeout", _UNKNOWN), np.int64)
    for number, name in BY_PROTOCOL.items():
        seconds[number] = evidence.timeouts.get(name, _UNKNOWN)
    seconds[[*BY_STATE, *BY_STREAM]] = _UNKNOWN
    return seconds


def _by_state(prefix: str, states: tuple[str, ...], evidence: Evidence) -> Seconds:
    seconds = np.full(256, _UNKNOWN, np.int64)
    for value, state in enumerate(states):
        seconds[value] = evidence.timeouts.get(prefix + state.lower(), _UNKNOWN)
    return seconds


def _stream(table: FlowTable, evidence: Evidence, configured: Seconds) -> None:
    """Fill in the protocols whose timeout depends on traffic both ways."""
    proto = table["proto"]
    told = table.has("status")
    if "status_mask" in table.columns:
        both = table["status_mask"] & np.uint32(STREAM) == np.uint32(STREAM)
        told &= ~table.has("status_mask") | both
    streaming = _bits(table, STREAM) == np.uint32(STREAM)
    for number, names in BY_STREAM.items():
        once, stream = (evidence.timeouts.get(name, _UNKNOWN) for name in names)
        rows = told & (proto == number)
        configured[rows] = np.where(streaming[rows], stream, once)


def _bits(table: FlowTable, bits: int) -> NDArray[np.uint32]:
    found: NDArray[np.uint32] = table["status"] & np.uint32(bits)
    return found
