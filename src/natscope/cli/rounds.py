"""``natscope doctor --watch``: what is raised, and what is no more."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, NoReturn

from natscope.cli import diagnostics, output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from natscope.views.doctor.box import Box
    from natscope.views.doctor.diagnosis import Diagnosis
    from natscope.views.doctor.raised import Change
    from natscope.views.doctor.snapshot import Snapshot


def watch(
    options: argparse.Namespace,
    snapshots: Iterable[Snapshot],
    ask: Callable[[Snapshot], Diagnosis],
    interval_s: float,
) -> NoReturn:
    """Look again and again, until interrupted.

    Args:
        options: of the doctor.
        snapshots: without end.
        ask: what the rules say of one.
        interval_s: between two of them.
    """
    from natscope import __version__
    from natscope.render import findings
    from natscope.views.doctor.box import box_of
    from natscope.views.doctor.raised import Raised

    raised = Raised()
    unread: set[str] = set()
    diagnostics.note(f"looking every {interval_s:g} s: what changes is told")
    for number, snapshot in enumerate(snapshots):
        for one in snapshot.missing:
            if one not in unread:
                diagnostics.note(f"natscope: not read: {one}")
                unread.add(one)
        diagnosis = ask(snapshot)
        box = box_of(snapshot, __version__, options.netns)
        if not number:
            diagnostics.note(findings.heading(box).rstrip())
            diagnostics.note(findings.summary(diagnosis).rstrip())
        for change in raised.look(diagnosis.findings, diagnosis.checked):
            output.write(_line(options, change, box).encode())
    raise AssertionError("snapshots have no end")


def _line(options: argparse.Namespace, change: Change, box: Box) -> str:
    from natscope.render import findings

    now = time.time()
    if options.json:
        told = {"time": round(now, 3), "change": change.what}
        told |= findings.as_object(change.finding, box)
        return json.dumps(told) + "\n"
    moment = time.strftime("%H:%M:%S", time.localtime(now))
    colour = output.wants_colour()
    return findings.change(change.what, change.finding, moment, colour=colour)
