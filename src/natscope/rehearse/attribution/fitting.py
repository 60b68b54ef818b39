"""Whether translations are ones a rule could have given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrule import Span
from natscope.table.flowtable import FlowTable

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
Array = NDArray[Any]
_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Side:
    """One end of flows before and after translation, by rows."""

    was: Array
    """(n, 2) high and low word."""
    now: Array
    was_port: Array
    now_port: Array
    has_port: Mask

    def take(self, rows: Rows | slice) -> Side:
        """The same of some rows."""
        return Side(
            self.was[rows],
            self.now[rows],
            self.was_port[rows],
            self.now_port[rows],
            self.has_port[rows],
        )


def destination(table: FlowTable) -> Side:
    """Where flows go to, and went to."""
    return _side(table, "orig_dst", "reply_src", "orig_dport", "reply_sport")


def source(table: FlowTable) -> Side:
    """Where flows come from, as they came and as they left."""
    return _side(table, "orig_src", "reply_dst", "orig_sport", "reply_dport")


def _side(table: FlowTable, was: str, now: str, was_port: str, now_port: str) -> Side:
    has_port = table.has(was_port) & table.has(now_port)
    return Side(table[was], table[now], table[was_port], table[now_port], has_port)


@dataclass(frozen=True, slots=True)
class Expected:
    """What one end may become.

    ``spans`` of addresses: None is the address it had, empty any at all.  ``ports``:
    None is the port it had, unless ``is_free``, when it is any.
    """

    spans: tuple[Span, ...] | None
    ports: Span | None = None
    is_free: bool = False
    host_bits: int = 0
    """Bits of the address that stay as they were."""


def fits(side: Side, expected: Expected) -> Mask:
    """Which flows have at this end what is expected."""
    found = _address_fits(side, expected)
    if not expected.is_free:
        found &= _port_fits(side, expected.ports)
    return found


def is_moved(side: Side) -> Mask:
    """Which flows are translated at this end."""
    return ~fits(side, Expected(None))


def within(words: Array, spans: tuple[Span, ...]) -> Mask:
    """Which addresses lie in one of some spans.

    Args:
        words: (n, 2) high and low word.
        spans: at least one.
    """
    if max(last for _, last in spans) > _WORD:
        above = [~_below(words, first) & _below(words, last + 1)
                 for first, last in spans]  # fmt: skip
        found: Mask = np.logical_or.reduce(above)
        return found
    is_v4, low = words[:, 0] == 0, words[:, 1]
    if len(spans) == 1:
        ((first, last),) = spans
        found = is_v4 & (low >= np.uint64(first)) & (low <= np.uint64(last))
        return found
    merged = _merged(spans)
    at = np.searchsorted(merged[:, 0], low, side="right")
    found = is_v4 & (at > 0) & (low <= merged[at - 1, 1])
    return found


def _address_fits(side: Side, expected: Expected) -> Mask:
    was, now, spans = side.was, side.now, expected.spans
    if spans is None:
        found: Mask = (was[:, 1] == now[:, 1]) & (was[:, 0] == now[:, 0])
    elif spans:
        found = within(now, spans)
    else:
        found = np.ones(len(now), np.bool_)
    for word, shift in ((0, 64), (1, 0)):
        bits = np.uint64(expected.host_bits >> shift & _WORD)
        if bits:
            found &= (was[:, word] ^ now[:, word]) & bits == 0
    return found


def _merged(spans: tuple[Span, ...]) -> Array:
    """Spans in order, and apart from each other."""
    found: list[list[int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return np.array(found, np.uint64)


def _below(words: Array, bound: int) -> Mask:
    """Which 128-bit addresses are less than a bound."""
    if bound >> 128:
        return np.ones(len(words), np.bool_)
    high, low = np.uint64(bound >> 64), np.uint64(bound & _WORD)
    less: Mask = (words[:, 0] < high) | ((words[:, 0] == high) & (words[:, 1] < low))
    return less


def _port_fits(side: Side, ports: Span | None) -> Mask:
    """A protocol without ports has nothing to fit."""
    now = side.now_port
    if ports is None:
        same: Mask = ~side.has_port | (now == side.was_port)
        return same
    within: Mask = ~side.has_port | ((now >= ports[0]) & (now <= ports[1]))
    return within
