"""Runs of programs and of code, timed in turn, and told as ratios."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """One run of a program: wall seconds and peak memory in MiB."""

    seconds: float
    mib: float


def timed(work: Callable[[], None]) -> Callable[[], Run]:
    def run() -> Run:
        start = time.perf_counter()
        work()
        return Run(time.perf_counter() - start, 0)

    return run


POLL_S = 0.002
# An installed program has its bytecode beside it.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_WRITE = os.O_WRONLY | os.O_CREAT


def command(
    *words: str,
    output: Path | str = os.devnull,
    codes: Container[int] = frozenset({0}),
) -> Callable[[], Run]:
    """A whole process, its output thrown away or put into a file.

    ``codes`` are the exit codes it may end with.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, fd, str(path), _WRITE, 0o600)
        for fd, path in ((1, output), (2, os.devnull))
    ]

    def run() -> Run:
        start = time.perf_counter()
        pid = os.posix_spawnp(words[0], words, _ENVIRONMENT, file_actions=actions)
        peak, ended = 0.0, 0
        while not ended:
            peak = max(peak, peak_mib(pid))
            time.sleep(POLL_S)
            ended, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status)
        if code not in codes:
            raise RuntimeError(f"{' '.join(words)} ended with {code}")
        return Run(time.perf_counter() - start, peak)

    return run


def peak_mib(pid: int) -> float:
    """VmHWM; wait4's ru_maxrss would hold this process's own size as well."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(w[1]) / 1024 for w in lines if w[:1] == ["VmHWM:"]), 0.0)


def paired(
    runs: int,
    one: Callable[[], Run],
    other: Callable[[], Run],
    before: Callable[[], object] = lambda: None,
) -> tuple[list[Run], list[Run]]:
    """Both in turn, after one run of each that does not count.

    ``before`` makes ready, unmeasured, what ``one`` needs each time.
    """
    pairs = [(before(), one(), other())[1:] for _ in range(runs + 1)][1:]
    return [a for a, _ in pairs], [b for _, b in pairs]


def report(
    name: str, runs: list[Run], peer: str | None = None, theirs: list[Run] | None = None
) -> None:
    line = f"  {name:<26} {figures(runs)}"
    if peer is not None and theirs is not None:
        ratios = [a.seconds / b.seconds for a, b in zip(runs, theirs, strict=True)]
        line += (
            f"   {peer:<26} {figures(theirs)}   ratio {statistics.median(ratios):.2f}"
        )
    say(line)


def figures(runs: list[Run]) -> str:
    seconds = statistics.median(run.seconds for run in runs)
    mib = max(run.mib for run in runs)
    memory = f"{mib:5.0f} MiB" if mib else " " * 9
    return f"{seconds:7.3f} s {memory}"


def say(line: str) -> None:
    print(line, flush=True)
