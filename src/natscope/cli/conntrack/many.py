"""Commands about many entries: ``-L``, ``-D`` and ``-U``.

What a command lists, deletes or changes is what the one filter engine says;
entries are dealt with as they are read, in bounded memory.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from natscope import uapi
from natscope.actions import changes
from natscope.actions.changes import Outcome
from natscope.actions.settings import Settings, differing
from natscope.cli import diagnostics
from natscope.cli.conntrack import messages, select, showing
from natscope.errors import KernelError
from natscope.sources.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscope.cli.conntrack.request import Request
    from natscope.codec import nlmsg
    from natscope.sources.nlsocket import NetlinkSocket
    from natscope.table.flowtable import FlowTable

_DUMPS = {
    "conntrack": uapi.CtMsg.GET,
    "dying": uapi.CtMsg.GET_DYING,
    "unconfirmed": uapi.CtMsg.GET_UNCONFIRMED,
}


def listing(request: Request) -> int:
    """Show the entries the options name; how many."""
    shown = showing.Showing(request)
    count = 0
    for chunk in matched(request):
        shown.table(chunk)
        count += len(chunk)
    shown.end()
    return count


def get(request: Request) -> int:
    """Show the entries a tuple and more name, in any zone; how many."""
    found = [chunk for chunk in matched(request) if len(chunk)]
    if not found:
        return 0
    shown = showing.Showing(request)
    for chunk in found:
        shown.table(chunk)
    shown.end()
    return sum(map(len, found))


def delete(request: Request) -> int:
    """Delete the entries the options name and show each; how many.

    Raises:
        KernelError: the kernel refused some for another reason than their absence.
    """
    event = 3 if "save" in request.output else 0
    work = _Work(request)
    with Kernel(wire=diagnostics.wire()).socket() as sock:
        for chunk in matched(request, any_order=True):
            outcome = changes.delete(sock, chunk, at_once=True)
            work.done(_changed(chunk, outcome), outcome, event)
    return work.end("deleting entries")


def update(request: Request) -> int:
    """Change the entries the options name and show each as it is now; how many.

    Raises:
        KernelError: the kernel refused some for another reason than their absence.
    """
    settings = _settings(request)
    work = _Work(request)
    with Kernel(wire=diagnostics.wire()).socket() as sock:
        for chunk in matched(request, any_order=True):
            changing = differing(chunk, settings)
            if len(changing):
                outcome = _update(sock, changing, settings)
                work.done(_answered(outcome), outcome)
    return work.end("changing entries")


class _Work:
    """Shows what was changed, and remembers what was refused."""

    def __init__(self, request: Request) -> None:
        self._command = request.command
        self._showing = showing.Showing(request)
        self._refused: list[nlmsg.Ack] = []
        self._count = 0

    def done(self, shown: FlowTable, outcome: Outcome, event: int = 0) -> None:
        """Show what became of some entries."""
        self._showing.table(shown, event)
        self._count += len(shown)
        self._refused += outcome.refused.values()

    def end(self, operation: str) -> int:
        """How many entries were changed.

        Raises:
            KernelError: some were refused; how many were not was said.
        """
        self._showing.end()
        if not self._refused:
            return self._count
        if self._count:
            diagnostics.note(messages.summary(self._command, self._count))
        first = self._refused[0]
        raise KernelError(
            operation,
            first.errno,
            "refused",
            extack=first.extack,
            hint=f"{len(self._refused)} entries were refused; the kernel changes no "
            "timeout of a FIXED_TIMEOUT entry, and clears no status bit",
        )


def matched(request: Request, *, any_order: bool = False) -> Iterator[FlowTable]:
    """The entries the options name, in pieces, as the kernel lists them.

    With ``any_order`` perhaps one family after the other, which is faster.
    """
    bits = showing.label_bits(request, request.labels) if request.labels else 0
    wanted = select.wanted(request, bits)
    kernel = Kernel(wire=diagnostics.wire())
    command = _DUMPS[request.table]
    if request.zero and command == uapi.CtMsg.GET:
        command = uapi.CtMsg.GET_CTRZERO
    yield from kernel.chunks(wanted, command=command, any_order=any_order)


def _update(sock: NetlinkSocket, table: FlowTable, settings: Settings) -> Outcome:
    """Change entries and ask for each."""
    # just read: to look again would find what was read
    outcome = changes.update(sock, table, settings, show=True, at_once=True)
    if "labels" in settings.values:
        # no rule uses connlabels: conntrack leaves such entries alone
        for row in [
            r for r, why in outcome.refused.items() if why.errno == errno.ENOSPC
        ]:
            del outcome.refused[row]
            outcome.answers.pop(row, None)
    return outcome


def _answered(outcome: Outcome) -> FlowTable:
    """The changed entries as the kernel shows them afterwards."""
    from natscope.codec.vector import decode_flows

    rows = sorted(outcome.answers.keys() - outcome.refused.keys())
    return decode_flows(b"".join(outcome.answers[row] for row in rows))


def _settings(request: Request) -> Settings:
    values: dict[str, Any] = select.settings(request)
    mark_mask = labels_mask = None
    if request.mark is not None:
        values["mark"], mark_mask = request.mark
    if request.label_add:
        labels_mask = showing.label_bits(request, request.label_add)
        values["labels"] = labels_mask
    elif request.label_del is not None:
        values["labels"] = 0
        if request.label_del:
            labels_mask = showing.label_bits(request, request.label_del)
    return Settings(values, mark_mask, labels_mask)


def _changed(table: FlowTable, outcome: Outcome) -> FlowTable:
    import numpy as np

    undone = outcome.undone()
    if not undone:
        return table
    keep = np.ones(len(table), np.bool_)
    keep[list(undone)] = False
    return table.mask(keep)
