"""A part of a whole, in words."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share of 1: ``0 %``, ``0.15 %``, ``4.9 %``, ``87 %``; never rounded to all
    or nothing."""
    value = 100 * share
    if value == 0 or value >= 100:
        return f"{value:.0f} %"
    if value < 0.01:
        return "<0.01 %"
    digits = 2 if value < 1 else 1 if value < 10 or value > 99 else 0
    return f"{min(value, 99.9):.{digits}f} %"
