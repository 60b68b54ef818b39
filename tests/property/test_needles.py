"""What the programs let through is never less than what the filter means."""

from __future__ import annotations

from hypothesis import given

from natscope.filter import Filter
from natscope.filter.syntax import Tree
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.trace.needles import Needles, needles
from property.crowd import flows
from property.filter_trees import trees
from strategies import evidence


def has(flow: Flow, wanted: Needles) -> bool:
    """The test of trace.matching, on an entry's tuples."""
    tuples = (flow.orig, flow.reply)
    ends = [int(address) for one in tuples for address in (one.src, one.dst)]
    ports = [port for one in tuples for port in (one.sport, one.dport)]
    return (
        flow.family in wanted.families
        and (not wanted.protocols or flow.proto in wanted.protocols)
        and all(
            any(end & needle.mask == needle.value for needle in group for end in ends)
            for group in wanted.of(flow.family)
        )
        and all(
            any(low <= (port or 0) <= high for low, high in spans for port in ports)
            for spans in wanted.ports
        )
    )


@given(flow=flows(), tree=trees(), box=evidence())
def test_every_flow_that_is_meant_has_the_needles(
    flow: Flow, tree: Tree, box: Evidence
) -> None:
    if Filter("", tree).matches(flow, box):
        assert has(flow, needles(tree))
