"""Names of natscope's own tables, and removing those that were left behind.

A process that is killed cannot remove its table.  The name says whose it is: the
process id, when it started (proc_pid_stat(5), field 22) and in which namespace of
process ids, so that another container's is left alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from natscope.model.journey import OWN_TABLES
from natscope.sources import tools

_PREFIX = f"{OWN_TABLES}trace"
_TABLE = re.compile(rf"^table inet ({_PREFIX}_(\d+)_(\d+)_(\d+))\b", re.MULTILINE)
_START = 22 - 3
"""Of the fields after the name, which may hold spaces."""


def own_name() -> str:
    """The name of this process's table."""
    return _name(Path("/proc/thread-self").resolve().parents[1])


def _name(process: Path) -> str:
    return f"{_PREFIX}_{process.name}_{started(process)}_{_pid_namespace()}"


def started(process: Path) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone."""
    try:
        told = (process / "stat").read_text()
    except OSError:
        return None
    return int(told.rpartition(")")[2].split()[_START])


def abandoned(listing: str) -> list[str]:
    """The tables of processes that are gone, of what ``nft list tables`` prints."""
    here = _pid_namespace()
    return [
        name
        for name, pid, start, namespace in _TABLE.findall(listing)
        if int(namespace) == here and started(Path("/proc", pid)) != int(start)
    ]


def sweep() -> list[str]:
    """Remove what processes that are gone left in the thread's namespace.

    Returns:
        The names of the tables.

    Raises:
        MissingTool: nft(8) is not installed.
        NatscopeError: not permitted.
    """
    found = abandoned(tools.run(["nft", "list", "tables"]))
    for name in found:
        remove(name)
    return found


def remove(name: str) -> None:
    """Delete a table of ours; no error where it is gone.

    Raises:
        NatscopeError: nft(8) failed.
    """
    # added first: deleting what somebody else has flushed meanwhile is an error
    tools.run(
        ["nft", "-f", "-"], stdin=f"add table inet {name}\ndelete table inet {name}\n"
    )


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
