"""Which program a netlink port belongs to: /proc/net/netlink, then /proc/PID/fd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from natscope import uapi
from natscope.errors import NamespaceError
from natscope.sources.netns import open_namespace

_PROC = Path("/proc")
_SOCKETS = _PROC / "thread-self/net/netlink"
"""Of the network namespace the thread is in, which need not be the process's."""
KEEP_S = 10.0
"""So long a name stands for its port; ports are used again."""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process whose id is the port asked for."""

    name: str
    ended: bool
    sockets: frozenset[str]


class Programs:
    """Looks ports up, each once in a while.

    Most programs are gone a moment after they made a change: ask as soon as an
    event is there.

    Args:
        netns: the network namespace of the ports: name, process id or path; None
            is the caller's.
        clock: tells the time in seconds.
    """

    def __init__(
        self, netns: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._netns = netns
        self._clock = clock
        self._known: dict[int, tuple[str | None, float]] = {}

    def name(self, portid: int) -> str | None:
        """The program behind a netfilter netlink port, None if it has gone."""
        return self.names([portid]).get(portid)

    def names(self, portids: Iterable[int]) -> dict[int, str]:
        """The programs behind ports, of those that are known; 0 is the kernel's."""
        now = self._clock()
        wanted = {int(portid) for portid in portids} - {0}
        new = {port for port in wanted if self._expires(port) <= now}
        if new:
            self._known = {p: k for p, k in self._known.items() if k[1] > now}
            found = self._looked_up(new)
            self._known |= {port: (found.get(port), now + KEEP_S) for port in new}
        known = {port: self._known[port][0] for port in wanted}
        return {port: name for port, name in known.items() if name}

    def _expires(self, portid: int) -> float:
        return self._known[portid][1] if portid in self._known else 0.0

    def _looked_up(self, portids: set[int]) -> dict[int, str]:
        # the processes first: they may be about to end
        likely = {port: _likely(port) for port in portids}
        inodes = self._inodes()
        found: dict[int, str] = {}
        for port, process in likely.items():
            if process is not None and _fits(process, inodes.get(port)):
                name: str | None = process.name
            else:
                name = _owner(inodes[port]) if port in inodes else None
            if name:
                found[port] = name
        return found

    def _inodes(self) -> dict[int, str]:
        """The inode of every netfilter socket, by port."""
        try:
            if self._netns is None:
                return _inodes()
            with open_namespace(self._netns) as namespace, namespace.enter():
                return _inodes()
        except (OSError, NamespaceError):
            return {}  # the namespace has gone, or is not ours to enter


class NoPrograms(Programs):
    """Knows none: of what happened elsewhere, or long ago."""

    def names(self, portids: Iterable[int]) -> dict[int, str]:
        """Nothing."""
        return {}


def _inodes() -> dict[int, str]:
    """Columns sk, protocol, port, …, inode."""
    wanted = str(uapi.NETLINK_NETFILTER)
    lines = map(str.split, _SOCKETS.read_text().splitlines()[1:])
    return {int(words[2]): words[-1] for words in lines if words[1] == wanted}


def _likely(portid: int) -> _Process | None:
    """The process with the id of the port: netlink_autobind() tries that first."""
    told = _stat(portid)
    if told is None:
        return None
    name, state = told
    return _Process(name, state in "ZX", frozenset(_sockets(portid)))


def _fits(process: _Process, inode: str | None) -> bool:
    """Whether a process may have, or just had, the socket of its port."""
    if inode is None:
        return process.ended or bool(process.sockets)
    return f"socket:[{inode}]" in process.sockets


def _owner(inode: str) -> str | None:
    """The program that holds a socket; the latest processes are asked first."""
    pids = [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]
    wanted = f"socket:[{inode}]"
    for pid in sorted(pids, reverse=True):
        if wanted in _sockets(pid):
            told = _stat(pid)
            return None if told is None else told[0]
    return None


def _sockets(pid: int) -> Iterator[str]:
    """``socket:[INODE]`` of every socket a process has open."""
    try:
        for file in (_PROC / str(pid) / "fd").iterdir():
            if (target := str(file.readlink())).startswith("socket:"):
                yield target
    except OSError:
        return  # gone, or another user's


def _stat(pid: int) -> tuple[str, str] | None:
    """Name and state of a process: ``15466 (conntrack) R …`` (proc_pid_stat(5))."""
    try:
        told = (_PROC / str(pid) / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    before, _, after = told.rpartition(") ")
    return before.partition("(")[2], after[:1]
