"""A file read at once, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

from natscope.errors import NatscopeError


def read(path: str | Path) -> bytes:
    """All that a file holds; ``-`` is stdin.

    Raises:
        NatscopeError: it cannot be read.
    """
    if str(path) == "-":
        return stdin().read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NatscopeError(f"{path}: {error.strerror or error}") from error


def stdin() -> IO[bytes]:
    """Standard input.

    Raises:
        NatscopeError: it was closed before the program began.
    """
    if sys.stdin is None:
        raise NatscopeError("standard input is closed: nothing to read")
    return sys.stdin.buffer
