"""natscope: see, explain and rehearse every network address translation.

::

    import natscope

    with natscope.open() as kernel:          # this box; needs CAP_NET_ADMIN
        for flow in kernel.flows("snat and dst port 443"):
            print(flow.orig.src, flow.reply.dst)
        plan = natscope.delete(kernel, "udp and dst port 53")
        print(len(plan), plan.run().done)
    table = natscope.read("saved.txt").table("udp and unreplied")
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from natscope.actions.changes import Outcome
    from natscope.actions.plan import Plan, delete, flush, insert, update
    from natscope.errors import (
        DecodeError,
        FilterError,
        KernelError,
        MissingTool,
        NamespaceError,
        NatscopeError,
        ParseError,
        PermissionNeeded,
    )
    from natscope.filter import Filter
    from natscope.model.evidence import Evidence
    from natscope.model.expectation import Expectation
    from natscope.model.flow import Flow
    from natscope.model.nat import Kind, Translation, translation
    from natscope.model.tuples import FlowTuple
    from natscope.sources import open, read
    from natscope.table.flowtable import FlowTable

__version__ = "0.1.0"

_HOMES = {
    "DecodeError": "errors",
    "FilterError": "errors",
    "KernelError": "errors",
    "MissingTool": "errors",
    "NamespaceError": "errors",
    "NatscopeError": "errors",
    "ParseError": "errors",
    "PermissionNeeded": "errors",
    "Outcome": "actions.changes",
    "Plan": "actions.plan",
    "delete": "actions.plan",
    "flush": "actions.plan",
    "insert": "actions.plan",
    "update": "actions.plan",
    "Expectation": "model.expectation",
    "Filter": "filter",
    "Evidence": "model.evidence",
    "Flow": "model.flow",
    "FlowTuple": "model.tuples",
    "Kind": "model.nat",
    "Translation": "model.nat",
    "translation": "model.nat",
    "FlowTable": "table.flowtable",
    "open": "sources",
    "read": "sources",
}

__all__ = [
    "DecodeError",
    "Evidence",
    "Expectation",
    "Filter",
    "FilterError",
    "Flow",
    "FlowTable",
    "FlowTuple",
    "KernelError",
    "Kind",
    "MissingTool",
    "NamespaceError",
    "NatscopeError",
    "Outcome",
    "ParseError",
    "PermissionNeeded",
    "Plan",
    "Translation",
    "delete",
    "flush",
    "insert",
    "open",
    "read",
    "translation",
    "update",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'natscope' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"natscope.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
