"""A log file that grows, and that logrotate(8) may move away."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class AppendedFile:
    """Appends whole lines; follows its name when another file has it.

    Where a process that was killed left half a line, a new one is begun.

    Args:
        path: of the file; it is made where there is none.

    Raises:
        OSError: it cannot be opened or written, with its name; never swallowed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = self._open()

    def write(self, data: bytes) -> None:
        """Append whole lines; those that find no room leave no part of a line.

        Raises:
            OSError: the disk is full, or the like.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self._take_back(data[: len(data) - len(view)])
            raise self._named(error) from error

    def follow(self) -> None:
        """Go on in a new file if this one was moved away or removed.

        Raises:
            OSError: there is no new one to be had; the old one stays open.
        """
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        held = os.fstat(self._fd)
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            new = self._open()
            os.close(self._fd)
            self._fd = new

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o640)
        except PermissionError:  # an append-only log, a pipe: written, never read
            return os.open(self._path, flags & ~os.O_RDWR | os.O_WRONLY, 0o640)
        try:
            self._begin_line(fd)
        except OSError as error:
            os.close(fd)
            raise self._named(error) from error
        return fd

    def _begin_line(self, fd: int) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return  # a device or a pipe has no last line
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")

    def _take_back(self, written: bytes) -> None:
        """Cut off the part of a line that was written last."""
        part = len(written) - (written.rfind(b"\n") + 1)
        held = os.fstat(self._fd)
        if part and stat.S_ISREG(held.st_mode):
            os.ftruncate(self._fd, max(0, held.st_size - part))

    def _named(self, error: OSError) -> OSError:
        return OSError(error.errno, error.strerror, str(self._path))
