"""What ``natscope undo --list`` tells: the changes that can be taken back."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from natscope.cli import diagnostics, output
from natscope.cli.diagnostics import ExitCode

HEADING = ("WHEN", "ACTION", "FLOWS", "UNDONE", "FILE")


def run(options: argparse.Namespace) -> int:
    """List the undo files, newest first."""
    from natscope.sources import journal

    found = [_entry(path, undone) for path, undone in journal.kept()]
    if options.json:
        document = {"schema": "natscope.undo-list/1", "changes": found}
        output.write(json.dumps(document, indent=2).encode() + b"\n")
    if not found:
        return nothing()
    if not options.json:
        output.write(_table(found).encode())
    return ExitCode.DONE


def nothing() -> int:
    """Say that there is nothing to undo; the exit code of that."""
    from natscope.sources import journal

    diagnostics.note(f"nothing to undo: {journal.directory()} has no undo file")
    return ExitCode.NOTHING


def _entry(path: Path, undone: bool) -> dict[str, Any]:
    """What the first line of an undo file tells; None what it does not."""
    from natscope.codec.text import ndjson
    from natscope.codec.text.cells import Unreadable
    from natscope.sources import journal

    told: dict[str, Any] = dict.fromkeys(("time_ns", "action", "flows", "netns"))
    try:
        header = ndjson.header_of_line(journal.first_line(path))
    except (OSError, Unreadable):
        header = None
    if header is not None:
        told = {
            "time_ns": header.time_ns,
            "action": (header.undo or {}).get("action"),
            "flows": header.flows,
            "netns": header.netns,
        }
    return told | {"undone": undone, "file": str(path)}


def _table(entries: list[dict[str, Any]]) -> str:
    rows = [HEADING, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows
    )


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    when = "unreadable"
    if entry["time_ns"] is not None:
        local = time.localtime(entry["time_ns"] // 10**9)
        when = time.strftime("%Y-%m-%d %H:%M:%S", local)
    told = (entry[name] for name in ("action", "flows"))
    action, flows = ("-" if value is None else str(value) for value in told)
    return when, action, flows, "yes" if entry["undone"] else "no", entry["file"]
