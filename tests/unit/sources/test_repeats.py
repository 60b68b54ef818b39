"""Entries a dump repeats are dropped, and no others."""

from __future__ import annotations

from dataclasses import replace

from natscope.model.flow import Flow
from natscope.sources.kernel import _Repeats
from natscope.table.flowtable import FlowTable
from unit.codec.test_decoders import TCP

ONE = replace(TCP, id=1)
TWO = replace(TCP, id=2, orig=replace(TCP.orig, sport=2))
THREE = replace(TCP, id=3, orig=replace(TCP.orig, sport=3))


def kept(*chunks: list[Flow]) -> list[list[Flow]]:
    repeats = _Repeats()
    return [list(repeats.drop(FlowTable.from_flows(chunk))) for chunk in chunks]


def test_a_repeat_in_the_same_piece_is_dropped() -> None:
    assert kept([ONE, TWO, ONE]) == [[ONE, TWO]]


def test_a_repeat_in_the_next_piece_is_dropped() -> None:
    assert kept([ONE, TWO], [TWO, THREE], [THREE]) == [[ONE, TWO], [THREE], []]


def test_counters_that_moved_between_do_not_hide_a_repeat() -> None:
    assert kept([ONE], [replace(ONE, orig_bytes=9, timeout=5)]) == [[ONE], []]


def test_an_id_alone_makes_no_repeat() -> None:
    other = replace(TWO, id=1)
    zoned = replace(ONE, zone=7)
    assert kept([ONE, other], [zoned]) == [[ONE, other], [zoned]]
