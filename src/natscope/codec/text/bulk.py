"""The fast path: lines as stock prints them, a block of them at a time.

One regular expression takes a line apart; each of its parts becomes a column
by NumPy.  A line of another shape, or with a value out of range, is left to
``lines``, which says the same of every line (a property test) and knows why a
bad one is bad.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.addresses import parse_addresses
from natscope.codec.text.cells import Unreadable, ctime_ns, state
from natscope.codec.text.lines import FLAGS, told
from natscope.table.columns import BIT, BY_NAME
from natscope.table.flowtable import FlowTable

_IP = r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[\da-f]*:[\da-f:.]*)"
_TUPLE = (
    rf"src={_IP} dst={_IP} (?:sport=(\d{{1,5}}) dport=(\d{{1,5}}) )?"
    r"(?:packets=(\d{1,19}) bytes=(\d{1,19}) )?"
)
_LINE = re.compile(
    r"(?:ipv[46] +\d+ )?[\w.+-]+ +(\d{1,3}) (?:(\d{1,10}) )?(?:([A-Z][A-Z_0-9]*) )?"
    rf"{_TUPLE}(\[UNREPLIED\] )?{_TUPLE}(\[(?:ASSURED|OFFLOAD|HW_OFFLOAD)\])? ?"
    r"mark=(\d{1,10})(?: secctx=([!-~]+))?(?: zone=(\d{1,5}))?"
    r"(?: delta-time=(\d{1,10}))?(?: \[start=([^\]]*)\])?(?: helper=([!-~]+))?"
    r" use=(\d{1,10})(?: id=(\d{1,10}))?",
    re.ASCII,
)
_PARTS = (
    *("proto", "timeout", "state"),
    *("orig_src", "orig_dst", "orig_sport", "orig_dport"),
    *("orig_packets", "orig_bytes", "unreplied"),
    *("reply_src", "reply_dst", "reply_sport", "reply_dport"),
    *("reply_packets", "reply_bytes", "flag"),
    *("mark", "secctx", "zone", "delta_time", "start_ns", "helper", "use", "id"),
)
"""The groups of _LINE; those that are columns are named so."""
_ENDS = ("orig_src", "orig_dst", "reply_src", "reply_dst")
_WORDS = ("secctx", "helper")

Texts = Sequence[str | None]
Flags = NDArray[np.bool_]
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Bulk:
    """What the fast path made of some lines."""

    table: FlowTable
    rows: NDArray[np.intp]
    """The line of each row of the table, counted from 0."""
    rest: list[int]
    """The lines that are left."""


def parse(lines: Sequence[str], zone: tzinfo | None) -> Bulk:
    """The lines of the common shapes, as a table.

    Args:
        lines: without newlines.
        zone: of ``[start=…]``; see ``lines.parse_line``.
    """
    matches = list(map(_LINE.fullmatch, lines))
    found = [match.groups() for match in matches if match is not None]
    if not found:
        return Bulk(FlowTable.empty(), np.zeros(0, np.intp), list(range(len(lines))))
    columns = _Columns(dict(zip(_PARTS, zip(*found, strict=True), strict=True)), zone)
    rows = np.flatnonzero([match is not None for match in matches])[columns.good]
    left = np.ones(len(lines), np.bool_)
    left[rows] = False
    return Bulk(columns.table(), rows, np.flatnonzero(left).tolist())


class _Columns:
    """The parts of many lines as columns; ``good`` are the rows to be trusted."""

    def __init__(self, parts: dict[str, Texts], zone: tzinfo | None) -> None:
        n = len(parts["proto"])
        self.good = np.ones(n, np.bool_)
        self._data: dict[str, NDArray[Any]] = {}
        self._present = np.zeros(n, np.uint64)
        self._addresses([parts.pop(name) for name in _ENDS])
        self._states(parts["proto"], parts.pop("state"))
        self._status(parts.pop("unreplied"), parts.pop("flag"))
        self._times("start_ns", parts.pop("start_ns"), zone)
        for name in _WORDS:
            self._words(name, parts.pop(name))
        for name, texts in parts.items():
            self._numbers(name, texts)
        self._data["reply_proto"] = self._data["proto"]

    def table(self) -> FlowTable:
        """The good rows."""
        return FlowTable(self._data, self._present).mask(self.good)

    def _put(self, name: str, values: NDArray[Any], has: Flags) -> None:
        self._data[name] = values
        if name in BIT:
            self._present |= has.astype(np.uint64) << np.uint64(BIT[name])

    def _numbers(self, name: str, texts: Texts) -> None:
        if None not in texts:
            has = np.ones(len(texts), np.bool_)
            numbers = np.fromiter(map(int, cast("list[str]", texts)), np.uint64)
        elif any(texts):
            has = _told(texts)
            numbers = np.array([int(text or 0) for text in texts], np.uint64)
        else:
            return
        dtype = np.dtype(BY_NAME[name].dtype)
        self.good &= numbers <= np.iinfo(dtype).max
        self._put(name, numbers.astype(dtype), has)

    def _words(self, name: str, texts: Texts) -> None:
        if any(texts):
            encoded = np.array([(text or "").encode() for text in texts], np.bytes_)
            self._put(name, encoded, _told(texts))

    def _times(self, name: str, texts: Texts, zone: tzinfo | None) -> None:
        if not any(texts):
            return
        times, bad = _read_each(texts, lambda text: ctime_ns(text, zone))
        has = _told(texts)
        self._spoil(texts, bad)
        self._put(
            name, np.array([times.get(t or "", 0) for t in texts], np.uint64), has
        )

    def _states(self, protocols: Texts, words: Texts) -> None:
        pairs = list(zip(protocols, words, strict=True))
        codes, bad = _read_each(
            [(proto, word) for proto, word in set(pairs) if proto and word],
            lambda pair: state(int(pair[0]), pair[1]),
        )
        self._spoil(pairs, bad)
        for name in {column for column, _ in codes.values()}:
            here: dict[tuple[str | None, str | None], int] = {
                pair: value for pair, (column, value) in codes.items() if column == name
            }
            values = np.array([here.get(pair, 0) for pair in pairs], np.uint8)
            self._put(name, values, np.array([pair in here for pair in pairs]))

    def _status(self, unreplied: Texts, flags: Texts) -> None:
        replied = ~_told(unreplied) * np.uint32(uapi.Status.SEEN_REPLY)
        codes = [FLAGS.get(flag or "", 0) for flag in flags]
        masks = {code: told(code) for code in set(codes)}
        all_rows = np.ones(len(flags), np.bool_)
        self._put("status", replied | np.array(codes, np.uint32), all_rows)
        mask = np.array([masks[code] for code in codes], np.uint32)
        self._put("status_mask", mask, all_rows)

    def _addresses(self, ends: list[Texts]) -> None:
        n = len(ends[0])
        words, families = parse_addresses(cast("list[str]", [*chain(*ends)]))
        for position, name in enumerate(_ENDS):
            self._data[name] = words[position * n : (position + 1) * n]
        family = families.reshape(len(ends), n)
        self._data["family"] = family[0]
        self.good &= (family == family[0]).all(0) & (family[0] != 0)

    def _spoil(self, keys: Sequence[object], bad: Set[object]) -> None:
        if bad:
            self.good &= np.array([key not in bad for key in keys])


def _told(texts: Texts) -> Flags:
    return np.array([text is not None for text in texts], np.bool_)


def _read_each(
    keys: Sequence[K | None], read: Callable[[K], V]
) -> tuple[dict[K, V], set[K]]:
    """Every distinct key read once: what was read, and which cannot be."""
    values: dict[K, V] = {}
    bad: set[K] = set()
    for key in set(keys):
        if key is None:
            continue
        try:
            values[key] = read(key)
        except Unreadable:
            bad.add(key)
    return values, bad
