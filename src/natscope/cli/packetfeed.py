"""The options of the commands that show packets as they pass, for a while."""

from __future__ import annotations

import argparse

from natscope.cli import inputs, moments
from natscope.cli.diagnostics import UsageError

LENGTH = "30s"


def parser(
    name: str, about: str, epilog: str, *, count: int | None
) -> argparse.ArgumentParser:
    """The parser of such a command.

    Args:
        name: of the command.
        about: what it does, in a line.
        epilog: examples, and what a user should know.
        count: after how many packets it ends unless told otherwise; None: never.
    """
    made = inputs.command_parser(name, about, epilog)
    made.add_argument(
        "words", nargs="*", metavar="FILTER", help="of which flows; default: of all"
    )
    made.add_argument(
        "--count",
        type=int,
        default=count,
        metavar="N",
        help="end after N packets" + ("" if count is None else f" (default: {count})"),
    )
    made.add_argument(
        "--for",
        dest="length",
        default=LENGTH,
        metavar="TIME",
        help=f"end after 30s, 10m … (default: {LENGTH})",
    )
    inputs.add_netns_option(made)
    made.add_argument("--utc", action="store_true", help="times in UTC, not local")
    shape = made.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="one JSON document")
    shape.add_argument("--ndjson", action="store_true", help="a JSON object a packet")
    made.add_argument("-q", "--quiet", action="store_true", help="no narration")
    return made


def length_s(options: argparse.Namespace) -> float:
    """Seconds to go on for.

    Raises:
        UsageError: that, or the number of packets, is none.
    """
    if options.count is not None and options.count < 1:
        raise UsageError("--count takes a number from 1 up")
    return moments.seconds(options.length, "--for")
