"""Ranges of addresses and ports are what the numbers say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope.views.doctor.reading.spans import addresses_within, ports_within

NEAR_A_WORD = st.sampled_from([0, (1 << 64) - 1, 1 << 64, (1 << 128) - 1])
ADDRESSES = NEAR_A_WORD | st.integers(0, (1 << 128) - 1)
PORTS = st.integers(0, 0xFFFF)


@given(st.lists(ADDRESSES), st.lists(st.tuples(ADDRESSES, ADDRESSES)))
def test_addresses_within_spans(asked: list[int], spans: list[tuple[int, int]]) -> None:
    words = np.array([divmod(one, 1 << 64) for one in asked], np.uint64).reshape(-1, 2)
    found = addresses_within(words, tuple(spans))
    assert found.tolist() == [any(a <= n <= b for a, b in spans) for n in asked]


@given(st.lists(PORTS), st.lists(st.tuples(PORTS, PORTS)))
def test_ports_within_spans(asked: list[int], spans: list[tuple[int, int]]) -> None:
    found = ports_within(np.array(asked, np.uint16), tuple(spans))
    assert found.tolist() == [any(a <= n <= b for a, b in spans) for n in asked]
