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
    from natscope.sources.base import Source
    from natscope.table.flowtable import FlowTable
    from natscope.views.query import Query

HOME_AND_CLEAR = b"\x1b[H\x1b[2J"
SHORTEST_S = 0.2


def watch(
    options: argparse.Namespace, query: Query, wanted: Filter | None, file: str | None
) -> NoReturn:
    """List until interrupted; the largest rates first unless sorted otherwise."""
    if file is not None:
        raise UsageError("--watch needs the live table, not a file")
    if options.watch < SHORTEST_S:
        raise UsageError(f"--watch takes at least {SHORTEST_S} seconds")
    if not query.sort and not query.group:
        query = replace(query, sort=("rate", "bytes"), descending=True)
    with inputs.opened(options, None) as source:
        before: FlowTable | None = None
        then = 0.0
        while True:
            table, now = source.table(wanted), time.monotonic()
            if before is not None:
                from natscope.views.rates import with_rates

                shown = with_rates(before, table, now - then)
            else:
                shown = table
            output.write(_screen(source, shown, query, options))
            before, then = table, now
            time.sleep(options.watch)


def _screen(
    source: Source, table: FlowTable, query: Query, options: argparse.Namespace
) -> bytes:
    from natscope.views.listing import listing

    terminal = output.is_terminal()
    if terminal and query.limit is None:
        query = replace(query, limit=output.terminal_rows() - 3)
    writer = formats.writer(options)
    names = formats.Names(options)
    out = [HOME_AND_CLEAR] if terminal else []
    if not formats.for_programs(options):
        moment = time.strftime("%H:%M:%S")
        out.append(f"{moment}  {len(table)} flows match\n".encode())
    for page in listing([table], source.evidence(), query):
        names.resolve(writer, page)
        out.append(writer.write(page))
    return b"".join([*out, writer.end(), b"" if terminal else b"\n"])
