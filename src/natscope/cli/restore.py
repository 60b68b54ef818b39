"""``natscope restore FILE``."""

from __future__ import annotations

import argparse
import errno
from typing import TYPE_CHECKING

from natscope.cli import changing, diagnostics, inputs
from natscope.cli.diagnostics import ExitCode
from natscope.errors import KernelError

if TYPE_CHECKING:
    from natscope.sources.files import Listing
    from natscope.sources.kernel import Kernel

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

    listing = read(options.file)
    wanted = inputs.filter_of(options.words)
    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        planned = plan.insert(kernel, listing.table(wanted), replace=options.replace)
        code = changing.carry_out(options, planned)
        if listing.expectations and wanted is None and not options.dry_run:
            code = max(code, _expect(kernel, listing))
    return code if inputs.report(listing) == ExitCode.DONE else ExitCode.PARTLY


def _expect(kernel: Kernel, listing: Listing) -> int:
    """Put the expectations of a file back; the exit code.

    Those that are there are left as they are.
    """
    from natscope.codec.text.cells import Unreadable
    from natscope.codec.text.expectation import from_json
    from natscope.sources import expectations

    done = there = 0
    with kernel.socket() as sock:
        for told, line in listing.expectations:
            try:
                expectations.create(sock, from_json(told))
                done += 1
            except Unreadable as error:
                diagnostics.complain(f"{listing.name}, line {line}: {error}")
            except KernelError as error:
                there += error.errno == errno.EEXIST
                if error.errno != errno.EEXIST:
                    diagnostics.complain(f"{listing.name}, line {line}: {error}")
    diagnostics.note(f"{done} expectations inserted, {there} there already")
    left = len(listing.expectations) - done - there
    return ExitCode.PARTLY if left else ExitCode.DONE
