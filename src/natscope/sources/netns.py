"""Network namespaces: find, make and enter them.

setns(2) and unshare(2) move only the calling thread, and a socket stays in the
namespace it was made in; so a namespace is entered for as long as it takes to
open what is needed.  Python has os.setns only from 3.12 on, hence ctypes.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from natscope.errors import NamespaceError
from natscope.sources.closing import Closing

NAMED = Path("/run/netns")
"""Where ip-netns(8) keeps named namespaces."""
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
_OWN = "/proc/thread-self/ns/net"


class Namespace(Closing):
    """A network namespace held open by a descriptor."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self.name = name

    @property
    def path(self) -> str:
        """A path ip(8) takes as a namespace while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Run the body with the calling thread in this namespace.

        Sockets opened in the body stay there; programs started in the body
        run there.

        Raises:
            NamespaceError: not permitted, or no namespace any more.
        """
        home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd, self.name)
            try:
                yield
            finally:
                _setns(home, "the namespace this thread came from")
        finally:
            os.close(home)

    def close(self) -> None:
        """Let go; an unnamed namespace nobody else holds disappears."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def inside(namespace: Namespace | None) -> AbstractContextManager[None]:
    """Run the body in a namespace; None is the one the thread is in."""
    return nullcontext() if namespace is None else namespace.enter()


def open_namespace(which: str) -> Namespace:
    """Open a namespace by NAME (ip-netns), PID or PATH.

    Raises:
        NamespaceError: there is none, or this user may not look at it.
    """
    if "/" in which:
        path = Path(which)
    elif which.isascii() and which.isdigit() and not (NAMED / which).exists():
        path = Path(f"/proc/{which}/ns/net")
    else:
        path = NAMED / which
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(
            f"network namespace {which!r}: {path}: {error.strerror}",
            hint=_open_hint(error.errno),
        ) from error
    return Namespace(fd, which)


def new_namespace(name: str = "private") -> Namespace:
    """Make a network namespace of one's own; it goes when it is closed.

    Raises:
        NamespaceError: needs CAP_SYS_ADMIN, as root has, or a user namespace
            entered before.
    """
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNET)
        fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        _setns(home, "the namespace this thread came from")
    finally:
        os.close(home)
    return Namespace(fd, name)


def named_namespaces() -> list[str]:
    """Names under /run/netns, sorted, as ``ip netns list`` knows them."""
    try:
        return sorted(entry.name for entry in NAMED.iterdir())
    except FileNotFoundError:
        return []


def identity() -> tuple[int, int]:
    """Device and inode of the calling thread's namespace, its own while it lives.

    Whatever the names: see namespaces(7).
    """
    told = Path(_OWN).stat()
    return told.st_dev, told.st_ino


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread.

    Raises:
        NamespaceError: the kernel said no; ``hint`` says what it takes.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise NamespaceError(
            f"cannot make a namespace: {os.strerror(code)}",
            hint="needs root (CAP_SYS_ADMIN), or unprivileged user namespaces: "
            "see user.max_user_namespaces and, on Ubuntu, "
            "kernel.apparmor_restrict_unprivileged_userns",
        )


def _setns(fd: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise NamespaceError(
            f"network namespace {name!r}: cannot enter: {os.strerror(code)}",
            hint="entering a namespace needs CAP_SYS_ADMIN: run as root"
            if code == errno.EPERM
            else "that path is not a network namespace",
        )


def _open_hint(code: int | None) -> str | None:
    if code == errno.ENOENT:
        names = ", ".join(named_namespaces()) or "none"
        return f"give a name (there are: {names}), a process id or a path"
    if code in (errno.EACCES, errno.EPERM):
        return "another user's namespace is open to root alone"
    return None
