"""What a look at a box costs beside a plain listing of the same table.

    python -m bench.diagnosis [--flows 200000] [--runs 3]

Each command is a whole process; the ratio is of paired runs, natscope's time over that
of ``conntrack -L``.  Before it, what an entry takes of the kernel's memory, beside what
``natscope capacity`` reckons with; after it, what watching takes of a CPU, and a box in
a bundle with a million flows.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.exhaustion import crowd
from bench.fill import fill
from bench.runs import command, paired, report, say
from bench.staleness import box_of, flows_of
from natscope.codec import flowcolumns
from natscope.codec.bundle import encode
from natscope.sources.memory import read_memory
from natscope.sources.netns import new_namespace
from natscope.views.capacity import Present, Sizing

FLOWS, RUNS = 200_000, 3
BUNDLED = 1_000_000
RULES = (500, 5_000)
NATSCOPE = (sys.executable, "-m", "natscope")
COMMANDS = (
    ("timeouts",),
    ("capacity",),
    ("ports",),
    ("doctor", "--interval", "0.2s", "--fail-on", "critical"),
)
MEASURED = 50_000
"""Flows whose memory is measured."""
WATCHED_S = 10
_SETTINGS = Path("/proc/sys/net/netfilter")
_KIB = 1024


def measure(flows: int = FLOWS, runs: int = RUNS) -> None:
    """Each command on a table of so many flows."""
    with new_namespace("bench") as namespace, namespace.enter():
        fill(flows)
        say(f"\n{flows} flows: a look at the box beside its listing")
        for words in COMMANDS:
            ours = command(*NATSCOPE, *words)
            mine, stock = paired(runs, ours, command("conntrack", "-L"))
            report(f"natscope {words[0]}", mine, "conntrack -L", stock)
        watch()


def bundled(flows: int = BUNDLED, runs: int = RUNS) -> None:
    """Commands on another's box in a file, with so many flows."""
    packed = flowcolumns.pack(flows_of(flows, RULES[0]))
    with tempfile.TemporaryDirectory() as directory:
        for rules in RULES:
            file = str(Path(directory, f"{rules}.json.gz"))
            box = replace(box_of(rules), flows=packed)
            Path(file).write_bytes(encode(box, compressed=True))
            size = Path(file).stat().st_size >> 20
            say(f"\na bundle of {flows} flows and {rules} rules: {size} MiB")
            for words in (("doctor", "--bundle", file), ("count", file, "udp")):
                run = command(*NATSCOPE, *words, codes=range(5))
                report(f"natscope {words[0]}", [run() for _ in range(runs)])


def watch() -> None:
    """The share of a CPU that ``ports --watch`` takes, asked for five a second."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = (*NATSCOPE, "ports", "--watch", "0.2s")
    silent = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=silent, stderr=silent) as watching:
        time.sleep(WATCHED_S)
        watching.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    say(f"  natscope ports --watch 0.2s: {cpu / WATCHED_S:.0%} of a CPU")


def entry() -> None:
    """Bytes of slab an entry takes that a packet has made, with all its extensions.

    To be measured first: many flows of a namespace that is gone are freed later.
    """
    with new_namespace("bench") as namespace, namespace.enter():
        for name in ("acct", "timestamp", "events"):
            (_SETTINGS / f"nf_conntrack_{name}").write_text("1")
        with crowd(random.Random(1)) as hosts:
            before = _slab_bytes()
            hosts.fill(MEASURED)
            taken = (_slab_bytes() - before) / MEASURED
    present = Present(None, None, None, None, read_memory().entry_bytes)
    reckoned = Sizing(present, None, 1.0).bytes_per_entry
    say(f"an entry takes {taken:.0f} bytes; capacity reckons with {reckoned}")


def _slab_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (told,) = (line.split()[1] for line in lines if line.startswith("Slab:"))
    return int(told) * _KIB


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.diagnosis")
    parser.add_argument("--flows", type=int, default=FLOWS)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args(argv)
    entry()
    measure(options.flows, options.runs)
    bundled(runs=options.runs)


if __name__ == "__main__":
    main()
