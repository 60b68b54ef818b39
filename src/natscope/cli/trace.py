"""``natscope trace [FILTER]``: what the box does with packets, as it happens."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, moments, output, stopping
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from typing import Any

    from natscope.filter import Filter
    from natscope.model.journey import Sightings
    from natscope.trace.positions import Positions
    from natscope.trace.rules import Rules

EPILOG = """\
examples:
  natscope trace inside 10.0.0.5                   its packets, both ways, 10 of them
  natscope trace tcp and dst port 8080             of a port forward, before and after
  natscope trace --method nft host 203.0.113.9     with the rules that matched
  natscope trace --count 100 --for 2m icmp
  natscope trace --ndjson host 10.0.0.5 > packets
bpf: programs at the hooks show what each step made of a packet, and the kernel's
reason for a drop; no rule is touched.  nft: a table of natscope's own has the packets
traced, and the rules that matched are named; it is removed at the end.  Rules of
iptables-nft are shown as iptables writes them.
exit code 1: no packet passed; 4: some steps were lost.
"""
COUNT = 10
LENGTH = "30s"
WAIT_S = 0.02
"""So often a quiet trace is left to look at signals and the clock."""
HELD_S = 0.08
"""An event is told at once, its packet when nothing more is told of it."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope trace``."""
    made = inputs.command_parser(
        "trace", "What the box does with packets, as it happens.", EPILOG
    )
    made.add_argument(
        "words", nargs="*", metavar="FILTER", help="of which flows; default: of all"
    )
    made.add_argument(
        "--count",
        type=int,
        default=COUNT,
        metavar="N",
        help=f"end after N packets (default: {COUNT})",
    )
    made.add_argument(
        "--for",
        dest="length",
        default=LENGTH,
        metavar="TIME",
        help=f"end after 30s, 10m … (default: {LENGTH})",
    )
    made.add_argument(
        "--method",
        choices=("nft", "bpf"),
        help="how to watch (default: bpf where this kernel and user can, else nft)",
    )
    made.add_argument(
        "--netns", metavar="NAME|PID|PATH", help="another network namespace"
    )
    made.add_argument(
        "--no-events", action="store_true", help="not the events of the flows"
    )
    made.add_argument("--utc", action="store_true", help="times in UTC, not local")
    shape = made.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="one JSON document")
    shape.add_argument("--ndjson", action="store_true", help="one JSON object a packet")
    made.add_argument("-q", "--quiet", action="store_true", help="no narration")
    return made


def run(argv: list[str]) -> int:
    """Show packets until there are enough."""
    options = inputs.parse(parser(), argv)
    if options.count < 1:
        raise UsageError("--count takes a number from 1 up")
    length = moments.seconds(options.length, "--for")
    wanted = inputs.filter_of(options.words)
    with ExitStack() as stack:
        # the table must go: every end is an end in order
        stop = stack.enter_context(stopping.heeded(closed_pipe=True))
        events = None
        if not (options.no_events or options.json or options.ndjson):
            events = stack.enter_context(_Events(options, wanted))
        watching = _watching(options, wanted)
        stack.callback(watching.close)
        screen = _Screen(options, watching)
        until = time.monotonic() + length
        try:
            while not (stop or watching.is_done or time.monotonic() >= until):
                watching.wait(WAIT_S)
                screen.show(watching.read())
                if events is not None:
                    events.show()
            screen.show(watching.read(all=True))
            if events is not None:
                events.show(all=True)
        except BrokenPipeError:
            return screen.end(is_read=False)
        return screen.end()


def _watching(options: argparse.Namespace, wanted: Filter | None) -> Positions | Rules:
    """What shows packets, by the method asked for or the one there is."""
    method = options.method
    if method is None:
        from natscope.trace.bpf import loader

        why = loader.available()
        method = "bpf" if why is None else "nft"
        if not options.quiet:
            hint = "--method nft names the rules" if why is None else why
            diagnostics.note(f"natscope: watching by {method} ({hint})")
    if method == "bpf":
        from natscope.trace.positions import Positions

        return Positions(options.netns, wanted, packets=options.count)
    from natscope.trace.rules import Rules

    rules = Rules(options.netns, wanted, packets=options.count)
    for note in rules.notes:
        diagnostics.note(f"natscope: {note}")
    return rules


class _Screen:
    """Writes packets in the format asked for, and counts them."""

    def __init__(
        self, options: argparse.Namespace, watching: Positions | Rules
    ) -> None:
        self._options = options
        self._watching = watching
        self._objects: list[dict[str, Any]] = []
        self._count = 0

    def show(self, packets: list[Sightings]) -> None:
        """Show packets that are through."""
        from natscope.render import journey as rendered
        from natscope.views.journey import journey

        for seen in packets:
            self._count += 1
            found = journey(seen)
            if self._options.json or self._options.ndjson:
                self._tell({**_times(seen), **rendered.document(found)})
                continue
            head = _heading(seen, utc=self._options.utc)
            text = rendered.text(found, colour=output.wants_colour())
            output.write(f"{head}\n{text}\n".encode())

    def _tell(self, told: dict[str, Any]) -> None:
        if self._options.json:
            self._objects.append(told)
        else:
            output.write(json.dumps(told).encode() + b"\n")

    def end(self, *, is_read: bool = True) -> int:
        """Close the document, and say what may be missing; the exit code."""
        from natscope.trace.rules import Rules

        lost = self._watching.lost
        if self._options.json and is_read:
            self._close_document(lost)
        if lost:
            diagnostics.complain(
                f"{lost} steps were lost: packets may lack some",
                "trace fewer packets: a narrower filter",
            )
        watching = self._watching
        if is_cut := isinstance(watching, Rules) and not watching.is_intact():
            diagnostics.complain(
                "natscope's table is gone: somebody flushed the ruleset meanwhile",
                "packets after that were not seen: trace again, or --method bpf",
            )
        if lost or is_cut:
            return ExitCode.PARTLY
        if self._count == 0 and not self._options.quiet:
            diagnostics.note(
                "natscope: no packet of such a flow passed a hook: it did not reach "
                "this box or this network namespace, or it is offloaded"
            )
        return ExitCode.DONE if self._count else ExitCode.NOTHING

    def _close_document(self, lost: int) -> None:
        from natscope.render.journey import SCHEMA

        document = {"schema": SCHEMA, "lost": lost, "journeys": self._objects}
        output.write(json.dumps(document, indent=2).encode() + b"\n")


class _Events:
    """The events of the flows, between their packets."""

    def __init__(self, options: argparse.Namespace, wanted: Filter | None) -> None:
        from datetime import UTC

        from natscope.render.event_lines import EventLines
        from natscope.sources.kernel import Kernel
        from natscope.views.lifecycle import Lifecycle

        with ExitStack() as stack:
            box = stack.enter_context(Kernel(options.netns))
            self._stream = stack.enter_context(box.events(wanted))
            self._open = stack.pop_all()
        self._held: list[tuple[float, bytes]] = []
        self._flows = Lifecycle()
        self._lines = EventLines(
            zone=UTC if options.utc else None,
            colour=output.wants_colour(),
            dated=False,
        )

    def __enter__(self) -> _Events:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def show(self, *, all: bool = False) -> None:
        """Show what has come, a line each, after the packets that caused it."""
        now = time.monotonic()
        batch = self._stream.take()
        if len(batch) or batch.lost:
            told = self._flows.tell(batch)
            data = self._lines.write(told, self._stream.evidence())
            self._held.append((now, data))
        ripe = [data for at, data in self._held if all or at < now - HELD_S]
        self._held = self._held[len(ripe) :]
        if ripe:
            output.write(b"".join(ripe) + b"\n")


def _times(seen: Sightings) -> dict[str, int]:
    """When it came; a trace of rules tells no time, only when it was read is known."""
    if seen.positions:
        return {"time_ns": seen.positions[0].time_ns}
    return {"read_ns": time.time_ns()}


def _heading(seen: Sightings, *, utc: bool) -> str:
    from datetime import UTC, datetime

    from natscope.codec import packetline

    ((name, time_ns),) = _times(seen).items()
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC if utc else None)
    words = f"{moment:%H:%M:%S}"
    if name == "time_ns":
        words += f".{time_ns // 10**6 % 1000:03}"
    packet = next((v.packet for v in seen.visits if v.packet is not None), None)
    if packet is None:
        return words
    return f"{words}  {packetline.text(packet)}"
