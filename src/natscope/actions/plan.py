"""Plans: what a change will do, before it is done.

A plan is made by reading; nothing is changed until ``run``.  What it holds is
what it will touch: entries that come later are left alone, and one that went,
or was replaced by a successor of the same tuple, is counted, not hit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from natscope.actions import changes
from natscope.actions.changes import Outcome, Progress, Settings
from natscope.actions.probe import flushes_exactly
from natscope.codec.encode import flush_request
from natscope.errors import NatscopeError
from natscope.model.prefilter import KernelFilter
from natscope.sources.base import understood
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.flow import Flow
    from natscope.sources.kernel import Kernel

DELETE, UPDATE, INSERT, FLUSH = "delete", "update", "insert", "flush"


@dataclass(frozen=True, slots=True)
class Plan:
    """A change and the entries it concerns.

    ``table`` holds the entries as they are now (of an insert, as they shall
    be), so that it is also what an undo needs.
    """

    action: str
    table: FlowTable
    kernel: Kernel
    settings: Settings | None = None
    """What an update sets everywhere."""
    columns: tuple[str, ...] = ()
    """Columns an update without settings sets to each row's own value."""
    replace: bool = False
    """An insert changes the entries that are there."""
    at_once: KernelFilter | None = None
    """The filter of a flush the kernel does by itself."""

    def __len__(self) -> int:
        return len(self.table)

    def run(self, progress: Progress | None = None) -> Outcome:
        """Make the change.

        Entries that vanish meanwhile are counted; one refusal does not stop the
        rest.

        Raises:
            KernelError: nothing can be changed at all (PermissionNeeded), or
                answers were lost.
        """
        with self.kernel.socket() as sock:
            if self.at_once is not None:
                asked = flush_request(self.at_once, seq=sock.next_seq())
                sock.ask(asked, "flushing the table")
                return Outcome(done=len(self.table))
            if self.settings is not None:
                return changes.update(
                    sock, self.table, self.settings, progress=progress
                )
            if self.action == UPDATE:
                return changes.set_columns(sock, self.table, self.columns, progress)
            if self.action == INSERT:
                return changes.insert(
                    sock, self.table, replace=self.replace, progress=progress
                )
            return changes.delete(sock, self.table, progress)


def delete(kernel: Kernel, filter: Filter | str) -> Plan:
    """Delete the flows a filter matches; the same that a listing shows.

    Raises:
        NatscopeError: the filter is empty.
        FilterError, KernelError: as for a listing.
    """
    return Plan(DELETE, kernel.table(_not_empty(filter)), kernel)


def update(
    kernel: Kernel,
    filter: Filter | str,
    values: Mapping[str, Any],
    *,
    mark_mask: int | None = None,
    labels_mask: int | None = None,
) -> Plan:
    """Set columns of the flows a filter matches; those that have them are left out.

    Args:
        kernel: the table.
        filter: which flows.
        values: columns and what they shall be; see ``requests.SETTABLE``.
        mark_mask: the bits of ``mark`` that change; the kernel does it, so that
            no change made meanwhile is lost.
        labels_mask: the bits of ``labels`` that change.

    Raises:
        NatscopeError: the filter is empty, or a column cannot be changed.
        FilterError, KernelError: as for a listing.
    """
    settings = Settings(dict(values), mark_mask, labels_mask)
    found = kernel.table(_not_empty(filter))
    return Plan(UPDATE, changes.differing(found, settings), kernel, settings)


def insert(
    kernel: Kernel, flows: FlowTable | Iterable[Flow], *, replace: bool = False
) -> Plan:
    """Put flows into the table, translated as their tuples say.

    What the kernel keeps to itself is not taken: counters, timestamps, ids.
    Flows that expect others come before those they expect.
    """
    table = flows if isinstance(flows, FlowTable) else FlowTable.from_flows(flows)
    expected = table.has("master_src")
    if expected.any():
        parts = (table.mask(~expected), table.mask(expected))
        table = FlowTable.concat([part for part in parts if len(part)])
    return Plan(INSERT, table, kernel, replace=replace)


def flush(kernel: Kernel, filter: Filter | str = "") -> Plan:
    """Delete every flow, or every flow a filter matches, those yet to come too.

    One request, where this kernel is proved to heed such a filter exactly
    (``actions.probe``); else entry by entry.
    """
    wanted = understood(filter)
    if wanted is None or not str(filter).strip():
        return Plan(FLUSH, kernel.table(), kernel, at_once=KernelFilter())
    exact = wanted.exact_kernel()
    if exact is not None and not flushes_exactly(exact):
        exact = None
    return Plan(FLUSH, kernel.table(wanted), kernel, at_once=exact)


def undo(
    kernel: Kernel, action: str, before: FlowTable, columns: tuple[str, ...] = ()
) -> Plan:
    """The plan that takes a change back, from what its plan held.

    ``columns`` are those an update set.  Status bits stay: the kernel lets none
    be cleared.

    Raises:
        NatscopeError: an action that is none.
    """
    if action in (DELETE, FLUSH):
        return insert(kernel, before)
    if action == INSERT:
        return Plan(DELETE, before, kernel)
    if action == UPDATE:
        left = tuple(name for name in columns if name != "status")
        return Plan(UPDATE, before, kernel, columns=left)
    msg = f"{action!r} cannot be undone"
    raise NatscopeError(msg)


def _not_empty(filter: Filter | str) -> Filter | str:
    if not str(filter).strip():
        raise NatscopeError(
            "no filter: that would be every flow",
            hint="flush deletes everything, when asked by name",
        )
    return filter
