"""The program for the socket against the filter it was made from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from natscope import uapi
from natscope.codec.encode import flow_message
from natscope.filter import Filter
from natscope.filter.socket_program import is_exact
from natscope.filter.syntax import Not, Tree
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from property.bpf_machine import accepts
from property.filter_trees import trees
from strategies import evidence, flows

CREATED = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL


def passes(wanted: Filter, flow: Flow) -> bool:
    program = wanted.socket_program()
    return program is None or accepts(program, flow_message(flow, flags=CREATED))


@given(rows=st.lists(flows(wire=True), max_size=8), tree=trees(), box=evidence())
def test_every_event_that_is_meant_passes(
    rows: list[Flow], tree: Tree, box: Evidence
) -> None:
    wanted = Filter("", tree)
    for flow in rows:
        assert passes(wanted, flow) or not wanted.matches(flow, box)


@given(rows=st.lists(flows(wire=True), max_size=8), tree=trees(), box=evidence())
def test_what_is_exact_passes_only_if_it_is_meant(
    rows: list[Flow], tree: Tree, box: Evidence
) -> None:
    wanted = Filter("", tree)
    if is_exact(tree):
        assert [passes(wanted, flow) for flow in rows] == [
            wanted.matches(flow, box) for flow in rows
        ]


@given(flow=flows(wire=True), tree=trees(), box=evidence())
def test_no_event_of_the_other_flows_is_taken_for_certain(
    flow: Flow, tree: Tree, box: Evidence
) -> None:
    """The narrowest reading is meant: not (widest reading of not)."""
    wanted = Filter("", tree)
    if not passes(Filter("", Not(tree)), flow):
        assert wanted.matches(flow, box)


@given(tree=trees())
def test_exact_and_its_opposite_are_exact_together(tree: Tree) -> None:
    assert is_exact(tree) == is_exact(Not(tree))
