"""What ``natscope export`` does with batches of events, one class a format."""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic

from natscope.cli import diagnostics, output, stopping
from natscope.render import events as event_rows
from natscope.render import syslog
from natscope.render.ipfix.messages import Packer, Parcel, Session, Statistics
from natscope.render.ipfix.records import Wanted, binding_records, records
from natscope.render.syslog_frames import Lines, pieces
from natscope.sinks.collector import Collector, P
from natscope.views.lifecycle import Lifecycle

if TYPE_CHECKING:
    import select

    from natscope.cli.stopping import Stop
    from natscope.model.evidence import Evidence
    from natscope.sinks.appended import AppendedFile
    from natscope.sources.programs import Programs
    from natscope.table.bindings import Bindings
    from natscope.table.events import Events
    from natscope.table.flowtable import FlowTable

STATISTICS_EVERY_S = 60.0
FLUSH_S = 0.5
"""Records wait so long for their message to fill."""
GRACE_S = 5.0
"""How long the end waits for a collector to take the rest."""


Text = Callable[["Events"], bytes]
"""Makes the lines of a batch, a loss too."""


class Export(ABC):
    """Takes batches, sends or writes what they say."""

    told = 0
    """Records or lines made."""
    lost = 0
    """Events the kernel had no room to tell."""

    @abstractmethod
    def take(self, events: Events) -> None:
        """Tell of these events; an empty batch may tell of a loss."""

    @abstractmethod
    def tick(self) -> None:
        """What is due after a time: called several times a second."""

    def watch(self, poll: select.poll) -> float | None:
        """Register what is waited for; seconds until ``tick`` is due at the latest."""
        return None

    @abstractmethod
    def finish(self) -> str:
        """Send the rest and close; what became of it all, in words."""


class _Collected(Export, Generic[P]):
    """An export to a collector."""

    def __init__(self, collector: Collector[P]) -> None:
        self._collector = collector

    def watch(self, poll: select.poll) -> float | None:
        """See ``Export``."""
        return self._collector.watch(poll)

    def tick(self) -> None:
        """See ``Export``."""
        self._collector.work()

    def _finished(self) -> str:
        self._collector.drain(GRACE_S)
        self._collector.close()
        left = self._collector.not_sent
        missing = f", {left} could not be sent" if left else ""
        return f"{self._collector.sent} sent to {self._collector.destination}{missing}"


class IpfixExport(_Collected[Parcel]):
    """IPFIX records to a collector.

    Args:
        collector: whose wrapping is ``session``.
        session: makes the messages.
        packer: packs the records.
        wanted: which records.
        bindings: tell of bindings, not of sessions.
    """

    def __init__(
        self,
        collector: Collector[Parcel],
        session: Session,
        packer: Packer,
        wanted: Wanted,
        bindings: Bindings | None = None,
    ) -> None:
        super().__init__(collector)
        self._session = session
        self._packer = packer
        self._wanted = wanted
        self._bindings = bindings
        self._began_ns = time.time_ns()
        self._waiting_since: float | None = None
        self._statistics_at = time.monotonic() + STATISTICS_EVERY_S

    def take(self, events: Events) -> None:
        """See ``Export``."""
        if events.lost:
            self.lost += events.lost
            self._statistics_at = 0.0
        if len(events) == 0:
            return
        if self._bindings is None:
            made = records(events, self._wanted)
        else:
            made = binding_records(self._bindings.follow(events), self._wanted)
        for parcel in self._packer.pack(made):
            self._offer(parcel)
            self._waiting_since = None
        if len(self._packer) and self._waiting_since is None:
            self._waiting_since = time.monotonic()

    def tick(self) -> None:
        """Flush the tail within a second, and tell the statistics."""
        now = time.monotonic()
        if self._waiting_since is not None and now - self._waiting_since >= FLUSH_S:
            self._flush()
        if now >= self._statistics_at:
            self._tell_statistics()
        super().tick()

    def finish(self) -> str:
        """See ``Export``."""
        self._flush()
        self._collector.drain(GRACE_S)
        self._tell_statistics()  # of all the rest
        return self._finished()

    def _flush(self) -> None:
        for parcel in self._packer.flush():
            self._offer(parcel)
        self._waiting_since = None

    def _offer(self, parcel: Parcel) -> None:
        self.told += parcel.flows
        self._collector.offer(parcel)

    def _tell_statistics(self) -> None:
        self._statistics_at = time.monotonic() + STATISTICS_EVERY_S
        told = Statistics(
            self._began_ns,
            messages=self._session.messages,
            records=self._collector.sent,
            not_sent=self._collector.not_sent,
            lost=self.lost,
        )
        self._collector.offer(told.parcel(self._wanted.domain, time.time_ns()))


class LinesToCollector(_Collected[Lines]):
    """Lines to a syslog collector."""

    def __init__(self, collector: Collector[Lines], text: Text) -> None:
        super().__init__(collector)
        self._text = text

    def take(self, events: Events) -> None:
        """See ``Export``."""
        self.lost += events.lost
        for piece in pieces(self._text(events)):
            self.told += piece.flows
            self._collector.offer(piece)

    def finish(self) -> str:
        """See ``Export``."""
        return self._finished()


class LinesToFile(Export):
    """Lines to a file, or to standard output for None.

    Args:
        file: the file.
        text: makes the lines.
        stop: an end that was asked for; what cannot be written then is given up.
    """

    def __init__(self, file: AppendedFile | None, text: Text, stop: Stop) -> None:
        self._file = file
        self._text = text
        self._stop = stop
        self._follow_at = 0.0
        self._held_up = False

    def take(self, events: Events) -> None:
        """See ``Export``."""
        self.lost += events.lost
        text = self._text(events)
        self.told += text.count(b"\n")
        if self._file is None:
            output.write_patiently(text, lambda: stopping.is_overdue(self._stop))
        else:
            self._file.write(text)

    def tick(self) -> None:
        """Follow the name when the file was rotated away."""
        if self._file is None or time.monotonic() < self._follow_at:
            return
        self._follow_at = time.monotonic() + 1.0
        try:
            self._file.follow()
            self._held_up = False
        except OSError as error:  # logrotate(8) may be about to make the new file
            if not self._held_up:
                diagnostics.complain(f"{error}; going on in the file that was")
            self._held_up = True

    def finish(self) -> str:
        """See ``Export``."""
        if self._file is not None:
            self._file.close()
        return f"{self.told} lines"


class ObjectLines:
    """Events as JSON lines: natscope.event/1.

    Args:
        evidence: of the box.
        table: the flows there are, that what changes them be told right.
        programs: finds the names of those that make changes.
    """

    def __init__(
        self, evidence: Evidence, table: FlowTable, programs: Programs
    ) -> None:
        self._evidence = evidence
        self._lifecycle = Lifecycle()
        self._lifecycle.learn(table)
        self._programs = programs

    def text(self, events: Events) -> bytes:
        """The lines of a batch, the loss before it first."""
        names = self._programs.names(set(events.portids.tolist()))
        told = self._lifecycle.tell(events)
        return event_rows.objects(told, self._evidence, names)


class SyslogLines:
    """Events as syslog lines.

    Args:
        objects: makes JSON objects to stand in the lines (CEE); None is the
            structured data of NAT sessions.
    """

    def __init__(self, objects: ObjectLines | None = None) -> None:
        self._sender = syslog.Sender(socket.gethostname(), os.getpid())
        self._objects = objects

    def text(self, events: Events) -> bytes:
        """The lines of a batch, the loss before it first."""
        lost = b""
        if events.lost:
            lost = syslog.loss(events.lost, events.received_ns, self._sender)
        if self._objects is None:
            return lost + syslog.sessions(events, self._sender)
        objects = self._objects.text(events).splitlines()
        messages = [b"@cee: " + one for one in objects[events.lost > 0 :]]
        return lost + syslog.with_messages(events, self._sender, messages)
