"""``natscope capacity``: how large the table and its hash should be."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, formats, inputs, moments, output
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.views.capacity import Demand, Present

_SHARE = 25.0
EPILOG = """\
examples:
  natscope capacity                          for the entries there are now
  natscope capacity --peak 400000            for the busiest hour
  natscope capacity --rate 5000 --lifetime 2m   new flows a second, and how long each
  natscope capacity --bundle gw1.json.gz --memory 8G   of another box
A flow stays as long as it lives and one timeout more: entries = rate x lifetime.
"""
_MOST_FLOWS = 1 << 32


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = inputs.command_parser(
        "capacity", "How large the table and its hash should be, and why.", EPILOG
    )
    where = made.add_argument_group("which box")
    inputs.add_box_options(where)
    where.add_argument(
        "--memory", metavar="SIZE", help="of a box with this much memory: 8G"
    )
    traffic = made.add_argument_group("what it is to bear")
    traffic.add_argument(
        "--peak", type=int, metavar="N", help="entries in the busiest hour"
    )
    traffic.add_argument(
        "--rate", type=float, metavar="N", help="new flows a second, with --lifetime"
    )
    traffic.add_argument(
        "--lifetime", metavar="TIME", help="of a flow, its last timeout included"
    )
    traffic.add_argument(
        "--share",
        type=float,
        default=_SHARE,
        metavar="PERCENT",
        help=f"of the memory, for a full table (default {_SHARE:.0f})",
    )
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Reckon, and tell."""
    options = inputs.parse(parser(), argv)
    inputs.see_one_box(options)
    if not 0 < options.share <= 100:
        raise UsageError("--share takes per cent, from above 0 to 100")
    asked = _asked(options)
    from natscope.render import capacity as rendered
    from natscope.views.capacity import COLUMNS, Demand, Sizing, record

    present = _of_bundle(options) if options.bundle else _live(options)
    if asked is None and present.entries:
        asked = Demand(present.entries, "those of now; --peak tells the busiest hour")
    sizing = Sizing(present, asked, options.share / 100)
    found = record(sizing)
    document = {"schema": "natscope.capacity/1", **found}
    if not formats.write_rows(options, document, [found], COLUMNS):
        lines = rendered.text(sizing)
        output.write("".join(f"{line}\n" for line in lines).encode())
    return ExitCode.DONE


def _asked(options: argparse.Namespace) -> Demand | None:
    """What the options want the box to bear."""
    from natscope.views.capacity import Demand

    if (options.rate is None) != (options.lifetime is None):
        raise UsageError("--rate and --lifetime go together")
    if options.rate is not None and options.peak is not None:
        raise UsageError("choose one of --peak and --rate")
    if options.peak is not None:
        if options.peak < 1:
            raise UsageError("--peak takes a number from 1 up")
        return Demand(options.peak, "--peak")
    if options.rate is None:
        return None
    if not (math.isfinite(options.rate) and options.rate > 0):
        raise UsageError("--rate takes a number above 0")
    seconds = moments.seconds(options.lifetime, "--lifetime")
    if options.rate * seconds > _MOST_FLOWS:
        raise UsageError("--rate times --lifetime is more than any table can hold")
    peak = math.ceil(options.rate * seconds)
    return Demand(peak, f"{options.rate:g} new a second x {seconds:g} s")


def _live(options: argparse.Namespace) -> Present:
    from natscope.errors import KernelError
    from natscope.sources.kernel import Kernel
    from natscope.sources.memory import read_memory
    from natscope.views.capacity import Present

    memory = read_memory()
    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        entries, limit = kernel.sysctl("nf_conntrack_count"), None
        try:
            entries, limit = kernel.count()
        except KernelError as error:
            diagnostics.complain(str(error), error.hint)
        limit = limit or kernel.sysctl("nf_conntrack_max")
        buckets = kernel.sysctl("nf_conntrack_buckets")
    return Present(
        entries,
        limit,
        buckets,
        _memory(options) or memory.total,
        memory.entry_bytes,
    )


def _of_bundle(options: argparse.Namespace) -> Present:
    from natscope.sources.bundle import load
    from natscope.views.capacity import Present

    box = load(options.bundle)

    entries, limit, buckets = (
        box.number(f"net/netfilter/nf_conntrack_{name}")
        for name in ("count", "max", "buckets")
    )
    return Present(entries, limit, buckets, _memory(options))


def _memory(options: argparse.Namespace) -> int | None:
    if options.memory is None:
        return None
    return moments.size_bytes(options.memory, "--memory")
