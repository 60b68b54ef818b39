"""What every source of flows offers, and what follows from its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.evidence import Evidence
    from natscope.model.flow import Flow
    from natscope.table.flowtable import FlowTable


class Source(Protocol):
    """Where a table comes from: the kernel, a file."""

    @property
    def lacks(self) -> tuple[str, ...]:
        """What this source cannot tell, in words."""

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, in pieces of some thousand rows."""

    def table(self, filter: Filter | str | None = None) -> FlowTable:
        """The same as one table."""

    def flows(self, filter: Filter | str | None = None) -> Iterator[Flow]:
        """The same as records."""

    def pieces(
        self, filter: Filter | str | None = None
    ) -> Iterator[tuple[FlowTable, Evidence]]:
        """The chunks, each with what the box it was read from told."""

    def evidence(self) -> Evidence:
        """The moment and the box the flows were read from."""


class Pieces:
    """A source made of ``chunks``: its whole table and its records."""

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, in pieces of some thousand rows."""
        raise NotImplementedError

    def evidence(self) -> Evidence:
        """The moment and the box the flows were read from."""
        raise NotImplementedError

    def pieces(
        self, filter: Filter | str | None = None
    ) -> Iterator[tuple[FlowTable, Evidence]]:
        """The chunks, each with what the box it was read from told."""
        evidence: Evidence | None = None
        for chunk in self.chunks(filter):
            evidence = evidence or self.evidence()
            yield chunk, evidence

    def table(self, filter: Filter | str | None = None) -> FlowTable:
        """The flows a filter keeps, each entry once, as one table."""
        from natscope.table.flowtable import FlowTable

        return FlowTable.concat(list(self.chunks(filter))).dedupe()

    def flows(self, filter: Filter | str | None = None) -> Iterator[Flow]:
        """The flows a filter keeps, one by one."""
        for chunk in self.chunks(filter):
            yield from chunk


def understood(filter: Filter | str | None) -> Filter | None:
    """A filter, parsed if it was given as text.

    Raises:
        FilterError: the text is none.
    """
    if isinstance(filter, str):
        from natscope.filter import parse

        return parse(filter)
    return filter
