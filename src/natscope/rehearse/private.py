"""Two private network namespaces: the box's twin, and the world around it."""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from natscope.errors import NamespaceError, NatscopeError
from natscope.rehearse import holder
from natscope.sources import nlsocket, tools
from natscope.sources.closing import Closing
from natscope.sources.nlsocket import NetlinkSocket

BOX, WORLD = holder.BOX, holder.WORLD
WORLD_PATH = f"/proc/self/fd/{holder.WORLD_FD}"
"""The world, as ip(8) takes a namespace."""
_SYSCTLS = Path("/proc/sys")
_FORBIDDING = (
    ("user/max_user_namespaces", "0", "15000"),
    ("user/max_net_namespaces", "0", "15000"),
    ("kernel/unprivileged_userns_clone", "0", "1"),  # Debian's kernels
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu's
)
"""Settings that forbid private namespaces: path, then the value that does, and one
that does not."""
_CONTAINER = (
    "a container's seccomp filter and its read-only /proc/sys are in the way: "
    "docker run --privileged, or run it outside"
)
_ENVIRONMENT = {
    # iptables-legacy wants to lock a file, and /run is root's; nobody else is here
    "XTABLES_LOCKFILE": "/dev/null",
    "LC_ALL": "C",
    # rules of a stranger may name hosts, which nft(8) looks up; nobody answers here
    "RES_OPTIONS": "timeout:1 attempts:1",
}
LONGEST_S = 60.0
"""Of a program, unless it is told otherwise: the largest rulesets load in a few."""


class Private(Closing):
    """Owns the namespaces; closing it ends them, and all that was made in them.

    Raises:
        NamespaceError: this user may have no namespaces; the hint says why.
    """

    def __init__(self) -> None:
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(Path(holder.__file__))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", program],
                stdin=theirs.fileno(),
                env=os.environ | _ENVIRONMENT,
                process_group=0,  # Ctrl-C is for us: we end it in order
            )
        try:
            self._begin()
        except OSError as error:
            self.close()
            raise NamespaceError(
                f"cannot make private namespaces: {error.strerror}",
                hint=forbidden_hint(error.errno, _SYSCTLS),
            ) from error
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Wait until the namespaces are there, and this user is root in them."""
        self._answer()
        self._write_maps()
        self._asked.send(b"map")
        self._answer()

    @property
    def pid(self) -> int:
        """The process that holds the namespaces."""
        return self._process.pid

    def close(self) -> None:
        """End the namespaces, and what still runs in them."""
        self._asked.close()
        if self._process.returncode is None:
            # a program that does not end must not keep us: nothing here is worth it
            os.killpg(self.pid, signal.SIGKILL)
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
            NamespaceError: none can be set at all, as in most containers.
        """
        try:
            self._ask("write", where, f"/proc/sys/{path}", text)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            raise NamespaceError(
                "cannot set up private namespaces: /proc/sys is read-only",
                hint=_CONTAINER,
            ) from error

    def run(
        self,
        words: Sequence[str],
        stdin: str = "",
        where: str = BOX,
        *,
        longest_s: float = LONGEST_S,
    ) -> str:
        """Run a program; what it prints.

        Raises:
            MissingTool: it is not installed.
            NatscopeError: it failed, the message holds what it said; or it did not
                end in time.
        """
        program = tools.needed(words[0])
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        try:
            with open(files[0], "wb", closefd=False) as file:
                file.write(stdin.encode(errors="surrogateescape"))
            os.lseek(files[0], 0, os.SEEK_SET)
            asked = (str(longest_s), program, *words[1:])
            told, _ = self._ask("run", where, *asked, fds=files)
            if told == b"late":
                raise NatscopeError(
                    f"{' '.join(words[:6])}: did not end within {longest_s:g} s",
                    hint="rules that name hosts instead of addresses take long",
                )
            if told != b"0":
                said = _read(files[2]).strip() or _read(files[1]).strip()
                raise NatscopeError(f"{' '.join(words[:6])}: {said or told.decode()}")
            return _read(files[1])
        finally:
            for fd in files:
                os.close(fd)

    def _ask(self, *words: str, fds: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        text = "\0".join(words).encode(errors="surrogateescape")
        if len(text) > holder.DATAGRAM:
            raise NatscopeError(f"{words[0]}: more than {holder.DATAGRAM} bytes")
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
        proc = Path(f"/proc/{self.pid}")
        try:
            for name in ("uid_map", "gid_map"):
                (proc / name).write_text(_identity(name))
        except OSError:
            (proc / "setgroups").write_text("deny")
            (proc / "uid_map").write_text(f"0 {os.geteuid()} 1")
            (proc / "gid_map").write_text(f"0 {os.getegid()} 1")


def forbidden_hint(code: int | None, sysctls: Path) -> str:
    """What to change, where unshare(2) or writing an id map was refused."""
    for name, forbids, allows in _FORBIDDING:
        path = sysctls / name
        try:
            found = path.read_text().strip()
        except OSError:
            continue  # another kernel's
        if found == forbids:
            setting = name.replace("/", ".")
            return f"{setting} is {forbids}: as root, sysctl -w {setting}={allows}"
    if code == errno.ENOSPC:
        return "too many are there: user.max_user_namespaces, user.max_net_namespaces"
    return _CONTAINER


def _identity(name: str) -> str:
    ours = Path(f"/proc/self/{name}").read_text().split()
    pairs = zip(ours[::3], ours[2::3], strict=True)
    return "".join(f"{first} {first} {count}\n" for first, count in pairs)


def _read(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        return file.read().decode(errors="surrogateescape")
