"""The files of a recording: which they are, and whether one still grows."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from natscope.codec.recording import MAGIC
from natscope.errors import NatscopeError

_BLOCK = 1 << 18
_OLDER = re.compile(r"\.\d{8}T\d{6}Z(?:\.\d+)?")


def is_recording(path: str | Path) -> bool:
    """Whether a file begins as a recording does; false if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def older(path: Path) -> list[Path]:
    """The files set aside from a recording, the earliest first."""
    found = [
        one
        for one in path.parent.glob(f"{_literal(path.name)}.*")
        if _OLDER.fullmatch(one.name.removeprefix(path.name))
    ]
    return sorted(found, key=_stamp)


def is_being_written(path: Path) -> bool:
    """Whether a recorder holds the file open, in any process.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _stamp(path: Path) -> tuple[str, int]:
    """When it was begun, and its number among those of the same second."""
    name, _, number = path.name.rpartition("Z")
    return name, int(number.removeprefix(".") or 0)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def blocks(path: Path) -> Iterator[bytes]:
    """What a file holds, in pieces.

    Raises:
        NatscopeError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise NatscopeError(f"{path}: {error.strerror or error}") from error
