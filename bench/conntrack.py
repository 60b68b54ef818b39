"""conntrack(8) and its stand-in on the same table: lists, deletes, updates, loads.

Every run that changes the table starts from a table just filled, so both tools
find the same work.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.fill import fill
from bench.runs import Run, command, paired, report, say
from natscope.sources.netns import new_namespace

OURS = (sys.executable, "-m", "natscope", "conntrack")
STOCK = ("conntrack",)

Words = tuple[str, ...]

ONE_HOST: Words = ("-s", "10.0.1.7")
"""Sixteen flows of the table: bench.fill puts as many behind a host."""
LISTS: tuple[Words, ...] = (
    ("-L",),
    ("-L", *ONE_HOST),
    ("-L", "-o", "xml"),
    ("-L", "-o", "save"),
)
CHANGES: tuple[Words, ...] = (
    ("-D", *ONE_HOST),
    ("-D", "-p", "udp"),
    ("-D", "-f", "ipv4"),
    ("-U", "-f", "ipv4", "-m", "99"),
)


def start_up(runs: int) -> None:
    """Commands about one entry beside an interpreter that does nothing."""
    ends = "-p tcp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2"
    key = tuple(ends.split())
    make: Words = ("-I", *key, "--state", "ESTABLISHED", "-t", "600")
    nothing = command(sys.executable, "-c", "pass")
    say("\none entry, cold")
    with new_namespace("bench") as namespace, namespace.enter():
        command(*OURS, *make)()
        shown: tuple[Words, ...] = (("-C",), ("-G", *key))
        for words in shown:
            ours, base = paired(3 * runs, command(*OURS, *words), nothing)
            report(f"conntrack {words[0]}", ours, "python -c pass", base)
        for first, words in ((("-D", *key), make), (("-A", *make[1:]), ("-D", *key))):
            ours, base = paired(
                3 * runs,
                command(*OURS, *words),
                nothing,
                before=command(*STOCK, *first),
            )
            report(f"conntrack {words[0]}", ours, "python -c pass", base)


def measure(size: int, runs: int) -> None:
    """Lists, changes and a load at one size."""
    say(f"\nconntrack(8) at {size} flows")
    with new_namespace("bench") as namespace, namespace.enter():
        fill(size)
        for words in LISTS:
            compare(words, runs)
    for words in CHANGES:
        changing(words, size, runs)
    load(min(size, 100_000), runs)


def compare(words: Sequence[str], runs: int) -> None:
    ours, stock = paired(runs, command(*OURS, *words), command(*STOCK, *words))
    report(f"natscope conntrack {' '.join(words)}", ours, "conntrack", stock)


def changing(words: Sequence[str], size: int, runs: int) -> None:
    """A change, each time to a new table."""
    ours = [fresh(size, command(*OURS, *words)) for _ in range(runs)]
    try:
        stock = [fresh(size, command(*STOCK, *words)) for _ in range(runs)]
    except RuntimeError as error:
        report(f"natscope conntrack {' '.join(words)}", ours)
        say(f"    the stock tool does not get through: {error}")
        return
    report(f"natscope conntrack {' '.join(words)}", ours, "conntrack", stock)


def load(size: int, runs: int) -> None:
    """``-R`` of what ``-L -o save`` printed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved"
        with new_namespace("bench") as namespace, namespace.enter():
            fill(size)
            command(*STOCK, "-L", "-o", "save", output=path)()
        words = ("-R", str(path))
        ours = [fresh(0, command(*OURS, *words)) for _ in range(runs)]
        stock = [fresh(0, command(*STOCK, *words)) for _ in range(runs)]
    report(f"natscope conntrack -R of {size} lines", ours, "conntrack", stock)


def fresh(size: int, run: Callable[[], Run]) -> Run:
    """A run in a namespace of its own with that many flows."""
    with new_namespace("bench") as namespace, namespace.enter():
        fill(size)
        return run()
