"""Numbers as people read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from natscope.render.format import duration, quantity
from unit.render.test_cells import texts


@dataclass(frozen=True)
class Case:
    value: int
    shown: str


QUANTITIES = [
    Case(0, "0"),
    Case(999, "999"),
    Case(1000, "1.0k"),
    Case(1999, "1.9k"),
    Case(9999, "9.9k"),
    Case(10_000, "10k"),
    Case(999_999, "999k"),
    Case(1_234_567, "1.2M"),
    Case(45_000_000_000, "45G"),
    Case(2**64 - 1, "18E"),
]
DURATIONS = [
    Case(0, "0s"),
    Case(59, "59s"),
    Case(60, "1m00s"),
    Case(192, "3m12s"),
    Case(3599, "59m59s"),
    Case(7500, "2h05m"),
    Case(432_000, "5d00h"),
    Case(8_589_934, "99d10h"),
]


@pytest.mark.parametrize("case", QUANTITIES, ids=lambda case: case.shown)
def test_quantities_have_three_digits_at_most(case: Case) -> None:
    assert texts(quantity(np.array([case.value], np.uint64))) == [case.shown]


@pytest.mark.parametrize("case", DURATIONS, ids=lambda case: case.shown)
def test_durations_have_two_units_at_most(case: Case) -> None:
    assert texts(duration(np.array([case.value], np.int64))) == [case.shown]
