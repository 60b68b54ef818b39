"""Recording: the table and all that happens to it, into a file that lasts.

Messages go from the socket's buffer to the file as they came; they are decoded
only where a filter must judge them.  The subscription stands before the first
dump and through every rotation, so that nothing falls between two files.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from natscope.codec import encode
from natscope.codec.recorded import ROTATED
from natscope.codec.recording import LARGEST, FrameKind
from natscope.model.prefilter import KernelFilter
from natscope.sinks.chosen import Chosen
from natscope.sinks.frames import Filling, FrameFile
from natscope.sinks.origin import header_now
from natscope.sinks.recordingfile import (
    RecordingFailed,
    forget_oldest,
    set_aside,
    set_old_aside,
    sync_directory,
)
from natscope.sources.closing import Closing
from natscope.sources.kernel import DUMP, Kernel
from natscope.sources.netns import open_namespace
from natscope.sources.subscription import SLOT, SLOTS, Received, Subscription

if TYPE_CHECKING:
    from natscope.filter import Filter
    from natscope.sources.nlsocket import Wire

FULL = 1 << 18
"""Bytes of a payload that close its frame."""
OLD_S = 0.25
"""A frame is closed so long after its first message, full or not."""
PACE_S = 0.01
"""Under a trickle, events are gathered for so long."""
_AT_ONCE = (LARGEST - FULL) // SLOT // 2
"""Messages copied together: with FULL, they fit the largest payload."""
_HURRY = SLOTS // 2
"""Datagrams read at once that tell of more in the socket."""
_MOST_BATCHES = 256
"""Read between two pieces of a dump; more events wait for the next."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a recording is kept.

    Attributes:
        rotate_size: bytes after which another file is begun; None is never.
        rotate_every_s: seconds after which another file is begun.
        keep: how many older files are kept; None is all.
        sync_s: see RecordingFile.
        dumps: begin each file with the table, and repair losses by it.
        dump_every_s: dump the table again so often, though for at most a 500th of
            the time: flows born while nobody listened may end in silence
            (nf_conntrack_events=2); None is never.
        count: stop after so many events.
    """

    rotate_size: int | None = None
    rotate_every_s: float | None = None
    keep: int | None = None
    sync_s: float | None = 1.0
    dumps: bool = True
    dump_every_s: float | None = 600.0
    count: int | None = None


@dataclass(slots=True)
class Progress:
    """What was recorded so far, in all files together."""

    events: int = 0
    lost: int = 0
    flows: int = 0
    """Entries of all dumps."""
    bytes: int = 0
    repairs: int = 0
    """Dumps made after a loss."""
    files: int = 0
    last_ns: int | None = None
    """When the last event in a file was received."""


class Recorder(Closing):
    """Records until it is closed: call ``step`` again and again, then ``finish``.

    Args:
        path: the file; a recording that is there is set aside first.
        netns: name, process id or path; None is the caller's own.
        filter: which flows; each event is judged by what it tells itself.
        settings: rotation, fsync, dumps.
        reliable: a DESTROY that finds no room is kept by the kernel.
        buffer: a fixed receive buffer in bytes; None grows with need.
        wire: sees every netlink datagram, for debugging.

    Raises:
        KernelError: the kernel refused.
        NamespaceError: no such namespace.
        RecordingFailed: the file cannot be made, or is another's.
    """

    def __init__(
        self,
        path: Path,
        netns: str | None = None,
        *,
        filter: Filter | None = None,
        settings: Settings | None = None,
        reliable: bool = False,
        buffer: int | None = None,
        wire: Wire | None = None,
    ) -> None:
        self.path = path
        self.progress = Progress()
        self._settings = settings or Settings()
        self._filter = str(filter) if filter else ""
        self._filling = Filling()
        self._hurried = self._pressed = self._behind = False
        self._no_dump_before, self._dump_at = 0.0, math.inf
        self._dumped = 0
        self._file: FrameFile | None = None
        with contextlib.ExitStack() as opened:
            self._kernel = opened.enter_context(Kernel(netns, wire=wire))
            self._chosen = Chosen(filter, self._kernel.evidence())
            namespace = opened.enter_context(open_namespace(netns)) if netns else None
            self._events = opened.enter_context(
                Subscription(
                    namespace=namespace,
                    program=filter.socket_program() if filter else None,
                    buffer=buffer,
                    reliable=reliable,
                    wire=wire,
                )
            )
            opened.callback(self._abandon)
            try:
                set_old_aside(path)
                self._begin()
            except OSError as error:
                raise self._not_begun(error) from error
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of the kernel and the file, without a word of its end."""
        self._opened.close()

    @property
    def finished(self) -> bool:
        """Whether as many events are recorded as were asked for."""
        return self._wanted() == 0

    def _wanted(self) -> int | None:
        """How many more events; None is without end."""
        most = self._settings.count
        if most is None:
            return None
        return most - self.progress.events - self._filling.events

    def step(self, timeout: float) -> None:
        """Record what comes within ``timeout`` seconds, or the first of it.

        Raises:
            RecordingFailed: the disk is full or broken; the file was closed.
            KernelError: the socket or a dump failed.
        """
        with self._giving_up():
            now = time.monotonic()
            if self._filling.events:
                timeout = min(timeout, max(0.0, self._filling.since + OLD_S - now))
            if self._events.wait(timeout):
                if not self._hurried:
                    time.sleep(PACE_S)
                self._take(self._events.receive())
            else:
                self._hurried = self._pressed = False
            self._do_what_is_due(time.monotonic())

    def rotate(self) -> None:
        """Finish the file, set it aside and begin another.

        Raises:
            RecordingFailed: the disk is full or broken; the file was closed.
            KernelError: the dump failed.
        """
        with self._giving_up():
            begun_ns = self._current.header.start_ns
            self._close(ROTATED)
            set_aside(self.path, begun_ns)
            self._begin(continues_ns=begun_ns)

    def finish(self, reason: str) -> None:
        """Record what is waiting, say why the recording ends, and close it.

        Raises:
            RecordingFailed: the disk is full or broken; the file was closed.
            KernelError: the socket failed.
        """
        with self._giving_up():
            if self._settings.dumps and not self.finished:
                self._dump()  # what ended in silence
            self._drain()
            self._close(reason)

    @property
    def _current(self) -> FrameFile:
        if self._file is None:
            msg = "the recording is finished"
            raise ValueError(msg)
        return self._file

    def _do_what_is_due(self, now: float) -> None:
        file, settings = self._current, self._settings
        if self._filling.events and now >= self._filling.since + OLD_S:
            self._flush()
        file.file.sync_if_due()
        if self._behind and not self._hurried and now >= self._no_dump_before:
            self.progress.repairs += 1
            self._dump()
        elif now >= self._dump_at:
            self._dump()
        every, size = settings.rotate_every_s, settings.rotate_size
        old = every is not None and now >= file.begun + every
        # a table larger than the limit must not be dumped again and again
        if old or (size is not None and file.size >= max(size, 2 * self._dumped)):
            self.rotate()

    def _begin(self, continues_ns: int = 0) -> None:
        """Begin the file: a header, and the table as it is now."""
        settings = self._settings
        if settings.keep is not None:
            forget_oldest(self.path, settings.keep)
        header = header_now(
            *(self._kernel, self._filter),
            dumps=settings.dumps,
            continues_ns=continues_ns,
        )
        self._file = FrameFile(self.path, header, sync_s=settings.sync_s)
        self.progress.files += 1
        self.progress.bytes += self._file.size
        if settings.dumps:
            self._dump()
        self._dumped = self._file.size

    def _take(self, received: Received) -> None:
        """Add what was received to the frame that is being filled."""
        self._hurried = len(received.lengths) >= _HURRY
        self._pressed = len(received.lengths) == SLOTS
        if received.lost:
            self._flush()
            self._behind = self._settings.dumps
            self.progress.lost += received.lost
            now = received.received_ns
            self._write(FrameKind.LOSS, time_ns=now, lost=received.lost)
        messages = self._chosen.events(received)[: self._wanted()]
        for first in range(0, len(messages), _AT_ONCE):
            self._filling.add(messages[first : first + _AT_ONCE], received.received_ns)
            if self._filling.size >= FULL:
                self._flush()

    def _flush(self) -> None:
        """Write the frame that is being filled."""
        filled = self._filling
        if not filled.events:
            return
        self._write(
            *(FrameKind.EVENTS, b"".join(filled.pieces)),
            time_ns=filled.received_ns,
            count=filled.events,
            # when the socket is behind, the disk has to take more
            compress=not self._pressed,
        )
        self._filling = Filling()
        self.progress.events += filled.events
        self.progress.last_ns = filled.received_ns

    def _dump(self) -> None:
        """Write the whole table, and the events that come meanwhile."""
        begun = time.monotonic()
        self._behind = False
        self._flush()
        self._write(FrameKind.DUMP_BEGIN, time_ns=time.time_ns())
        before = self._current.totals.flows
        self._chosen.begin_dump()
        with self._kernel.socket() as sock:
            asked = encode.dump_request(KernelFilter(), seq=sock.next_seq())
            with contextlib.closing(sock.dump(asked, DUMP)) as buffers:
                for datagrams in buffers:
                    for entries, count in self._chosen.entries(datagrams, FULL):
                        now = time.time_ns()
                        self._write(FrameKind.DUMP, entries, time_ns=now, count=count)
                        self.progress.flows += count
                    self._drain()
        self._drain()
        self._flush()
        self._chosen.end_dump()
        flows = self._current.totals.flows - before
        self._write(FrameKind.DUMP_END, time_ns=time.time_ns(), count=flows)
        # a dump takes time that a box which loses events has not
        took = time.monotonic() - begun
        self._no_dump_before = begun + 5 * took
        every = self._settings.dump_every_s
        self._dump_at = math.inf if every is None else begun + max(every, 500 * took)

    def _drain(self) -> None:
        """Take what is there, without waiting."""
        for _ in range(_MOST_BATCHES):
            self._take(self._events.receive())
            if not self._hurried:
                break

    def _write(
        self,
        kind: FrameKind,
        payload: bytes = b"",
        *,
        time_ns: int,
        lost: int = 0,
        count: int = 0,
        compress: bool = True,
    ) -> None:
        file = self._current
        before = file.size
        file.write(
            kind, payload, time_ns=time_ns, lost=lost, count=count, compress=compress
        )
        self.progress.bytes += file.size - before

    def _close(self, reason: str) -> None:
        self._flush()
        file, self._file = self._current, None
        before = file.size
        file.close(reason)
        self.progress.bytes += file.size - before
        if self._settings.sync_s is not None:
            sync_directory(self.path.parent)

    def _abandon(self, reason: str = "broken off") -> None:
        """Close a file that was not finished as well as can be."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._close(reason)
            self._file = None

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Close the file when it cannot be written, and say what it holds."""
        try:
            yield
        except OSError as error:
            failed = self._failed(error)
            self._filling = Filling()
            self._abandon(f"broken off: {error.strerror or error}")
            raise failed from error

    def _not_begun(self, error: OSError) -> RecordingFailed:
        """Leave nothing of a file that could not even be begun.

        A service that is started again and again must not fill the disk with them.
        """
        if self._file is not None:
            self._abandon()
            self.path.unlink()
        return RecordingFailed(f"{error.filename or self.path}: {error.strerror}")

    def _failed(self, error: OSError) -> RecordingFailed:
        where = error.filename or self.path
        kept, lacking = self.progress.events, self._filling.events
        hint = f"the {kept} events before are kept and whole"
        if lacking:
            hint += f", {lacking} that came after are not"
        return RecordingFailed(f"{where}: {error.strerror or error}", hint=hint)
