"""Rows that prove something."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import numpy as np

from natscope import uapi
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.reading.rows import (
    examples,
    flows,
    in_tcp_state,
    is_set,
    is_unset,
    most,
)
from unit.views.doctor.boxes import INSIDE, snat, tcp

REPLY = uapi.Status.SEEN_REPLY


def _from(src: str, count: int) -> list[Flow]:
    made = [snat(17, 1000 + at, 53) for at in range(count)]
    return [replace(one, orig=replace(one.orig, src=ip_address(src))) for one in made]


def test_the_address_most_rows_have_is_found_among_the_rows_looked_at() -> None:
    table = FlowTable.from_flows([*_from("10.0.0.9", 3), *_from(INSIDE, 2)])
    every = np.ones(5, np.bool_)
    found = most(table, "orig_src", every)
    assert found is not None
    assert (str(found.address), found.count) == ("10.0.0.9", 3)
    assert found.rows.tolist() == [True, True, True, False, False]
    some = np.array([True, False, False, True, True])
    found = most(table, "orig_src", some)
    assert found is not None
    assert (str(found.address), found.count) == (INSIDE, 2)
    assert found.rows.tolist() == [False, False, False, True, True]
    assert most(table, "orig_src", ~every) is None


def test_a_finding_shows_five_flows_at_most() -> None:
    table = FlowTable.from_flows(tcp("ESTABLISHED", 9))
    rows = np.arange(9) > 6
    assert [one.orig.sport for one in examples(table, rows)] == [1031, 1032]
    assert len(examples(table, ~rows)) == 5


def test_a_status_bit_nobody_told_is_neither_set_nor_unset() -> None:
    told = snat(6, 1, 2, status=REPLY)
    silent = snat(6, 1, 2, status=None)
    partly = snat(6, 1, 2, status=0, status_mask=uapi.Status.ASSURED)
    table = FlowTable.from_flows([told, silent, partly, snat(6, 1, 2, status=0)])
    assert is_set(table, REPLY).tolist() == [True, False, False, False]
    assert is_unset(table, REPLY).tolist() == [False, False, False, True]


def test_a_flow_without_a_state_is_in_none() -> None:
    table = FlowTable.from_flows([*tcp("NONE", 1), snat(6, 1, 2), snat(17, 1, 2)])
    assert in_tcp_state(table, "NONE").tolist() == [True, False, False]


def test_one_flow_is_one_flow() -> None:
    assert [flows(0), flows(1), flows(2)] == ["0 flows", "1 flow", "2 flows"]
