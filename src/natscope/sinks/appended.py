"""A log file that grows, and that logrotate(8) may move away."""

from __future__ import annotations

import os
from pathlib import Path


class AppendedFile:
    """Appends whole pieces; follows its name when another file has it.

    Raises:
        OSError: it cannot be opened or written; never swallowed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = self._open()

    def write(self, data: bytes) -> None:
        """Append all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def follow(self) -> None:
        """Go on in a new file if this one was moved away or removed."""
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        held = os.fstat(self._fd)
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            os.close(self._fd)
            self._fd = self._open()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)
