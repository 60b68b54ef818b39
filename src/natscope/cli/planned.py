"""A plan before it is carried out: a sample of it, and what would change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from natscope import uapi
from natscope.cli import output

if TYPE_CHECKING:
    from natscope.actions.plan import Plan
    from natscope.model.flow import Flow
    from natscope.render.records import JsonDocument
    from natscope.render.text import TextTable

SAMPLE = 10
"""Flows a plan shows."""


def show(plan: Plan) -> None:
    """Write the first flows of a plan, and what of them would change."""
    from natscope.render.text import TextTable

    output.write(_written(plan, TextTable(colour=output.wants_colour(), heading=True)))
    if len(plan) > SAMPLE:
        output.write(f"… and {len(plan) - SAMPLE} more\n".encode())
    for line in changes(plan):
        output.write(f"{line}\n".encode())


def sample(plan: Plan) -> list[dict[str, Any]]:
    """The first flows of a plan, as ``natscope list --json`` has them."""
    from natscope.render.records import JsonDocument

    found: list[dict[str, Any]] = json.loads(_written(plan, JsonDocument()))["flows"]
    return found


def _written(plan: Plan, writer: TextTable | JsonDocument) -> bytes:
    from natscope.views.listing import listing
    from natscope.views.query import Query

    query = Query(untranslated=True, limit=SAMPLE)
    pages = listing([(plan.table, plan.kernel.evidence())], query)
    return b"".join([*map(writer.write, pages), writer.end()])


def changes(plan: Plan) -> Iterator[str]:
    """What an update would change of the first flows: old -> new, a line each."""
    for old, new in zip(_first(plan), _after(plan), strict=True):
        told = [
            f"{name} {_shown(name, before)} -> {_shown(name, now)}"
            for name, now in new.items()
            if (before := getattr(old, name)) != now
        ]
        if told:
            yield f"{in_words(old)}: {', '.join(told)}"


def in_words(flow: Flow) -> str:
    """A flow by its original tuple."""

    def end(address: object, port: int | None) -> str:
        whole = f"[{address}]" if ":" in str(address) and port is not None else address
        return f"{whole}" if port is None else f"{whole}:{port}"

    orig = flow.orig
    ends = f"{end(orig.src, orig.sport)} to {end(orig.dst, orig.dport)}"
    zone = f" in zone {flow.zone}" if flow.zone else ""
    return f"{uapi.protocol_name(orig.proto)} {ends}{zone}"


def _first(plan: Plan) -> list[Flow]:
    return list(plan.table.take(slice(0, SAMPLE))) if plan.action == "update" else []


def _after(plan: Plan) -> list[dict[str, Any]]:
    """The columns an update sets, of each of the first flows, as they will be."""
    masks = {"mark": plan.mark_mask, "labels": plan.labels_mask}
    settings = plan.settings
    if settings is not None:
        masks = {"mark": settings.mark_mask, "labels": settings.labels_mask}
    found = []
    for flow in _first(plan):
        values = {name: getattr(flow, name) for name in plan.columns}
        if settings is not None:
            values = dict(settings.values)
        for name, value in values.items():
            now = getattr(flow, name) or 0
            mask = masks.get(name)
            if name == "status":
                values[name] = now | value
            elif mask is not None and value is not None:
                values[name] = now & ~mask | value & mask
        found.append(values)
    return found


def _shown(name: str, value: Any) -> str:
    if name in ("mark", "labels"):
        return f"{value or 0:#x}"
    if value is None:
        return "none"
    if name == "status":
        return ",".join(uapi.status_names(value)).lower()
    if name == "tcp_state":
        return uapi.TCP_STATES[value] if value < len(uapi.TCP_STATES) else str(value)
    return str(value)
