"""Rows of a table that prove something: which, whose, and a few to show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.finding import MOST_FLOWS
from natscope.model.flow import Flow
from natscope.model.ipversion import VERSIONS
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.records import address_at

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]

TCP_STATE = {name: value for value, name in enumerate(uapi.TCP_STATES)}


@dataclass(frozen=True, slots=True)
class Most:
    """The address most of some rows have."""

    address: Address
    count: int
    rows: Mask
    """Those that have it."""


def by_version(table: FlowTable, rows: Mask) -> Iterator[tuple[int, Places]]:
    """Where some rows stand, those of IPv4 and of IPv6 apart; of neither, if none."""
    for ip in VERSIONS.values():
        at = np.flatnonzero(rows & (table["family"] == ip.family))
        if len(at):
            yield ip.number, at


def flows(count: int) -> str:
    """A number of flows in words."""
    return "1 flow" if count == 1 else f"{count} flows"


def examples(table: FlowTable, rows: Mask) -> tuple[Flow, ...]:
    """A few of the rows, as a finding shows them."""
    return tuple(table.take(np.flatnonzero(rows)[:MOST_FLOWS]))


def is_set(table: FlowTable, bit: int) -> Mask:
    """Rows known to have a status bit."""
    found: Mask = _tells(table, bit) & (table["status"] & np.uint32(bit) != 0)
    return found


def is_unset(table: FlowTable, bit: int) -> Mask:
    """Rows known not to have a status bit."""
    found: Mask = _tells(table, bit) & (table["status"] & np.uint32(bit) == 0)
    return found


def in_tcp_state(table: FlowTable, *names: str) -> Mask:
    """TCP rows in one of these states."""
    states = [TCP_STATE[name] for name in names]
    found: Mask = (
        (table["proto"] == uapi.IPPROTO_TCP)
        & table.has("tcp_state")
        & np.isin(table["tcp_state"], states)
    )
    return found


def has_port(table: FlowTable, column: str, ports: tuple[int, ...]) -> Mask:
    """Rows whose port in this column is one of some."""
    found: Mask = table.has(column) & np.isin(table[column], ports)
    return found


def most(table: FlowTable, column: str, rows: Mask) -> Most | None:
    """The address that stands most often in a column of some rows.

    Args:
        table: the flows.
        column: of addresses: ``orig_src``.
        rows: those to look at; None is found among none.
    """
    at = np.flatnonzero(rows)
    if len(at) == 0:
        return None
    words = table[column][at]
    first, of_row = _alike(words)
    counts = np.bincount(of_row, minlength=len(first))
    best = int(np.argmax(counts))
    high, low = words[first[best]].tolist()
    mask = np.zeros(len(table), np.bool_)
    mask[at[of_row == best]] = True
    family = int(table["family"][at[first[best]]])
    return Most(address_at(family, high, low), int(counts[best]), mask)


def _alike(words: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[Any]]:
    if words[:, 0].any():
        return group_rows([words[:, 1], words[:, 0]], len(words))
    _, first, of_row = np.unique(words[:, 1], return_index=True, return_inverse=True)
    return first, of_row


def _tells(table: FlowTable, bit: int) -> Mask:
    told = table.has("status")
    if "status_mask" in table.columns:
        whole = ~table.has("status_mask")
        told = told & (whole | (table["status_mask"] & np.uint32(bit) != 0))
    return told
