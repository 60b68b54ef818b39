"""How likely the kernel's search for a port is to fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from natscope.views.portsearch import loss, trouble_at


@dataclass(frozen=True)
class Case:
    id: str
    size: int
    taken: range
    closing: range
    lost: float


NONE = range(0)
CASES = [
    Case("nothing taken", 1000, NONE, NONE, 0.0),
    Case("a small range but one", 10, range(9), NONE, 0.0),
    Case("a small range, all of it", 10, range(10), NONE, 1.0),
    Case("one of them closing: evicted", 10, range(10), range(3, 4), 0.0),
    Case("128 ports but one are searched whole", 128, range(127), NONE, 0.0),
    Case("a large range, all of it", 64_512, range(64_512), NONE, 1.0),
    Case("a clump shorter than a round", 64_512, range(127), NONE, 0.0),
    Case("all of a large range closing", 64_512, range(64_512), range(64_512), 0.0),
    Case(
        # the last 32 of 64 tries evict: 1024 draws are of the first 32 ports
        "64 ports, the first 32 of them closing",
        64,
        range(64),
        range(32),
        1 / 64,
    ),
    Case(
        # places from which 128, 64, 32, 16 and 8 tries stay within half of the ports
        "half, side by side",
        1024,
        range(512),
        NONE,
        385 / 1024 * 449 / 1024 * 481 / 1024 * 497 / 1024 * 505 / 1024,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_flow_is_lost_where_no_round_finds_a_port(case: Case) -> None:
    ports = np.array(case.taken, np.int64)
    hard = np.array([port not in case.closing for port in case.taken], np.bool_)
    group = np.zeros(len(ports), np.int64)
    got = loss(group, ports, hard, np.array([case.size]))
    assert got.tolist() == pytest.approx([case.lost])


def test_trouble_begins_at_the_end_of_a_small_range_and_before_that_of_a_large() -> (
    None
):
    assert trouble_at(10) == trouble_at(128) == 1.0
    assert 0.89 < trouble_at(1000) < 0.91
    assert 0.86 < trouble_at(64_512) < 0.90
