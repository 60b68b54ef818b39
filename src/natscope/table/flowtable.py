"""Many flows as columns.

A FlowTable is read-only: every operation gives a new one, sharing arrays where
it can.  A column nobody filled is not stored and reads as zeros; ``has`` tells
absent from zero.  Addresses are two uint64 a row (high word, low word), so that
IPv4 and IPv6 sort, compare and group alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from natscope.table.columns import BIT, BY_NAME, COLUMNS
from natscope.table.grouping import group_rows

if TYPE_CHECKING:
    from natscope.model.flow import Flow

Array = NDArray[Any]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

DUPLICATE_KEY = (
    *("family", "proto", "orig_src", "orig_dst", "orig_sport", "orig_dport"),
    *("orig_icmp_type", "orig_icmp_code", "orig_icmp_id"),
    *("zone", "orig_zone", "reply_zone", "id", "netns"),
)
"""What makes two rows of one dump the same entry: tuple, zone and id."""


class FlowTable:
    """Read-only columns over flows; see ``docs/reference/columns``."""

    __slots__ = ("_data", "_present")

    def __init__(
        self, data: Mapping[str, Array], present: NDArray[np.uint64] | None = None
    ) -> None:
        """Make a table of equally long arrays, named as in COLUMNS.

        Args:
            data: must hold the ``always`` columns.
            present: one presence word a row; without it, every optional column
                in ``data`` is present in every row.
        """
        unknown = data.keys() - BY_NAME.keys()
        if unknown:
            msg = f"no such column: {', '.join(sorted(unknown))}"
            raise KeyError(msg)
        n = len(data["family"])
        if present is None:
            word = sum(1 << BIT[name] for name in data if name in BIT)
            present = np.full(n, word, np.uint64)
        self._data = {name: _frozen(array) for name, array in data.items()}
        self._present = _frozen(present)
        short = [name for name, array in self._data.items() if len(array) != n]
        if short or len(present) != n:
            msg = f"columns of unequal length: {', '.join(short) or 'present'}"
            raise ValueError(msg)

    @classmethod
    def empty(cls) -> FlowTable:
        """A table without rows."""
        always = (c for c in COLUMNS if c.always)
        return cls({c.name: _zeros(c.name, 0) for c in always})

    @classmethod
    def from_flows(cls, flows: Iterable[Flow]) -> FlowTable:
        """Make a table of Flow records."""
        from natscope.table.records import columns_of

        return cls(*columns_of(flows))

    @classmethod
    def from_cells(cls, rows: Sequence[Mapping[str, Any]]) -> FlowTable:
        """Make a table of rows given as column name to value.

        Addresses and labels are integers, strings are ``str``, None is absent;
        every row must hold the ``always`` columns.
        """
        from natscope.table.records import columns_of_cells

        return cls(*columns_of_cells(rows))

    @classmethod
    def concat(cls, tables: Sequence[FlowTable]) -> FlowTable:
        """Put tables under each other; a column one of them lacks is absent there."""
        if not tables:
            return cls.empty()
        if len(tables) == 1:
            return tables[0]
        names = {name: None for table in tables for name in table._data}
        data = {name: np.concatenate([t[name] for t in tables]) for name in names}
        return cls(data, np.concatenate([t._present for t in tables]))

    def __len__(self) -> int:
        return len(self._present)

    def __repr__(self) -> str:
        return f"<FlowTable: {len(self)} flows, {len(self._data)} columns>"

    def __iter__(self) -> Iterator[Flow]:
        """The rows as Flow records."""
        from natscope.table.records import flows_of

        return flows_of(self._data, self._present)

    def __getitem__(self, name: str) -> Array:
        """A column, read-only: zeros where absent."""
        stored = self._data.get(name)
        if stored is None:
            return _zeros(name, len(self))
        return stored

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that hold anything, in schema order."""
        return tuple(c.name for c in COLUMNS if c.name in self._data)

    @property
    def present(self) -> NDArray[np.uint64]:
        """The presence words; bit positions are ``columns.BIT``."""
        return self._present

    def has(self, name: str) -> Mask:
        """Per row, whether the source told this column."""
        if name not in BIT:
            return np.full(len(self), BY_NAME[name].always)
        if name not in self._data:
            return np.zeros(len(self), np.bool_)
        there: Mask = self._present & np.uint64(1 << BIT[name]) != 0
        return there

    def take(self, rows: Rows | Mask | slice) -> FlowTable:
        """The rows at these positions, in that order, or those a mask keeps."""
        data = {name: array[rows] for name, array in self._data.items()}
        return FlowTable(data, self._present[rows])

    def mask(self, keep: Mask) -> FlowTable:
        """The rows where ``keep`` is true."""
        return self if keep.all() else self.take(np.flatnonzero(keep))

    def with_column(
        self, name: str, values: Array, valid: Mask | None = None
    ) -> FlowTable:
        """A table with one optional column set, where ``valid``."""
        bit = np.uint64(1 << BIT[name])
        if valid is None:
            present = self._present | bit
        else:
            present = np.where(valid, self._present | bit, self._present & ~bit)
        return FlowTable({**self._data, name: values}, present)

    def without(self, *names: str) -> FlowTable:
        """A table that lacks some optional columns."""
        bits = np.uint64(sum(1 << BIT[name] for name in names))
        data = {name: a for name, a in self._data.items() if name not in names}
        return FlowTable(data, self._present & ~bits)

    def order(self, by: Sequence[str], *, descending: bool = False) -> Rows:
        """Row positions sorted by columns, the first one first; stable.

        Absent values come last either way.
        """
        keys: list[Array] = []
        for name in reversed(by):
            column = self[name]
            words = column.T[::-1] if column.ndim == 2 else [column]
            keys.extend(_rank(word, descending=descending) for word in words)
            keys.append(~self.has(name))
        return np.lexsort(keys) if keys else np.arange(len(self))

    def sort(self, *by: str, descending: bool = False) -> FlowTable:
        """The table sorted by columns, the first one first."""
        return self.take(self.order(by, descending=descending))

    def group(self, *by: str) -> tuple[Rows, Rows]:
        """Rows that agree in these columns.

        Returns:
            ``first``: the first row of each group, in order of appearance;
            ``of_row``: the group number of every row.
        """
        if len(self) == 0:
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        words: list[Array] = []
        for name in by:
            column = self[name]
            words.extend(column.T if column.ndim == 2 else [column])
            if name in BIT:
                words.append(self.has(name))
        return group_rows(words, len(self))

    def dedupe(self) -> FlowTable:
        """The table without repeated entries; the first of each is kept.

        A ctnetlink dump is not atomic: the kernel starts a hash bucket again
        when the entry it stopped at is gone (ctnetlink_dump_table).
        """
        first, of_row = self.group(*(k for k in DUPLICATE_KEY if k in self._data))
        return self if len(first) == len(of_row) else self.take(np.sort(first))

    def to_arrow(self) -> Any:
        """A pyarrow.Table: addresses as text, absent as null."""
        from natscope.table.interchange import to_arrow

        return to_arrow(self)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame over :meth:`to_arrow`."""
        from natscope.table.interchange import to_pandas

        return to_pandas(self)

    def to_polars(self) -> Any:
        """A polars.DataFrame over :meth:`to_arrow`."""
        from natscope.table.interchange import to_polars

        return to_polars(self)


def _rank(word: Array, *, descending: bool) -> Array:
    """A key that lexsort may sort upwards, order preserved."""
    if not descending:
        return word
    if word.dtype.kind in "ui":
        return ~word
    if word.dtype.kind == "f":
        return -word
    return -np.unique(word, return_inverse=True)[1]


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _zeros(name: str, n: int) -> Array:
    column = BY_NAME[name]
    if column.dtype == "O":
        empty: Array = np.empty(n, object)
        empty[:] = None
        return empty
    dtype = "S1" if column.dtype == "S" else column.dtype
    shape = (n,) if column.width == 1 else (n, column.width)
    return np.broadcast_to(np.zeros((), dtype), shape)
