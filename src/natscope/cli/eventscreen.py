"""What ``natscope watch`` writes: events, the status line, the summary."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from datetime import UTC
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from natscope.cli import diagnostics, formats, output
from natscope.model.event import EventKind
from natscope.render import events as rows
from natscope.render.event_lines import EventLines
from natscope.views.lifecycle import Lifecycle, Told

if TYPE_CHECKING:
    from natscope.cli.eventfeed import Feed
    from natscope.model.evidence import Evidence
    from natscope.model.labelmap import LabelMap
    from natscope.table.events import Events

STATUS_S = 0.2
"""The status line is drawn at most so often."""
_RATE_S = 1.0


class EventScreen:
    """Shows batches as they come; ``shown`` counts lines, ``full`` ends it.

    Args:
        options: of the command line.
        kinds: which events to show.
        feed: where they come from, for what was known before the first.
    """

    def __init__(
        self, options: argparse.Namespace, kinds: Collection[EventKind], feed: Feed
    ) -> None:
        self.shown = 0
        self.full = False
        self._limit: int | None = options.count
        self._kinds = [EventKind.DESTROY] if options.lifecycle else sorted(kinds)
        self._evidence = feed.evidence()
        self._flows = Lifecycle()
        self._flows.learn(feed.table())
        self._programs = _Programs(feed.netns)
        self._writer = _Writer(options)
        self._status = _Status(quiet=options.quiet)
        if not options.quiet:
            diagnostics.note(feed.begun())

    def __enter__(self) -> EventScreen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._status.clear()

    def show(self, batch: Events | None) -> None:
        """Show a batch, or just the time going by."""
        if batch is not None:
            told = self._chosen(self._flows.tell(batch))
            self._programs.look_up(told)
            data = self._writer.write(told, self._evidence, self._programs.names)
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
            output.write(data)
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
        )

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


class _Programs:
    """Names of the programs that made changes; each port is looked up once."""

    def __init__(self, netns: str | None) -> None:
        self.names: dict[int, str] = {}
        self._asked: set[int] = set()
        self._netns = netns

    def look_up(self, told: Told) -> None:
        """Find the names of a batch."""
        portids = told.events.portids
        new = set(np.unique(portids[portids != 0]).tolist()) - self._asked
        if not new:
            return
        self._asked |= new
        from natscope.sources.netns import open_namespace
        from natscope.sources.programs import Programs

        programs = Programs()
        if self._netns is None:
            found = {port: programs.name(port) for port in new}
        else:
            with open_namespace(self._netns) as namespace, namespace.enter():
                found = {port: programs.name(port) for port in new}
        self.names |= {port: name for port, name in found.items() if name}


class _Status:
    """The line that stays below the events on a terminal, and the summary."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._line = diagnostics.is_terminal() and not quiet
        self._drawn = False
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
        diagnostics.progress(
            f"{self._rate:,.0f} events/s  {shown:,} shown  {open_flows:,} flows known  "
            f"{self._lost:,} lost"
        )
        self._drawn = True

    def clear(self) -> None:
        """Take the line away, for what is to stand in its place."""
        if self._drawn:
            diagnostics.progress("")
            self._drawn = False

    def summary(self) -> None:
        """Say how much there was."""
        if self._quiet:
            return
        elapsed = time.monotonic() - self._began
        shown = int(self._counts.sum())
        kinds = [f"{self._counts[kind]} {kind.name.lower()}" for kind in EventKind]
        diagnostics.note(
            f"{shown} events in {elapsed:.1f} s ({shown / max(elapsed, 1e-3):.0f}/s): "
            f"{', '.join(kinds)}; {self._lost} lost"
        )


def _labels() -> LabelMap | None:
    from natscope.sources.labels import read

    try:
        return read()
    except OSError:
        return None  # most boxes name none
