"""``natscope restore FILE``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from natscope.cli import changing, diagnostics, inputs
from natscope.cli.diagnostics import ExitCode

if TYPE_CHECKING:
    from natscope.model.expectation import Expectation
    from natscope.sources.files import Listing

EPILOG = """\
examples:
  natscope restore /root/flows.jsonl        flows that are there are left as they are
  conntrack -L -o save | natscope restore -
  natscope restore --replace flows.jsonl    … or get the values of the file
Any saved listing is read; what natscope save wrote lacks nothing.  A flow that
cannot be read or is refused does not stop the others.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope restore``."""
    made = inputs.command_parser("restore", "Put a saved table back.", EPILOG)
    made.add_argument("file", metavar="FILE", help="a saved listing; - is stdin")
    made.add_argument("words", nargs="*", metavar="FILTER", help="which of its flows")
    made.add_argument(
        "--replace", action="store_true", help="change flows that are there"
    )
    changing.add_options(made)
    return made


def run(argv: list[str]) -> int:
    """Put the flows of a file into the table."""
    options = inputs.parse(parser(), argv)
    from natscope.actions import plan
    from natscope.sources import read
    from natscope.sources.kernel import Kernel

    wanted = inputs.filter_of(options.words)
    with changing.planning():
        listing = read(options.file)
        table = listing.table(wanted)
        # a filter is about flows
        expectations, unreadable = _expectations(listing) if wanted is None else ([], 0)
    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        planned = plan.insert(
            kernel, table, replace=options.replace, expectations=expectations
        )
        code = changing.carry_out(options, planned)
    if listing.format is None and not listing.problems and not expectations:
        return code  # there was nothing to lack anything
    whole = inputs.report(listing) == ExitCode.DONE and not unreadable
    return code if whole else ExitCode.PARTLY


def _expectations(listing: Listing) -> tuple[list[Expectation], int]:
    """The expectations of a file, and how many cannot be read: each is named."""
    from natscope.codec.text.cells import Unreadable
    from natscope.codec.text.expectation import from_json

    found = []
    for told, line in listing.expectations:
        try:
            found.append(from_json(told))
        except Unreadable as error:
            diagnostics.complain(f"{listing.name}, line {line}: {error}")
    return found, len(listing.expectations) - len(found)
