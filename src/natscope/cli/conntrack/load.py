"""``-R FILE``: commands from a file, in its order.

Runs of ``-A`` and ``-I`` lines as ``-o save`` prints them are read and sent
together; every other line is a command line of its own.  The whole file is
understood before anything is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.actions import changes
from natscope.cli import diagnostics
from natscope.cli.conntrack import legality, messages
from natscope.cli.conntrack.parse import parse_line
from natscope.cli.conntrack.request import CommandLineError, Request
from natscope.codec.text.bulk_save import Saved, save_table
from natscope.errors import KernelError
from natscope.sources.nlsocket import NetlinkSocket

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome
    from natscope.table.flowtable import FlowTable

Perform = Callable[[Request], int | None]
"""Carries out one command."""

_LIBERAL = 0x08 | 0x02
_CLOSE_INIT = 0x04
_TIME_WAIT = 7


def load(name: str, perform: Perform) -> int:
    """Carry out the commands of a file; the exit code.

    A refused line does not stop those after it; each is named.

    Raises:
        CommandLineError: a line that cannot be understood; nothing was done.
    """
    text = _read(name)
    saved = save_table(text)
    others = _understood(text, saved)
    refused = 0
    begin = 0
    with NetlinkSocket(wire=diagnostics.wire()) as sock:
        for line, request in [*others, (None, None)]:
            end = len(saved.rows) if line is None else _before(saved.rows, line)
            refused += _insert(sock, saved, slice(begin, end))
            begin = end
            if request is not None and line is not None:
                refused += _perform(perform, request, line)
    return messages.FAILED if refused else messages.DONE


def _read(name: str) -> bytes:
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except OSError as error:
        shown = "/dev/stdin" if name == "-" else name
        message = f"Failed to open file {shown} for reading"
        raise CommandLineError(message) from error


def _understood(text: bytes, saved: Saved) -> list[tuple[int, Request]]:
    """The lines that are not read in bulk, as requests."""
    if not saved.rest:
        return []
    lines = text.split(b"\n")
    found = []
    for number in saved.rest:
        if number >= len(lines):
            continue
        try:
            request = parse_line(lines[number].decode("utf-8", "surrogateescape"))
            if request is not None:
                found.append((number, request))
        except CommandLineError as error:
            error.hint = f"line {number + 1}"
            raise
    for _, request in found:
        legality.check_file(request)
    return found


def _before(rows: NDArray[np.intp], line: int) -> int:
    return int(np.searchsorted(rows, line))


def _insert(sock: NetlinkSocket, saved: Saved, rows: slice) -> int:
    """Insert some of the flows; how many were refused."""
    if rows.start >= rows.stop:
        return 0
    add = saved.add[rows]
    refused = 0
    for replace in (False, True):
        chosen = np.flatnonzero(add == replace) + rows.start
        if len(chosen):
            table = _as_made(saved.table.take(chosen))
            outcome = changes.insert(sock, table, replace=replace)
            refused += _report(outcome, saved.rows[chosen])
    return refused


def _as_made(table: FlowTable) -> FlowTable:
    """TCP flows that take any window: what went before is not known."""
    tcp = table["proto"] == uapi.IPPROTO_TCP
    closing = table["tcp_state"] >= _TIME_WAIT
    flags = np.where(closing, _LIBERAL | _CLOSE_INIT, _LIBERAL).astype(np.uint16) << 8
    for name in ("tcp_flags_orig", "tcp_flags_reply"):
        table = table.with_column(name, flags, tcp)
    return table


def _report(outcome: Outcome, lines: NDArray[np.intp]) -> int:
    """Say which lines were refused, and why; how many."""
    present = dict.fromkeys(outcome.present, 17)  # EEXIST
    errors = present | {row: why.errno for row, why in outcome.refused.items()}
    for row, number in sorted(errors.items()):
        error = KernelError("inserting an entry", number, "refused")
        line = int(lines[row]) + 1
        diagnostics.note(f"{messages.failure(error, 'create')} (line {line})")
    return len(errors)


def _perform(perform: Perform, request: Request, line: int) -> int:
    """Carry out one command; 1 if the kernel refused."""
    try:
        perform(request)
    except KernelError as error:
        said = messages.failure(error, request.title)
        diagnostics.note(f"{said} (line {line + 1})")
        return 1
    return 0
