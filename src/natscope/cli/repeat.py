"""``natscope list --watch``: the listing again and again, with rates."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from natscope.cli import formats, inputs, output
from natscope.cli.diagnostics import UsageError

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.model.evidence import Evidence
    from natscope.sources.base import Source
    from natscope.table.flowtable import FlowTable
    from natscope.views.query import Query

HOME_AND_CLEAR = b"\x1b[H\x1b[2J"
SHORTEST_S, LONGEST_S = 0.2, 86_400


def repeat(
    options: argparse.Namespace, query: Query, wanted: Filter | None, file: str | None
) -> NoReturn:
    """List until interrupted; the largest rates first unless sorted otherwise."""
    if file is not None:
        raise UsageError("--watch needs the live table, not a file")
    if not SHORTEST_S <= options.watch <= LONGEST_S:
        raise UsageError(f"--watch takes {SHORTEST_S} to {LONGEST_S} seconds")
    if not query.sort and not query.group:
        query = replace(query, sort=("-rate", "-bytes"))
    names = formats.Names(options)
    with inputs.opened(options, None) as source:
        rates = _Rates(source, wanted)
        while True:
            output.write(_screen(rates.read(), query, options, names))
            if options.csv or options.tsv:
                options.no_headers = True  # one heading for all readings
            time.sleep(options.watch)


class _Rates:
    """Readings of a source with the rates since the one before."""

    def __init__(self, source: Source, wanted: Filter | None) -> None:
        self._source = source
        self._wanted = wanted
        # a filter on rates can only be applied once they are known
        self._late = wanted is not None and "rate" in wanted.needs()
        self._before: FlowTable | None = None
        self._then = 0.0

    def read(self) -> list[tuple[FlowTable, Evidence]]:
        """The pieces of one reading."""
        from natscope.table.flowtable import FlowTable
        from natscope.views.rates import with_rates

        pieces = self._source.pieces(None if self._late else self._wanted)
        found, now = list(pieces), time.monotonic()
        whole = FlowTable.concat([table for table, _ in found])
        if self._before is not None:
            before, elapsed = self._before, now - self._then
            found = [(with_rates(before, table, elapsed), e) for table, e in found]
        self._before, self._then = whole, now
        if self._late and self._wanted is not None:
            mask = self._wanted.mask
            found = [(table.mask(mask(table, e)), e) for table, e in found]
        return found


def _screen(
    pieces: list[tuple[FlowTable, Evidence]],
    query: Query,
    options: argparse.Namespace,
    names: formats.Names,
) -> bytes:
    from natscope.views.listing import listing

    people = not formats.for_programs(options)
    terminal = people and output.is_terminal()
    if terminal and query.limit is None:
        query = replace(query, limit=output.terminal_rows() - 3)
    writer = formats.writer(options, rows="groups" if query.group else "flows")
    names.restart()
    lines, rows = [], 0
    for page in listing(pieces, query):
        names.resolve(writer, page)
        lines.append(writer.write(page))
        rows += page.rows
    lines.append(writer.end())
    if people:
        moment = time.strftime("%H:%M:%S")
        lines.insert(0, f"{moment}  {rows} shown\n".encode())
        lines.append(b"" if terminal else b"\n")
    return b"".join([HOME_AND_CLEAR if terminal else b"", *lines])
