"""One file that only grows, by whole frames, and how it comes to rest on disk.

A frame that does not fit is taken back, so that what the file holds is whole
whatever happens to the next.
"""

from __future__ import annotations

import fcntl
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from natscope.codec.recording import FRAME, FRAME_SIZE, MAGIC
from natscope.errors import NatscopeError
from natscope.sources.recordingfiles import is_being_written, older

_STAMP = "%Y%m%dT%H%M%SZ"


class RecordingFailed(NatscopeError):
    """A recording that could not go on; what was written before is whole."""


class RecordingFile:
    """A new file, frames appended to it.

    Args:
        path: of a file that does not exist.
        sync_s: fdatasync(2) at most so many seconds after a frame was written;
            0 is before ``append`` returns, None is never.

    Raises:
        OSError: it cannot be made; FileExistsError when it is there.
    """

    def __init__(self, path: Path, *, sync_s: float | None = 1.0) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.path = path
        self.size = 0
        """Bytes of whole frames."""
        self._sync_s = sync_s
        self._synced = 0
        self._sync_at = time.monotonic()
        self._syncing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "natscope-sync")
        self._fd = os.open(path, flags, 0o600)
        try:
            # a reader may be asking whether the file is being written
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if sync_s is not None:
                sync_directory(path.parent)
        except BaseException:
            self.release()
            raise

    def __enter__(self) -> RecordingFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def append(self, frame: bytes) -> None:
        """Write a whole frame, or nothing of it.

        Raises:
            OSError: the disk is full, or the like, also of what was written
                before and now failed to reach the disk.
        """
        self._check_sync()
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(frame)
        if self._sync_s == 0:
            self._sync()

    def sync_if_due(self) -> None:
        """Begin to sync when it is time; never waits for the disk.

        Raises:
            OSError: what was written before failed to reach the disk.
        """
        if self._check_sync():
            return
        if self._sync_s is None or self._synced == self.size:
            return
        now = time.monotonic()
        if now >= self._sync_at:
            self._sync_at = now + self._sync_s
            self._synced = self.size
            self._syncing = self._thread.submit(os.fdatasync, self._fd)

    def _check_sync(self) -> bool:
        """Whether the disk is still at work; raises what it failed with."""
        if self._syncing is None:
            return False
        if not self._syncing.done():
            return True
        done, self._syncing = self._syncing, None
        done.result()
        return False

    def close(self) -> None:
        """Close it, synced unless that was not wanted.

        Raises:
            OSError: what was written failed to reach the disk.
        """
        try:
            if self._syncing is not None:
                self._syncing.result()
            if self._sync_s is not None and self._synced != self.size:
                self._sync()
        finally:
            self.release()

    def _sync(self) -> None:
        os.fdatasync(self._fd)
        self._synced = self.size

    def release(self) -> None:
        """Close it as it is."""
        self._thread.shutdown(wait=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def sync_directory(directory: Path) -> None:
    """Make names last: fsync(2) of their directory.

    Raises:
        OSError: it cannot be opened or synced.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def set_aside(path: Path, begun_ns: int) -> Path:
    """Rename a finished file by the moment it was begun; its new name.

    Raises:
        OSError: it cannot be renamed.
    """
    stamp = time.strftime(_STAMP, time.gmtime(begun_ns // 10**9))
    chosen, number = path.with_name(f"{path.name}.{stamp}"), 0
    while chosen.exists():
        number += 1
        chosen = path.with_name(f"{path.name}.{stamp}.{number}")
    path.rename(chosen)
    return chosen


def forget_oldest(path: Path, keep: int) -> list[Path]:
    """Remove files set aside until ``keep`` are left; those removed.

    Raises:
        OSError: one cannot be removed.
    """
    found = older(path)
    gone = found[: max(0, len(found) - keep)]
    for one in gone:
        one.unlink(missing_ok=True)
    return gone


def set_old_aside(path: Path) -> None:
    """Rename a recording that stands where another is to begin.

    Raises:
        RecordingFailed: it is no recording, or is being written.
        OSError: it cannot be read or renamed.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise RecordingFailed(f"{path}: not a regular file")
    if is_being_written(path):
        raise RecordingFailed(
            f"{path}: another natscope record is writing it",
            hint="name another file, or end the other first",
        )
    with path.open("rb") as file:
        head = file.read(FRAME_SIZE)
    if not head:
        path.unlink()
        return
    if not head.startswith(MAGIC):
        raise RecordingFailed(
            f"{path}: there is such a file, and it is no recording",
            hint="natscope overwrites nothing: name another file",
        )
    whole = len(head) == FRAME_SIZE
    begun_ns = FRAME.unpack(head)[7] if whole else path.stat().st_mtime_ns
    set_aside(path, begun_ns)
