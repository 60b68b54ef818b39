"""A FlowTable in the formats other tools read: Arrow, pandas, Polars.

Names, units and numbers stay those of ``docs/reference/columns``; only the
encoding changes, as :func:`to_arrow` states.  The libraries are extras and
imported when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.errors import MissingTool
from natscope.table.columns import ADDRESS, BY_NAME, Column
from natscope.table.grouping import group_rows
from natscope.table.records import address_at

if TYPE_CHECKING:
    from natscope.table.flowtable import FlowTable

_STATE_NAMES = {
    "tcp_state": uapi.TCP_STATES,
    "sctp_state": uapi.SCTP_STATES,
    "dccp_state": uapi.DCCP_STATES,
}
NAMED = ("proto", *_STATE_NAMES)
"""Columns that get a second one, ``<column>_name``, with the number's name."""


def to_arrow(table: FlowTable) -> Any:
    """A ``pyarrow.Table`` of the columns that hold anything, in schema order.

    * Absent is null.
    * Addresses are text, as ``ipaddress`` writes them.
    * Labels are text, ``0x`` and 32 hexadecimal digits, bit 127 first:
      Arrow has no unsigned 128-bit number.
    * Protocol and protocol states stay numbers; ``proto_name``,
      ``tcp_state_name`` and so on follow them as dictionaries of strings.
    * Times stay nanoseconds since 1970, as uint64.
    * ``extra`` is a list of ``{path: string, payload: binary}``.

    Each field's metadata holds the column's ``meaning``, ``unit`` and ``kernel``
    attribute.

    Raises:
        MissingTool: pyarrow is not installed.
    """
    pa = _library("pyarrow", "arrow")
    fields, arrays = [], []
    for name in table.columns:
        column = BY_NAME[name]
        array = _array(pa, table, column)
        facts = {"meaning": column.meaning, "unit": column.unit}
        facts["kernel"] = column.kernel
        nullable = not column.always
        fields.append(pa.field(name, array.type, nullable, facts))
        arrays.append(array)
        if name in NAMED:
            array = _names(pa, table, column)
            fields.append(pa.field(f"{name}_name", array.type, nullable))
            arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def to_pandas(table: FlowTable) -> Any:
    """A ``pandas.DataFrame`` over :func:`to_arrow`, backed by its arrays.

    pandas' own integers cannot be null and would become floats, which hold
    only 53 bits of a byte count; Arrow's can.

    Raises:
        MissingTool: pandas or pyarrow is not installed.
    """
    pandas = _library("pandas", "pandas")
    return to_arrow(table).to_pandas(types_mapper=pandas.ArrowDtype)


def to_polars(table: FlowTable) -> Any:
    """A ``polars.DataFrame`` over :func:`to_arrow`.

    Raises:
        MissingTool: polars or pyarrow is not installed.
    """
    polars = _library("polars", "polars")
    return polars.from_arrow(to_arrow(table))


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{name} is needed and not installed"
        hint = f"pip install 'natscope[{extra}]'"
        raise MissingTool(msg, hint=hint) from error


def _array(pa: Any, table: FlowTable, column: Column) -> Any:
    """One column as an Arrow array."""
    values, has = table[column.name], table.has(column.name)
    if column.unit == ADDRESS:
        return _addresses(pa, table, values, has)
    if column.width == 2:
        first, of_row = group_rows(list(values.T), len(table))
        text = [f"0x{high:016x}{low:016x}" for high, low in values[first].tolist()]
        return _decoded(pa, of_row, text, has)
    if column.dtype == "S":
        distinct, of_row = np.unique(values, return_inverse=True)
        text = [v.decode("utf-8", "backslashreplace") for v in distinct.tolist()]
        return _decoded(pa, of_row, text, has)
    if column.dtype == "O":
        return _unknowns(pa, values, has)
    return pa.array(values, mask=~has)


def _addresses(
    pa: Any, table: FlowTable, words: NDArray[np.uint64], has: NDArray[np.bool_]
) -> Any:
    """Address words as text; each distinct address is written once."""
    family = table["family"]
    first, of_row = group_rows([*words.T, family], len(table))
    pairs = zip(family[first].tolist(), words[first].tolist(), strict=True)
    text = [str(address_at(version, *pair)) for version, pair in pairs]
    return _decoded(pa, of_row, text, has)


def _names(pa: Any, table: FlowTable, column: Column) -> Any:
    """The kernel's names of a column's numbers, as a dictionary array."""
    values, has = table[column.name], table.has(column.name)
    numbers, of_row = np.unique(values, return_inverse=True)
    if column.name == "proto":
        names = [uapi.protocol_name(n) for n in numbers.tolist()]
    else:
        states = _STATE_NAMES[column.name]
        names = [uapi.state_name(states, n) for n in numbers.tolist()]
    # Two numbers may share a name (4 and 94 are ipip), a dictionary may not.
    distinct = sorted(set(names))
    codes = np.array([distinct.index(name) for name in names], np.intp)
    return _dictionary(pa, codes[of_row], distinct, has)


def _decoded(
    pa: Any, of_row: NDArray[np.intp], text: Sequence[str], has: NDArray[np.bool_]
) -> Any:
    return _dictionary(pa, of_row, text, has).dictionary_decode()


def _dictionary(
    pa: Any, of_row: NDArray[np.intp], text: Sequence[str], has: NDArray[np.bool_]
) -> Any:
    codes = pa.array(of_row.astype(np.int32), mask=~has)
    return pa.DictionaryArray.from_arrays(codes, pa.array(text, pa.string()))


def _unknowns(pa: Any, values: NDArray[Any], has: NDArray[np.bool_]) -> Any:
    """The attributes without a column, row by row: few rows have any."""
    rows = [
        [{"path": u.path, "payload": u.payload} for u in value] if there else None
        for value, there in zip(values, has.tolist(), strict=True)
    ]
    each = pa.struct([("path", pa.string()), ("payload", pa.binary())])
    return pa.array(rows, pa.list_(each))
