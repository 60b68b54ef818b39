"""The NAT view: which rows, which fields, in which order.

Streams where it can: without a sort or a grouping, each piece of the table is
shown as it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope.model.evidence import Evidence
from natscope.model.nat import Kind
from natscope.table.attribution import Attribute
from natscope.table.flowtable import FlowTable
from natscope.views import values as v
from natscope.views.fields import Field, Reading, fields
from natscope.views.query import (
    COUNT_FIELDS,
    JSON_FIELDS_FIRST,
    NAT_FIELDS,
    OPTIONAL_FIELDS,
    RULE_FIELDS,
    WIDE_FIELDS,
    Query,
)

Pieces = Iterable[tuple[FlowTable, Evidence]]
"""Tables, each with what its own box told."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a result: parallel columns under their fields."""

    fields: tuple[Field, ...]
    columns: tuple[v.Values, ...]
    rows: int


def listing(
    pieces: Pieces, query: Query, attribute: Attribute | None = None
) -> Iterator[Page]:
    """The pages of a listing, at least one, in bounded memory where possible.

    The fields of a page may be more than those of the one before: a column
    appears when the first flow that fills it does.

    Args:
        pieces: the flows.
        query: what to show of them.
        attribute: asks which rules made the flows that are shown.

    Raises:
        UnknownColumn: a column that does not exist.
    """
    readings = _chosen(pieces, query, attribute)
    columns = _Columns(query)
    if query.group:
        yield _limited(_grouped(list(readings), query), query.limit)
    elif query.sort:
        yield _limited(_sorted(list(readings), columns, query), query.limit)
    else:
        yield from _pages(readings, columns, query.limit)


def _chosen(
    pieces: Pieces, query: Query, attribute: Attribute | None
) -> Iterator[Reading]:
    """The rows to show; pieces without any are passed over."""
    for table, evidence in pieces:
        reading = Reading(table, evidence, attribute)
        if not query.untranslated:
            kept = reading.nat.kind != Kind.NONE
            if not kept.all():
                reading = reading.of(table.mask(kept))
        if len(reading.table):
            yield reading


def _pages(
    readings: Iterator[Reading], columns: _Columns, left: int | None
) -> Iterator[Page]:
    shown = False
    for reading in readings:
        if left is not None and len(reading.table) > left:
            reading = reading.of(reading.table.take(slice(0, left)))
        if left != 0:
            shown = True
            yield _page(reading, columns.of(reading))
        if left is not None:
            left -= len(reading.table)
            if left <= 0:
                break
    if not shown:
        empty = Reading(FlowTable.empty(), Evidence())
        yield _page(empty, columns.of(empty))


def _page(reading: Reading, chosen: list[Field]) -> Page:
    values = tuple(field.values(reading) for field in chosen)
    return Page(tuple(chosen), values, len(reading.table))


_ZONES = ("zone", "orig_zone", "reply_zone")


class _Columns:
    """The columns to show, which grow with what the flows fill."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._known: set[str] = set()

    def of(self, reading: Reading) -> list[Field]:
        """The fields for these rows and all before them."""
        if self._query.columns is not None:
            return fields(self._query.columns)
        if self._query.everything:
            also = RULE_FIELDS if self._query.rules else ()
            return fields((*everything(reading.table), *also))
        return fields(self._of_text(reading))

    def _of_text(self, reading: Reading) -> list[str]:
        optional = WIDE_FIELDS if self._query.wide else OPTIONAL_FIELDS
        for name in {*optional, "target", "netns", *_ZONES} - self._known:
            if fields([name])[0].values(reading).valid.any():
                self._known.add(name)
        shown = [n for n in NAT_FIELDS if n != "target" or "target" in self._known]
        first = ["netns"] if "netns" in self._known else []
        for zone in _ZONES:
            if zone in self._known:
                shown.insert(shown.index("kind"), zone)
        later = [n for n in optional if n in self._known and n not in (*first, *shown)]
        rules = ["rule"] if self._query.rules else []
        return [*first, *shown, *later, *rules]


def everything(table: FlowTable) -> tuple[str, ...]:
    """Names of all that is known of these flows, for programs."""
    derived = ("age", "idle", "bytes", "packets", "flags")
    skip = {"proto", "reply_proto", "extra", "status_mask"}
    stored = (name for name in table.columns if name not in skip)
    return (*JSON_FIELDS_FIRST, *derived, *stored)


def _together(readings: Sequence[Reading], field: Field) -> v.Values:
    """One field of all rows."""
    if not readings:
        return field.values(Reading(FlowTable.empty(), Evidence()))
    return v.concat([field.values(reading) for reading in readings])


def _sorted(readings: list[Reading], columns: _Columns, query: Query) -> Page:
    chosen: dict[str, Field] = {}
    for reading in readings or [Reading(FlowTable.empty(), Evidence())]:
        chosen = {field.name: field for field in columns.of(reading)} | chosen
    names = [name.removeprefix("-") for name in query.sort]
    keys = [_together(readings, field) for field in fields(names)]
    rows = sum(len(reading.table) for reading in readings)
    order = v.order(keys, rows, [name.startswith("-") for name in query.sort])
    shown = [v.take(_together(readings, field), order) for field in chosen.values()]
    return Page(tuple(chosen.values()), tuple(shown), rows)


def _grouped(readings: list[Reading], query: Query) -> Page:
    """Flows, bytes and packets of each distinct set of values."""
    by = fields(query.group)
    rows = sum(len(reading.table) for reading in readings)
    columns = [_together(readings, field) for field in by]
    first, of_row = v.group(columns, rows)
    found = [v.take(column, first) for column in columns]
    named = [*by, _FLOWS]
    found.append(_flows(of_row, len(first)))
    for field in fields(COUNT_FIELDS[1:]):
        counted = _together(readings, field)
        if isinstance(counted, v.Numbers) and counted.valid.any():
            named.append(field)
            found.append(_totals(counted, of_row, len(first)))
    return _ranked(Page(tuple(named), tuple(found), len(first)), query)


def _ranked(page: Page, query: Query) -> Page:
    """Most flows first, unless another order was asked for."""
    by = list(query.sort) or ["-flows"]
    named = dict(zip((f.name for f in page.fields), page.columns, strict=True))
    keys = [name.removeprefix("-") for name in by]
    missing = [name for name in keys if name not in named]
    fields(missing)  # a name that is no column at all is an error
    kept = [(named[key], name[:1] == "-") for key, name in zip(keys, by, strict=True)
            if key in named]  # fmt: skip
    rows = v.order([k for k, _ in kept], page.rows, [turned for _, turned in kept])
    return Page(page.fields, tuple(v.take(c, rows) for c in page.columns), page.rows)


def _limited(page: Page, limit: int | None) -> Page:
    if limit is None or limit >= page.rows:
        return page
    columns = tuple(v.take(column, slice(0, limit)) for column in page.columns)
    return Page(page.fields, columns, limit)


def _flows(of_row: NDArray[np.intp], groups: int) -> v.Numbers:
    counts = np.bincount(of_row, minlength=groups).astype(np.uint64)
    return v.Numbers(counts, np.ones(groups, np.bool_))


def _totals(found: v.Numbers, of_row: NDArray[np.intp], groups: int) -> v.Numbers:
    """Sums; unknown where any row of the group is, as a part is no total."""
    totals = np.zeros(groups, np.uint64)
    np.add.at(totals, of_row[found.valid], found.values[found.valid].astype(np.uint64))
    unknown = np.bincount(of_row[~found.valid], minlength=groups) > 0
    return v.Numbers(totals, ~unknown, found.unit)


def _one_each(reading: Reading) -> v.Values:
    n = len(reading.table)
    return v.Numbers(np.ones(n, np.uint64), np.ones(n, np.bool_))


_FLOWS = Field("flows", "FLOWS", "how many flows", _one_each)
