"""Two private network namespaces: the box's twin, and the world around it."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from natscope.errors import NamespaceError, NatscopeError
from natscope.rehearse import holder
from natscope.sources import nlsocket, tools
from natscope.sources.nlsocket import NetlinkSocket

BOX, WORLD = holder.BOX, holder.WORLD
WORLD_PATH = f"/proc/self/fd/{holder.WORLD_FD}"
"""The world, as ip(8) takes a namespace."""
_UBUNTU = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_ENVIRONMENT = {"XTABLES_LOCKFILE": "/dev/null", "LC_ALL": "C"}
"""iptables-legacy wants to lock a file, and /run is root's; nobody else is here."""


class Private:
    """Owns the namespaces; closing it ends them, and all that was made in them.

    Raises:
        NamespaceError: this user may have no namespaces; the hint says why.
    """

    def __init__(self) -> None:
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(Path(holder.__file__))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", program, str(theirs.fileno()), "user"],
                pass_fds=[theirs.fileno()],
                env=os.environ | _ENVIRONMENT,
            )
        try:
            self._answer()
            self._write_maps()
            self._asked.send(b"map")
            self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Private:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the namespaces."""
        self._asked.close()
        self._process.wait()

    def socket(self, where: str, family: int, kind: int, proto: int) -> socket.socket:
        """A socket that lives in a namespace.

        Raises:
            OSError: the kernel has none of that kind.
        """
        _, fds = self._ask("socket", where, str(family), str(kind), str(proto))
        return socket.socket(fileno=fds[0])

    def netlink(self, protocol: int) -> NetlinkSocket:
        """A netlink socket of the box's.

        Raises:
            KernelError: the kernel has none of that protocol.
        """
        return NetlinkSocket.of(self.socket(BOX, *nlsocket.KIND, protocol))

    def open(self, path: str) -> int:
        """A descriptor of a file that tells of the twin, to be read again and again.

        Raises:
            OSError: there is none.
        """
        _, fds = self._ask("open", BOX, path)
        return fds[0]

    def write(self, path: str, text: str, where: str = BOX) -> None:
        """Set a sysctl: a path under /proc/sys.

        Raises:
            OSError: there is none, or it is not a namespace's own.
        """
        self._ask("write", where, f"/proc/sys/{path}", text)

    def run(self, words: Sequence[str], stdin: str = "", where: str = BOX) -> str:
        """Run a program; what it prints.

        Raises:
            MissingTool: it is not installed.
            NatscopeError: it failed; the message holds what it said.
        """
        program = tools.needed(words[0])
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        try:
            with open(files[0], "wb", closefd=False) as file:
                file.write(stdin.encode(errors="surrogateescape"))
            os.lseek(files[0], 0, os.SEEK_SET)
            told, _ = self._ask("run", where, program, *words[1:], fds=files)
            if told != b"0":
                said = _read(files[2]).strip() or _read(files[1]).strip()
                raise NatscopeError(f"{' '.join(words[:6])}: {said or told.decode()}")
            return _read(files[1])
        finally:
            for fd in files:
                os.close(fd)

    def _ask(self, *words: str, fds: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        text = "\0".join(words).encode(errors="surrogateescape")
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())
        self._asked.sendmsg([text], [rights] if fds else [])
        return self._answer()

    def _answer(self) -> tuple[bytes, list[int]]:
        data, fds, _, _ = socket.recv_fds(
            self._asked, holder.DATAGRAM, 4, socket.MSG_CMSG_CLOEXEC
        )
        kind, _, rest = data.partition(b"\0")
        if kind == b"ok":
            return rest, fds
        if kind == b"error":
            number, _, words = rest.decode().partition("\0")
            raise OSError(int(number), words)
        raise NamespaceError("the process that holds the private namespaces is gone")

    def _write_maps(self) -> None:
        """All ids we have, where we may map them; else our own as root."""
        proc = Path(f"/proc/{self._process.pid}")
        try:
            for name in ("uid_map", "gid_map"):
                (proc / name).write_text(_identity(name))
        except OSError:
            (proc / "setgroups").write_text("deny")
            (proc / "uid_map").write_text(f"0 {os.geteuid()} 1")
            (proc / "gid_map").write_text(f"0 {os.getegid()} 1")


def _identity(name: str) -> str:
    ours = Path(f"/proc/self/{name}").read_text().split()
    pairs = zip(ours[::3], ours[2::3], strict=True)
    return "".join(f"{first} {first} {count}\n" for first, count in pairs)


def _read(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        return file.read().decode(errors="surrogateescape")
