"""The filter that means some rows and no other: what a remedy may delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.filter.compiled import parse
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.doctor.reading.rows import Mask, is_unset
from natscope.views.doctor.snapshot import Snapshot

_MOST_VALUES = 16
"""Of a column; a longer filter nobody reads."""
_FIRST_LOOK = 4096
"""Rows that most often tell that there are more."""
_SIDES = ("src", "dst")


def selection(snapshot: Snapshot, rows: Mask, words: str) -> str | None:
    """A filter that matches these rows, and none besides.

    It names an address, and ``unreplied`` where all rows are: so flows that come later
    are spared as well.

    Args:
        snapshot: the box.
        rows: those that are meant; at least one.
        words: a filter all of them match, to begin with: ``dnat and target 10.0.0.3``.

    Returns:
        The words, with as much as is needed of what the rows have in common; None
        where no short filter tells them from others.
    """
    if is_unset(snapshot.flows, uapi.Status.SEEN_REPLY)[rows].all():
        words = f"{words} and unreplied"
    at = np.flatnonzero(parse(words).mask_of(snapshot.rows))
    table, meant = snapshot.flows.take(at), rows[at]
    left = np.ones(len(at), np.bool_)
    has_address = any(map(str.isdigit, words))
    for more in ("", *_common(table, meant)):
        if more:
            words = f"{words} and {more}"
            left &= parse(more).mask(table, snapshot.evidence)
            has_address |= more.startswith(_SIDES) and " port " not in more
        if has_address and np.array_equal(left, meant):
            return words
    return None


def _common(table: FlowTable, rows: Mask) -> Iterator[str]:
    """Filters all of some rows match, the plainest first."""
    found = table.mask(rows)
    if (protos := _few(found["proto"])) is not None:
        yield "proto " + ",".join(uapi.protocol_name(int(one)) for one in protos)
    for side in _SIDES:
        words, family = found[f"orig_{side}"], found["family"]
        if (at := _few_at(family, words[:, 0], words[:, 1])) is not None:
            told = (address_at(int(family[n]), *words[n].tolist()) for n in at)
            yield f"{side} " + ",".join(map(str, told))
        port = f"orig_{side[0]}port"
        if found.has(port).all() and (ports := _few(found[port])) is not None:
            yield f"{side} port " + ",".join(map(str, ports))


def _few(values: NDArray[Any]) -> list[int] | None:
    """The distinct values in order of appearance, if they are few."""
    at = _few_at(values)
    return None if at is None else values[at].tolist()


def _few_at(*columns: NDArray[Any]) -> NDArray[np.intp] | None:
    """Where each distinct row stands first; the many are given up early."""
    for end in (_FIRST_LOOK, None):
        words = [one[:end] for one in columns]
        at, _ = group_rows(words, len(words[0]))
        if len(at) > _MOST_VALUES:
            return None
    return at
