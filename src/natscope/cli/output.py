"""All of standard output, as bytes: ``> file`` and a terminal get the same."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STDOUT = 1
_PATIENCE_MS = 200


def write(data: bytes) -> None:
    """Write all of it, at once.

    Raises:
        OSError: the disk is full, or the like; never swallowed.
    """
    if sys.stdout is None:
        # closed before we began: the number may be another file's by now
        raise OSError(errno.EBADF, "standard output is closed")
    view = memoryview(data)
    while view:
        view = view[os.write(_STDOUT, view) :]


def write_patiently(data: bytes, enough: Callable[[], bool]) -> None:
    """As ``write``, but not stuck behind a reader that takes nothing.

    Args:
        data: to be written.
        enough: asked now and then while nothing can be written: whether to give up.

    Raises:
        OSError: as ``write``; BrokenPipeError when it is given up.
    """
    if sys.stdout is None or stat.S_ISREG(os.fstat(_STDOUT).st_mode):
        write(data)
        return
    poll = select.poll()
    poll.register(_STDOUT, select.POLLOUT)
    view = memoryview(data)
    while view:
        while not poll.poll(_PATIENCE_MS):
            if enough():
                raise BrokenPipeError(errno.EPIPE, "standard output is not read")
        # a pipe that is writable has room for so much (pipe(7))
        view = view[os.write(_STDOUT, view[: select.PIPE_BUF]) :]


def flush() -> int:
    """Write out what argparse printed; 0 for done.

    Raises:
        OSError: as ``write``.
    """
    if sys.stdout is not None:  # None when it was closed before we began
        sys.stdout.flush()
    return 0


def is_terminal() -> bool:
    """Whether a person is looking."""
    return sys.stdout is not None and os.isatty(_STDOUT)


def wants_colour() -> bool:
    """Colour on a terminal, unless NO_COLOR says otherwise (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_terminal() and os.environ.get("TERM") != "dumb"


def shows_signs() -> bool:
    """Whether a person is looking at a terminal that shows more than ASCII."""
    if sys.stdout is None or not is_terminal():
        return False
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def terminal_rows() -> int:
    """How many lines the terminal shows."""
    import shutil

    return shutil.get_terminal_size((80, 24)).lines


def terminal_columns() -> int | None:
    """How many characters a line of the terminal has; None if there is none."""
    if not is_terminal():
        return None
    try:
        return os.get_terminal_size(_STDOUT).columns or None
    except OSError:
        return None
