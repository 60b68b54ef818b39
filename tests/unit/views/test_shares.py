"""Shares as text."""

from __future__ import annotations

import pytest

from natscope.views.shares import percent


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.00001, "<0.01 %"),
        (0.0015, "0.15 %"),
        (0.049, "4.9 %"),
        (0.87, "87 %"),
        (0.99999, "99.9 %"),
        (1, "100 %"),
        (1.5, "150 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert percent(share) == text
