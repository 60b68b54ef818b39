"""Where changes are written down before they are made, so that they can be undone.

One file a change, in the format ``natscope save`` writes; its first line also
says what was done.  They stand under XDG_STATE_HOME (XDG Base Directory
Specification); without it root's are in /var/lib/natscope.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from natscope.errors import NatscopeError

_SUFFIX = ".jsonl"
_UNDONE = ".undone"
LONGEST_HEADER = 1 << 16
KEPT = 50
"""Undo files kept; older ones are removed."""


def directory() -> Path:
    """The directory of undo files; it need not exist yet."""
    given = os.environ.get("XDG_STATE_HOME")
    if given:
        return Path(given) / "natscope" / "undo"
    if os.geteuid() == 0:
        return Path("/var/lib/natscope/undo")
    return Path.home() / ".local" / "state" / "natscope" / "undo"


def new_path(action: str) -> Path:
    """A new name in ``directory``, which is made if it is not there; old undo
    files make room.

    Raises:
        OSError: there is no such place to be had.
    """
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_old()
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return directory() / f"{stamp}.{nanoseconds:09}Z-{action}{_SUFFIX}"


def is_stream(path: Path) -> bool:
    """Whether a path is there and no regular file: a pipe, a device, a socket."""
    return path.exists() and not path.is_file()


def write(path: Path, content: Iterable[bytes]) -> None:
    """Write a file, whole and on disk before this returns, or not at all.

    What is no regular file cannot be put in the place of another and is written
    as it comes.  A link stays one: what it points at is written.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``.
    """
    try:
        if is_stream(path):
            with path.open("wb") as stream:
                stream.writelines(content)
        else:
            _put(Path(os.path.realpath(path)), content)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _put(path: Path, content: Iterable[bytes]) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
    number, part = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            os.fchmod(number, mode)
            file.writelines(content)
            file.flush()
            os.fsync(number)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink()
        raise


def latest() -> Path:
    """The undo file of the last change that was not undone.

    Raises:
        NatscopeError: there is none.
    """
    found = listed()
    if not found:
        raise NatscopeError(
            f"nothing to undo: {directory()} has no undo file",
            hint="an undo file elsewhere can be named: natscope undo FILE",
        )
    return found[-1]


def listed() -> list[Path]:
    """The undo files not used yet, oldest first."""
    try:
        names = sorted(directory().glob(f"*{_SUFFIX}"))
    except OSError:
        return []
    return [path for path in names if not path.name.startswith(".")]


def kept() -> list[tuple[Path, bool]]:
    """Every undo file there is, newest first, and whether it was used."""
    try:
        names = sorted((p.name for p in directory().iterdir()), reverse=True)
    except OSError:
        return []
    return [
        (directory() / name, name.endswith(_UNDONE))
        for name in names
        if name.endswith((_SUFFIX, _UNDONE)) and not name.startswith(".")
    ]


def first_line(path: Path) -> str:
    """The first line of an undo file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.readline(LONGEST_HEADER).decode("utf-8", "replace")


def mark_undone(path: Path) -> None:
    """Set an undo file aside: what it undoes is undone."""
    if path.parent == directory():
        path.replace(path.with_name(path.name + _UNDONE))


def _forget_old() -> None:
    everything = sorted(p for p in directory().iterdir() if not p.name.startswith("."))
    for path in everything[: 1 - KEPT]:
        path.unlink(missing_ok=True)
