"""What a listing holds in one column: typed values, ready for any renderer.

Every kind has a ``valid`` mask: where false, the source did not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from natscope.table.grouping import group_rows

Mask = NDArray[np.bool_]

PORT, ICMP_ID, GRE_KEY = 0, 1, 2
PORT_WORDS = ("port", "id", "key")
"""What the number beside an address is, by the codes of ``Endpoints.meaning``."""

PLAIN, BYTES, SECONDS, RATE, TIME_NS, HEX = (
    "plain",
    "bytes",
    "seconds",
    "rate",
    "time_ns",
    "hex",
)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Whole numbers; ``unit`` says how people read them."""

    values: NDArray[Any]
    valid: Mask
    unit: str = PLAIN


@dataclass(frozen=True, slots=True)
class Names:
    """One of a few words: ``words[code]``."""

    codes: NDArray[Any]
    words: tuple[str, ...]
    valid: Mask


@dataclass(frozen=True, slots=True)
class Texts:
    """Any text, as bytes."""

    values: NDArray[np.bytes_]
    valid: Mask


@dataclass(frozen=True, slots=True)
class Addresses:
    """IP addresses as two words a row."""

    family: NDArray[np.uint8]
    words: NDArray[np.uint64]
    valid: Mask


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses with a port, an ICMP id or a GRE key where there is one."""

    family: NDArray[np.uint8]
    words: NDArray[np.uint64]
    valid: Mask
    port: NDArray[np.uint16]
    has_port: Mask
    meaning: NDArray[np.uint8]


Values: TypeAlias = Numbers | Names | Texts | Addresses | Endpoints


def take(values: Values, rows: NDArray[np.intp] | slice) -> Values:
    """The values of some rows, in that order."""
    match values:
        case Numbers():
            return Numbers(values.values[rows], values.valid[rows], values.unit)
        case Names():
            return Names(values.codes[rows], values.words, values.valid[rows])
        case Texts():
            return Texts(values.values[rows], values.valid[rows])
        case Addresses():
            family, words = values.family[rows], values.words[rows]
            return Addresses(family, words, values.valid[rows])
        case Endpoints():
            return Endpoints(
                values.family[rows],
                values.words[rows],
                values.valid[rows],
                values.port[rows],
                values.has_port[rows],
                values.meaning[rows],
            )


def keys(values: Values) -> list[NDArray[Any]]:
    """Arrays that sort and compare as the values do, the weightiest first."""
    absent = ~values.valid
    match values:
        case Numbers() | Texts():
            return [absent, values.values]
        case Names():
            # one word may have several codes: states of different protocols
            rank = np.unique(np.array(values.words), return_inverse=True)[1]
            return [absent, rank[values.codes]]
        case Addresses() | Endpoints():
            v6 = values.family > values.family.dtype.type(2)
            found = [absent, v6, values.words[:, 0], values.words[:, 1]]
            if isinstance(values, Endpoints):
                found += [values.has_port, values.port]
            return found


def concat(parts: list[Values]) -> Values:
    """Values of one kind under each other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Names):
        return _concat_names([part for part in parts if isinstance(part, Names)])
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in first.__slots__
        if name != "unit"
    }
    return replace(first, **joined)


def _concat_names(parts: list[Names]) -> Names:
    words = list(dict.fromkeys(word for part in parts for word in part.words))
    place = {word: code for code, word in enumerate(words)}
    codes = [np.array([place[w] for w in p.words], np.intp)[p.codes] for p in parts]
    valid = np.concatenate([part.valid for part in parts])
    return Names(np.concatenate(codes), tuple(words), valid)


def order(
    columns: Sequence[Values], n: int, descending: Sequence[bool]
) -> NDArray[np.intp]:
    """Row positions sorted by columns, the first weighing most; stable.

    Absent values come last either way.
    """
    ranked: list[NDArray[Any]] = []
    for values, turned in zip(columns, descending, strict=True):
        absent, *rest = keys(values)
        ranked.append(absent)
        ranked.extend(_turned(key) if turned else key for key in rest)
    return np.lexsort(ranked[::-1]) if ranked else np.arange(n)


def group(columns: list[Values], n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row of each group of equal rows, and the group of every row."""
    if n == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    return group_rows([key for values in columns for key in keys(values)], n)


def _turned(key: NDArray[Any]) -> NDArray[Any]:
    if key.dtype.kind in "uib":
        turned: NDArray[Any] = ~key
        return turned
    rank: NDArray[Any] = np.unique(key, return_inverse=True)[1]
    return -rank
