"""Stale flows for people: why, how many, and some of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.stale import Group, Stale
from natscope.views.stalerecords import in_words

SHOWN = 5
"""Flows of a group that are shown, unless all are asked for."""


def text(
    found: Stale, table: FlowTable, evidence: Evidence, *, everything: bool
) -> str:
    """A line a group, and below it its flows."""
    most = len(table) if everything else SHOWN
    rows = [group.rows[:most] for group in found.groups]
    # all at once: a group for itself may be small
    flows = iter(table.take(np.concatenate(rows)) if rows else ())
    lines = (
        line
        for group in found.groups
        for line in _lines(group, list(islice(flows, len(group.rows[:most]))), evidence)
    )
    return "".join(f"{line}\n" for line in lines)


def _lines(group: Group, flows: list[Flow], evidence: Evidence) -> Iterator[str]:
    number = len(group.rows)
    doubt = "" if group.is_certain else "~ "
    how = "" if group.is_rehearsed else " (by the rules' shape)"
    yield f"{doubt}{number} {'flow' if number == 1 else 'flows'} {group.said}{how}"
    for flow in flows:
        yield f"    {in_words(flow, evidence)}"
    if len(flows) < number:
        yield f"    … and {number - len(flows)} more"
