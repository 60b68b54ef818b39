"""Where changes are written down before they are made, so that they can be undone.

One file a change, in the format ``natscope save`` writes; its first line also
says what was done.  Root's stand in /var/lib/natscope, another user's under
XDG_STATE_HOME (XDG Base Directory Specification).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from natscope.errors import NatscopeError

_SUFFIX = ".jsonl"
_UNDONE = ".undone"
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


def write(action: str, content: Iterable[bytes], path: Path | None = None) -> Path:
    """Write an undo file, whole and on disk before this returns.

    Args:
        action: what is about to be done, for its name.
        content: the pieces of its text.
        path: where to; by default a new name in ``directory``.

    Raises:
        NatscopeError: it cannot be written; then nothing should be changed.
    """
    try:
        chosen = _new_path(action) if path is None else path
        part = chosen.with_name(f".{chosen.name}.part")
        with part.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(chosen)
    except OSError as error:
        where = error.filename or path or directory()
        raise NatscopeError(
            f"no undo file: {where}: {error.strerror}",
            hint="nothing was changed; --undo-file names another place, --no-undo "
            "does without",
        ) from error
    if path is None:
        _forget_old()
    return chosen


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


def mark_undone(path: Path) -> None:
    """Set an undo file aside: what it undoes is undone."""
    if path.parent == directory():
        path.replace(path.with_name(path.name + _UNDONE))


def _new_path(action: str) -> Path:
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    nanoseconds = time.time_ns() % 10**9
    return directory() / f"{stamp}.{nanoseconds:09}Z-{action}{_SUFFIX}"


def _forget_old() -> None:
    everything = sorted(p for p in directory().iterdir() if not p.name.startswith("."))
    for path in everything[:-KEPT]:
        path.unlink(missing_ok=True)
