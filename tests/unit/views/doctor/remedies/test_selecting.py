"""The filter of a remedy means the flows that were found, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from natscope import uapi
from natscope.filter.compiled import parse
from natscope.views.doctor.remedies.selecting import selection
from unit.views.doctor.boxes import INSIDE, OUTSIDE, Box, snat

NEW = uapi.Status.CONFIRMED | uapi.Status.SRC_NAT


def _rows(*chosen: bool) -> NDArray[np.bool_]:
    return np.array(chosen, np.bool_)


def test_words_that_mean_the_rows_are_enough_where_they_name_an_address() -> None:
    snapshot = Box([snat(6, 1, 443), snat(6, 2, 443)]).snapshot
    assert selection(snapshot, _rows(True, True), f"dst {OUTSIDE}") == f"dst {OUTSIDE}"


def test_an_address_is_always_named() -> None:
    snapshot = Box([snat(6, 1, 443), snat(6, 2, 443)]).snapshot
    found = selection(snapshot, _rows(True, True), "snat")
    assert found == f"snat and proto tcp and src {INSIDE}"


def test_what_is_answered_is_spared() -> None:
    snapshot = Box([snat(6, 1, 443), snat(6, 2, 443, status=NEW)]).snapshot
    found = selection(snapshot, _rows(False, True), f"dst {OUTSIDE}")
    assert found == f"dst {OUTSIDE} and unreplied"


@pytest.mark.parametrize("chosen", [(True, False, False), (False, True, True)])
def test_ports_tell_flows_apart(chosen: tuple[bool, ...]) -> None:
    flows = [snat(17, 1, 53), snat(17, 2, 123), snat(17, 3, 123)]
    snapshot = Box(flows).snapshot
    found = selection(snapshot, _rows(*chosen), "snat")
    assert found is not None
    mask = parse(found).mask(snapshot.flows, snapshot.evidence)
    assert tuple(mask.tolist()) == chosen


def test_flows_that_nothing_short_tells_apart_have_no_filter() -> None:
    # the same values in every column, differently paired
    flows = [snat(17, a, b) for a in (1, 2) for b in (53, 123)]
    snapshot = Box(flows).snapshot
    assert selection(snapshot, _rows(True, False, False, True), "snat") is None
    many = Box([snat(17, n, n) for n in range(1, 41)]).snapshot
    assert selection(many, np.arange(40) < 20, "snat") is None
