"""The events of several network namespaces, each from a socket of its own."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Mapping

import numpy as np

from natscope.model.evidence import Evidence
from natscope.sources.closing import Closing
from natscope.sources.events import EventStream
from natscope.sources.live import LiveTable
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable

LOOK_AGAIN_S = 0.5
"""So often all are looked at: a live table has repairs of its own to make."""


class Together(Closing):
    """Batches of events of several namespaces, each with a ``netns`` column.

    Made by ``AllNamespaces.events`` and ``.live``.

    Args:
        parts: what follows each namespace, by its name; closed with this.
    """

    def __init__(self, parts: Mapping[str, EventStream | LiveTable]) -> None:
        self._parts = dict(parts)
        self._turn = list(self._parts)
        self._closed = False
        self._ready = select.epoll()
        for part in parts.values():
            self._ready.register(part.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Stop listening everywhere."""
        self._closed = True
        self._ready.close()
        for part in self._parts.values():
            part.close()

    @property
    def count(self) -> int:
        """Events received so far."""
        return sum(part.count for part in self._parts.values())

    @property
    def lost(self) -> int:
        """Events the sockets dropped so far."""
        return sum(part.lost for part in self._parts.values())

    def fileno(self) -> int:
        """The descriptor to wait on, readable when any part has something."""
        return self._ready.fileno()

    def evidence(self) -> Evidence:
        """The time; the boxes differ."""
        return Evidence(now_ns=time.time_ns())

    def table(self) -> FlowTable:
        """The flows of all live tables."""
        parts = self._parts.items()
        tables = [(n, p.table()) for n, p in parts if isinstance(p, LiveTable)]
        return FlowTable.concat([_named(table, name) for name, table in tables])

    def read(self, timeout: float | None = None) -> Events | None:
        """The next batch of any; None when there was none within ``timeout`` seconds.

        Raises:
            KernelError: a socket or a dump failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            for name in self._turn:
                batch = self._parts[name].read(0)
                if batch is not None and (len(batch) or batch.lost):
                    # the others come first next time
                    self._turn.remove(name)
                    self._turn.append(name)
                    return batch.with_flows(_named(batch.flows, name))
            left = LOOK_AGAIN_S if until is None else until - time.monotonic()
            if left <= 0:
                return None
            self._ready.poll(min(left, LOOK_AGAIN_S))

    def __iter__(self) -> Iterator[Events]:
        while not self._closed:
            batch = self.read(LOOK_AGAIN_S)
            if batch is not None:
                yield batch


def _named(flows: FlowTable, name: str) -> FlowTable:
    return flows.with_column("netns", np.full(len(flows), os.fsencode(name)))
