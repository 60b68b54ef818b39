"""Measure natscope and its peers on the same table, in turn.

    python -m bench [--sizes 10000,100000,1000000] [--runs 5] [--seconds 60]

Every figure is the median of paired runs (A B A B …) in this one process's
namespace; what to trust is the ratio, since machines differ and are noisy.
Tables beyond net.netfilter.nf_conntrack_max need root: the limit is raised for
the run and put back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench import (
    checking,
    conntrack,
    diagnosis,
    events,
    rehearsal,
    staleness,
    tracing,
)
from bench.fill import fill
from bench.runs import command, paired, report, say, timed
from natscope.codec.encode import dump_request
from natscope.model.prefilter import KernelFilter
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.sources.nlsocket import NetlinkSocket

LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
NATSCOPE = (sys.executable, "-m", "natscope")
NETSTAT_NAT_MOST = 20_000
"""netstat-nat 1.4.10 is quadratic: 5 s at 20,000 flows, hours at a million."""
PYROUTE2_MOST = 100_000
CHANGED = 200_000
"""Flows of the table that conntrack's commands are compared on."""
BURST = 300_000
"""Flows made and flushed while events are followed."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60, help="of steady events")
    options = parser.parse_args(argv)
    sizes = [int(size) for size in options.sizes.split(",")]
    say(f"{os.uname().release}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}")
    diagnosis.entry()
    with limit_at_least(2 * max(sizes)):
        walk = cold_start(options.runs)
        conntrack.start_up(options.runs)
        seconds = {size: measure(size, options.runs) for size in sizes}
        conntrack.measure(min(max(sizes), CHANGED), options.runs)
        events.measure(min(max(sizes), BURST), options.seconds)
        diagnosis.measure(min(max(sizes), diagnosis.FLOWS), options.runs)
    rehearsal.measure()
    checking.measure()
    tracing.measure()
    staleness.measure()
    diagnosis.bundled()
    small, large = min(sizes), max(sizes)
    if small != large:
        per_flow = {size: (took - walk) / size for size, took in seconds.items()}
        growth = per_flow[large] / per_flow[small]
        say(
            f"\ncolumns cost {per_flow[large] * 1e6:.2f} us a flow beside the walk of "
            f"the empty hash ({walk * 1e3:.0f} ms)\n"
            f"growth of that, {small} -> {large} flows: x{growth:.2f} (1.00 is linear)"
        )


@contextmanager
def limit_at_least(entries: int) -> Iterator[None]:
    """Raise the host's entry limit for the run; put it back whatever happens."""
    before = LIMIT.read_text()
    if int(before) >= entries:
        yield
        return
    LIMIT.write_text(str(entries))
    try:
        yield
    finally:
        LIMIT.write_text(before)


def cold_start(runs: int) -> float:
    """A listing of ten flows; the seconds in which their dump alone is done."""
    with new_namespace("bench") as namespace, namespace.enter():
        fill(10)
        numpy = command(sys.executable, "-c", "import numpy")
        ours, theirs = paired(3 * runs, command(*NATSCOPE, "list"), numpy)
        say("\n10 flows, cold")
        report("natscope list", ours, "python -c 'import numpy'", theirs)
        decode()
        return statistics.median(timed(decode)().seconds for _ in range(runs))


def measure(size: int, runs: int) -> float:
    """All pairs at one size; the seconds the columns take."""
    with new_namespace("bench") as namespace, namespace.enter():
        fill(size)
        say(f"\n{size} flows: a third IPv6, TCP and UDP, a third unreplied, all SNAT")
        floor, columns = paired(runs, timed(receive), timed(decode))
        report("columns", columns, "receive floor", floor)
        ours, stock = paired(
            runs, command(*NATSCOPE, "list"), command("conntrack", "-L")
        )
        report("natscope list", ours, "conntrack -L", stock)
        ours, stock = paired(
            runs,
            command(*NATSCOPE, "list", "--ndjson"),
            command("conntrack", "-L", "-o", "xml"),
        )
        report("natscope list --ndjson", ours, "conntrack -L -o xml", stock)
        netstat_nat(size, runs)
        pyroute2(size)
        return statistics.median(run.seconds for run in columns)


def netstat_nat(size: int, runs: int) -> None:
    ours = command(*NATSCOPE, "netstat-nat", "-nN")
    if shutil.which("netstat-nat") and size <= NETSTAT_NAT_MOST:
        mine, stock = paired(min(runs, 3), ours, command("netstat-nat", "-nN"))
        report("natscope netstat-nat -nN", mine, "netstat-nat -nN", stock)
    else:
        report("natscope netstat-nat -nN", [ours() for _ in range(min(runs, 3))])


def pyroute2(size: int) -> None:
    if size > PYROUTE2_MOST:
        return
    program = (
        "from pyroute2 import NFCTSocket; s = NFCTSocket(); print(len(list(s.dump())))"
    )
    run = command(sys.executable, "-W", "ignore", "-c", program)
    try:
        report("pyroute2 NFCTSocket.dump()", [run()])
    except RuntimeError:
        say("  pyroute2 is not installed, or cannot")


def receive() -> None:
    """The floor: take the dump from the kernel and look at nothing."""
    with closing(NetlinkSocket()) as sock:
        request = dump_request(KernelFilter(), seq=sock.next_seq())
        for _ in sock.dump(request, "bench"):
            pass


def decode() -> None:
    with Kernel() as kernel:
        for _ in kernel.chunks():
            pass


if __name__ == "__main__":
    main()
