"""``natscope flush --yes [FILTER]``."""

from __future__ import annotations

import argparse

from natscope.cli import changing, diagnostics, inputs
from natscope.cli.diagnostics import UsageError

EPILOG = """\
examples:
  natscope flush --yes                 every flow of this namespace
  natscope flush --yes ip6             every IPv6 flow, in one request
Flows that come while it runs are deleted as well, and no undo brings them back;
natscope delete touches only what it listed before.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope flush``."""
    made = inputs.command_parser(
        "flush", "Delete every flow, or all of a kind.", EPILOG
    )
    made.add_argument(
        "words", nargs="*", metavar="FILTER", help="which flows, if not all"
    )
    changing.add_options(made)
    return made


def run(argv: list[str]) -> int:
    """Flush the table, when told so by name."""
    options = inputs.parse(parser(), argv)
    if not (options.yes or options.dry_run or changing.somebody_asks()):
        raise UsageError(
            "flushing needs --yes", hint="natscope flush --dry-run shows the plan"
        )
    from natscope.actions import plan
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        with changing.planning():
            planned = plan.flush(kernel, " ".join(options.words))
        return changing.carry_out(options, planned, ask=True)
