"""Stale flows for people: why, how many, and some of them."""

from __future__ import annotations

from collections.abc import Iterator

from natscope.model.evidence import Evidence
from natscope.table.flowtable import FlowTable
from natscope.views.stale import Group, Stale
from natscope.views.stalerecords import in_words

SHOWN = 5
"""Flows of a group that are shown, unless all are asked for."""


def text(
    found: Stale, table: FlowTable, evidence: Evidence, *, everything: bool
) -> str:
    """A line a group, and below it its flows."""
    lines = (
        line
        for group in found.groups
        for line in _lines(group, table, evidence, everything=everything)
    )
    return "".join(f"{line}\n" for line in lines)


def _lines(
    group: Group, table: FlowTable, evidence: Evidence, *, everything: bool
) -> Iterator[str]:
    number = len(group.rows)
    doubt = "" if group.is_certain else "~ "
    how = "" if group.is_rehearsed else " (by the rules' shape)"
    yield f"{doubt}{number} {'flow' if number == 1 else 'flows'}: {group.said}{how}"
    rows = group.rows if everything else group.rows[:SHOWN]
    for flow in table.take(rows):
        yield f"    {in_words(flow, evidence)}"
    if len(rows) < number:
        yield f"    … and {number - len(rows)} more"
