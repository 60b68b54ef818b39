"""Translations against what a rule could have given."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np
import pytest

from natscope.codec.text.natrule import Span
from natscope.rehearse.attribution.fitting import Expected, Side, fits, is_moved


def words(text: str) -> list[int]:
    value = int(ip_address(text))
    return [value >> 64, value & (1 << 64) - 1]


def side(was: str, now: str, was_port: int | None, now_port: int | None) -> Side:
    return Side(
        np.array([words(was)], np.uint64),
        np.array([words(now)], np.uint64),
        np.array([was_port or 0], np.uint16),
        np.array([now_port or 0], np.uint16),
        np.array([was_port is not None]),
    )


def span(first: str, last: str) -> Span:
    return int(ip_address(first)), int(ip_address(last))


@dataclass(frozen=True)
class Case:
    id: str
    side: Side
    expected: Expected
    fits: bool


A, B, C = "10.0.0.2", "203.0.113.1", "203.0.113.9"
RANGE = (span("203.0.113.1", "203.0.113.8"),)
SIX = (span("2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),)
ALL_SIX = (span("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),)
NET = (span("203.0.113.0", "203.0.113.255"),)
CASES = [
    Case("unchanged", side(A, A, 5, 5), Expected(None), True),
    Case("changed", side(A, B, 5, 5), Expected(None), False),
    Case("the port changed", side(A, A, 5, 6), Expected(None), False),
    Case("any port", side(A, A, 5, 6), Expected(None, is_free=True), True),
    Case("within", side(A, B, 5, 5), Expected(RANGE), True),
    Case("beyond", side(A, C, 5, 5), Expected(RANGE), False),
    Case("anything", side(A, C, 5, 5), Expected(()), True),
    Case("the port within", side(A, B, 5, 80), Expected(RANGE, (80, 81)), True),
    Case("the port beyond", side(A, B, 5, 82), Expected(RANGE, (80, 81)), False),
    Case("no port to fit", side(A, B, None, None), Expected(RANGE, (80, 81)), True),
    Case("IPv6 within", side("fd00::2", "2001:db8:1::", 5, 5), Expected(SIX), True),
    Case("IPv6 below", side("fd00::2", "2001:db8::", 5, 5), Expected(SIX), False),
    Case("IPv6 above", side("fd00::2", "2001:db9::", 5, 5), Expected(SIX), False),
    Case("all of IPv6", side("fd00::2", "2001::", 5, 5), Expected(ALL_SIX), True),
    Case("host kept", side(A, "203.0.113.2", 5, 5), Expected(NET, host_bits=255), True),
    Case("host lost", side(A, B, 5, 5), Expected(NET, host_bits=255), False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_end_fits_what_is_expected(case: Case) -> None:
    assert fits(case.side, case.expected).tolist() == [case.fits]


def test_an_end_is_moved_by_its_address_or_its_port() -> None:
    assert [is_moved(one).item() for one in
            (side(A, A, 5, 5), side(A, B, 5, 5), side(A, A, 5, 6))] == [
        False, True, True]  # fmt: skip
