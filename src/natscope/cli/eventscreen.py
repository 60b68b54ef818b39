"""What ``natscope watch`` writes: events, the status line, the summary."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Collection
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np

from natscope.cli import diagnostics, formats, output, stopping
from natscope.model.event import EventKind
from natscope.render import events as rows
from natscope.render.event_lines import EventLines
from natscope.sources.closing import Closing
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views.lifecycle import Lifecycle, Told

if TYPE_CHECKING:
    from natscope.cli.eventfeed import Feed
    from natscope.cli.stopping import Stop
    from natscope.model.evidence import Evidence
    from natscope.model.labelmap import LabelMap

STATUS_S = 0.2
"""The status line is drawn at most so often."""
_RATE_S = 1.0
_WIDE = 120
"""Columns of a terminal on which an event with IPv4 addresses fills a line."""


class EventScreen(Closing):
    """Shows batches as they come; ``shown`` counts lines, ``full`` ends it.

    Args:
        options: of the command line.
        kinds: which events to show.
        feed: where they come from, for what was known before the first.
        stop: an end that was asked for; what cannot be written then is given up.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        kinds: Collection[EventKind],
        feed: Feed,
        stop: Stop,
    ) -> None:
        self.shown = 0
        self.full = False
        self._stop = stop
        self._limit: int | None = options.count
        self._kinds = [EventKind.DESTROY] if options.lifecycle else sorted(kinds)
        self._evidence = feed.evidence()
        self._flows = Lifecycle()
        self._flows.learn(feed.table())
        self._programs = feed.programs()
        self._writer = _Writer(options)
        if heading := self._writer.begin(self._evidence):
            self._write(heading)
        self._status = _Status(quiet=options.quiet, played=feed.played)
        if not options.quiet:
            diagnostics.note(feed.begun())

    def close(self) -> None:
        """Leave the line of progress."""
        self._status.clear()

    def show(self, batch: Events | None) -> None:
        """Show a batch, or just the time going by."""
        if batch is not None:
            # first: a program may be gone before the batch is told
            programs = self._programs.names(np.unique(batch.portids).tolist())
            told = self._chosen(self._flows.tell(batch))
            data = self._writer.write(told, self._evidence, programs)
            if data:
                self._status.clear()
                self._write(data)
            self.shown += len(told)
            self._status.count(told)
            self.full |= self.shown == self._limit
        self._status.draw(len(self._flows))

    def end(self) -> None:
        """Close the document, and say what was seen."""
        self._status.clear()
        closing = self._writer.end()
        if closing:
            self._write(closing)
        self._status.summary()

    def _chosen(self, told: Told) -> Told:
        if len(self._kinds) < len(EventKind):
            told = told.mask(np.isin(told.events.kinds, self._kinds))
        if self._limit is not None and self.shown + len(told) > self._limit:
            told = told.take(slice(0, self._limit - self.shown))
        return told

    def _write(self, data: bytes) -> None:
        try:
            output.write_patiently(data, lambda: stopping.is_overdue(self._stop))
        except BrokenPipeError:
            self.full = True  # nobody reads on


class _Writer:
    """Bytes of batches, in the format asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._rows: formats.Writer | None = None
        self._fixed = bool(options.csv or options.tsv)
        if formats.for_programs(options):
            self._rows = formats.writer(options, rows="events")
        self._lines = EventLines(
            zone=UTC if options.utc else None,
            colour=output.wants_colour(),
            labels=_labels(),
            lifecycle=options.lifecycle,
            narrow=_is_narrow(),
            dated=output.is_terminal(),
        )

    def begin(self, evidence: Evidence) -> bytes:
        """The heading of CSV and TSV, which stands there without an event too."""
        if self._rows is None or not self._fixed:
            return b""
        nothing = Events(FlowTable.empty(), np.zeros(0, np.uint8), received_ns=0)
        told = Lifecycle().tell(nothing)
        return self._rows.write(rows.rows(told, evidence, fixed=True))

    def write(self, told: Told, evidence: Evidence, programs: dict[int, str]) -> bytes:
        """A batch, the loss before it first."""
        if self._rows is None:
            self._lines.programs = programs
            return self._lines.write(told, evidence)
        data = b""
        if told.events.lost:
            data = self._rows.write(rows.loss_row(told.events, fixed=self._fixed))
        if len(told):
            page = rows.rows(told, evidence, programs, fixed=self._fixed)
            data += self._rows.write(page)
        return data

    def end(self) -> bytes:
        """What closes the document."""
        return b"" if self._rows is None else self._rows.end()


class _Status:
    """The line that stays below the events on a terminal, and the summary."""

    def __init__(self, *, quiet: bool, played: bool) -> None:
        self._quiet = quiet
        self._played = played
        self._line = diagnostics.is_terminal() and not quiet and not _is_dumb()
        self._drawn = ""
        self._draw_at = 0.0
        self._began = time.monotonic()
        self._counts = np.zeros(len(EventKind) + 1, np.int64)
        self._lost = 0
        self._rate = 0.0
        self._mark = (self._began, 0)

    def count(self, told: Told) -> None:
        """Count what was shown, and what was lost."""
        self._counts += np.bincount(told.events.kinds, minlength=len(self._counts))
        self._lost += told.events.lost

    def draw(self, open_flows: int) -> None:
        """Draw the line, when it is time to."""
        now = time.monotonic()
        if not self._line or now < self._draw_at:
            return
        self._draw_at = now + STATUS_S
        shown, (then, before) = int(self._counts.sum()), self._mark
        if now - then >= _RATE_S:
            self._rate, self._mark = (shown - before) / (now - then), (now, shown)
        rate = "" if self._played else f"{self._rate:,.0f} events/s  "
        line = f"{rate}{shown:,} shown  {open_flows:,} flows known  {self._lost:,} lost"
        if line != self._drawn:
            diagnostics.progress(line)
            self._drawn = line

    def clear(self) -> None:
        """Take the line away, for what is to stand in its place."""
        if self._drawn:
            diagnostics.progress("")
            self._drawn = ""

    def summary(self) -> None:
        """Say how much there was."""
        if self._quiet:
            return
        elapsed = time.monotonic() - self._began
        shown = int(self._counts.sum())
        kinds = [f"{self._counts[kind]} {kind.name.lower()}" for kind in EventKind]
        # how fast a recording is read says nothing of the flows
        rate = f" in {elapsed:.1f} s ({shown / max(elapsed, 1e-3):.0f}/s)"
        diagnostics.note(
            f"{shown} events{'' if self._played else rate}: "
            f"{', '.join(kinds)}; {self._lost} lost"
        )


def _is_narrow() -> bool:
    columns = output.terminal_columns()
    return columns is not None and columns < _WIDE


def _is_dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


def _labels() -> LabelMap | None:
    from natscope.sources.labels import read

    try:
        return read()
    except OSError:
        return None  # most boxes name none
