"""What a rehearsal costs: the twin is built, and asked packet by packet.

python -m bench.rehearsal
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

from bench.checking import box
from bench.runs import say
from natscope.codec.text import question
from natscope.rehearse.twin import Twin
from natscope.views.journey import journey

BUILT, ASKED = 7, 1000
PACKET = "tcp 192.0.2.9:1024 to 203.0.113.1:8080 in wan"


def measure() -> None:
    """Milliseconds to build a twin with Docker's rules, and for each answer."""
    took = []
    for _ in range(BUILT):
        start = time.perf_counter()
        with Twin(box()):
            took.append(time.perf_counter() - start)
    built_ms = statistics.median(took) * 1e3
    say(f"\na twin with Docker's rules: {built_ms:.0f} ms to build")
    asked = question.parse(PACKET)
    with Twin(box()) as twin:
        took = []
        for port in range(1024, 1024 + ASKED):
            one = replace(asked, packet=replace(asked.packet, sport=port))
            start = time.perf_counter()
            journey(twin.send(one))
            took.append(time.perf_counter() - start)
    say(
        f"a packet with its whole journey: {statistics.median(took) * 1e3:.2f} ms, "
        f"{1 / statistics.mean(took):.0f} a second"
    )


if __name__ == "__main__":
    measure()
