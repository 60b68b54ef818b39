"""``natscope record FILE [FILTER]``."""

from __future__ import annotations

import argparse
import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.cli import diagnostics, inputs, moments, stopping
from natscope.cli.diagnostics import ExitCode, UsageError

if TYPE_CHECKING:
    from natscope.sinks.recorder import Recorder, Settings

EPILOG = """\
examples:
  natscope record /var/lib/natscope/gw.nsrec         until Ctrl-C or SIGTERM
  natscope record gw.nsrec --rotate-every 1h --keep 168   a week, hour by hour
  natscope record dns.nsrec udp and dst port 53 --for 10m
  natscope list gw.nsrec --at 14:03                  the table as it was
  natscope who 203.0.113.7:41234 --at '5m ago' gw.nsrec
Files set aside are named by the moment they begin: gw.nsrec.20261121T120000Z.
SIGHUP sets the file aside at once.
"""
_STATUS_S = 1.0
_WAIT_S = 0.25


def parser() -> argparse.ArgumentParser:
    """The options of ``natscope record``."""
    made = inputs.command_parser(
        "record", "Record the table and every change of it.", EPILOG
    )
    made.add_argument("file", metavar="FILE", help="the file that is written")
    made.add_argument("words", nargs="*", metavar="FILTER", help="which flows")
    _add_end(made.add_argument_group("how long"))
    _add_files(made.add_argument_group("files"))
    inputs.add_event_options(made.add_argument_group("events"))
    made.add_argument(
        "-q", "--quiet", action="store_true", help="no status line and no summary"
    )
    return made


def _add_end(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--for", dest="length", metavar="TIME", help="end after 30s, 10m, 1h30m …"
    )
    group.add_argument("--count", type=int, metavar="N", help="end after N events")


def _add_files(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rotate-size", metavar="SIZE", help="begin another file at this size: 100M"
    )
    group.add_argument(
        "--rotate-every", metavar="TIME", help="begin another file so often: 1h"
    )
    group.add_argument(
        "--keep", type=int, metavar="N", help="keep N files that were set aside"
    )
    group.add_argument(
        "--fsync",
        default="1",
        metavar="always|SECONDS|never",
        help="how much a power cut may take (default: the last second)",
    )
    group.add_argument(
        "--no-dump",
        action="store_true",
        help="events alone: no table at the beginning, and no repair of losses",
    )
    group.add_argument(
        "--dump-every",
        default="10m",
        metavar="TIME|never",
        help="dump the table again, for flows that end in silence (default: 10m)",
    )


def run(argv: list[str]) -> int:
    """Record until told to stop."""
    options = inputs.parse(parser(), argv)
    settings = _settings(options)
    if options.file == "-":
        raise UsageError(
            "a recording needs a file",
            hint="natscope export ndjson writes events to standard output",
        )
    until = math.inf
    if options.length is not None:
        until = time.monotonic() + moments.seconds(options.length, "--for")
    wanted = inputs.filter_of(options.words)
    buffer = options.buffer and moments.size_bytes(options.buffer, "--buffer")
    from natscope.sinks.recorder import Recorder

    with (
        stopping.heeded(rotates=True, closed_pipe=True) as stop,
        _events_of(options),
        Recorder(
            Path(options.file),
            options.netns,
            filter=wanted,
            settings=settings,
            reliable=options.reliable,
            buffer=buffer,
            wire=diagnostics.wire(),
        ) as recorder,
    ):
        status = _Status(recorder, quiet=options.quiet)
        status.begin()
        try:
            reason = _record(recorder, stop, until, status)
            recorder.finish(reason)
        finally:
            status.end()
    return ExitCode.DONE


def _events_of(options: argparse.Namespace) -> AbstractContextManager[object]:
    """Events from every flow, where that was asked for; else say what is hidden."""
    from natscope.sources import sysctls
    from natscope.sources.kernel import Kernel

    if options.ensure_events:
        return sysctls.ensured_events(options.netns)
    with Kernel(options.netns) as kernel:
        value = kernel.sysctl(sysctls.EVENTS)
    hidden = sysctls.hidden_events(value)
    # with 2, the dumps find what ends in silence
    if hidden and (value != sysctls.AUTOMATIC or options.no_dump):
        diagnostics.note(f"natscope: {hidden}")
        diagnostics.note(f"  {sysctls.ENSURE_EVENTS_HINT}")
    return nullcontext()


def _record(
    recorder: Recorder, stop: stopping.Stop, until: float, status: _Status
) -> str:
    """Record until there is a reason to stop; the reason."""
    while True:
        left = until - time.monotonic()
        if stop.asked:
            return stop.asked.name
        if left <= 0:
            return "time"
        if recorder.finished:
            return "count"
        if stop.hung_up:
            stop.hung_up = False
            recorder.rotate()
        recorder.step(min(left, _WAIT_S))
        status.show()


class _Status:
    """What a person sees while it runs, and at its end."""

    def __init__(self, recorder: Recorder, *, quiet: bool) -> None:
        self._progress = recorder.progress
        self._path = recorder.path
        self._quiet = quiet
        self._line = diagnostics.is_terminal() and not quiet
        self._began = self._shown = time.monotonic()
        self._before = 0

    def begin(self) -> None:
        """What is written, once it has begun."""
        if not self._quiet:
            diagnostics.note(f"recording into {self._path}")

    def show(self) -> None:
        """Renew the line, once a second."""
        now = time.monotonic()
        if not self._line or now < self._shown + _STATUS_S:
            return
        told = self._progress
        rate = (told.events - self._before) / (now - self._shown)
        self._shown, self._before = now, told.events
        diagnostics.progress(
            f"{told.events} events, {rate:.0f}/s, {_bytes(told.bytes)}, "
            f"{told.lost} lost"
        )

    def end(self) -> None:
        """The summary."""
        if self._line:
            diagnostics.progress("")
        if self._quiet:
            return
        told, took = self._progress, time.monotonic() - self._began
        files = f" in {told.files} files" if told.files > 1 else ""
        repaired = (
            f", repaired by {_many(told.repairs, 'dump')}" if told.repairs else ""
        )
        diagnostics.note(
            f"{self._path}: {_many(told.events, 'event')} and "
            f"{_many(told.flows, 'dumped flow')} in {took:.1f} s, "
            f"{_bytes(told.bytes)}{files}, {told.lost} lost{repaired}"
        )


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _bytes(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    power = min(4, len(str(size)) // 3 - (len(str(size)) % 3 == 0))
    return f"{size / 1000**power:.1f} {' kMGT'[power]}B"


def _settings(options: argparse.Namespace) -> Settings:
    from natscope.sinks.recorder import Settings

    for name in ("count", "keep"):
        value = getattr(options, name)
        if value is not None and value < (name == "count"):
            raise UsageError(f"--{name} takes a number from {int(name == 'count')} up")
    size, every = options.rotate_size, options.rotate_every
    if options.keep is not None and not (size or every):
        raise UsageError(
            "--keep is for files that are set aside",
            hint="add --rotate-every 1h or --rotate-size 1G",
        )
    again = options.dump_every
    if again != "never":
        again = moments.seconds(again, "--dump-every")
    return Settings(
        rotate_size=size and moments.size_bytes(size, "--rotate-size"),
        rotate_every_s=every and moments.seconds(every, "--rotate-every"),
        keep=options.keep,
        sync_s=_sync_s(options.fsync),
        dumps=not options.no_dump,
        dump_every_s=None if again == "never" else again,
        count=options.count,
    )


def _sync_s(text: str) -> float | None:
    if text == "never":
        return None
    return 0.0 if text == "always" else moments.seconds(text, "--fsync")
