"""What ``natscope trace`` writes: packets, and the events of their flows between them.

Positions tell when a packet came, so that packets and events stand in the order of
time.  The kernel's trace of rules has no time: events then follow the packets that
were read when they were.
"""

from __future__ import annotations

import argparse
import heapq
import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, output
from natscope.cli.diagnostics import ExitCode
from natscope.codec import packetline
from natscope.render import events as rows
from natscope.render import journey as rendered
from natscope.render.event_lines import EventLines
from natscope.sources.closing import Closing
from natscope.sources.kernel import Kernel
from natscope.trace.positions import Positions
from natscope.trace.rules import Rules
from natscope.views.journey import journey
from natscope.views.lifecycle import Lifecycle

if TYPE_CHECKING:
    from typing import Any

    from natscope.filter import Filter
    from natscope.model.journey import Sightings

HELD_NS = 80_000_000
"""An event is told at once, its packet when nothing more was heard of it for a while:
what is younger waits, lest something older come."""


class Screen:
    """Writes packets and events in the format asked for, and counts the packets."""

    def __init__(
        self,
        options: argparse.Namespace,
        watching: Positions | Rules,
        events: FlowEvents | None,
    ) -> None:
        self._options = options
        self._watching = watching
        self._events = events
        self._has_times = isinstance(watching, Positions)
        self._held: list[tuple[int, int, bool, bytes]] = []
        self._document: dict[str, list[Any]] = {"journeys": [], "events": []}
        self._count = self._number = 0
        self._began = time.monotonic()
        self._was_event = False

    def show(self, *, all: bool = False) -> None:
        """Show what is through; what may have to stand before it is waited for.

        Args:
            all: now, whatever else may come.
        """
        for seen in self._watching.read(all=all):
            self._count += 1
            at = _times(seen).get("time_ns", time.time_ns())
            self._hold(at, self._packet(seen), is_packet=True)
        if self._events is not None:
            later = time.time_ns() + HELD_NS
            for at, line in self._events.lines():
                self._hold(at if self._has_times else later, line, is_packet=False)
        until = time.time_ns() - (HELD_NS if self._has_times else 0)
        while self._held and (all or self._held[0][0] <= until):
            _, _, is_packet, data = heapq.heappop(self._held)
            self._write(data, is_packet=is_packet)

    def end(self, *, is_stopped: bool, is_read: bool = True) -> int:
        """Close the document, and say what there was and what is missing.

        Args:
            is_stopped: it ended before there were as many packets as asked for.
            is_read: there is somebody to write to.
        """
        watching, lost = self._watching, self._watching.lost
        if self._options.json and is_read:
            document = {"schema": rendered.SCHEMA, "lost": lost, **self._document}
            output.write(json.dumps(document, indent=2).encode() + b"\n")
        if is_stopped and not self._options.quiet:
            self._summary(lost)
        if lost:
            diagnostics.complain(
                f"{lost} steps were lost: packets may lack some",
                "trace fewer packets: a narrower filter",
            )
        if is_cut := isinstance(watching, Rules) and not watching.is_intact():
            diagnostics.complain(
                "natscope's table is gone: somebody flushed the ruleset meanwhile",
                "packets after that were not seen: trace again, or --method bpf",
            )
        if lost or is_cut:
            return ExitCode.PARTLY
        return ExitCode.DONE if self._count else ExitCode.NOTHING

    def _summary(self, lost: int) -> None:
        elapsed = time.monotonic() - self._began
        packets = "1 packet" if self._count == 1 else f"{self._count} packets"
        diagnostics.note(f"natscope: {packets} in {elapsed:.1f} s, {lost} steps lost")
        if not self._count:
            diagnostics.note(
                "natscope: no packet of such a flow passed a hook: it did not reach "
                "this box or this network namespace, or it is offloaded"
            )

    def _hold(self, at: int, data: bytes, *, is_packet: bool) -> None:
        self._number += 1
        heapq.heappush(self._held, (at, self._number, is_packet, data))

    def _packet(self, seen: Sightings) -> bytes:
        """A packet as text, or as one object."""
        found = journey(seen)
        if self._options.json or self._options.ndjson:
            told = {**_times(seen), **rendered.document(found)}
            return json.dumps(told).encode() + b"\n"
        head = _heading(seen, utc=self._options.utc)
        text = rendered.text(found, colour=output.wants_colour())
        return f"{head}\n{text}\n".encode()

    def _write(self, data: bytes, *, is_packet: bool) -> None:
        if self._options.json:
            what = "journeys" if is_packet else "events"
            self._document[what].append(json.loads(data))
            return
        if is_packet and self._was_event and not self._options.ndjson:
            data = b"\n" + data
        self._was_event = not is_packet
        output.write(data)


class FlowEvents(Closing):
    """The events of the flows that are traced."""

    def __init__(self, options: argparse.Namespace, wanted: Filter | None) -> None:
        with ExitStack() as stack:
            box = stack.enter_context(Kernel(options.netns))
            self._stream = stack.enter_context(box.events(wanted))
            self._open = stack.pop_all()
        self._flows = Lifecycle()
        self._is_for_programs = bool(options.json or options.ndjson)
        self._lines = EventLines(
            zone=UTC if options.utc else None,
            colour=output.wants_colour(),
            dated=False,
        )

    def close(self) -> None:
        """Stop listening."""
        self._open.close()

    def lines(self) -> list[tuple[int, bytes]]:
        """What has come, a line each with its time in ns; a loss before the others."""
        batch = self._stream.take()
        if not len(batch) and not batch.lost:
            return []
        told, evidence = self._flows.tell(batch), self._stream.evidence()
        write = rows.objects if self._is_for_programs else self._lines.write
        lines = write(told, evidence).splitlines(keepends=True)
        times = [int(at) for at in batch.times_ns()]
        remarks = len(lines) - len(times)
        first = min(times, default=batch.received_ns)
        return list(zip([first] * remarks + times, lines, strict=True))


def _times(seen: Sightings) -> dict[str, int]:
    """When it came; a trace of rules tells no time, only when it was read is known."""
    if seen.positions:
        return {"time_ns": seen.positions[0].time_ns}
    return {"read_ns": time.time_ns()}


def _heading(seen: Sightings, *, utc: bool) -> str:
    ((name, time_ns),) = _times(seen).items()
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC if utc else None)
    words = f"{moment:%H:%M:%S}"
    if name == "time_ns":
        words += f".{time_ns // 10**6 % 1000:03}"
    packet = next((v.packet for v in seen.visits if v.packet is not None), None)
    if packet is None:
        return words
    return f"{words}  {packetline.text(packet)}"
