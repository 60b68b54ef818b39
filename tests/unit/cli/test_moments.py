"""Moments, durations and sizes as people type them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from natscope.cli.diagnostics import UsageError
from natscope.cli.moments import moment_ns, seconds, size_bytes, span_ns

NOW = 1_795_264_200 * 10**9  # 2026-11-21 12:30:00 UTC
S = 10**9


@pytest.fixture
def berlin() -> Iterator[None]:
    """A time zone that is not UTC: an hour ahead in November."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@dataclass(frozen=True)
class Case:
    id: str
    wanted: int


MOMENTS = [
    Case("now", NOW),
    Case("-5m", NOW - 300 * S),
    Case("5m ago", NOW - 300 * S),
    Case("1h30m ago", NOW - 5400 * S),
    Case("-90", NOW - 90 * S),
    Case("1795264200", NOW),
    Case("@1795264200.5", NOW + S // 2),
    Case("2026-11-21T12:30:00Z", NOW),
    Case("2026-11-21T13:30:00+01:00", NOW),
    Case("2026-11-21 13:30", NOW),
    Case("2026-11-21 13:29:59.5", NOW - S // 2),
    Case("13:30", NOW),
    Case("13:31", NOW + 60 * S - 86_400 * S),
    Case("9:00", NOW - 16_200 * S),
    Case("2026-11-21", NOW - 13 * 3600 * S - 1800 * S),
]


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("case", MOMENTS, ids=lambda case: case.id)
def test_a_moment_is_understood(case: Case) -> None:
    assert moment_ns(case.id, NOW) == case.wanted


@pytest.mark.parametrize(
    "text", ["", "yesterday", "25:00", "-", "ago", "-5q", "2026-13-01", "0001-01-01"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        moment_ns(text, NOW)


SPANS = [
    Case("13:30", 60 * S),
    Case("9:00", 60 * S),
    Case("13:29:59", S),
    Case("13:29:59.5", 1),
    Case("2026-11-21 13:30", 60 * S),
    Case("2026-11-21T12:30:00Z", S),
    Case("2026-11-21T13:30+01:00", 60 * S),
    Case("2026-11-21T13", 3600 * S),
    Case("2026-11-21", 86_400 * S),
    Case("1795264200", S),
    Case("1795264200.25", 1),
    Case("now", 1),
    Case("5m ago", 1),
]


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("case", SPANS, ids=lambda case: case.id)
def test_a_moment_is_as_long_as_it_was_typed(case: Case) -> None:
    first, last = span_ns(case.id, NOW)
    assert (first, last - first + 1) == (moment_ns(case.id, NOW), case.wanted)


SIZES = [
    Case("100", 100),
    Case("64K", 64 << 10),
    Case("64KiB", 64 << 10),
    Case("100M", 100 << 20),
    Case("100MB", 100_000_000),
    Case("1.5g", 3 << 29),
]


@pytest.mark.parametrize("case", SIZES, ids=lambda case: case.id)
def test_a_size_is_understood(case: Case) -> None:
    assert size_bytes(case.id, "--buffer") == case.wanted


@pytest.mark.parametrize("text", ["", "0", "M", "-1", "5X", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--buffer"):
        size_bytes(text, "--buffer")


def test_a_duration_is_longer_than_nothing() -> None:
    assert seconds("1m30s", "--for") == 90
    assert seconds("0.5", "--for") == 0.5
    for text in ("0", "0s", "soon"):
        with pytest.raises(UsageError):
            seconds(text, "--for")
