"""Programs of a network namespace that listen to netfilter, or keep a standby."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from natscope.codec.text.counters import NETLINK, netfilter_sockets
from natscope.model.measured import STANDBY, Program

_PROC = Path("/proc")
_OWN = _PROC / "thread-self"


def programs() -> tuple[Program, ...]:
    """Those of the calling thread's namespace; the calling process is none of them.

    A netfilter socket's port id is mostly the process id of who opened it
    (netlink_autobind()); of others nothing is told.

    Raises:
        OSError: /proc cannot be read.
    """
    own = (_OWN / "ns/net").stat().st_ino
    listening = set(netfilter_sockets((_OWN / NETLINK).read_text()))
    return tuple(_found(own, listening))


def _found(own: int, listening: set[int]) -> Iterator[Program]:
    for path in _PROC.iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            name = (path / "comm").read_text().strip()
            is_wanted = name in STANDBY or int(path.name) in listening
            if is_wanted and (path / "ns/net").stat().st_ino == own:
                yield Program(int(path.name), name)
        except OSError:
            continue  # it has ended, or is another user's
