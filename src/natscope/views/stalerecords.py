"""Stale flows as they are told: to programs, and in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from natscope import uapi
from natscope.model.age import idle_s
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.table.flowtable import FlowTable
from natscope.views.rules import example
from natscope.views.stale import Group, Stale

MOST_WHYS = 8
"""Reasons that are told in sentences."""
COLUMNS = (
    *("reason", "certain", "judged_by", "now", "would", "proto", "orig_src"),
    *("orig_sport", "orig_dst", "orig_dport", "reply_src", "reply_sport"),
    *("reply_dst", "reply_dport", "zone", "idle", "timeout", "id"),
)
"""Of a row for programs."""


def record(flow: Flow, group: Group, evidence: Evidence) -> dict[str, Any]:
    """A stale flow for programs; what is not known is left out."""
    orig, reply = flow.orig, flow.reply
    known: dict[str, Any] = {
        "reason": group.reasons[0].value,
        **about(group),
        "proto": uapi.protocol_name(flow.proto),
        "orig_src": str(orig.src),
        "orig_sport": orig.sport,
        "orig_dst": str(orig.dst),
        "orig_dport": orig.dport,
        "reply_src": str(reply.src),
        "reply_sport": reply.sport,
        "reply_dst": str(reply.dst),
        "reply_dport": reply.dport,
        "zone": flow.zone,
        "idle": idle_s(flow, evidence),
        "timeout": flow.timeout,
        "id": flow.id,
    }
    return {name: value for name, value in known.items() if value is not None}


def about(group: Group) -> dict[str, Any]:
    """What the flows of a group share, for programs."""
    known: dict[str, Any] = {
        "certain": group.is_certain,
        "judged_by": "rehearsal" if group.is_rehearsed else "shape",
        "now": ", ".join(group.now) or None,
        "would": ", ".join(group.would) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def records(
    found: Stale, table: FlowTable, evidence: Evidence
) -> Iterator[dict[str, Any]]:
    """Every stale flow for programs, group by group."""
    for group in found.groups:
        for flow in table.take(group.rows):
            yield record(flow, group, evidence)


def document(found: Stale, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All of it for programs."""
    groups = [
        {
            "reasons": [reason.value for reason in group.reasons],
            "said": group.said,
            **about(group),
            "flows": len(group.rows),
        }
        for group in found.groups
    ]
    return {
        "schema": "natscope.stale/1",
        "flows": found.flows,
        "stale": found.count(),
        "not_judged": dict(found.not_judged),
        "groups": groups,
        "rows": rows,
    }


def in_words(flow: Flow, evidence: Evidence) -> str:
    """A stale flow as its rule turned it, and since when it is silent."""
    idle = idle_s(flow, evidence)
    return example(flow) + ("" if idle is None else f", silent for {idle} s")


def summary(found: Stale) -> Iterator[str]:
    """How many are stale, and what could not be said, in sentences."""
    number, flows = found.count(), found.flows
    if not flows:
        yield "there is no flow to judge"
    elif not number:
        yield (
            "the flow is not stale" if flows == 1 else f"none of {flows} flows is stale"
        )
    else:
        certain = len(found.rows(uncertain=False))
        noun, verb = "flow" if flows == 1 else "flows", "is" if number == 1 else "are"
        yield f"{number} of {flows} {noun} {verb} stale, {certain} beyond doubt"
    whys = sorted(found.not_judged.items(), key=lambda one: -one[1])
    for why, count in whys[:MOST_WHYS]:
        yield f"{count} not judged: {why}"
    if others := sum(count for _, count in whys[MOST_WHYS:]):
        yield f"{others} not judged for other reasons: --json tells them"
