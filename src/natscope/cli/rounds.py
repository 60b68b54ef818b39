"""``natscope doctor --watch``: what is raised, and what is no more."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, NoReturn

from natscope.cli import diagnostics, output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from natscope.views.doctor.diagnosis import Diagnosis
    from natscope.views.doctor.raised import Change
    from natscope.views.doctor.snapshot import Snapshot


def watch(
    options: argparse.Namespace,
    snapshots: Iterable[Snapshot],
    ask: Callable[[Snapshot], Diagnosis],
) -> NoReturn:
    """Look again and again, until interrupted.

    Args:
        options: of the doctor.
        snapshots: without end.
        ask: what the rules say of one.
    """
    from natscope.views.doctor.raised import Raised

    raised = Raised()
    unread: set[str] = set()
    if diagnostics.is_terminal():
        diagnostics.note("looking again and again; nothing is told until it changes")
    for snapshot in snapshots:
        for one in snapshot.missing:
            if one not in unread:
                diagnostics.note(f"natscope: not read: {one}")
                unread.add(one)
        diagnosis = ask(snapshot)
        for change in raised.look(diagnosis.findings, diagnosis.checked):
            output.write(_line(options, change).encode())
    raise AssertionError("snapshots have no end")


def _line(options: argparse.Namespace, change: Change) -> str:
    from natscope.render import findings

    now = time.time()
    if options.json:
        told = {"time": round(now, 3), "change": change.what}
        told |= findings.as_object(change.finding)
        return json.dumps(told) + "\n"
    moment = time.strftime("%H:%M:%S", time.localtime(now))
    colour = output.wants_colour()
    return findings.change(change.what, change.finding, moment, colour=colour)
