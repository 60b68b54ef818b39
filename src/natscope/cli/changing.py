"""What every command that changes the table has in common.

The plan is shown or asked about, written to an undo file, carried out with
progress, and its outcome told.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natscope.cli import diagnostics, inputs, output, planned, stopping
from natscope.cli.diagnostics import ExitCode
from natscope.cli.undo_file import UndoFile
from natscope.errors import NatscopeError

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome, Progress
    from natscope.actions.plan import Plan

ASK_ABOVE = 100
"""Flows a change on a terminal may touch without being asked about."""
PROGRESS_ABOVE = 5_000

DONE_WORDS = {
    "delete": "deleted",
    "update": "changed",
    "insert": "inserted",
    "flush": "flushed",
}


def add_options(
    parser: argparse.ArgumentParser, *, undo: bool = True, beside: bool = False
) -> None:
    """Add what every change takes.

    Args:
        parser: of the command.
        undo: whether the change can be undone.
        beside: the change is one of the things it does: it has formats and a source.
    """
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
    if not beside:
        group.add_argument("--json", action="store_true", help="the outcome as JSON")
        inputs.add_netns_option(group)
    if undo:
        group.add_argument(
            "--undo-file", metavar="FILE", help="where to write what is needed to undo"
        )
        group.add_argument(
            "--no-undo", action="store_true", help="write no undo file: no way back"
        )


@contextmanager
def planning(*, more: bool = False) -> Iterator[None]:
    """While a plan is made: Ctrl-C says that nothing was changed.

    Args:
        more: another plan was carried out before this one.
    """
    try:
        yield
    except KeyboardInterrupt:
        _tell_untouched(more=more)
        raise


def _tell_untouched(*, more: bool) -> None:
    diagnostics.note(f"interrupted: nothing {'more ' * more}was changed")


def carry_out(options: argparse.Namespace, plan: Plan, *, ask: bool = False) -> int:
    """Show, ask, write down, do and report; the exit code.

    Args:
        options: those of ``add_options``.
        plan: what to do.
        ask: ask on a terminal however few flows there are.
    """
    return carried_out(options, plan, ask=ask)[0]


def carried_out(
    options: argparse.Namespace, plan: Plan, *, ask: bool = False, more: bool = False
) -> tuple[int, Outcome | None]:
    """As ``carry_out``; the outcome too, None if it was not to be done.

    Args:
        options: as there.
        plan: as there.
        ask: as there.
        more: another plan was carried out before this one.
    """
    from natscope.actions.changes import Outcome

    with planning(more=more):
        if plan.is_empty():
            return _nothing(options, plan), None if options.dry_run else Outcome()
        if options.dry_run:
            _show(options, plan)
            return ExitCode.DONE, None
        if not options.yes and somebody_asks() and (ask or len(plan) > ASK_ABOVE):
            planned.show(plan)
            if not _confirmed(plan):
                diagnostics.note("nothing was changed")
                return ExitCode.NOTHING, None
            plan = plan.anew()
        file = UndoFile(options, plan.action)
        file.before(plan)
    return _done(options, plan, file, more=more)


def _done(
    options: argparse.Namespace, plan: Plan, file: UndoFile, *, more: bool
) -> tuple[int, Outcome]:
    from natscope.actions.changes import Outcome

    outcome = Outcome()
    progress = _progress(plan)
    dealt = 0

    def count(rows: int) -> None:
        nonlocal dealt
        dealt += rows
        if progress is not None:
            progress(rows)
        if stop and dealt < len(plan):  # what was done until now is known
            raise KeyboardInterrupt

    try:
        with stopping.heeded() as stop:
            plan.run(count, outcome)
    except (NatscopeError, KeyboardInterrupt) as error:
        undo, _ = _kept(lambda: file.broken_off(plan, outcome))
        interrupted = isinstance(error, KeyboardInterrupt)
        if not outcome.begun:
            if interrupted:
                _tell_untouched(more=more)
            raise
        how = "interrupted" if interrupted else "broken off"
        far = f"after about {dealt} of {_count(len(plan), 'flow')}"
        diagnostics.note(f"{plan.action} {how} {far}{_hint(undo)}")
        if isinstance(error, KeyboardInterrupt):
            raise
        diagnostics.complain(str(error), error.hint)
        return ExitCode.PARTLY, outcome
    if progress is not None:
        diagnostics.progress("")
    return _reported(options, plan, outcome, file), outcome


def _reported(
    options: argparse.Namespace, plan: Plan, outcome: Outcome, file: UndoFile
) -> int:
    """Put the undo file right and tell what was done; the exit code.

    From here on nothing may hide that the table was changed.
    """
    undo, told = _kept(lambda: file.after(plan, outcome))
    code = report(plan, outcome, undo)
    if options.json:
        try:
            output.write(_json(plan, outcome, undo))
        except OSError as error:
            diagnostics.complain(f"standard output: {error.strerror or error}")
            told = False
    return code if told else ExitCode.PARTLY


def _kept(work: Callable[[], Path | None]) -> tuple[Path | None, bool]:
    """The undo file as it is now; false if it could not be put right."""
    try:
        return work(), True
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        diagnostics.complain(f"the undo file could not be put right: {what}")
        return None, False


def report(plan: Plan, outcome: Outcome, undo: Path | None) -> int:
    """Tell what was done on standard error; the exit code that follows."""
    done = DONE_WORDS[plan.action]
    parts = []
    if len(plan):
        about = "about " if plan.at_once is not None else ""
        number = outcome.done - len(outcome.replaced)
        parts.append(f"{about}{_count(number, 'flow')} {done}")
    if plan.expectations:
        parts.append(f"{_count(len(outcome.expectations), 'expectation')} {done}")
    numbers = (
        (len(outcome.replaced), "there already and changed"),
        (len(outcome.vanished), "gone meanwhile"),
        (len(outcome.present) + outcome.expectations_present, "there already"),
        (len(outcome.refused) + len(outcome.expectations_refused), "refused"),
    )
    parts += [f"{number} {what}" for number, what in numbers if number]
    diagnostics.note(", ".join(parts) + _hint(undo))
    for what, why in list(refusals(plan, outcome))[: planned.SAMPLE]:
        diagnostics.complain(f"{what}: {why}")
    anything = outcome.done or outcome.expectations
    if not outcome.settled():
        return ExitCode.PARTLY if anything else ExitCode.REFUSED
    if not anything and not outcome.present and not outcome.expectations_present:
        return ExitCode.NOTHING
    return ExitCode.DONE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _hint(undo: Path | None) -> str:
    """How ``natscope undo`` is told of a file: not at all if it is the latest."""
    from natscope.sources import journal

    if undo is None:
        return ""
    place = "" if undo.parent == journal.directory() else str(undo)
    return f"; undo: natscope undo {place}".rstrip()


def refusals(plan: Plan, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Each refused flow and expectation in words, and why."""
    from natscope.actions.reasons import reason

    for row, verdict in sorted(outcome.refused.items()):
        yield (
            planned.in_words(next(iter(plan.table.take(slice(row, row + 1))))),
            reason(plan, row, verdict),
        )
    for one, error in outcome.expectations_refused:
        yield f"the expectation of {one.expected}", str(error)


def _nothing(options: argparse.Namespace, plan: Plan) -> int:
    from natscope.actions.changes import Outcome

    if options.json:
        output.write(_json(plan, None if options.dry_run else Outcome(), None))
    diagnostics.note(f"no flow to {plan.action}")
    return ExitCode.NOTHING


def _show(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        output.write(_json(plan, None, None))
        return
    planned.show(plan)
    what = [_count(len(plan), "flow")] if len(plan) else []
    if plan.expectations:
        what.append(_count(len(plan.expectations), "expectation"))
    diagnostics.note(f"would {plan.action} {' and '.join(what)}; nothing was done")


def somebody_asks() -> bool:
    """Whether a person sees the question and can answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and output.is_terminal()


def _confirmed(plan: Plan) -> bool:
    answer = diagnostics.ask(f"{plan.action} {_count(len(plan), 'flow')}? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


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


def _json(plan: Plan, outcome: Outcome | None, undo: Path | None) -> bytes:
    """The outcome; None is that of a plan that is only shown, with a sample."""
    from natscope.actions.changes import Outcome

    became = outcome or Outcome()
    document: dict[str, Any] = {
        "schema": "natscope.change/1",
        "action": plan.action,
        "planned": len(plan),
        "dry_run": outcome is None,
        "done": became.done,
        "replaced": len(became.replaced),
        "vanished": len(became.vanished),
        "present": len(became.present),
        "expectations": len(became.expectations),
        "refused": [
            {"flow": flow, "reason": why} for flow, why in refusals(plan, became)
        ],
        "undo": os.fspath(undo) if undo else None,
    }
    if outcome is None:
        document["sample"] = planned.sample(plan)
        document["changes"] = list(planned.changes(plan))
    return json.dumps(document, indent=2).encode() + b"\n"
