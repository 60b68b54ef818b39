"""``natscope count``: how many flows, in all or by column."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from natscope.cli import formats, inputs, output
from natscope.cli.diagnostics import UsageError
from natscope.cli.listing import show

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.sources.base import Source

EPILOG = """\
examples:
  natscope count                          entries, without reading them (O(1))
  natscope count snat and dst port 443    those that match a filter
  natscope count --by proto,state         a line for each, the most first
  natscope count --by inside_address nat  translated flows of each host
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope count``."""
    made = inputs.command_parser(
        "count", "How many flows, in all or by columns.", EPILOG
    )
    inputs.add_source_options(made)
    made.add_argument("--by", metavar="NAME[,…]", help="count by these columns")
    made.add_argument("-l", "--limit", type=int, metavar="N", help="at most N lines")
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Count the flows the command line asks for."""
    options = inputs.parse(parser(), argv)
    file, words = inputs.split_words(options)
    wanted = inputs.filter_of(words)
    with inputs.opened(options, file) as source:
        if options.by:
            from natscope.views.query import Query

            if options.limit is not None and options.limit < 0:
                raise UsageError("--limit takes a number from 0 up")
            by = tuple(name.strip() for name in options.by.split(",") if name.strip())
            query = Query(untranslated=True, group=by, limit=options.limit)
            show(source, query, options, wanted)
        else:
            total = _total(source, wanted)
            row = {"flows": total}
            document = {"schema": "natscope.count/1", **row}
            if not formats.write_rows(options, document, [row], ("flows",)):
                output.write(f"{total}\n".encode())
        return inputs.report(source)


def _total(source: Source, wanted: Filter | None) -> int:
    """The kernel's own count without a filter; else the rows that match."""
    from natscope.sources.kernel import Kernel

    if wanted is None and isinstance(source, Kernel):
        return source.count()[0]
    return sum(len(chunk) for chunk in source.chunks(wanted))
