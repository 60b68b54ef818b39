"""Why the kernel refused a change: what its error numbers mean there."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.actions.plan import INSERT, UPDATE
from natscope.sources.nlsocket import refusal

if TYPE_CHECKING:
    from natscope.actions.plan import Plan
    from natscope.codec import nlmsg


def reason(plan: Plan, row: int, verdict: nlmsg.Ack) -> str:
    """Why a row of a plan was refused, in words."""
    known = _meaning(plan, row, verdict)
    return known or str(refusal(f"{plan.action} refused", verdict))


def _meaning(plan: Plan, row: int, verdict: nlmsg.Ack) -> str | None:
    if plan.action == INSERT and verdict.errno == errno.ENOENT:
        return "its master is not in the table"
    if plan.action == INSERT and verdict.errno == errno.EEXIST:
        return verdict.extack
    if verdict.errno == errno.ENOSPC and _sets(plan, row, "labels"):
        return "no rule uses connlabels, so there is no room for any (ENOSPC)"
    if verdict.errno == errno.EOPNOTSUPP and _sets(plan, row, "helper"):
        if plan.action == INSERT:
            return "no such helper for this protocol; is its module loaded?"
        return "a flow that is there gets no other helper; insert it anew with one"
    fixed = int(plan.table["status"][row]) & uapi.Status.FIXED_TIMEOUT
    if plan.action == UPDATE and verdict.errno == errno.EPERM and fixed:
        return "its timeout is fixed (status FIXED_TIMEOUT)"
    return None


def _sets(plan: Plan, row: int, name: str) -> bool:
    """Whether a column of a row is among what is to be set."""
    if plan.settings is not None:
        return name in plan.settings.values
    told = plan.action == INSERT or name in plan.columns
    return told and bool(plan.table.has(name)[row])
