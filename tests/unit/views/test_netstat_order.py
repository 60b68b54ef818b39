"""netstat-nat lines of a large table keep the table's order where they are equal."""

from __future__ import annotations

import numpy as np
import pytest

from natscope import uapi
from natscope.views import netstat_order
from natscope.views.netstat import Hosts, Lines
from natscope.views.netstat_order import SORT_KEYS, TIES_LIKE_STOCK, order

NAMES = [uapi.protocol_name(number) for number in range(256)]


def lines(n: int) -> Lines:
    """Every third line is UDP, the others TCP; all else is equal."""
    hosts = Hosts(np.ones((n, 2), np.uint64), np.ones(n, np.uint16))
    proto = np.where(np.arange(n) % 3 == 0, 17, 6).astype(np.uint8)
    family = np.full(n, uapi.AF_INET6, np.uint8)
    has_port, state = np.ones(n, np.bool_), np.zeros(n, np.uint16)
    return Lines(proto, family, hosts, hosts, hosts, has_port, state)


@pytest.mark.parametrize("by", SORT_KEYS)
def test_many_equal_lines_keep_their_order(by: str) -> None:
    n = TIES_LIKE_STOCK + 1
    rows = np.arange(n)
    wanted = np.concatenate([rows[rows % 3 != 0], rows[rows % 3 == 0]])
    assert np.array_equal(order(lines(n), by, NAMES), wanted)


def test_the_greater_of_a_few_equal_lines_are_turned() -> None:
    # 0 and 3 are UDP, and turned once by each of 1 and 2, and of 4 alone
    assert order(lines(5), "src", NAMES).tolist() == [1, 2, 4, 3, 0]


def test_no_line_has_an_order() -> None:
    assert order(lines(0), "src", NAMES).tolist() == []
    assert netstat_order.exchange_sorted(np.zeros(0, np.intp)).tolist() == []
