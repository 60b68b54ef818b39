"""A recording as a source: its events, and the table as it was at any moment.

The table is the last dump before that moment and the events since, joined as
``sources.live`` joins them from the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from natscope.codec.recorded import ROTATED, Header, decode_header
from natscope.codec.recording import Frame, FrameKind, read_frames
from natscope.errors import NatscopeError
from natscope.model.event import EventKind
from natscope.sources.base import Pieces, understood
from natscope.sources.recordingfiles import blocks, is_being_written, older
from natscope.sources.replay import Replay, when
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from natscope.filter import Filter
    from natscope.model.evidence import Evidence
    from natscope.table.events import Events

KEPT_PROBLEMS = 100
"""Problems kept in full; beyond them only their number is."""
_CHUNK = 1 << 14
_LATE_NS = 120 * 10**9
"""So long after its end a flow's DESTROY may come: garbage collection takes up to
47 s for a large table."""
_TORN_NS = 10**9
"""So long after the last frame of a recorder that was killed there may have been no
event: one that waits for company is written after 0.25 s."""
_RECENT_NS = 10**9
"""A dump so long before the moment is of the moment."""
_STALE = (
    *("timeout", "use", "delta_time"),
    *("orig_packets", "orig_bytes", "reply_packets", "reply_bytes"),
)
"""What changes without an event: what the dump told is not of the moment."""


class Recording(Pieces):
    """What ``natscope record`` wrote: a file, with those set aside from it.

    Args:
        paths: of the file that is written now or was last, or of several that
            follow each other; a file set aside may be named alone.
        at_ns: the moment of the table, ns since 1970; None is the end.
        until_ns: with ``at_ns``, the table is of all flows there were between the
            two; those that ended have a ``stop_ns``.

    After reading, ``header`` is that of the last file read, ``problems`` what is
    damaged, ``problem_count`` how much, ``lost`` how many events are missing: not
    received by the recorder, or in frames that are damaged.

    Raises:
        NatscopeError: there is no such file.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        at_ns: int | None = None,
        until_ns: int | None = None,
    ) -> None:
        several = [paths] if isinstance(paths, str | Path) else paths
        given = [Path(path) for path in several]
        self.name = ", ".join(map(str, given))
        self.at_ns = at_ns
        self.until_ns = at_ns if until_ns is None else until_ns
        self.header: Header | None = None
        self.problems: list[NatscopeError] = []
        self.problem_count = 0
        self.lost = 0
        self._given = given
        self._now_ns = self._dumped_ns = self._silent = 0
        self._table: FlowTable | None = None
        self._outside: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files, the earliest first."""
        if len(self._given) > 1:
            return sorted(self._given, key=self._begun_ns)
        (path,) = self._given
        return [*older(path), path]

    @property
    def lacks(self) -> tuple[str, ...]:
        """What the table does not tell, in words."""
        told = ("timeouts, bytes and packets of open flows", *self._outside)
        if not self._silent:
            return told
        since = f" after {_words(self._dumped_ns)}" if self._dumped_ns else ""
        return (*told, f"whether {self._silent} that send no events ended{since}")

    @property
    def now_ns(self) -> int:
        """The moment of the table, ns since 1970; its end without another.

        Raises:
            NatscopeError: as ``chunks``.
        """
        self._whole()
        return self._now_ns

    @property
    def format(self) -> str:
        """What this is, in words, once the table was read."""
        header = self.header or Header()
        of = f" of {header.hostname}" if header.hostname else ""
        return f"a recording{of}, as of {_words(self._now_ns)}"

    def chunks(self, filter: Filter | str | None = None) -> Iterator[FlowTable]:
        """The flows a filter keeps, at the moment asked for.

        Raises:
            NatscopeError: a file cannot be read, or tells nothing of the moment.
        """
        wanted = understood(filter)
        table = self._whole()
        if wanted is not None:
            table = table.mask(wanted.mask(table, self.evidence()))
        for first in range(0, len(table), _CHUNK):
            yield table.take(slice(first, first + _CHUNK))

    def evidence(self) -> Evidence:
        """The moment of the table, and the box as the recorder found it."""
        self._whole()
        return (self.header or Header()).evidence(self._now_ns)

    def events(
        self,
        filter: Filter | str | None = None,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> Iterator[Events]:
        """The events of all files in their order, with all that is known of each flow.

        As ``Kernel.live`` tells them: losses as ``lost``, what a dump found as
        batches that are ``repaired``.

        Args:
            filter: which flows.
            since_ns: leave out what happened before, ns since 1970.
            until_ns: leave out what happened after.

        Raises:
            NatscopeError: a file cannot be read.
        """
        wanted = understood(filter)
        replay = Replay(self._problem)
        for batch in self._played(replay, self.files, until_ns):
            kept = batch.mask(_within(batch, since_ns, until_ns))
            if wanted is not None and len(kept):
                evidence = replay.header.evidence(batch.received_ns)
                kept = kept.mask(wanted.mask(kept.flows, evidence))
            if len(kept) or kept.lost:
                yield kept

    def _played(
        self, replay: Replay, files: list[Path], until_ns: int | None
    ) -> Iterator[Events]:
        """All that happened until a moment, and what may have come late."""
        self.problems, self.problem_count = [], 0
        for path in files:
            for frame in self._frames(path, replay.damaged):
                if until_ns is not None and frame.time_ns > until_ns + _LATE_NS:
                    break
                yield from replay.feed(frame)
                self.header, self.lost = replay.header, replay.lost
        yield from replay.end()

    def _whole(self) -> FlowTable:
        """The table at the moment asked for, made once."""
        if self._table is None:
            replay = Replay(self._problem, until_ns=self.until_ns)
            files = self._files_of_the_moment()
            ended: list[FlowTable] = []
            for batch in self._played(replay, files, self.until_ns):
                if self.at_ns is not None and self.at_ns != self.until_ns:
                    ended += [_ended(batch, self.at_ns)]
            self._check_end(replay, files)
            self._now_ns = self.until_ns or replay.last_ns
            if self.at_ns is not None and self.at_ns < self._now_ns:
                self._now_ns = min(self._now_ns, max(replay.last_ns, self.at_ns))
            self._dumped_ns = replay.dumped_ns
            recent = self._now_ns < replay.dumped_ns + _RECENT_NS
            self._silent = 0 if recent else replay.silent
            self._table = FlowTable.concat([*ended, replay.table().without(*_STALE)])
        return self._table

    def _files_of_the_moment(self) -> list[Path]:
        """The file that has the moment, and those that begin before its end."""
        files = self.files
        if self.at_ns is None or self.until_ns is None:
            return files[-1:]
        begun = {path: self._begun_ns(path) for path in files}
        files = [path for path in files if begun[path] <= self.until_ns]
        if not files:
            start = min(begun, key=lambda path: begun[path])
            raise NatscopeError(
                f"{start} begins at {_words(begun[start])}: it tells nothing of "
                f"{_words(self.at_ns)}"
            )
        earlier = [path for path in files if begun[path] <= self.at_ns]
        files = [*earlier[-1:], *files[len(earlier) :]]
        if earlier and len(files) > 1 and not self._reaches(files[0], self.at_ns):
            files = files[1:]
        if begun[files[0]] > self.at_ns:
            self._outside += (f"anything before {_words(begun[files[0]])}",)
        return files

    def _reaches(self, path: Path, time_ns: int) -> bool:
        """Whether a file was still being written at a moment."""
        if self._continues(path):
            return True
        frames = (one for one in read_frames(blocks(path)) if isinstance(one, Frame))
        return any(frame.time_ns + _TORN_NS >= time_ns for frame in frames)

    def _continues(self, path: Path) -> bool:
        """Whether the file after this one goes on where it ends."""
        files = self.files
        following = files[files.index(path) + 1 :]
        if not following:
            return False
        first = self._first_frame(following[0])
        if first.kind != FrameKind.HEADER:
            return False
        return decode_header(first.payload).continues_ns == self._begun_ns(path)

    def _check_end(self, replay: Replay, files: list[Path]) -> None:
        """Refuse to tell of a moment after the recording was over."""
        if self.at_ns is None or self.until_ns is None or replay.passed:
            return
        last, path = replay.last_ns, files[-1]
        known = last + _TORN_NS if replay.ended is None else last
        if known >= self.until_ns:
            return
        if replay.ended is None and is_being_written(path):
            return
        if replay.ended == ROTATED and self._continues(path):
            return
        if known < self.at_ns:
            raise NatscopeError(
                f"{path} ends at {_words(last)}: it tells nothing of "
                f"{_words(self.at_ns)}"
            )
        self._outside += (f"anything after {_words(last)}",)

    def _begun_ns(self, path: Path) -> int:
        """The time of its first whole frame."""
        return self._first_frame(path).time_ns

    def _first_frame(self, path: Path) -> Frame:
        for found in read_frames(blocks(path)):
            if isinstance(found, Frame):
                return found
        raise _no_recording(path)

    def _frames(self, path: Path, damaged: Callable[[], None]) -> Iterator[Frame]:
        """The frames of a file; damage is noted, and told before what follows it."""
        expected: int | None = None
        for found in read_frames(blocks(path)):
            if not isinstance(found, Frame):
                self._problem(NatscopeError(f"{path}: {found}"))
                damaged()
                continue
            missing = found.sequence - (expected or 0)
            if missing > 0 and found.kind != FrameKind.HEADER:
                self._problem(
                    NatscopeError(
                        f"{path}: {missing} frame{'s' * (missing != 1)} missing "
                        f"before byte {found.offset}"
                    )
                )
                damaged()
            expected = found.sequence + 1
            yield found
        if expected is None:
            raise _no_recording(path)

    def _problem(self, error: NatscopeError) -> None:
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(error)


def _no_recording(path: Path) -> NatscopeError:
    return NatscopeError(
        f"{path} is no recording: no whole frame is in it",
        hint="natscope record writes recordings",
    )


def _within(
    batch: Events, since_ns: int | None, until_ns: int | None
) -> NDArray[np.bool_]:
    times = when(batch)
    keep = np.ones(len(batch), np.bool_)
    if since_ns is not None:
        keep &= times >= np.uint64(max(0, since_ns))
    if until_ns is not None:
        keep &= times <= np.uint64(max(0, until_ns))
    return keep


def _ended(batch: Events, since_ns: int) -> FlowTable:
    """The flows that ended from a moment on, with when they did."""
    times = when(batch)
    gone = (batch.kinds == EventKind.DESTROY) & (times >= np.uint64(since_ns))
    flows = batch.flows.mask(gone).without("timeout", "event_ns")
    return flows.with_column("stop_ns", times[gone])


def _words(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 10**9).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S%z}"
