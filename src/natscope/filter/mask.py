"""A filter over columns: the truth.

``predicate`` says the same of one record; a property test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.filter.patterns import is_plain, says
from natscope.filter.rows import Known, Mask, Rows
from natscope.filter.syntax import (
    AddressBits,
    AddressSpan,
    And,
    Beside,
    Bits,
    Changed,
    Hosts,
    Kinds,
    Not,
    Number,
    Or,
    Ports,
    Span,
    Spot,
    State,
    Status,
    Text,
    Translated,
    Tree,
    Where,
)
from natscope.filter.vocabulary import BY_NAME, PARTS, STATES, TUPLE_ENDS, key
from natscope.model.evidence import Evidence
from natscope.model.nat import Kind
from natscope.table.flowtable import FlowTable

_WORD = 64
_LOW = (1 << _WORD) - 1
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}


def mask(tree: Tree, table: FlowTable, evidence: Evidence) -> Mask:
    """The rows a filter matches."""
    return mask_of(tree, Rows(table, evidence))


def mask_of(tree: Tree, rows: Rows) -> Mask:
    """The same, of a table many filters are asked about."""
    return _evaluate(tree, rows)


def _evaluate(tree: Tree, rows: Rows) -> Mask:
    match tree:
        case And(parts):
            found = np.ones(len(rows), np.bool_)
            for part in parts:
                found &= _evaluate(part, rows)
                if not found.any():
                    break
            return found
        case Or(parts):
            found = rows.none()
            for part in parts:
                found |= _evaluate(part, rows)
            return found
        case Not(inner):
            return ~_evaluate(inner, rows)
        case Hosts(where, spots):
            return _anywhere(where, rows, lambda end: _at(end, spots, rows))
        case Ports(where, spans):
            return _anywhere(where, rows, lambda end: _is_port(end, spans, rows))
        case Number(name, items):
            return _number(name, items, rows)
        case _:
            return _named(tree, rows)


def _named(
    term: Status | State | Kinds | Translated | Changed | Text, rows: Rows
) -> Mask:
    """Terms that go by names, not by numbers."""
    match term:
        case Status(items):
            return _status(items, rows)
        case State(names):
            return _state(names, rows)
        case Kinds(kinds):
            wanted = np.zeros(len(Kind), np.bool_)
            wanted[list(kinds)] = True
            return wanted[rows.nat.kind]
        case Translated(source):
            nat = rows.nat
            return nat.snat | nat.spat if source else nat.dnat | nat.dpat
        case Changed(part):
            return rows.changed(part)
        case Text():
            return _text(term, rows)


def _anywhere(where: Where, rows: Rows, test: Callable[[str], Mask]) -> Mask:
    """Rows that pass a test at one of the ends, or at every qualifier."""
    once = cache(test)
    if not where.qualifiers:
        return _any(map(once, TUPLE_ENDS), rows)
    found = [
        rows.at_part(qualifier, once)
        if qualifier in PARTS
        else _any(map(once, BY_NAME[key(qualifier)].ends), rows)
        for qualifier in where.qualifiers
    ]
    if where.every:
        return np.asarray(np.logical_and.reduce(found))
    return _any(found, rows)


def _any(masks: Iterable[Mask], rows: Rows) -> Mask:
    found = rows.none()
    for one in masks:
        found |= one
    return found


def _at(end: str, spots: tuple[Spot, ...], rows: Rows) -> Mask:
    address, known = rows.address(end)
    found = rows.none()
    for spot in spots:
        here = _in_addresses(rows.table["family"], address, spot.address)
        if spot.number is not None:
            here &= _among(rows.beside(end, spot.beside), (spot.number,))
        found |= here
    return found & known


def _is_port(end: str, spans: tuple[Span, ...], rows: Rows) -> Mask:
    return _among(rows.beside(end, Beside.PORT), spans)


def _in_addresses(
    family: NDArray[np.uint8],
    words: NDArray[np.uint64],
    span: AddressSpan | AddressBits,
) -> Mask:
    found: Mask = family == _FAMILY[span.version]
    if isinstance(span, AddressBits):
        return found & _wide_item(words, Bits(span.value, span.mask))
    if span.version == 4:
        return found & _in_span(words[:, 1], Span(span.low, span.high))
    return found & _in_wide(words, span.low, span.high)


def _among(known: Known, items: Iterable[Span | Bits]) -> Mask:
    """Rows whose known value is one of the items."""
    values, told = known
    found = np.zeros(len(told), np.bool_)
    for item in items:
        if values.ndim == 2:
            found |= _wide_item(values, item)
        elif isinstance(item, Span):
            found |= _in_span(values, item)
        else:
            found |= _in_bits(values, item)
    return found & told


def _in_span(values: NDArray[Any], span: Span) -> Mask:
    bounds = np.iinfo(values.dtype)
    low = bounds.min if span.low is None else max(span.low, bounds.min)
    high = bounds.max if span.high is None else min(span.high, bounds.max)
    if low > high:
        return np.zeros(len(values), np.bool_)
    first, last = values.dtype.type(low), values.dtype.type(high)
    if low == high:
        return np.asarray(values == first)
    if high == bounds.max:
        return np.asarray(values >= first)
    if low == bounds.min:
        return np.asarray(values <= last)
    return np.asarray((values >= first) & (values <= last))


def _in_bits(values: NDArray[Any], bits: Bits) -> Mask:
    limit = int(np.iinfo(values.dtype).max)
    if bits.value > limit:
        return np.zeros(len(values), np.bool_)
    kind = values.dtype.type
    return np.asarray(values & kind(bits.mask & limit) == kind(bits.value))


def _wide_item(words: NDArray[np.uint64], item: Span | Bits) -> Mask:
    """The same of 128-bit numbers, two words a row."""
    if isinstance(item, Bits):
        high = Bits(item.value >> _WORD, item.mask >> _WORD)
        low = Bits(item.value & _LOW, item.mask & _LOW)
        return _in_bits(words[:, 0], high) & _in_bits(words[:, 1], low)
    top = (1 << 2 * _WORD) - 1
    low_end = 0 if item.low is None else item.low
    return _in_wide(words, low_end, top if item.high is None else item.high)


def _in_wide(words: NDArray[np.uint64], low: int, high: int) -> Mask:
    """Rows between two 128-bit numbers, word by word."""
    upper, lower = words[:, 0], words[:, 1]
    (low_up, low_down), (high_up, high_down) = (
        divmod(low, _LOW + 1),
        divmod(high, _LOW + 1),
    )
    if low_up == high_up:
        same = upper == np.uint64(low_up)
        return np.asarray(same & _in_span(lower, Span(low_down, high_down)))
    if low_down == 0 and high_down == _LOW:
        return _in_span(upper, Span(low_up, high_up))
    first, last = np.uint64(low_up), np.uint64(high_up)
    within = (upper > first) & (upper < last)
    within |= (upper == first) & (lower >= np.uint64(low_down))
    within |= (upper == last) & (lower <= np.uint64(high_down))
    return np.asarray(within)


def _number(name: str, items: tuple[Span | Bits, ...], rows: Rows) -> Mask:
    word = BY_NAME[key(name)]
    return _any((_among(known, items) for known in rows.numbers(word)), rows)


def _status(items: tuple[Bits, ...], rows: Rows) -> Mask:
    table = rows.table
    bits, known = table["status"], table.has("status")
    found = rows.none()
    for item in items:
        here = _in_bits(bits, item) & known
        if "status_mask" in table.columns:
            told = _in_bits(table["status_mask"], Bits(item.mask, item.mask))
            here &= told | ~table.has("status_mask")
        found |= here
    return found


def _state(names: tuple[str, ...], rows: Rows) -> Mask:
    found = rows.none()
    for column, states in STATES:
        if column in rows.table.columns:
            wanted = np.zeros(256, np.bool_)
            wanted[[n for n, state in enumerate(states) if state in names]] = True
            found |= rows.table.has(column) & wanted[rows.table[column]]
    return found


def _text(term: Text, rows: Rows) -> Mask:
    (column,) = BY_NAME[key(term.word)].columns
    texts, known = rows.table[column], rows.table.has(column)
    if term.word != "label" and all(map(is_plain, term.patterns)):
        same = (texts == pattern.encode() for pattern in term.patterns)
        return _any((known & one for one in same), rows)
    found = rows.none()
    distinct, index = np.unique(texts[known], return_inverse=True)
    decoded = (text.decode("utf-8", "backslashreplace") for text in distinct.tolist())
    hits = np.array([says(term, text) for text in decoded], np.bool_)
    if len(hits):
        found[known] = hits[index]
    return found
