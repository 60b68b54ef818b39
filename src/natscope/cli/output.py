"""All of standard output, as bytes: ``> file`` and a terminal get the same."""

from __future__ import annotations

import errno
import os
import sys

_STDOUT = 1


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


def terminal_rows() -> int:
    """How many lines the terminal shows."""
    import shutil

    return shutil.get_terminal_size((80, 24)).lines
