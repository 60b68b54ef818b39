"""Releases of kernels as distributions name them."""

from __future__ import annotations

import pytest

from natscope.model.release import release


@pytest.mark.parametrize(
    ("kernel", "numbers"),
    [
        ("6.1.0-28-amd64", (6, 1, 0)),
        ("5.15.0-1051-aws", (5, 15, 0)),
        ("6.18-rc1", (6, 18, 0)),
        ("4.19.123", (4, 19, 123)),
        ("linux", None),
        ("", None),
        (None, None),
        ("9" * 5000 + ".1", None),
    ],
)
def test_a_release_is_three_numbers(
    kernel: str | None, numbers: tuple[int, int, int] | None
) -> None:
    assert release(kernel) == numbers
