"""Recording under load: events a second, what one costs, what it takes on disk.

Flows are born and flushed while the recorder sleeps, so that it then works as
fast as it can; a buffer is asked for that holds them all.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.fill import fill
from bench.runs import say
from natscope.sinks.recorder import Recorder
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.sources.recording import Recording

SKB = 1280
"""What an event takes of a receive buffer."""


def measure(count: int) -> None:
    """Record ``count`` new flows, and read them back.

    The table's limit must allow so many.
    """
    say(f"\nrecording {count} events")
    with (
        new_namespace("bench") as namespace,
        namespace.enter(),
        # a disk, not the memory that /tmp often is
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
    ):
        path = Path(directory) / "bench.nsrec"
        with Recorder(path, buffer=count * SKB) as recorder:
            fill(count)
            wall, cpu = time.perf_counter(), time.process_time()
            told = recorder.progress
            while told.events + told.lost < count:
                recorder.step(1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            each = f"{cpu / told.events * 1e6:.2f} us CPU"
            say(
                f"  {told.events / wall:,.0f} events/s, {each} and "
                f"{told.bytes / told.events:.0f} bytes an event, {told.lost} lost"
            )
            recorder.finish("bench")
        entries, _ = Kernel().count()
        wall = time.perf_counter()
        found = len(Recording(path).table())
        wall = time.perf_counter() - wall
        say(f"  table at its end: {found} of {entries} flows in {wall:.2f} s")
