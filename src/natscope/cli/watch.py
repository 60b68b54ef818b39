"""``natscope watch [FILTER]``: every event as it happens."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from natscope.cli import formats, inputs, moments, stopping
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.cli.eventfeed import Feed
    from natscope.cli.eventscreen import EventScreen
    from natscope.model.event import EventKind

EPILOG = """\
examples:
  natscope watch                                every event, a line each
  natscope watch nat and not dst port 53        of translated flows, less DNS
  natscope watch --events new,destroy inside 10.0.0.5
  natscope watch --lifecycle tcp                one line a finished flow
  natscope watch --ndjson --for 10m > events    for programs
  natscope watch gw.nsrec --speed 10            a recording, ten times as fast
Lost events are counted and told in their place; what they hid is found by a dump.
Ctrl-C ends it with a summary.  exit code 1: it ended without an event.
"""
WAIT_S = 0.2
"""So often a quiet stream is left to look at signals, the clock and the screen."""
DRAIN_S = 1.0
"""At most so long after Ctrl-C, what had come before is shown."""


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope watch``."""
    made = inputs.command_parser("watch", "Every event, as it happens.", EPILOG)
    made.add_argument(
        "words",
        nargs="*",
        metavar="[FILE] FILTER",
        help="a recording to play instead of the kernel's events, then which flows",
    )
    _add_selection(made.add_argument_group("what to show"))
    _add_source(made.add_argument_group("where from"))
    formats.add_format_options(made)
    made.add_argument(
        "-q", "--quiet", action="store_true", help="no status line and no summary"
    )
    return made


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--events", metavar="KIND[,…]", help="only these: new, update, destroy"
    )
    group.add_argument(
        "--lifecycle",
        action="store_true",
        help="one line a finished flow: begin, duration, parts, counters, how it ended",
    )
    group.add_argument("--count", type=int, metavar="N", help="end after N lines")
    group.add_argument(
        "--for", dest="length", metavar="TIME", help="end after 30s, 10m, 1h30m …"
    )
    group.add_argument("--utc", action="store_true", help="times in UTC, not local")


def _add_source(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--all-netns", action="store_true", help="every named namespace")
    group.add_argument("-r", "--read", metavar="FILE", help="a recording to play")
    group.add_argument(
        "--speed",
        type=float,
        metavar="X",
        help="play a recording in its own time, X times as fast (default: at once)",
    )
    inputs.add_event_options(group, repairs=True)


def run(argv: list[str]) -> int:
    """Show events until told to stop."""
    options = inputs.parse(parser(), argv)
    kinds = _kinds(options.events)
    _check(options, kinds)
    length = options.length and moments.seconds(options.length, "--for")
    file, words = inputs.split_words(options)
    wanted = inputs.filter_of(words)
    with ExitStack() as stack:
        stop = stack.enter_context(stopping.heeded(closed_pipe=True))
        from natscope.cli import eventfeed
        from natscope.cli.eventscreen import EventScreen

        feed = stack.enter_context(
            eventfeed.recording(file, options.speed, wanted)
            if file
            else eventfeed.kernel(options, wanted, kinds)
        )
        screen = stack.enter_context(EventScreen(options, kinds, feed, stop))
        _show(feed, screen, stop, time.monotonic() + (length or math.inf))
        screen.end()
    nothing = screen.shown == 0 and not stop
    if feed.problem_count:
        return ExitCode.PARTLY
    return ExitCode.NOTHING if nothing else ExitCode.DONE


def _check(options: argparse.Namespace, kinds: frozenset[EventKind]) -> None:
    """Refuse what makes no sense."""
    if options.lifecycle and not any(kind.name == "DESTROY" for kind in kinds):
        raise UsageError("--lifecycle shows flows that end: --events destroy")
    if options.count is not None and options.count < 1:
        raise UsageError("--count takes a number from 1 up")
    if options.speed is not None and not 0 < options.speed < math.inf:
        raise UsageError("--speed takes a number larger than 0")


def _show(feed: Feed, screen: EventScreen, stop: stopping.Stop, until: float) -> None:
    """Show what comes, until then or until told to stop."""
    batch = None
    while not (screen.full or feed.ended or (stop and batch is None)):
        # what came before Ctrl-C is shown, unless more comes all the time
        until = min(until, stop.at + DRAIN_S)
        left = until - time.monotonic()
        if left <= 0:
            break
        batch = feed.read(0 if stop else min(WAIT_S, left))
        screen.show(batch)
    if feed.is_behind and not screen.full:
        _show_what_was_lost(feed, screen)


def _show_what_was_lost(feed: Feed, screen: EventScreen) -> None:
    """A loss shortly before the end is made good as well."""
    feed.repair()
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until and (batch := feed.read(0)) is not None:
        screen.show(batch)


def _kinds(text: str | None) -> frozenset[EventKind]:
    from natscope.model.event import EventKind

    if text is None:
        return frozenset(EventKind)
    known = {kind.name.lower(): kind for kind in EventKind}
    known |= {f"{name}s": kind for name, kind in known.items()}
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]!r}" if unknown else "nothing"
        raise UsageError(f"--events takes new, update and destroy, not {what}")
    return frozenset(known[name] for name in names)
