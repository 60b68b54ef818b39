"""Values as cells: once for people, once for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.views import values as v


@dataclass(frozen=True, slots=True)
class NameBook:
    """Names to show in place of numbers.

    ``hosts`` by family, high word and low word of the address; ``service``
    gives the name of a port, or None.
    """

    hosts: Mapping[tuple[int, int, int], str]
    service: Callable[[int], str | None]


ABSENT = b"-"
_MEANING_TEXT = (b":", b":id=", b":key=")

_SCALES = (1, 10**3, 10**6, 10**9, 10**12, 10**15, 10**18)
_SCALE_LETTERS = (b"", b"k", b"M", b"G", b"T", b"P", b"E")
_SPANS = (
    (1, 1, b"s", b""),
    (60, 1, b"m", b"s"),
    (3600, 60, b"h", b"m"),
    (86_400, 3600, b"d", b"h"),
)


def human(values: v.Values, names: NameBook | None = None) -> Cell:
    """For reading: ``1.2M``, ``3m12s``, ``[2001:db8::1]:443``, ``-`` if unknown."""
    if not values.valid.any():
        return cells.literal(ABSENT, len(values.valid))
    match values:
        case v.Numbers():
            cell = _human_number(values)
        case v.Endpoints():
            cell = endpoint(values, names)
        case v.Addresses():
            cell = _named(values.family, values.words, names)
        case v.Texts():
            distinct, codes = np.unique(values.values, return_inverse=True)
            texts = [_harmless(text) for text in distinct.tolist()]
            widths = [len(text.decode()) for text in texts]
            cell = cells.lookup(codes, texts, widths)
        case _:
            cell = plain(values)
    return cell.otherwise(values.valid, ABSENT)


def plain(values: v.Values) -> Cell:
    """For programs: whole numbers in base units, empty if unknown."""
    match values:
        case v.Numbers():
            cell = cells.decimal(values.values)
        case v.Names():
            used, codes = np.unique(values.codes, return_inverse=True)
            texts = [values.words[code].encode() for code in used.tolist()]
            cell = cells.lookup(codes, texts or [b""])
        case v.Texts():
            cell = cells.strings(values.values)
        case v.Addresses():
            cell = cells.addresses(values.family, values.words)
        case v.Endpoints():
            cell = endpoint(values)
    return cell.only(values.valid)


def endpoint(values: v.Endpoints, names: NameBook | None = None) -> Cell:
    """``address:port``; an IPv6 address stands in brackets before a port."""
    n = len(values.port)
    address = _named(values.family, values.words, names)
    port = values.has_port
    if not port.any():
        return address
    brackets = port & (values.family == uapi.AF_INET6)
    parts = [address]
    if names is not None:
        brackets &= ~_has_name(values.family, values.words, names)
    if brackets.any():
        left, right = cells.literal(b"[", n), cells.literal(b"]", n)
        parts = [left.only(brackets), address, right.only(brackets)]
    if names is not None:
        parts.append(_service(values, names).only(port))
    elif not values.meaning.any():
        parts.append(cells.ports(values.port).only(port))
    else:
        parts.append(cells.lookup(values.meaning, _MEANING_TEXT).only(port))
        parts.append(_port_number(values).only(port))
    return cells.concat(parts)


def _port_number(values: v.Endpoints) -> Cell:
    number = cells.decimal(values.port)
    key = values.meaning == v.GRE_KEY
    if not key.any():
        return number
    hexes = cells.concat(
        [cells.literal(b"0x", len(key)), cells.hexadecimal(values.port)]
    )
    return cells.concat([number.only(~key), hexes.only(key)])


def _named(
    family: NDArray[np.uint8], words: NDArray[np.uint64], names: NameBook | None
) -> Cell:
    numeric = cells.addresses(family, words)
    if names is None or not names.hosts:
        return numeric
    keys = zip(family.tolist(), words.tolist(), strict=True)
    found = [names.hosts.get((fam, high, low), "") for fam, (high, low) in keys]
    known = np.array([bool(name) for name in found], np.bool_)
    texts = np.array([name.encode() for name in found], np.bytes_)
    return cells.concat([numeric.only(~known), cells.strings(texts).only(known)])


def _has_name(
    family: NDArray[np.uint8], words: NDArray[np.uint64], names: NameBook
) -> NDArray[np.bool_]:
    keys = zip(family.tolist(), words.tolist(), strict=True)
    return np.array(
        [(f, high, low) in names.hosts for f, (high, low) in keys], np.bool_
    )


def _service(values: v.Endpoints, names: NameBook) -> Cell:
    """``:https`` for a port that has a name, ``:4711`` for one that has not."""
    pairs = np.column_stack([values.meaning, values.port])
    distinct, codes = np.unique(pairs, axis=0, return_inverse=True)
    texts = []
    for meaning, port in distinct.tolist():
        name = names.service(port) if meaning == v.PORT else None
        number = hex(port) if meaning == v.GRE_KEY else str(port)
        texts.append(_MEANING_TEXT[meaning] + (name or number).encode())
    return cells.lookup(codes.ravel(), texts or [b""])


def _human_number(values: v.Numbers) -> Cell:
    if values.unit in (v.BYTES, v.RATE):
        cell = quantity(values.values)
        if values.unit == v.RATE:
            return cells.concat([cell, cells.literal(b"B/s", len(values.values))])
        return cell
    if values.unit == v.SECONDS:
        return duration(values.values)
    if values.unit == v.HEX:
        return _by_value(values.values, lambda value: b"0x%x" % value)
    if values.unit == v.TIME_NS:
        return _by_value(values.values // np.uint64(10**9), _moment)
    return cells.decimal(values.values)


def _by_value(values: NDArray[np.uint64], text: Callable[[int], bytes]) -> Cell:
    distinct, codes = np.unique(values, return_inverse=True)
    return cells.lookup(codes, [text(value) for value in distinct.tolist()] or [b""])


def _moment(seconds: int) -> bytes:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return b"%d" % seconds
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}".encode()


def _harmless(text: bytes) -> bytes:
    """A text a terminal will not obey: control characters written out."""
    shown = text.decode("utf-8", "backslashreplace")
    plain = (c if c.isprintable() else repr(c)[1:-1] for c in shown)
    return "".join(plain).encode()


def quantity(values: NDArray[np.uint64]) -> Cell:
    """Three digits and a letter for the power of 1000: ``999``, ``1.2k``, ``34M``."""
    values = values.astype(np.uint64)
    scale = np.searchsorted(np.array(_SCALES[1:], np.uint64), values, side="right")
    unit = np.array(_SCALES, np.uint64)[scale]
    whole = values // unit
    small = (whole < 10) & (scale > 0)
    tenths = values // np.maximum(unit // np.uint64(10), np.uint64(1))
    index = np.where(small, 1000 + tenths, whole).astype(np.intp)
    return cells.concat(
        [cells.lookup(index, _mantissas()), cells.lookup(scale, _SCALE_LETTERS)]
    )


@cache
def _mantissas() -> list[bytes]:
    whole = [b"%d" % value for value in range(1000)]
    return whole + [b"%d.%d" % divmod(value, 10) for value in range(100)]


def duration(seconds: NDArray[np.int64]) -> Cell:
    """The two largest units: ``59s``, ``3m12s``, ``2h05m``, ``4d03h``."""
    value = np.maximum(seconds.astype(np.int64), 0)
    span = np.searchsorted(np.array([60, 3600, 86_400]), value, side="right")
    large = np.array([s[0] for s in _SPANS])[span]
    small = np.array([s[1] for s in _SPANS])[span]
    has_small = span > 0
    parts = [
        cells.decimal((value // large).astype(np.uint64)),
        cells.lookup(span, [s[2] for s in _SPANS]),
        cells.lookup(value % large // small % 60, _two_digits()).only(has_small),
        cells.lookup(span, [s[3] for s in _SPANS]),
    ]
    return cells.concat(parts)


@cache
def _two_digits() -> list[bytes]:
    return [b"%02d" % value for value in range(60)]
