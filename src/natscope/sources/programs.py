"""Which program a netlink port belongs to: /proc/net/netlink, then /proc/PID/fd."""

from __future__ import annotations

from pathlib import Path

from natscope import uapi

_PROC = Path("/proc")


class Programs:
    """Looks a port up once."""

    def __init__(self) -> None:
        self._known: dict[int, str | None] = {}

    def name(self, portid: int) -> str | None:
        """The program behind a netfilter netlink port, None if it has gone."""
        if portid not in self._known:
            inode = _inode(portid)
            self._known[portid] = None if inode is None else _owner(portid, inode)
        return self._known[portid]


def _inode(portid: int) -> str | None:
    """The socket's inode: columns sk, protocol, port, …, inode."""
    for line in (_PROC / "net/netlink").read_text().splitlines()[1:]:
        words = line.split()
        if words[1:3] == [str(uapi.NETLINK_NETFILTER), str(portid)]:
            return words[-1]
    return None


def _owner(portid: int, inode: str) -> str | None:
    # many programs' first port is their process id
    pids = [path.name for path in _PROC.iterdir() if path.name.isdigit()]
    pids.sort(key=lambda pid: pid != str(portid))
    wanted = f"socket:[{inode}]"
    for pid in pids:
        if _holds(pid, wanted):
            return _program(pid)
    return None


def _holds(pid: str, wanted: str) -> bool:
    try:
        open_files = (_PROC / pid / "fd").iterdir()
        return any(str(file.readlink()) == wanted for file in open_files)
    except OSError:
        return False  # gone, or another user's


def _program(pid: str) -> str | None:
    """The name in parentheses of /proc/PID/stat."""
    try:
        told = (_PROC / pid / "stat").read_text()
    except OSError:
        return None
    return told[told.index("(") + 1 :].partition(")")[0]
