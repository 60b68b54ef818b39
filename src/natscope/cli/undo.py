"""``natscope undo [FILE]``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import changing, diagnostics, inputs, undo_file, undo_list
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.actions.undo import Undo
    from natscope.sources.kernel import Kernel

EPILOG = """\
examples:
  natscope undo               take the last change back
  natscope undo --list        what can be taken back
  natscope undo --dry-run
Deleted flows come back with all they had but their counters, start times and
ids, which the kernel gives.  Changed flows get their old values again.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope undo``."""
    made = inputs.command_parser("undo", "Take a change back.", EPILOG)
    made.add_argument("file", nargs="?", metavar="FILE", help="an undo file")
    made.add_argument("--list", action="store_true", help="what can be undone")
    changing.add_options(made, undo=False)
    return made


def run(argv: list[str]) -> int:
    """Take the last change back, or the one of a file."""
    from natscope.sources import journal

    options = parser().parse_args(argv)
    if options.list:
        return undo_list.run(options)
    if options.file is None and not journal.listed():
        return undo_list.nothing()
    path = Path(options.file) if options.file else journal.latest()
    with changing.planning():
        undo, named, namespace = undo_file.read(path)
    options.no_undo, options.undo_file = True, None
    with _kernel(options.netns, named, namespace) as kernel:
        code, settled = _take_back(options, kernel, undo)
    if settled:
        journal.mark_undone(path)
    elif code in (ExitCode.REFUSED, ExitCode.PARTLY):
        diagnostics.note(f"{path} is kept; natscope undo --list names older ones")
    return code


def _take_back(
    options: argparse.Namespace, kernel: Kernel, undo: Undo
) -> tuple[int, bool]:
    """The exit code, and whether nothing is left to do."""
    from natscope.actions.undo import plan

    codes: list[int] = []
    settled = not options.dry_run
    for planned in plan(kernel, undo):
        code, outcome = changing.carried_out(options, planned, more=bool(codes))
        codes.append(code)
        if outcome is None:  # no, or not for real
            settled = False
            if not options.dry_run:
                break
        else:
            settled &= outcome.settled()
    worst = max(codes)
    return (min(codes) if worst == ExitCode.NOTHING else worst), settled


def _kernel(
    given: str | None, named: str | None, namespace: tuple[int, int] | None
) -> Kernel:
    """The table a change was made to; the one that was given, if one was.

    Raises:
        UsageError: it cannot be told which that was.
    """
    from natscope.errors import NamespaceError
    from natscope.sources.kernel import Kernel

    if given is not None:
        return Kernel(given, wire=diagnostics.wire())
    try:
        kernel = Kernel(named, wire=diagnostics.wire())
    except NamespaceError as error:
        raise _elsewhere(named) from error
    if namespace is not None and kernel.identity() != namespace:
        kernel.close()
        raise _elsewhere(named)
    return kernel


def _elsewhere(named: str | None) -> UsageError:
    which = f", then called {named}" if named else ""
    return UsageError(
        f"the change was made in another network namespace{which}",
        hint="undo it there (ip netns exec, nsenter), or say which one it is: "
        "natscope undo --netns NAME|PID|PATH",
    )
