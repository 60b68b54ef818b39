"""A filter, ready for use: one syntax tree, three ways to apply it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from natscope.filter.syntax import EVERYTHING, Tree

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from natscope.filter.rows import Rows
    from natscope.model.evidence import Evidence
    from natscope.model.flow import Flow
    from natscope.model.prefilter import KernelFilter
    from natscope.table.flowtable import FlowTable


@dataclass(frozen=True, slots=True)
class Filter:
    """Which flows are meant.  Make one with :func:`parse`.

    ``str()`` is the normal form, which parses back to an equal tree.
    """

    text: str = field(compare=False)
    """The filter as it was typed."""
    tree: Tree

    def __str__(self) -> str:
        from natscope.filter.writing import write

        return write(self.tree)

    def mask(self, table: FlowTable, evidence: Evidence) -> NDArray[np.bool_]:
        """The rows of a table it matches: the truth."""
        from natscope.filter.mask import mask

        return mask(self.tree, table, evidence)

    def mask_of(self, rows: Rows) -> NDArray[np.bool_]:
        """The same, of a table many filters are asked about."""
        from natscope.filter.mask import mask_of

        return mask_of(self.tree, rows)

    def matches(self, flow: Flow, evidence: Evidence) -> bool:
        """Whether it matches one flow; the same as the mask of its row."""
        from natscope.filter.predicate import matches

        return matches(self.tree, flow, evidence)

    def kernel(self) -> KernelFilter:
        """What the kernel can leave out of a dump; a superset of what is meant."""
        from natscope.filter.prefilter import kernel_filter

        return kernel_filter(self.tree)

    def kernels(self) -> tuple[KernelFilter, ...]:
        """The same in several, disjoint, where that leaves out more."""
        from natscope.filter.prefilter import kernel_filters

        return kernel_filters(self.tree)

    def exact_kernel(self) -> KernelFilter | None:
        """What the kernel can match all by itself, None if it cannot."""
        from natscope.filter.prefilter import exact_kernel_filter

        return exact_kernel_filter(self.tree)

    def socket_program(self) -> bytes | None:
        """What a socket that listens to events can leave out, as classic BPF.

        A program of struct sock_filter for ``Subscription``; it lets through a
        superset of the events that are meant, and for a flow's NEW, UPDATE and
        DESTROY decides alike.  None where it could leave out nothing.
        """
        from natscope.filter.socket_program import socket_program

        return socket_program(self.tree)

    def needs(self) -> frozenset[str]:
        """What the filter relies on that a source may lack.

        Column names, and ``bytes`` and ``packets`` (the counters of either
        direction), ``state`` (a protocol state), ``start`` (start_ns or
        delta_time), ``timeouts`` and ``addresses`` (of the evidence).  Where
        one is missing, its terms match nothing; without ``addresses`` only
        hairpins and redirects are told apart less well.
        """
        from natscope.filter.needs import needs

        return needs(self.tree)


def parse(text: str | Sequence[str]) -> Filter:
    """A filter of its text, or of its words as a command line gives them.

    Empty text matches every flow.

    Raises:
        FilterError: with the place of the offending word, and what was
            probably meant or expected there.
    """
    whole = text if isinstance(text, str) else " ".join(text)
    # without a filter, a listing starts sooner
    return Filter(whole, _tree(whole) if whole.strip() else EVERYTHING)


def is_word(text: str) -> bool:
    """Whether a word can begin a filter, so that it names no file."""
    from natscope.filter import parser

    return parser.is_word(text)


@lru_cache(maxsize=32)
def _tree(text: str) -> Tree:
    from natscope.filter.parser import parse_tree

    return parse_tree(text)
