"""``-S``: the counters of each CPU."""

from __future__ import annotations

from natscope.cli import output
from natscope.codec import request, stats
from natscope.errors import KernelError
from natscope.render.conntrack.stats import cpu_line
from natscope.sources.nlsocket import NetlinkSocket

_PROC = "/proc/net/stat/nf_conntrack"


def show() -> None:
    """Print the counters, a CPU a line.

    Raises:
        KernelError: from netlink, after what /proc tells was printed.
    """
    try:
        with NetlinkSocket() as sock:
            asked = request.statistics_by_cpu(seq=sock.next_seq())
            answers = sock.ask(asked, "reading the per-CPU counters")
    except KernelError:
        output.write(b"".join(_proc()))
        raise
    found = map(stats.decode_cpu_stats, answers)
    output.write(b"".join(cpu_line(one.cpu, one.counters) for one in found))


def _proc() -> list[bytes]:
    """The same from /proc: a heading, then hexadecimal numbers, a CPU a line."""
    with open(_PROC) as file:  # noqa: PTH123 - as single.count
        heading, *rows = file.read().splitlines()
    names = heading.split()
    return [
        cpu_line(cpu, dict(zip(names, (int(n, 16) for n in row.split()), strict=False)))
        for cpu, row in enumerate(rows)
    ]
