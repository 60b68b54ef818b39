"""Cells say what Python's own formatting says, row for row."""

from __future__ import annotations

import socket
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from natscope.render import cells
from natscope.uapi import AF_INET, AF_INET6

WORDS = st.integers(0, 2**64 - 1)
SPARSE = st.sampled_from((0, 1, 0xFFFF, 0x1000, 0x0DB8))
GROUPS = st.lists(SPARSE | st.integers(0, 0xFFFF), min_size=8, max_size=8)


MANY = cells.FEW + 1
"""Copies of a case that take it past the way short columns go."""


def texts(cell: cells.Cell) -> list[str]:
    newline = cells.literal(b"\n", len(cell.length))
    return cells.lines([cell, newline]).decode().split("\n")[:-1]


@given(hnp.arrays(np.uint64, st.integers(1, 20), elements=WORDS))
def test_unsigned_numbers_of_any_size(values: np.ndarray) -> None:
    for column in (values, np.tile(values, MANY)):
        cell = cells.decimal(column)
        expected = [str(value) for value in column.tolist()]
        assert texts(cell) == expected
        assert cell.length.tolist() == [len(text) for text in expected]


SIGNED = st.one_of(
    hnp.arrays(np.int64, 20, elements=st.integers(-(2**63) + 1, 2**63 - 1)),
    hnp.arrays(np.int32, 20, elements=st.integers(-(2**31), 2**31 - 1)),
)


@given(SIGNED)
def test_signed_numbers(values: np.ndarray) -> None:
    for column in (values, np.tile(values, MANY)):
        assert texts(cells.decimal(column)) == [str(value) for value in column.tolist()]


@given(hnp.arrays(np.uint16, st.integers(1, 20)))
def test_ports_and_hexadecimal(values: np.ndarray) -> None:
    for column in (values, np.tile(values, MANY)):
        assert texts(cells.ports(column)) == [f":{value}" for value in column.tolist()]
    assert texts(cells.hexadecimal(values)) == [f"{v:x}" for v in values.tolist()]


@given(st.lists(GROUPS, min_size=1, max_size=20))
def test_ipv6_as_inet_ntop_prints_it(rows: list[list[int]]) -> None:
    packed = [struct.pack(">8H", *groups) for groups in rows]
    words = np.array([struct.unpack(">QQ", one) for one in packed], np.uint64)
    cell = cells.addresses(np.full(len(rows), AF_INET6, np.uint8), words)
    expected = [socket.inet_ntop(socket.AF_INET6, one) for one in packed]
    assert texts(cell) == expected
    assert cell.length.tolist() == [len(text) for text in expected]


@given(st.lists(st.tuples(st.booleans(), WORDS, WORDS), min_size=1, max_size=20))
def test_both_families_in_one_column(rows: list[tuple[bool, int, int]]) -> None:
    family, words, expected = [], [], []
    for v6, high, low in rows:
        family.append(AF_INET6 if v6 else AF_INET)
        words.append((high, low) if v6 else (0, low & 0xFFFF_FFFF))
        raw = struct.pack(">QQ", *words[-1])
        kind = socket.AF_INET6 if v6 else socket.AF_INET
        expected.append(socket.inet_ntop(kind, raw if v6 else raw[12:]))
    for times in (1, MANY):
        families = np.array(family * times, np.uint8)
        cell = cells.addresses(families, np.array(words * times, np.uint64))
        assert texts(cell) == expected * times
        assert cell.length.tolist() == [len(text) for text in expected] * times


def test_padding_goes_to_the_width_and_no_further() -> None:
    numbers = cells.decimal(np.array([7, 1234], np.uint64))
    assert texts(cells.ljust(numbers, 3)) == ["7  ", "1234"]
    assert texts(cells.rjust(numbers, 3)) == ["  7", "1234"]


def test_rows_left_out_take_no_room() -> None:
    numbers = cells.decimal(np.array([7, 8], np.uint64))
    keep = np.array([True, False])
    assert texts(numbers.only(keep)) == ["7", ""]
    assert texts(numbers.otherwise(keep, b"-")) == ["7", "-"]
    assert numbers.otherwise(keep, b"none").length.tolist() == [1, 4]
