"""The file ``natscope save`` writes: JSON lines that lose nothing.

A header, one object a flow with every column it has, under the column's own
name, and a line that ends it; ``codec.text.ndjson`` reads it back.
``docs/guide/saved-listings`` is the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text import ndjson
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.table.columns import BY_NAME, Column
from natscope.table.flowtable import FlowTable

ROWS_AT_ONCE = 4096
_COMPACT = (",", ":")


def header(
    *,
    time_ns: int,
    netns: str | None = None,
    flows: int | None = None,
    undo: Mapping[str, Any] | None = None,
) -> bytes:
    """The first line.

    Args:
        time_ns: when the table was read, ns since 1970.
        netns: the network namespace it was read from; None for the own one.
        flows: how many follow, if that is known.
        undo: what the file undoes, if it does: the action and its columns.
    """
    told = {ndjson.MAGIC: "save", "version": ndjson.VERSION, "time_ns": time_ns}
    more = {"netns": netns, "flows": flows, "undo": undo}
    kept = {k: v for k, v in more.items() if v is not None or k == "netns"}
    return _line(told | kept)


def flows(table: FlowTable) -> bytes:
    """The lines of a table, in its order."""
    starts = range(0, len(table), ROWS_AT_ONCE)
    spans = (slice(start, start + ROWS_AT_ONCE) for start in starts)
    return b"".join(_objects(table.take(span)) for span in spans)


def expectation(told: Mapping[str, Any]) -> bytes:
    """The line of an expectation, given as ``codec.text.expectation`` tells it."""
    return _line({"expectation": told})


def end(*, flows: int, expectations: int = 0) -> bytes:
    """The last line: without it, or with other numbers, the file was cut off."""
    told = {ndjson.MAGIC: "end", "flows": flows, "expectations": expectations}
    return _line(told)


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, separators=_COMPACT).encode() + b"\n"


def _objects(table: FlowTable) -> bytes:
    n = len(table)
    parts: list[Cell] = []
    opening = b"{"
    for name in table.columns:
        valid = table.has(name)
        if not valid.any():
            continue
        # the first column is one that every row has: the others begin with a comma
        label = cells.literal(opening + b'"' + name.encode() + b'":', n)
        value = _value(BY_NAME[name], table)
        parts += [label.only(valid), value.only(valid)]
        opening = b","
    parts.append(cells.literal(b"}\n", n))
    return cells.lines(parts)


def _value(column: Column, table: FlowTable) -> Cell:
    stored = table[column.name]
    if column.dtype == "S":
        distinct, codes = np.unique(stored, return_inverse=True)
        return cells.lookup(codes, [_text(text) for text in distinct.tolist()])
    if column.dtype == "O":
        return cells.lookup(np.arange(len(table)), [_extra(one) for one in stored])
    if column.name == "labels":
        return _labels(stored)
    if column.width == 2:
        mark = cells.literal(b'"', len(table))
        return cells.concat([mark, cells.addresses(table["family"], stored), mark])
    return cells.decimal(stored)


def _labels(words: NDArray[np.uint64]) -> Cell:
    distinct, codes = np.unique(words, axis=0, return_inverse=True)
    texts = [b'"0x%x"' % (high << 64 | low) for high, low in distinct.tolist()]
    return cells.lookup(codes.ravel(), texts)


def _text(text: bytes) -> bytes:
    return json.dumps(text.decode("utf-8", "backslashreplace")).encode()


def _extra(unknown: Sequence[Any] | None) -> bytes:
    pairs = [[one.path, one.payload.hex()] for one in unknown or ()]
    return json.dumps(pairs, separators=_COMPACT).encode()
