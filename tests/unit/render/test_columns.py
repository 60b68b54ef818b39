"""Small tables, times and sizes as text."""

from __future__ import annotations

import pytest

from natscope.render.columns import aligned, size, span


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("a", "1"), ("bcd", "100")], ("N", "X"), right=(1,)) == [
        "N      X",
        "a      1",
        "bcd  100",
    ]
    assert aligned([]) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0s"),
        (59.6, "1m00s"),
        (3599, "59m59s"),
        (7500, "2h05m"),
        (432_000, "5d00h"),
    ],
)
def test_a_time_has_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [(512, "512 B"), (1536, "1.5 KiB"), (98 << 20, "98 MiB"), (3 << 29, "1.5 GiB")],
)
def test_a_size_is_in_powers_of_1024(octets: int, text: str) -> None:
    assert size(octets) == text
