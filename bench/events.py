"""Events under load: what is lost, what one costs, ours beside the stock tool.

The load runs in a process of its own, on another core where there is one; it
makes and flushes flows in this namespace as fast as the kernel takes them, or
at a given rate.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import recording
from bench.fill import fill
from bench.runs import say
from natscope.actions import plan
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.sources.subscription import Subscription

OURS = (sys.executable, "-m", "natscope")
SILENCE_S = 10.0
RATE = 50_000


def measure(burst: int, seconds: int) -> None:
    """All of it: a burst is as many flows made and flushed; so long a steady rate.

    The table's limit must allow twice the burst.
    """
    say(f"\nevents: {burst} flows made, then flushed")
    with new_namespace("bench") as namespace, namespace.enter():
        floor(burst)
        intake(burst)
        intake(2 * burst)
        steady(RATE, seconds)
        steady(10_000, min(seconds, 10))
        for words in (("conntrack", "-E"), (*OURS, "conntrack", "-E")):
            follower(words, burst)
        follower((*OURS, "watch", "--no-repair"), burst)
        follower((*OURS, "watch"), burst)
    recording.measure(burst)


def floor(burst: int) -> None:
    """What receiving alone costs."""
    with Subscription() as sub, loaded(lambda: churn(burst)):
        told, began = 0, time.thread_time()
        while told < 2 * burst and sub.wait(SILENCE_S):
            time.sleep(0.02)
            while lengths := sub.receive().lengths:
                told += len(lengths)
        spent = time.thread_time() - began
    tell("receive floor", told, f"{spent / told * 1e6:6.2f} us CPU each")


def intake(burst: int) -> None:
    """The public API: received, decoded, filtered by nothing."""
    with Kernel().events() as stream, loaded(lambda: churn(burst)) as load:
        began, wall = time.thread_time(), time.monotonic()
        while stream.count + stream.lost < 2 * burst:
            if stream.read(SILENCE_S) is None:
                break
        spent, wall = time.thread_time() - began, time.monotonic() - wall
        load()
    told = stream.count
    each = f"{spent / told * 1e6:6.2f} us CPU each"
    tell("Kernel.events()", told, each, told / wall, f"{stream.lost} lost")


def steady(rate: int, seconds: int) -> None:
    """A live table at so many events a second."""
    with Kernel().live() as live, loaded(lambda: churn_at(rate, seconds)) as load:
        began, wall = time.thread_time(), time.monotonic()
        while live.read(SILENCE_S) is not None:
            pass
        spent, wall = time.thread_time() - began, time.monotonic() - wall - SILENCE_S
        load()
    share = f"{spent / wall * 100:6.1f} % CPU     "
    tell("Kernel.live()", live.count, share, live.count / wall, f"{live.lost} lost")


def follower(words: Sequence[str], burst: int) -> None:
    """A program that prints events into a file."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        path = Path(directory) / "out"
        with path.open("wb") as out:
            following = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
        time.sleep(1)
        wall = time.monotonic()
        with loaded(lambda: churn(burst)) as load:
            load()
            wall = quiet(path) - wall
        following.send_signal(signal.SIGINT)
        _, _, used = os.wait4(following.pid, 0)
        following.returncode = 0
        with path.open("rb") as lines:
            printed = sum(1 for _ in lines)
    spent = used.ru_utime + used.ru_stime
    name = " ".join(["natscope", *words[3:]] if words[0] == sys.executable else words)
    each = f"{spent / printed * 1e6:6.2f} us CPU each"
    missing = f"{max(0, 2 * burst - printed)} not printed"
    tell(name, 2 * burst, each, printed / wall, missing)


def tell(name: str, events: int, cpu: str, rate: float = 0, lost: str = "") -> None:
    pace = f" {rate:9,.0f} a second  {lost}" if rate else ""
    say(f"  {name:<26} {events:9} events {cpu}{pace}")


def quiet(path: Path) -> float:
    """Wait until a file has stopped to grow; when that was."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < SILENCE_S:
        if (now := path.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.05)
    return since


def churn(flows: int) -> None:
    """So many flows, made and flushed."""
    fill(flows)
    plan.flush(Kernel()).run()


def churn_at(rate: int, seconds: int) -> None:
    """So many events a second, half of them births and half ends."""
    step_s = 0.1
    flows = int(rate * step_s / 2)
    began = time.monotonic()
    for step in range(int(seconds / step_s)):
        churn(flows)
        time.sleep(max(0.0, began + (step + 1) * step_s - time.monotonic()))


@contextmanager
def loaded(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Run ``work`` in another process, on the last core; what waits for its end."""
    cores = os.sched_getaffinity(0)
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {max(cores)})
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    os.sched_setaffinity(0, cores - {max(cores)} or cores)
    ended: list[tuple[int, int]] = []

    def wait() -> None:
        if not ended:
            ended.append(os.waitpid(pid, 0))

    try:
        yield wait
    finally:
        wait()
        os.sched_setaffinity(0, cores)
