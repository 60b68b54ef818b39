"""``natscope undo [FILE]``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natscope.cli import changing, diagnostics, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from natscope.actions.plan import Plan
    from natscope.sources.files import Listing
    from natscope.sources.kernel import Kernel
    from natscope.table.flowtable import FlowTable

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
    from natscope.sources import journal, read

    options = parser().parse_args(argv)
    if options.list:
        return _list()
    path = Path(options.file) if options.file else journal.latest()
    listing = read(str(path), strict=True)
    table = listing.table()
    undo = _undo(listing, path)
    options.no_undo, options.undo_file = True, None
    from natscope.sources.kernel import Kernel

    saved_from = listing.header.netns if listing.header is not None else None
    with Kernel(options.netns or saved_from, wire=diagnostics.wire()) as kernel:
        code = changing.carry_out(options, _plan(kernel, undo, table))
    if code == ExitCode.DONE and not options.dry_run:
        journal.mark_undone(path)
    return code


def _plan(kernel: Kernel, undo: Mapping[str, Any], table: FlowTable) -> Plan:
    from natscope.actions import plan

    columns = undo.get("columns") or []
    return plan.undo(kernel, undo["action"], table, tuple(columns))


def _undo(listing: Listing, path: Path) -> Mapping[str, Any]:
    """What an undo file undoes.

    Raises:
        UsageError: it is none.
    """
    found = listing.header.undo if listing.header is not None else None
    if not found or "action" not in found:
        raise UsageError(
            f"{path} is no undo file",
            hint="natscope restore puts the flows of a saved table back",
        )
    return found


def _list() -> int:
    from natscope.sources import journal

    found = journal.listed()
    for path in found:
        output.write(f"{path}\n".encode())
    return ExitCode.DONE if found else ExitCode.NOTHING
