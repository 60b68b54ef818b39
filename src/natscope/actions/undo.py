"""What takes a change back: what was there before it, and what it made.

Every entry is named by its id, so that undoing never hits a successor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from natscope.actions import expected
from natscope.actions import plan as plans
from natscope.actions.changes import ZERO_IF_ABSENT
from natscope.actions.plan import DELETE, FLUSH, INSERT, UPDATE, Plan
from natscope.codec import requests
from natscope.codec.vector import decode_flows
from natscope.errors import NatscopeError
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome
    from natscope.model.expectation import Expectation
    from natscope.sources.kernel import Kernel

_SET_BACK = tuple(name for name in requests.SETTABLE if name != "status")
"""Status bits can only be set: they stay."""


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes a change back.

    Attributes:
        action: what was done.
        table: the entries that were deleted or changed, as they were before; of
            an insert those it made, as the kernel showed them then.
        replaced: the entries an insert changed, as they were before.
        columns: what was changed, of an update.
        mark_mask, labels_mask: the bits of ``mark`` and ``labels`` that were.
        expectations: those that went or were made.
    """

    action: str
    table: FlowTable
    replaced: FlowTable = field(default_factory=FlowTable.empty)
    columns: tuple[str, ...] = ()
    mark_mask: int | None = None
    labels_mask: int | None = None
    expectations: tuple[Expectation, ...] = ()


def before(plan: Plan) -> Undo:
    """What will take a plan back, all of it; of an insert nothing is known yet."""
    if plan.action == INSERT:
        return Undo(INSERT, FlowTable.empty())
    if plan.action != UPDATE:
        return Undo(plan.action, plan.table, expectations=plan.expectations)
    settings = plan.settings
    if settings is None:
        columns, masks = plan.columns, (plan.mark_mask, plan.labels_mask)
    else:
        columns = tuple(settings.values)
        masks = (settings.mark_mask, settings.labels_mask)
    table = plan.table
    for name in ZERO_IF_ABSENT:
        if name in columns:
            table = table.with_column(name, table[name])
    return Undo(
        UPDATE, table, columns=columns, mark_mask=masks[0], labels_mask=masks[1]
    )


def after(plan: Plan, outcome: Outcome) -> Undo:
    """What takes back what was done of a plan."""
    if plan.action == INSERT:
        return _inserted(outcome)
    undone, whole = outcome.undone(), before(plan)
    if not undone:
        return whole
    kept = np.ones(len(plan), np.bool_)
    kept[list(undone)] = False
    rest = whole.table.mask(kept)
    gone = expected.of_masters(whole.expectations, rest)
    return replace(whole, table=rest, expectations=gone)


def _inserted(outcome: Outcome) -> Undo:
    rows = sorted(outcome.answers.keys() - outcome.undone())
    answers = b"".join(outcome.answers[row] for row in rows)
    made = decode_flows(answers) if rows else FlowTable.empty()
    # told twice, a flow is made by one row and changed by the next
    before = outcome.previous.mask(~np.isin(outcome.previous["id"], made["id"]))
    expectations = tuple(outcome.expectations)
    return Undo(INSERT, made, before.dedupe(), expectations=expectations)


def plan(kernel: Kernel, undo: Undo) -> list[Plan]:
    """The plans that take a change back, to be run in this order.

    Raises:
        NatscopeError: an action that is none.
    """
    if undo.action in (DELETE, FLUSH):
        return [plans.insert(kernel, undo.table, expectations=undo.expectations)]
    if undo.action == UPDATE:
        return [_set_back(kernel, undo.table, undo)]
    if undo.action == INSERT:
        # without its id a row could name an entry that was there before
        table = undo.table.mask(undo.table.has("id"))
        made = Plan(DELETE, table, kernel, expectations=undo.expectations)
        both = (made, _set_back(kernel, undo.replaced, undo))
        return [plan for plan in both if not plan.is_empty()] or [made]
    msg = f"{undo.action!r} cannot be undone"
    raise NatscopeError(msg)


def _set_back(kernel: Kernel, table: FlowTable, undo: Undo) -> Plan:
    columns = [name for name in undo.columns or _SET_BACK if name in _SET_BACK]
    return Plan(
        UPDATE,
        table if columns else FlowTable.empty(),
        kernel,
        columns=tuple(columns),
        mark_mask=undo.mark_mask,
        labels_mask=undo.labels_mask,
    )
