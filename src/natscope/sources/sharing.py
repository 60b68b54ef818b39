"""A setting of a network namespace that several processes want for a while.

Each holds a shared flock(2) on a file named by the namespace; who leaves and can
have it alone was the last.  The file holds what the first one found, and goes
with the last one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from natscope.errors import NatscopeError

_NAMESPACE = Path("/proc/thread-self/ns/net")
DIRECTORY = Path("/run/natscope")
"""Root's alone: nobody else can hold the lock, or write into the file."""


@dataclass(slots=True)
class Shared:
    """What was found, and the file that is locked where one could be had.

    Make it with :meth:`joined` in the namespace it is about.
    """

    found: int
    _path: Path | None = None
    _fd: int = -1

    @classmethod
    def joined(cls, read: Callable[[], int]) -> Shared:
        """Hold on to the setting; ``read`` tells its value."""
        path = DIRECTORY / f"events-{_NAMESPACE.stat().st_ino}"
        try:
            fd, first = _locked(path)
        except OSError:
            return cls(read())  # /run is read-only, or not ours: alone, then
        try:
            found = read()
            if first:
                with suppress(OSError):  # a full disk: then we alone know
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, b"%d" % found, 0)
                fcntl.flock(fd, fcntl.LOCK_SH)
        except NatscopeError:
            os.close(fd)
            raise
        return cls(found, path, fd)

    @contextmanager
    def left(self) -> Iterator[int | None]:
        """Let go; what the body is to put back, None while others hold on."""
        if self._path is None:
            yield self.found
            return
        try:
            if _alone(self._fd):
                told = os.pread(self._fd, 16, 0)
                yield int(told) if told.isdigit() else self.found
                self._path.unlink(missing_ok=True)
            else:
                yield None
        finally:
            os.close(self._fd)


def _locked(path: Path) -> tuple[int, bool]:
    """The file under a lock, and whether nobody else has it."""
    while True:
        fd = _opened(path)
        first = _alone(fd)
        if not first:
            fcntl.flock(fd, fcntl.LOCK_SH)  # waits while the last one puts it back
        if os.fstat(fd).st_nlink:
            return fd, first
        os.close(fd)  # the last one took it away meanwhile


def _alone(fd: int) -> bool:
    """Whether nobody else has the lock; then it is held alone.

    Linux takes the shared one and gives the other in one step
    (flock_lock_inode): two who leave at once are not both refused.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(path: Path) -> int:
    DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileExistsError(path)
    return fd
