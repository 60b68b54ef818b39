"""Columns as Flow records, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import Address, FlowTuple
from natscope.table.columns import BIT, BY_NAME, COLUMNS

Columns = Mapping[str, NDArray[Any]]
Words = NDArray[np.uint64]

BATCH = 4096
_WORD = 64
_LOW = (1 << _WORD) - 1
_PLAIN = tuple(f.name for f in fields(Flow) if f.name in BY_NAME)
_TUPLE_FIELDS = ("sport", "dport", "icmp_type", "icmp_code", "icmp_id", "zone")


def flows_of(data: Columns, present: Words) -> Iterator[Flow]:
    """The rows of parallel columns as records, converted in batches."""
    for start in range(0, len(present), BATCH):
        rows = slice(start, start + BATCH)
        batch = {name: column[rows] for name, column in data.items()}
        yield from _batch(batch, present[rows])


def _batch(data: Columns, present: Words) -> Iterator[Flow]:
    values = {name: _python(name, data[name], present) for name in data}
    v6 = (data["family"] == uapi.AF_INET6).tolist()
    for row in range(len(present)):
        at = {name: column[row] for name, column in values.items()}
        orig = _tuple(at, "orig", at["proto"], v6=v6[row])
        reply = _tuple(at, "reply", at["reply_proto"], v6=v6[row])
        master = None
        if at.get("master_src") is not None:
            master = _tuple(at, "master", at.get("master_proto") or 0, v6=v6[row])
        plain = {name: at[name] for name in _PLAIN if name in at}
        yield Flow(orig=orig, reply=reply, master=master, **plain)


def _tuple(at: dict[str, Any], side: str, proto: int, *, v6: bool) -> FlowTuple:
    kind = IPv6Address if v6 else IPv4Address
    rest = {field: at.get(f"{side}_{field}") for field in _TUPLE_FIELDS}
    return FlowTuple(
        src=kind(at[f"{side}_src"]), dst=kind(at[f"{side}_dst"]), proto=proto, **rest
    )


def _python(name: str, column: NDArray[Any], present: Words) -> list[Any]:
    """A column as Python values, None where absent."""
    values = column.tolist()
    if column.ndim == 2:
        values = [high << _WORD | low for high, low in values]
    elif column.dtype.kind == "S":
        values = [value.decode("utf-8", "backslashreplace") for value in values]
    if name not in BIT:
        return list(values)
    has = present & np.uint64(1 << BIT[name]) != 0
    if has.all():
        return list(values)
    return [v if p else None for v, p in zip(values, has.tolist(), strict=True)]


def columns_of(flows: Iterable[Flow]) -> tuple[dict[str, NDArray[Any]], Words]:
    """Columns and presence words of records; a column no record fills is left out."""
    return columns_of_cells([_cells(flow) for flow in flows])


def columns_of_cells(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, NDArray[Any]], Words]:
    """The same of rows given as column name to value, addresses as integers."""
    present = np.zeros(len(rows), np.uint64)
    data = {}
    filled = {name for row in rows for name in row}
    for column in COLUMNS:
        if not (column.always or column.name in filled):
            continue
        cells = [row.get(column.name) for row in rows]
        has = np.array([cell is not None for cell in cells], np.bool_)
        if not (has.any() or column.always):
            continue
        data[column.name] = _array(column.name, cells)
        if not column.always:
            present |= has.astype(np.uint64) << np.uint64(BIT[column.name])
    return data, present


def _cells(flow: Flow) -> dict[str, Any]:
    cells: dict[str, Any] = {name: getattr(flow, name) for name in _PLAIN}
    cells |= {"family": flow.family, "proto": flow.proto}
    cells["reply_proto"] = flow.reply.proto
    for side, one in (("orig", flow.orig), ("reply", flow.reply)):
        cells |= _tuple_cells(side, one)
    if flow.master is not None:
        cells |= _tuple_cells("master", flow.master)
        cells["master_proto"] = flow.master.proto
    return {name: cell for name, cell in cells.items() if name in BY_NAME}


def _tuple_cells(side: str, one: FlowTuple) -> dict[str, Any]:
    cells = {f"{side}_{field}": getattr(one, field) for field in _TUPLE_FIELDS}
    return cells | {f"{side}_src": int(one.src), f"{side}_dst": int(one.dst)}


def _array(name: str, cells: list[Any]) -> NDArray[Any]:
    column = BY_NAME[name]
    if column.dtype == "O":
        objects: NDArray[Any] = np.empty(len(cells), object)
        for row, cell in enumerate(cells):
            objects[row] = cell
        return objects
    if column.dtype == "S":
        return np.array([(cell or "").encode() for cell in cells], np.bytes_)
    if column.width == 2:
        words = [((cell or 0) >> _WORD, (cell or 0) & _LOW) for cell in cells]
        return np.array(words, np.uint64).reshape(len(cells), 2)
    return np.array([cell or 0 for cell in cells], column.dtype)


def address_words(address: Address) -> tuple[int, int]:
    """An address as the two words a table holds: high, low."""
    return int(address) >> _WORD, int(address) & _LOW


def address_at(family: int, high: int, low: int) -> Address:
    """The address two words stand for."""
    if family == uapi.AF_INET6:
        return IPv6Address(high << _WORD | low)
    return IPv4Address(low)
