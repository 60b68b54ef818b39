"""The fast path for saved tables: JSON lines of the same keys, read together.

It takes lines as ``natscope save`` writes them: printable ASCII without spaces,
one object without another in it.  A line of another shape, and every line of a
shape one of which has a value the columns do not take, is left to ``ndjson``,
which says the same of every line (a property test) and knows why a bad one is
bad.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text import ndjson
from natscope.codec.text.addresses import parse_addresses
from natscope.codec.text.bulk import Bulk
from natscope.codec.text.cells import Unreadable
from natscope.table.columns import BIT, BY_NAME, COLUMNS
from natscope.table.flowtable import FlowTable

_OBJECT = re.compile(r"\{[!-z|~]*\}")
_ADDRESS = r"(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[\da-f]*:[\da-f:.]*)"
_ADDRESSES = re.compile(rf"(?:{_ADDRESS}\n)+", re.ASCII)

Values = Sequence[Any]


class _Unusual(Exception):
    """A value that is to be read by itself."""


def parse(lines: Sequence[str]) -> Bulk:
    """The lines of the common shapes, as a table.

    Args:
        lines: without newlines.
    """
    at = [row for row, line in enumerate(lines) if _OBJECT.fullmatch(line)]
    shapes: dict[tuple[str, ...], list[int]] = {}
    objects = _objects([lines[row] for row in at])
    for place, found in enumerate(objects):
        # a key that is told twice is there once; "::1" begins like a key's end
        line = lines[at[place]]
        if len(found) == line.count('":') - line.count('":":'):
            shapes.setdefault(tuple(found), []).append(place)
    tables, rows = [FlowTable.empty()], []
    for keys, places in shapes.items():
        try:
            tables.append(_table(keys, [objects[place] for place in places]))
        except _Unusual:
            continue
        rows += [at[place] for place in places]
    left = sorted(set(range(len(lines))).difference(rows))
    table = FlowTable.concat([table for table in tables if len(table)])
    order = np.argsort(np.array(rows, np.intp))
    return Bulk(table.take(order), np.sort(np.array(rows, np.intp)), left)


def _objects(lines: list[str]) -> list[dict[str, Any]]:
    """The objects of lines that have one brace at either end and no other.

    So many objects as lines means that each line is one: it begins an object
    with its only "{", and ends one with its only "}".
    """
    try:
        found = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        return []
    return found if len(found) == len(lines) else []


def _table(keys: tuple[str, ...], objects: list[dict[str, Any]]) -> FlowTable:
    """The flows of objects of the same keys in the same order.

    Raises:
        _Unusual: one of them has to be read by itself.
    """
    if not ndjson.KNOWN.issuperset(keys) or not set(ndjson.REQUIRED) <= set(keys):
        raise _Unusual
    told = dict(zip(keys, zip(*map(dict.values, objects), strict=True), strict=True))
    data: dict[str, NDArray[Any]] = {}
    families = []
    for name in ndjson.ENDS:
        if name in told:
            data[name], family = _addresses(told.pop(name))
            families.append(family)
    data |= {key: _column(key, told[key]) for key in told if key in BY_NAME}
    families.append(data.setdefault("family", families[0]))
    if any((family != families[0]).any() for family in families):
        raise _Unusual
    data.setdefault("reply_proto", data["proto"])
    data = {c.name: data[c.name] for c in COLUMNS if c.name in data}
    word = np.uint64(sum(1 << BIT[name] for name in data if name in BIT))
    return FlowTable(data, np.full(len(objects), word, np.uint64))


def _addresses(texts: Values) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    if set(map(type, texts)) != {str}:
        raise _Unusual
    if not _ADDRESSES.fullmatch("".join([f"{text}\n" for text in texts])):
        raise _Unusual
    words, family = parse_addresses(list(texts))
    if not family.all():
        raise _Unusual
    return words, family


def _column(name: str, values: Values) -> NDArray[Any]:
    column, types = BY_NAME[name], set(map(type, values))
    if column.dtype == "O":
        extra: NDArray[Any] = np.empty(len(values), object)
        for row, value in enumerate(values):
            extra[row] = _read(name, value)
        return extra
    if types == {int} and name in ndjson.LIMITS:
        least, most = ndjson.LIMITS[name]
        if least <= min(values) and max(values) <= most:
            return np.array(values, column.dtype)
    elif types == {int} and name == "family":
        known = {value: _read(name, value) for value in set(values)}
        return np.array([known[value] for value in values], column.dtype)
    elif types == {str} and column.dtype == "S":
        texts = {value: _read(name, value).encode() for value in set(values)}
        return np.array([texts[value] for value in values], np.bytes_)
    elif types == {str} and name == "labels":
        bits = {value: _read(name, value) for value in set(values)}
        words = {value: divmod(told, 1 << 64) for value, told in bits.items()}
        return np.array([words[value] for value in values], np.uint64)
    raise _Unusual


def _read(name: str, value: object) -> Any:
    """What a value means, as ``ndjson`` reads it."""
    try:
        return ndjson.READ[name](name, value)
    except Unreadable as error:
        raise _Unusual from error
