"""Kinds of flows: for those that no constant of a box tells apart one packet stands.

Rules, routes and addresses are taken to compare with constants (``table.classes``);
where they do not, every address and port is a kind of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.model.bundle import Bundle
from natscope.table.classes import Classes
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Rows = NDArray[np.intp]
Key = tuple[int, ...]

_SPORT = re.compile(r"\bsport\b|--sports?\b|--source-ports?\b|--ports\b|proto-src")
_BITS = re.compile(
    r"(?:addr|port) &|@(?:nh|th|ih|ll),|-m (?:u32|bpf|string)|/\d+\.\d+\.\d+\.\d+"
)
"""What rules compare otherwise than with constants."""
_MOST_NUMBERS = 1 << 62


@dataclass(frozen=True, slots=True)
class Kind:
    """Flows one packet stands for."""

    key: Key
    """What they have in common, whatever table they are of."""
    rows: Rows


class Kinds:
    """Tells flows apart as a box does.

    Args:
        bundle: the box.
        constants: more that flows are told apart by: networks.
    """

    def __init__(self, bundle: Bundle, constants: Iterable[object] = ()) -> None:
        texts = [*_texts(bundle), *map(str, constants)]
        self._classes = Classes(texts)
        self._by_sport = any(_SPORT.search(text) for text in texts)
        self._by_bits = any(_BITS.search(text) for text in texts)

    def of(self, table: FlowTable) -> list[Kind]:
        """The kinds of a table's rows; there must be some."""
        words = self._words(table)
        numbers = _numbered([word for word in words if word is not None])
        order = np.argsort(numbers)
        ends = np.flatnonzero(np.diff(numbers[order])) + 1
        first = order[np.concatenate([[0], ends])]
        nothing = np.zeros(len(first), np.int64)
        columns = [nothing if w is None else w[first].astype(np.int64) for w in words]
        keys = np.stack(columns, axis=1).tolist()
        parts = np.split(order, ends)
        return [Kind(tuple(key), rows) for key, rows in zip(keys, parts, strict=True)]

    def _words(self, table: FlowTable) -> list[Array | None]:
        """What rows of a kind have alike; None: no row has it."""
        family = table["family"]
        words: list[Array | None] = [family, table["proto"]]
        for name in ("orig_src", "orig_dst"):
            if self._by_bits:
                words += _halves(table[name])
            else:
                words.append(self._classes.addresses(family, table[name]))
        ports = table["orig_dport"], table["orig_sport"]
        for port in ports if self._by_sport else ports[:1]:
            words.append(port if self._by_bits else self._classes.numbers(port))
        for name in ("orig_icmp_type", "orig_icmp_code", "zone", "orig_zone"):
            is_told = name in table.columns
            words += [table.has(name), table[name]] if is_told else [None, None]
        return words


def _numbered(words: list[Array]) -> Array:
    """A number for each row; rows that agree in all words have the same."""
    found = np.zeros(len(words[0]), np.int64)
    count = 1
    for word in words:
        least = int(word.min())
        width = int(word.max()) - least + 1
        if width == 1:
            continue
        if count * width > _MOST_NUMBERS:
            different, found = np.unique(found, return_inverse=True)
            count = len(different)
        found = found * width + (word.astype(np.int64) - least)
        count *= width
    return found


def _halves(words: Array) -> Iterator[Array]:
    """Addresses as numbers that a signed word holds."""
    for word in words.T:
        yield word >> np.uint64(32)
        yield word & np.uint64(0xFFFFFFFF)


def _texts(bundle: Bundle) -> Iterator[str]:
    """All that has constants packets are compared with."""
    for ruleset in bundle.rulesets:
        yield ruleset.text
    for route in bundle.routes:
        yield f"{route.dst} {route.src or ''}"
    for rule in bundle.rules:
        yield f"{rule.src or ''} {rule.dst or ''}"
        for ports in (rule.sport, rule.dport):
            if ports is not None:
                yield f"{ports[0]} {ports[1]}"
    for link in bundle.links:
        for address in link.addresses:
            yield str(address.local)
