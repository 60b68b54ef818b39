"""The fast path for the lines a NAT box is full of: TCP and UDP, as stock
prints them.

One regular expression takes a line apart; numbers become columns by NumPy, a
column at a time.  What does not fit, or holds a value out of range, is left to
``lines``, which says the same of every line (a property test) and knows why a
bad one is bad.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.cells import LINE_STATUS, Unreadable, address
from natscope.table.columns import BIT, BY_NAME
from natscope.table.flowtable import FlowTable

_PATTERN = re.compile(
    r"(?:ipv[46] +\d+ )?(?:tcp|udp) +(6|17) (\d{1,10}) (?:([A-Z][A-Z_0-9]*) )?"
    r"src=(\S+) dst=(\S+) sport=(\d{1,5}) dport=(\d{1,5}) "
    r"(?:packets=(\d{1,18}) bytes=(\d{1,18}) )?(\[UNREPLIED\] )?"
    r"src=(\S+) dst=(\S+) sport=(\d{1,5}) dport=(\d{1,5}) "
    r"(?:packets=(\d{1,18}) bytes=(\d{1,18}) )?(\[ASSURED\] )?"
    r"mark=(\d{1,10})(?: zone=(\d{1,5}))?(?: delta-time=(\d{1,10}))?"
    r" use=(\d{1,10})(?: id=(\d{1,10}))?"
)
fields = _PATTERN.fullmatch
"""The parts of a line by their place in _COLUMNS, or None."""

_COLUMNS = (
    *("proto", "timeout", "tcp_state", "orig_src", "orig_dst"),
    *("orig_sport", "orig_dport", "orig_packets", "orig_bytes", "unreplied"),
    *("reply_src", "reply_dst", "reply_sport", "reply_dport"),
    *("reply_packets", "reply_bytes", "assured"),
    *("mark", "zone", "delta_time", "use", "id"),
)
_STATES = {name: value for value, name in enumerate(uapi.TCP_STATES)}
_STATES["LISTEN"] = _STATES["SYN_SENT2"]
_UNKNOWN_STATE = 255
_STATUS = ("unreplied", "assured")
Parts = Sequence[tuple[str | None, ...]]


def table(lines: Parts) -> tuple[FlowTable, NDArray[np.bool_]]:
    """The rows of many lines, and which of them are sound.

    Args:
        lines: ``fields(line).groups()`` of each, at least one.
    """
    parts = dict(zip(_COLUMNS, zip(*lines, strict=True), strict=True))
    n = len(lines)
    good = np.ones(n, np.bool_)
    present = np.zeros(n, np.uint64)
    data: dict[str, NDArray[Any]] = {}
    families = []
    for name, texts in parts.items():
        if name in _STATUS:
            continue
        column = BY_NAME[name]
        if column.width == 2:
            data[name], family = _addresses(texts)
            families.append(family)
            continue
        values, has = _numbers(name, texts)
        if not has.any():
            continue
        good &= values <= np.iinfo(column.dtype).max
        good &= values != _UNKNOWN_STATE if name == "tcp_state" else True
        data[name] = values.astype(column.dtype)
        if not column.always:
            present |= has.astype(np.uint64) << np.uint64(BIT[name])
    data["family"] = families[0]
    data["reply_proto"] = data["proto"]
    good &= families[0] != 0
    for family in families[1:]:
        good &= family == families[0]
    # only TCP has a state, and always has one
    good &= (data["proto"] == uapi.IPPROTO_TCP) == _there(parts["tcp_state"])
    data["status"] = _status(parts)
    data["status_mask"] = np.full(n, int(LINE_STATUS), np.uint32)
    present |= np.uint64(1 << BIT["status"] | 1 << BIT["status_mask"])
    return FlowTable(data, present), good


def _there(texts: Sequence[str | None]) -> NDArray[np.bool_]:
    return np.array([text is not None for text in texts], np.bool_)


def _numbers(
    name: str, texts: Sequence[str | None]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if name == "tcp_state":
        numbers = [_STATES.get(text, _UNKNOWN_STATE) if text else 0 for text in texts]
    elif None in texts:
        numbers = [int(text) if text else 0 for text in texts]
    else:
        numbers = list(map(int, texts))  # type: ignore[arg-type]
    return np.array(numbers, np.int64), _there(texts)


def _addresses(
    texts: Sequence[str | None],
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Words and families; family 0 where the text is no address."""
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    words, families = [], []
    for text in codes:
        try:
            family, value = address(text or "")
        except Unreadable:
            family, value = 0, 0
        words.append((value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF))
        families.append(family)
    index = np.array([codes[text] for text in texts], np.intp)
    return np.array(words, np.uint64)[index], np.array(families, np.uint8)[index]


def _status(parts: dict[str, tuple[str | None, ...]]) -> NDArray[np.uint32]:
    replied, assured = ~_there(parts["unreplied"]), _there(parts["assured"])
    bits = replied * int(uapi.Status.SEEN_REPLY) + assured * int(uapi.Status.ASSURED)
    return bits.astype(np.uint32)
