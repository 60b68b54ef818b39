"""``-R FILE``: commands from a file, in its order.

Runs of ``-A`` and ``-I`` lines as ``-o save`` prints them are read and sent
together; every other line is a command line of its own.  The whole file is
understood before anything is done.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from natscope.actions import changes
from natscope.cli import diagnostics
from natscope.cli.conntrack import legality, messages
from natscope.cli.conntrack.parse import parse_line
from natscope.cli.conntrack.request import CommandLineError, Request
from natscope.codec import requests
from natscope.codec.text.bulk_save import Saved, save_table
from natscope.errors import KernelError
from natscope.sources.nlsocket import NetlinkSocket

if TYPE_CHECKING:
    from natscope.actions.changes import Outcome
    from natscope.table.flowtable import FlowTable

Perform = Callable[[Request], int | None]
"""Carries out one command."""


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
        if name != "-":
            return Path(name).read_bytes()
        if sys.stdin is None:  # closed before we began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return sys.stdin.buffer.read()
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
    """Insert some of the flows, in their order; how many were refused."""
    refused = 0
    table, add = saved.table.take(rows), saved.add[rows]
    for run in runs(table, add):
        some = requests.taking_any_window(table.take(run))
        outcome = changes.insert(sock, some, replace=bool(add[run.start]))
        refused += _report(outcome, saved.rows[rows][run])
    return refused


def runs(table: FlowTable, add: NDArray[np.bool_]) -> Iterator[slice]:
    """Lines that may be sent together: one command, and no tuple twice.

    What is sent together is not carried out in its order; between two flows
    that have no tuple in common, in either direction, none could tell.
    """
    start = 0
    before = _same_tuple_before(table)
    changes_command = np.diff(add, prepend=add[:1])
    for row in np.flatnonzero(changes_command | (before >= 0)).tolist():
        if changes_command[row] or before[row] >= start:
            yield slice(start, row)
            start = row
    if start < len(table):
        yield slice(start, len(table))


def _same_tuple_before(table: FlowTable) -> NDArray[np.intp]:
    """Per row the last one before that has one of its tuples, -1 if there is none.

    Told by a hash: one too many only costs a message.
    """
    rows = np.tile(np.arange(len(table)), 2)
    hashes = np.concatenate([_hashes(table, "orig"), _hashes(table, "reply")])
    order = np.lexsort((rows, hashes))
    rows, hashes = rows[order], hashes[order]
    again = np.flatnonzero((np.diff(hashes) == 0) & (np.diff(rows) > 0)) + 1
    found = np.full(len(table), -1)
    np.maximum.at(found, rows[again], rows[again - 1])
    return found


def _hashes(table: FlowTable, side: str) -> NDArray[np.uint64]:
    names = ("src", "dst", "sport", "dport", "icmp_type", "icmp_code", "icmp_id")
    mixed = table["proto"].astype(np.uint64)
    for column in (table["zone"], *(table[f"{side}_{name}"] for name in names)):
        for word in column.T if column.ndim == 2 else (column,):
            mixed = (mixed ^ word.astype(np.uint64) ^ mixed >> _FOLD) * _FACTOR
    return mixed


_FACTOR, _FOLD = np.uint64(0x9E37_79B9_7F4A_7C15), np.uint64(29)


def _report(outcome: Outcome, lines: NDArray[np.intp]) -> int:
    """Say which lines were refused, and why; how many."""
    present = dict.fromkeys(outcome.present, errno.EEXIST)
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
