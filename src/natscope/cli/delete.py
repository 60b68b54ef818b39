"""``natscope delete FILTER``."""

from __future__ import annotations

import argparse

from natscope.cli import changing, diagnostics, inputs
from natscope.cli.diagnostics import UsageError

EPILOG = """\
examples:
  natscope delete --dry-run udp and dst port 53    what would be deleted
  natscope delete public 203.0.113.7:41234         the flow behind a public port
  natscope delete tcp and src 10.0.0.5 and idle '>1h'
  natscope undo                                    put back what was deleted
What is deleted is exactly what natscope list --all shows with the same filter.
A deleted TCP flow may come back with its next packet (nf_conntrack_tcp_loose).
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope delete``."""
    made = inputs.command_parser("delete", "Delete the flows a filter matches.", EPILOG)
    made.add_argument("words", nargs="*", metavar="FILTER", help="which flows")
    changing.add_options(made)
    return made


def run(argv: list[str]) -> int:
    """Delete the flows the command line names."""
    options = inputs.parse(parser(), argv)
    wanted = needed_filter(options, "delete")
    from natscope.actions import plan
    from natscope.sources.kernel import Kernel

    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        with changing.planning():
            planned = plan.delete(kernel, wanted)
        return changing.carry_out(options, planned)


def needed_filter(options: argparse.Namespace, verb: str) -> str:
    """The filter as text.

    Raises:
        UsageError: there is none.
    """
    text = " ".join(options.words)
    if not text.strip():
        raise UsageError(
            f"which flows? natscope {verb} needs a filter",
            hint=f"natscope help filter; of every flow: natscope {verb} ip or ip6",
        )
    return text
