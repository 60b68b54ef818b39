"""The columns say of every row what the record says, about age and silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from natscope.model import age
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.table import age as columns
from natscope.table.flowtable import FlowTable
from strategies import evidence, flows


@given(rows=st.lists(flows(), max_size=12), box=evidence())
def test_columns_and_records_agree_on_age_and_silence(
    rows: list[Flow], box: Evidence
) -> None:
    table = FlowTable.from_flows(rows)
    for vector, scalar in (
        (columns.age_s, age.age_s),
        (columns.idle_s, age.idle_s),
    ):
        seconds, known = vector(table, box)
        got = [
            value if there else None
            for value, there in zip(seconds.tolist(), known.tolist(), strict=True)
        ]
        assert got == [scalar(flow, box) for flow in rows]


@given(flows())
def test_a_generated_flow_survives_the_table(flow: Flow) -> None:
    (back,) = FlowTable.from_flows([flow])
    if flow.extra is None and (flow.master is None or flow.master.icmp_id is None):
        assert flow == back
