"""Plans: what a change will do, before it is done.

A plan is made by reading; nothing is changed until ``run``.  What it holds is
what it will touch: entries that come later are left alone, and one that went,
or was replaced by a successor of the same tuple, is counted, not hit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from natscope.actions import changes, expected
from natscope.actions.changes import Outcome, Progress
from natscope.actions.probe import flushes_exactly
from natscope.actions.settings import Settings, differing
from natscope.codec.encode import flush_request
from natscope.errors import NatscopeError
from natscope.model.prefilter import KernelFilter
from natscope.sources.base import understood
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.expectation import Expectation
    from natscope.model.flow import Flow
    from natscope.sources.kernel import Kernel
    from natscope.sources.nlsocket import NetlinkSocket

DELETE, UPDATE, INSERT, FLUSH = "delete", "update", "insert", "flush"


@dataclass(frozen=True, slots=True)
class Plan:
    """A change and the entries it concerns.

    ``table`` holds the entries as they are now; of an insert, as they shall be.
    What takes it back afterwards is made of it by ``actions.undo``.
    """

    action: str
    table: FlowTable
    kernel: Kernel
    settings: Settings | None = None
    """What an update sets everywhere."""
    columns: tuple[str, ...] = ()
    """Columns an update without settings sets to each row's own value."""
    mark_mask: int | None = None
    labels_mask: int | None = None
    """The bits of ``mark`` and ``labels`` an update without settings sets."""
    replace: bool = False
    """An insert changes the entries that are there."""
    expectations: tuple[Expectation, ...] = ()
    """What an insert announces, or a delete or flush takes away."""
    filter: Filter | str = ""
    """What a flush takes."""
    at_once: KernelFilter | None = None
    """The filter of a flush the kernel does by itself: what comes after the
    listing goes as well, and nobody counts it."""

    def __len__(self) -> int:
        return len(self.table)

    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not len(self) and not self.expectations

    def anew(self) -> Plan:
        """The same of what is there now: a flush takes all that came meanwhile."""
        if self.action != FLUSH:
            return self
        return flush(self.kernel, self.filter)

    def run(
        self, progress: Progress | None = None, outcome: Outcome | None = None
    ) -> Outcome:
        """Make the change.

        Entries that vanish meanwhile are counted; one refusal does not stop the
        rest.

        Args:
            progress: see Progress.
            outcome: is filled in as it happens, so that what was done before an
                error is known.

        Raises:
            KernelError: nothing can be changed at all (PermissionNeeded), or
                answers were lost.
        """
        outcome = outcome or Outcome()
        with self.kernel.socket() as sock:
            if self.action == INSERT:
                changes.insert(
                    sock,
                    self.table,
                    replace=self.replace,
                    show=True,
                    progress=progress,
                    outcome=outcome,
                )
                expected.make(sock, self.expectations, outcome)
            elif self.action == UPDATE:
                self._update(sock, progress, outcome)
            else:
                self._delete(sock, progress, outcome)
        return outcome

    def _update(
        self, sock: NetlinkSocket, progress: Progress | None, outcome: Outcome
    ) -> None:
        if self.settings is not None:
            changes.update(
                sock, self.table, self.settings, progress=progress, outcome=outcome
            )
            return
        changes.set_columns(
            sock,
            self.table,
            self.columns,
            mark_mask=self.mark_mask,
            labels_mask=self.labels_mask,
            progress=progress,
            outcome=outcome,
        )

    def _delete(
        self, sock: NetlinkSocket, progress: Progress | None, outcome: Outcome
    ) -> None:
        if self.at_once is not None:
            asked = flush_request(self.at_once, seq=sock.next_seq())
            sock.ask(asked, "flushing the table")
            outcome.begun, outcome.done = True, len(self.table)
        else:
            changes.delete(sock, self.table, progress=progress, outcome=outcome)
        expected.remove(sock, self.expectations, outcome)


def delete(kernel: Kernel, filter: Filter | str) -> Plan:
    """Delete the flows a filter matches; the same that a listing shows.

    Raises:
        NatscopeError: the filter is empty.
        FilterError, KernelError: as for a listing.
    """
    table = kernel.table(_not_empty(filter))
    return Plan(DELETE, table, kernel, expectations=_going(kernel, table))


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
        NatscopeError: the filter is empty, a column cannot be changed, or a value
            has bits outside its mask, which the kernel would turn round.
        FilterError, KernelError: as for a listing.
    """
    for name, mask in (("mark", mark_mask), ("labels", labels_mask)):
        if mask is not None and values.get(name, 0) & ~mask:
            msg = f"{name} {values[name]:#x} has bits outside its mask {mask:#x}"
            raise NatscopeError(msg)
    settings = Settings(dict(values), mark_mask, labels_mask)
    found = kernel.table(_not_empty(filter))
    return Plan(UPDATE, differing(found, settings), kernel, settings)


def insert(
    kernel: Kernel,
    flows: FlowTable | Iterable[Flow],
    *,
    replace: bool = False,
    expectations: Iterable[Expectation] = (),
) -> Plan:
    """Put flows into the table, translated as their tuples say.

    What the kernel keeps to itself is not taken: counters, timestamps, ids.
    Flows that expect others come before those they expect; ``expectations`` are
    announced when all are there.
    """
    table = flows if isinstance(flows, FlowTable) else FlowTable.from_flows(flows)
    expected = table.has("master_src")
    if expected.any():
        parts = (table.mask(~expected), table.mask(expected))
        table = FlowTable.concat([part for part in parts if len(part)])
    announced = tuple(expectations)
    return Plan(INSERT, table, kernel, replace=replace, expectations=announced)


def flush(kernel: Kernel, filter: Filter | str = "") -> Plan:
    """Delete every flow, or every flow a filter matches, those yet to come too.

    One request, where this kernel is proved to heed such a filter exactly
    (``actions.probe``); else entry by entry.
    """
    wanted = understood(filter)
    at_once: KernelFilter | None = KernelFilter()
    if wanted is not None and str(filter).strip():
        at_once = wanted.exact_kernel()
        if at_once is not None and not flushes_exactly(at_once):
            at_once = None
    else:
        wanted = None
    table = kernel.table(wanted)
    going = _going(kernel, table)
    return Plan(
        FLUSH, table, kernel, expectations=going, filter=filter, at_once=at_once
    )


def _going(kernel: Kernel, table: FlowTable) -> tuple[Expectation, ...]:
    """The expectations that go with the flows of a table."""
    if not len(table):
        return ()
    return expected.of_masters(kernel.expectations(), table)


def _not_empty(filter: Filter | str) -> Filter | str:
    if not str(filter).strip():
        raise NatscopeError(
            "no filter: that would be every flow",
            hint="flush deletes everything, when asked by name",
        )
    return filter
