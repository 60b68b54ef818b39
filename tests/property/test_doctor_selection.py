"""What a remedy deletes is what was found: for any flows, and any of them."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.filter.compiled import parse
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.remedies.selecting import selection
from natscope.views.doctor.snapshot import Snapshot

PAIRS = st.sampled_from(
    [("10.0.0.2", "192.0.2.1"), ("10.0.0.3", "192.0.2.1"), ("fd00::2", "2001:db8::1")]
)
PROTOS = st.sampled_from([uapi.IPPROTO_TCP, uapi.IPPROTO_UDP, 47])


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    src, dst = map(ip_address, draw(PAIRS))
    proto = draw(PROTOS)
    ports = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    orig = FlowTuple(src, dst, proto, *((None, None) if proto == 47 else ports))
    replied = uapi.Status.SEEN_REPLY if draw(st.booleans()) else 0
    return Flow(orig, orig.reversed(), status=uapi.Status.CONFIRMED | replied)


@given(st.lists(st.tuples(flows(), st.booleans()), min_size=1))
def test_a_selection_matches_the_rows_and_no_other(
    drawn: list[tuple[Flow, bool]],
) -> None:
    meant = np.array([chosen for _, chosen in drawn], np.bool_)
    if not meant.any():
        meant[0] = True
    table = FlowTable.from_flows([flow for flow, _ in drawn])
    snapshot = Snapshot(Bundle(0), table=table)
    words = selection(snapshot, meant, "not nat")
    if words is not None:
        found = parse(words).mask(table, snapshot.evidence)
        assert found.tolist() == meant.tolist()
        assert "src" in words or "dst" in words


@given(st.lists(flows(), min_size=1))
def test_all_flows_have_a_selection(drawn: list[Flow]) -> None:
    table = FlowTable.from_flows(drawn)
    snapshot = Snapshot(Bundle(0), table=table)
    meant = np.ones(len(table), np.bool_)
    assert selection(snapshot, meant, "not nat") is not None
