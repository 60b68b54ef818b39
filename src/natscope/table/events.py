"""Many events as columns: a FlowTable, and what happened to each of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.model.event import Event


class Events:
    """A batch of events in the order the kernel sent them; read-only.

    Attributes:
        flows: the flows as the events told them, a row each.
        kinds: EventKind of each row, uint8.
        portids: netlink port that made the change, uint32; 0 is a packet.
        received_ns: when the batch was read, ns since 1970.
        lost: how many events were lost before the first of these and after the
            last batch; the socket's own count.
        repaired: these were found by a dump: lost, or never sent.
    """

    __slots__ = ("flows", "kinds", "lost", "portids", "received_ns", "repaired")

    def __init__(
        self,
        flows: FlowTable,
        kinds: NDArray[np.uint8],
        portids: NDArray[np.uint32] | None = None,
        *,
        received_ns: int,
        lost: int = 0,
        repaired: bool = False,
    ) -> None:
        self.flows = flows
        self.kinds = kinds
        self.portids = np.zeros(len(kinds), np.uint32) if portids is None else portids
        self.received_ns = received_ns
        self.lost = lost
        self.repaired = repaired

    @classmethod
    def none(cls, *, received_ns: int, lost: int = 0) -> Events:
        """No event, perhaps a loss."""
        kinds = np.zeros(0, np.uint8)
        return cls(FlowTable.empty(), kinds, received_ns=received_ns, lost=lost)

    def __len__(self) -> int:
        return len(self.kinds)

    def __repr__(self) -> str:
        lost = f", {self.lost} lost" if self.lost else ""
        return f"<Events: {len(self)} events{lost}>"

    def __iter__(self) -> Iterator[Event]:
        """The rows as Event records."""
        from natscope.model.event import Event, EventKind

        rows = zip(
            self.flows,
            self.kinds.tolist(),
            self.times_ns().tolist(),
            self.portids.tolist(),
            strict=True,
        )
        for flow, kind, time_ns, portid in rows:
            yield Event(EventKind(kind), flow, time_ns, portid, self.repaired)

    def times_ns(self) -> NDArray[np.uint64]:
        """When each happened: the kernel's time, else that of reading."""
        told = self.flows.has("event_ns")
        received = np.uint64(self.received_ns)
        times: NDArray[np.uint64] = np.where(told, self.flows["event_ns"], received)
        return times

    def take(self, rows: NDArray[Any] | slice) -> Events:
        """The events at these positions; the loss stays with the batch."""
        return Events(
            self.flows.take(rows),
            self.kinds[rows],
            self.portids[rows],
            received_ns=self.received_ns,
            lost=self.lost,
            repaired=self.repaired,
        )

    def mask(self, keep: NDArray[np.bool_]) -> Events:
        """The events where ``keep`` is true; the loss stays with the batch."""
        return self if keep.all() else self.take(np.flatnonzero(keep))

    def with_flows(self, flows: FlowTable) -> Events:
        """The same events, told with other columns."""
        return Events(
            flows,
            self.kinds,
            self.portids,
            received_ns=self.received_ns,
            lost=self.lost,
            repaired=self.repaired,
        )

    @classmethod
    def concat(cls, batches: Sequence[Events]) -> Events:
        """Batches of one sort as one, read at the time of the last."""
        return cls(
            FlowTable.concat([batch.flows for batch in batches]),
            np.concatenate([batch.kinds for batch in batches]),
            np.concatenate([batch.portids for batch in batches]),
            received_ns=batches[-1].received_ns,
            lost=sum(batch.lost for batch in batches),
            repaired=batches[-1].repaired,
        )
