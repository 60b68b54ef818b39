"""The live tables of every named network namespace, as one source."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from natscope.errors import NamespaceError, NatscopeError
from natscope.model.evidence import Evidence
from natscope.model.prefilter import KernelFilter
from natscope.sources.base import Pieces, understood
from natscope.sources.closing import Closing
from natscope.sources.kernel import Kernel
from natscope.sources.netns import named_namespaces

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.event import EventKind
    from natscope.sources.events import EventStream
    from natscope.sources.live import LiveTable
    from natscope.sources.nlsocket import Wire
    from natscope.sources.together import Together
    from natscope.table.flowtable import FlowTable


class AllNamespaces(Closing, Pieces):
    """The tables of every named namespace (ip-netns), with a ``netns`` column.

    A name that cannot be entered is left out and noted in ``problems``.

    Raises:
        NamespaceError: there is none.
    """

    lacks: tuple[str, ...] = ()

    def __init__(self, *, wire: Wire | None = None) -> None:
        names = named_namespaces()
        if not names:
            raise NamespaceError(
                "no named network namespace",
                hint="ip netns list shows none; --netns takes a process id as well",
            )
        self.problems: list[NatscopeError] = []
        self._kernels: list[Kernel] = []
        for name in names:
            try:
                kernel = Kernel(name, wire=wire)
                self._kernels.append(kernel)
                kernel.evidence()
            except NamespaceError as error:
                self.problems.append(error)
                self._kernels = [k for k in self._kernels if k.netns != name]

    def close(self) -> None:
        """Let go of every namespace."""
        for kernel in self._kernels:
            kernel.close()

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The pieces of one table after the other."""
        for chunk, _ in self.pieces(filter):
            yield chunk

    def pieces(
        self, filter: Filter | str | None = None
    ) -> Iterator[tuple[FlowTable, Evidence]]:
        """The pieces of one table after the other, each with its own evidence."""
        import numpy as np

        wanted = understood(filter)
        prefilter = wanted.kernel() if wanted is not None else KernelFilter()
        for kernel in self._kernels:
            evidence = kernel.evidence()
            for chunk in kernel.dump(prefilter):
                name = np.full(len(chunk), os.fsencode(kernel.netns or ""))
                named = chunk.with_column("netns", name)
                if wanted is not None:
                    named = named.mask(wanted.mask(named, evidence))
                if len(named):
                    yield named, evidence

    def events(
        self,
        filter: Filter | str | None = None,
        *,
        kinds: Iterable[EventKind | str] | None = None,
        reliable: bool = False,
        buffer: int | None = None,
    ) -> Together:
        """Changes of all the tables from now on; as ``Kernel.events``."""
        kinds = None if kinds is None else list(kinds)
        return self._together(
            lambda kernel: kernel.events(
                filter, kinds=kinds, reliable=reliable, buffer=buffer
            )
        )

    def live(
        self,
        filter: Filter | str | None = None,
        *,
        reliable: bool = False,
        buffer: int | None = None,
    ) -> Together:
        """All the tables, kept current; as ``Kernel.live``."""
        return self._together(
            lambda kernel: kernel.live(filter, reliable=reliable, buffer=buffer)
        )

    def _together(
        self, follow: Callable[[Kernel], EventStream | LiveTable]
    ) -> Together:
        from natscope.sources.together import Together

        parts: dict[str, EventStream | LiveTable] = {}
        with ExitStack() as opened:
            for kernel in self._kernels:
                part = parts[kernel.netns or ""] = follow(kernel)
                opened.callback(part.close)
            opened.pop_all()
        return Together(parts)

    def evidence(self) -> Evidence:
        """The time; what each box told stands beside its pieces."""
        return Evidence(now_ns=time.time_ns())
