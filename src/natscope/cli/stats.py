"""``natscope stats``: how full the table is, and the counters, explained."""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from natscope.cli import diagnostics, formats, inputs, output
from natscope.cli.diagnostics import ExitCode, UsageError
from natscope.sources.kernel import Kernel
from natscope.views.counters import Fill, counters
from natscope.views.doctor.counters import feeds

if TYPE_CHECKING:
    from natscope.codec.stats import CpuStats
    from natscope.views.counters import Counter

LONGEST_S = 86_400
EPILOG = """\
examples:
  natscope stats                 totals since boot
  natscope stats --interval 10   what changed in ten seconds: the number to trust
  natscope stats --cpus          each CPU by itself
natscope doctor judges them; explain-counter tells of one, and of others in /proc.
Totals count since boot, so a large one may be old news: measure the change.
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope stats``."""
    made = inputs.command_parser(
        "stats", "Entries against the limit, and the kernel's counters.", EPILOG
    )
    made.add_argument("--netns", metavar="NAME|PID|PATH", help="another namespace")
    made.add_argument("-i", "--interval", type=float, metavar="SECONDS")
    made.add_argument("--cpus", action="store_true", help="each CPU by itself")
    formats.add_format_options(made)
    return made


def run(argv: list[str]) -> int:
    """Show the fill of the table and the counters."""
    options = parser().parse_args(argv)
    if options.interval is not None and not 0 < options.interval <= LONGEST_S:
        raise UsageError(f"--interval takes a number of seconds up to {LONGEST_S}")
    with Kernel(options.netns, wire=diagnostics.wire()) as kernel:
        before = None
        if options.interval is not None:
            before = kernel.cpu_stats()
            time.sleep(options.interval)
        entries, limit = kernel.count()
        limit = limit or kernel.sysctl("nf_conntrack_max")
        fill = Fill(entries, limit, kernel.sysctl("nf_conntrack_buckets"))
        now = kernel.cpu_stats()
    found = counters(
        {cpu.cpu: cpu.counters for cpu in now},
        {cpu.cpu: cpu.counters for cpu in before} if before is not None else None,
    )
    rows = [asdict(counter) for counter in found]
    columns = ("name", "total", "delta", "meaning")
    if not formats.write_rows(options, _document(fill, found, now), rows, columns):
        lines = [*_fill_lines(fill), "", *_counter_lines(found)]
        lines += ["", *_cpu_lines(now)] if options.cpus else []
        output.write("".join(f"{line}\n" for line in lines).encode())
    return ExitCode.DONE


def _fill_lines(fill: Fill) -> list[str]:
    line = f"entries  {fill.entries}"
    if fill.limit:
        line += f" of {fill.limit}, {100 * (fill.share or 0):.1f} % full"
    lines = [line]
    if fill.buckets:
        load = 2 * fill.entries / fill.buckets
        lines.append(
            f"buckets  {fill.buckets}, this namespace fills {load:.2f} a bucket "
            "(two hashes an entry; the hash is the whole host's)"
        )
    return lines


def _counter_lines(found: list[Counter]) -> list[str]:
    names = max([len(counter.name) for counter in found], default=7)
    measured = any(counter.delta is not None for counter in found)
    head = f"{'COUNTER':<{names}}  {'TOTAL':>10}"
    lines = [head + (f"  {'CHANGE':>8}" if measured else "") + "  MEANING"]
    for counter in found:
        line = f"{counter.name:<{names}}  {counter.total:>10}"
        if measured:
            line += f"  {counter.delta or 0:>+8}"
        indent = " " * (len(line) + 2)
        first, *more = textwrap.wrap(counter.meaning, 60)
        if rules := ", ".join(feeds(counter.name)):
            more.append(f"findings: {rules}")
        lines.append(f"{line}  {first}")
        lines += [indent + text for text in more]
    return lines


def _cpu_lines(cpus: list[CpuStats]) -> list[str]:
    return [
        f"cpu {cpu.cpu}: " + " ".join(f"{k}={v}" for k, v in cpu.counters.items())
        for cpu in cpus
    ]


def _document(fill: Fill, found: list[Counter], cpus: list[CpuStats]) -> dict[str, Any]:
    return {
        "schema": "natscope.stats/1",
        "entries": fill.entries,
        "limit": fill.limit,
        "buckets": fill.buckets,
        "counters": {
            counter.name: {"total": counter.total, "meaning": counter.meaning}
            | {"findings": list(feeds(counter.name))}
            | ({} if counter.delta is None else {"change": counter.delta})
            for counter in found
        },
        "cpus": [{"cpu": cpu.cpu, **cpu.counters} for cpu in cpus],
    }
