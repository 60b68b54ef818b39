"""Moments, durations and sizes as people type them."""

from __future__ import annotations

import re
from datetime import datetime

from natscope.cli.diagnostics import UsageError

_AGO = re.compile(r"-(.+)|(.+?)\s*ago", re.IGNORECASE)
_EPOCH = re.compile(r"@?(\d{9,11})(?:\.(\d{1,9}))?")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)([KMGT]?)(i?B?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_EXAMPLES = "write 2026-11-17T14:03:00, '2026-11-17 14:03', 14:03, -5m, '5m ago' or "
_EXAMPLES += "seconds since 1970"


def moment_ns(text: str, now_ns: int) -> int:
    """A moment as ns since 1970: ISO 8601 (local without a zone), -5m, 5m ago, epoch.

    A time without a date is the last one that was.

    Raises:
        UsageError: it is none.
    """
    stripped = text.strip()
    if stripped == "now":
        return now_ns
    if epoch := _EPOCH.fullmatch(stripped):
        return int(epoch[1]) * 10**9 + int((epoch[2] or "0").ljust(9, "0"))
    if ago := _AGO.fullmatch(stripped):
        return now_ns - _nanoseconds(ago[1] or ago[2])
    try:
        return _of_clock(stripped, now_ns)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{text!r} is no time", hint=_EXAMPLES) from error


def span_ns(text: str, now_ns: int) -> tuple[int, int]:
    """The first and the last ns of a moment, as precise as it was typed.

    14:03 is that minute, 14:03:33 that second, a date that day; a fraction, ``now``
    and ``5m ago`` are an instant.

    Raises:
        UsageError: it is none.
    """
    first = moment_ns(text, now_ns)
    return first, first + max(1, _precision_ns(text.strip())) - 1


def _precision_ns(text: str) -> int:
    if text == "now" or _AGO.fullmatch(text):
        return 0
    if epoch := _EPOCH.fullmatch(text):
        return 0 if epoch[2] else 10**9
    date, _, clock = text.replace(" ", "T").partition("T")
    if not clock and ":" not in date:
        return 86_400 * 10**9
    whole, fraction, _ = re.split("[Z+-]", clock or date)[0].partition(".")
    digits = len(whole.replace(":", ""))
    if fraction or "," in whole:
        return 0
    return 10**9 * (3600 if digits <= 2 else 60 if digits <= 4 else 1)


def seconds(text: str, option: str) -> float:
    """A duration: ``90``, ``30s``, ``1h30m``.

    Raises:
        UsageError: it is none, or nothing at all.
    """
    length = _nanoseconds(text) / 1e9
    if length <= 0:
        raise UsageError(f"{option} takes a time longer than 0")
    return length


def size_bytes(text: str, option: str) -> int:
    """A number of bytes: ``100M`` is 100 * 1024 * 1024, ``100MB`` 100,000,000.

    Raises:
        UsageError: it is none, or nothing at all.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option}: {text!r} is no size", hint="write 64M or 1.5GiB")
    base = 1000 if found[3].lower() == "b" else 1024
    scale: int = base ** _POWERS[found[2].lower()]
    size = round(float(found[1]) * scale)
    if size <= 0:
        raise UsageError(f"{option} takes a size larger than 0")
    return size


def _nanoseconds(text: str) -> int:
    from natscope.filter.values import BadValue, duration

    try:
        length = duration(text.strip())
    except BadValue as error:
        raise UsageError(error.reason, hint=error.hint) from error
    return int(length * 10**9)


def _of_clock(text: str, now_ns: int) -> int:
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,6})?)?", text):
        now = datetime.fromtimestamp(now_ns / 1e9)
        today = datetime.fromisoformat(f"{now:%Y-%m-%d}T{text:0>5}")
        told = _epoch_ns(today)
        return told if told <= now_ns else told - 86_400 * 10**9
    return _epoch_ns(datetime.fromisoformat(text))


def _epoch_ns(moment: datetime) -> int:
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 10**9 + moment.microsecond * 1000
