"""The NAT view: which rows, which fields, in which order.

Streams where it can: without a sort or a grouping, each piece of the table is
shown as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from natscope.model.evidence import Evidence
from natscope.model.nat import Kind
from natscope.table.flowtable import FlowTable
from natscope.views import values as v
from natscope.views.fields import Field, Reading, fields
from natscope.views.query import (
    COUNT_FIELDS,
    JSON_FIELDS_FIRST,
    NAT_FIELDS,
    OPTIONAL_FIELDS,
    WIDE_FIELDS,
    Query,
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a result: parallel columns under their fields."""

    fields: tuple[Field, ...]
    columns: tuple[v.Values, ...]
    rows: int


def everything(table: FlowTable) -> tuple[str, ...]:
    """Names of all that is known of these flows, for programs."""
    derived = ("age", "idle", "bytes", "packets", "flags")
    skip = {"proto", "reply_proto", "extra", "status_mask"}
    stored = (name for name in table.columns if name not in skip)
    return (*JSON_FIELDS_FIRST, *derived, *stored)


def listing(
    chunks: Iterable[FlowTable], evidence: Evidence, query: Query
) -> Iterator[Page]:
    """The pages of a listing, at least one, in bounded memory where possible.

    Raises:
        UnknownColumn: a column that does not exist.
    """
    shown = _translated(chunks, evidence, query)
    if query.group:
        yield _limited(_grouped(shown, evidence, query), query.limit)
        return
    if query.sort:
        shown = iter([_sorted(FlowTable.concat(list(shown)), evidence, query)])
    yield from _pages(shown, evidence, query)


def _translated(
    chunks: Iterable[FlowTable], evidence: Evidence, query: Query
) -> Iterator[FlowTable]:
    for chunk in chunks:
        if query.untranslated:
            yield chunk
        else:
            yield chunk.mask(Reading(chunk, evidence).nat.kind != Kind.NONE)


def _sorted(table: FlowTable, evidence: Evidence, query: Query) -> FlowTable:
    reading = Reading(table, evidence)
    columns = [field.values(reading) for field in fields(query.sort)]
    return table.take(v.order(columns, len(table), descending=query.descending))


def _pages(
    chunks: Iterator[FlowTable], evidence: Evidence, query: Query
) -> Iterator[Page]:
    first, second = next(chunks, FlowTable.empty()), next(chunks, None)
    reading = Reading(first, evidence)
    chosen = fields(_columns(reading, query, whole=second is None))
    left = query.limit
    for chunk in _chain(first, second, chunks):
        shown = chunk if left is None else chunk.take(slice(0, left))
        reading = Reading(shown, evidence)
        columns = tuple(field.values(reading) for field in chosen)
        yield Page(tuple(chosen), columns, len(shown))
        if left is not None:
            left -= len(shown)
            if left == 0:
                return


def _chain(
    first: FlowTable, second: FlowTable | None, rest: Iterator[FlowTable]
) -> Iterator[FlowTable]:
    yield first
    if second is not None:
        yield second
        yield from rest


def _columns(reading: Reading, query: Query, *, whole: bool) -> Sequence[str]:
    """The columns asked for, or those the source can fill."""
    if query.columns is not None:
        return query.columns
    optional = WIDE_FIELDS if query.wide else OPTIONAL_FIELDS
    known = [name for name in optional if fields([name])[0].values(reading).valid.any()]
    base = [*NAT_FIELDS, *known]
    if whole and not reading.part("target").valid.any():
        base.remove("target")
    if "netns" in reading.table.columns and "netns" not in base:
        base.append("netns")
    if "netns" in base:
        base.remove("netns")
        base.insert(0, "netns")
    if "zone" in reading.table.columns and "zone" not in base:
        base.insert(base.index("kind"), "zone")
    return base


def _grouped(chunks: Iterable[FlowTable], evidence: Evidence, query: Query) -> Page:
    """Flows, bytes and packets of each distinct set of values."""
    table = FlowTable.concat(list(chunks))
    reading = Reading(table, evidence)
    by = fields(query.group)
    columns = [field.values(reading) for field in by]
    first, of_row = v.group(columns, len(table))
    counted = [_flows(of_row, len(first))]
    names = [_FLOWS]
    for field in fields(COUNT_FIELDS[1:]):
        found = field.values(reading)
        if isinstance(found, v.Numbers) and found.valid.any():
            counted.append(_totals(found, of_row, len(first)))
            names.append(field)
    result = Page(
        (*by, *names), (*(v.take(c, first) for c in columns), *counted), len(first)
    )
    return _ranked(result, query)


def _ranked(page: Page, query: Query) -> Page:
    """Most flows first, unless another order was asked for."""
    by = list(query.sort) or ["flows"]
    named = {
        field.name: col for field, col in zip(page.fields, page.columns, strict=True)
    }
    missing = [name for name in by if name not in named]
    if missing:
        fields(missing)
    columns = [named[name] for name in by if name in named]
    rows = v.order(columns, page.rows, descending=query.descending or not query.sort)
    return replace(page, columns=tuple(v.take(col, rows) for col in page.columns))


def _limited(page: Page, limit: int | None) -> Page:
    if limit is None or limit >= page.rows:
        return page
    rows = np.arange(limit)
    columns = tuple(v.take(column, rows) for column in page.columns)
    return Page(page.fields, columns, limit)


def _flows(of_row: NDArray[np.intp], groups: int) -> v.Numbers:
    counts = np.bincount(of_row, minlength=groups).astype(np.uint64)
    return v.Numbers(counts, np.ones(groups, np.bool_))


def _totals(found: v.Numbers, of_row: NDArray[np.intp], groups: int) -> v.Numbers:
    totals = np.zeros(groups, np.uint64)
    np.add.at(totals, of_row[found.valid], found.values[found.valid].astype(np.uint64))
    known = np.bincount(of_row[found.valid], minlength=groups) > 0
    return v.Numbers(totals, known, found.unit)


def _one_each(reading: Reading) -> v.Values:
    n = len(reading.table)
    return v.Numbers(np.ones(n, np.uint64), np.ones(n, np.bool_))


_FLOWS = Field("flows", "FLOWS", "how many flows", _one_each)
