"""What every command that changes the table has in common.

The plan is shown or asked about, written to an undo file, carried out with
progress, and its outcome told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natscope.cli import diagnostics, output
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome, Progress
    from natscope.actions.plan import Plan

SAMPLE = 10
"""Flows a plan shows."""
ASK_ABOVE = 100
"""Flows a change on a terminal may touch without being asked about."""
PROGRESS_ABOVE = 5_000

DONE_WORDS = {
    "delete": "deleted",
    "update": "changed",
    "insert": "inserted",
    "flush": "flushed",
}


def add_options(parser: argparse.ArgumentParser, *, undo: bool = True) -> None:
    """Add what every change takes."""
    group = parser.add_argument_group("how to change")
    group.add_argument(
        "-n", "--dry-run", action="store_true", help="show the plan, change nothing"
    )
    group.add_argument(
        "-y",
        "--yes",
        action="store_true",
        help=f"do not ask (asked on a terminal above {ASK_ABOVE} flows)",
    )
    group.add_argument("--json", action="store_true", help="the outcome as JSON")
    group.add_argument(
        "--netns", metavar="NAME|PID|PATH", help="another network namespace"
    )
    if undo:
        group.add_argument(
            "--undo-file", metavar="FILE", help="where to write what is needed to undo"
        )
        group.add_argument(
            "--no-undo", action="store_true", help="write no undo file: no way back"
        )


def carry_out(options: argparse.Namespace, plan: Plan, *, ask: bool = False) -> int:
    """Show, ask, write down, do and report; the exit code.

    Args:
        options: those of ``add_options``.
        plan: what to do.
        ask: ask on a terminal however few flows there are.
    """
    if len(plan) == 0:
        return _nothing(options, plan)
    if options.dry_run:
        _show(options, plan)
        return ExitCode.DONE
    if not options.yes and _somebody_asks() and (ask or len(plan) > ASK_ABOVE):
        _show_sample(plan)
        if not _confirmed(plan):
            diagnostics.note("nothing was changed")
            return ExitCode.NOTHING
    before = _write_down(options, plan)
    progress = _progress(plan)
    outcome = plan.run(progress)
    if progress is not None:
        diagnostics.progress("")
    undo = _keep_what_was_done(plan, outcome, before)
    return report(options, plan, outcome, undo)


def report(
    options: argparse.Namespace, plan: Plan, outcome: Outcome, undo: Path | None
) -> int:
    """Tell what was done; the exit code that follows."""
    if options.json:
        output.write(_json(plan, outcome, undo))
    done = DONE_WORDS[plan.action]
    parts = [f"{outcome.done} flow{'s' * (outcome.done != 1)} {done}"]
    if outcome.vanished:
        parts.append(f"{len(outcome.vanished)} gone meanwhile")
    if outcome.present:
        parts.append(f"{len(outcome.present)} there already")
    if outcome.refused:
        parts.append(f"{len(outcome.refused)} refused by the kernel")
    hint = f"; undo: natscope undo {_place(undo)}".rstrip() if undo else ""
    diagnostics.note(", ".join(parts) + hint)
    for row, why in list(refusals(plan, outcome))[:SAMPLE]:
        diagnostics.complain(f"{row}: {why}")
    if outcome.refused:
        return ExitCode.PARTLY if outcome.done else ExitCode.REFUSED
    if outcome.done == 0 and not outcome.present:
        return ExitCode.NOTHING
    return ExitCode.DONE


def refusals(plan: Plan, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Each refused flow in words, and why."""
    from natscope.sources.nlsocket import refusal

    for row, verdict in sorted(outcome.refused.items()):
        (flow,) = plan.table.take(slice(row, row + 1))
        yield _in_words(flow), str(refusal(f"{plan.action} refused", verdict))


def _in_words(flow: Any) -> str:
    from natscope import uapi

    def end(address: object, port: int | None) -> str:
        whole = f"[{address}]" if ":" in str(address) and port is not None else address
        return f"{whole}" if port is None else f"{whole}:{port}"

    orig = flow.orig
    ends = f"{end(orig.src, orig.sport)} to {end(orig.dst, orig.dport)}"
    zone = f" in zone {flow.zone}" if flow.zone else ""
    return f"{uapi.protocol_name(orig.proto)} {ends}{zone}"


def _nothing(options: argparse.Namespace, plan: Plan) -> int:
    from natscope.actions.changes import Outcome

    if options.json:
        output.write(_json(plan, Outcome(), None))
    diagnostics.note(f"no flow to {plan.action}")
    return ExitCode.NOTHING


def _show(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        output.write(_json(plan, None, None))
        return
    _show_sample(plan)
    plural = "s" * (len(plan) != 1)
    diagnostics.note(f"would {plan.action} {len(plan)} flow{plural}; nothing was done")


def _show_sample(plan: Plan) -> None:
    from natscope.render.text import TextTable
    from natscope.views.listing import listing
    from natscope.views.query import Query

    evidence = plan.kernel.evidence()
    writer = TextTable(colour=output.wants_colour(), heading=True)
    query = Query(untranslated=True, limit=SAMPLE)
    for page in listing([(plan.table, evidence)], query):
        output.write(writer.write(page))
    output.write(writer.end())
    if len(plan) > SAMPLE:
        output.write(f"… and {len(plan) - SAMPLE} more\n".encode())


def _somebody_asks() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and output.is_terminal()


def _confirmed(plan: Plan) -> bool:
    answer = diagnostics.ask(f"{plan.action} {len(plan)} flows? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


def _write_down(options: argparse.Namespace, plan: Plan) -> Path | None:
    """The undo file, before anything is changed."""
    if options.no_undo:
        if options.undo_file:
            raise UsageError("choose --undo-file or --no-undo")
        return None
    from natscope.sources import journal

    path = Path(options.undo_file) if options.undo_file else None
    return journal.write(plan.action, undo_text(plan), path)


def undo_text(plan: Plan) -> Iterator[bytes]:
    """The text of an undo file: a saved table that says what it undoes."""
    import time

    from natscope.render import saved

    columns = list(plan.settings.values) if plan.settings else []
    undo = {"action": plan.action, "columns": columns}
    yield saved.header(
        time_ns=time.time_ns(), netns=plan.kernel.netns, flows=len(plan), undo=undo
    )
    for start in range(0, len(plan), saved.ROWS_AT_ONCE):
        yield saved.flows(plan.table.take(slice(start, start + saved.ROWS_AT_ONCE)))


def _keep_what_was_done(plan: Plan, outcome: Outcome, path: Path | None) -> Path | None:
    """An undo file names only what was changed; without any, it is removed."""
    from dataclasses import replace

    from natscope.sources import journal

    undone = outcome.undone()
    if path is None or not undone:
        return path
    if outcome.done == 0:
        path.unlink(missing_ok=True)
        return None
    done = [row for row in range(len(plan)) if row not in undone]
    rest = replace(plan, table=plan.table.take(_rows(done)))
    return journal.write(plan.action, undo_text(rest), path)


def _rows(rows: list[int]) -> Any:
    import numpy as np

    return np.array(rows, np.intp)


def _progress(plan: Plan) -> Progress | None:
    if len(plan) <= PROGRESS_ABOVE or not diagnostics.is_terminal():
        return None
    done = 0

    def show(rows: int) -> None:
        nonlocal done
        before, done = done, done + rows
        if before * 50 // len(plan) != done * 50 // len(plan):
            diagnostics.progress(f"{plan.action}: {done} of {len(plan)}")

    return show


def _place(path: Path | None) -> str:
    """How ``natscope undo`` is told of a file: not at all if it is the latest."""
    from natscope.sources import journal

    return "" if path is None or path.parent == journal.directory() else str(path)


def _json(plan: Plan, outcome: Outcome | None, undo: Path | None) -> bytes:
    document: dict[str, Any] = {
        "schema": "natscope.change/1",
        "action": plan.action,
        "planned": len(plan),
        "dry_run": outcome is None,
    }
    if outcome is not None:
        refused = [
            {"flow": flow, "reason": why} for flow, why in refusals(plan, outcome)
        ]
        document |= {
            "done": outcome.done,
            "vanished": len(outcome.vanished),
            "present": len(outcome.present),
            "refused": refused,
            "undo": os.fspath(undo) if undo else None,
        }
    return json.dumps(document, indent=2).encode() + b"\n"
