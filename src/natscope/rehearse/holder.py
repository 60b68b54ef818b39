"""Holds two network namespaces in a user namespace, and works in them when asked.

Run as a program of its own, not imported: unshare(2) of a user namespace wants a
process with one thread, and starting it must not cost what NumPy does.  Its standard
input is a socket; when that is closed it ends, and with it the namespaces.

A request is one datagram, words joined by NUL, with descriptors beside it; so is
the answer: ``ok`` and what was asked for, or ``error`` with errno and words.

    map                            the maps were written: become root of the namespace
    socket WHERE FAMILY TYPE PROTO a socket: its descriptor
    open WHERE PATH                a file under /proc, for reading: its descriptor
    write WHERE PATH TEXT          a setting
    run WHERE SECONDS PROGRAM WORD ...
                                   with stdin, stdout, stderr: the exit code, or late
"""

from __future__ import annotations

import _socket as socket
import array
import ctypes
import os
import select
import signal
import sys

NEWUSER, NEWNET = 0x10000000, 0x40000000
DATAGRAM = 1 << 16
BOX, WORLD = "box", "world"
WORLD_FD = 9
"""The world's namespace, in every program that is run."""


def main() -> None:
    """Serve until the socket is closed."""
    # never WORLD_FD, whatever else the process that started us had open
    asked = socket.socket(fileno=0)
    libc = ctypes.CDLL(None, use_errno=True)
    places: dict[str, int] = {}
    try:
        _check(libc.unshare(NEWUSER))
        asked.send(b"ok")
        asked.recv(DATAGRAM)  # the maps are written
        for name in (WORLD, BOX):
            _check(libc.unshare(NEWNET))
            places[name] = os.open("/proc/self/ns/net", os.O_RDONLY)
        os.dup2(places[WORLD], WORLD_FD)
        _answer(asked, [b"ok"], [])
    except OSError as error:
        _answer(asked, _told(error), [])
        return
    inside = BOX
    while True:
        data, ancillary, _, _ = asked.recvmsg(DATAGRAM, socket.CMSG_SPACE(16))
        if not data:
            return
        given = array.array("i")
        for _, _, found in ancillary:
            given.frombytes(found[: len(found) // 4 * 4])
        what, where, *words = data.decode(errors="surrogateescape").split("\0")
        try:
            if where != inside:
                _check(libc.setns(places[where], NEWNET))
                inside = where
            told, sent = _do(what, words, given.tolist())
            _answer(asked, [b"ok", told], sent)
            for one in sent:
                os.close(one)
        except OSError as error:
            _answer(asked, _told(error), [])
        for one in given:
            os.close(one)


def _do(what: str, words: list[str], given: list[int]) -> tuple[bytes, list[int]]:
    if what == "socket":
        made = socket.socket(*map(int, words))
        return b"", [made.detach()]
    if what == "open":
        return b"", [os.open(words[0], os.O_RDONLY | os.O_CLOEXEC)]
    if what == "write":
        fd = os.open(words[0], os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, words[1].encode())
        finally:
            os.close(fd)
        return b"", []
    return _run(float(words[0]), words[1:], given), []


def _run(longest_s: float, words: list[str], given: list[int]) -> bytes:
    """Run a program: its exit code, or ``late`` if it did not end in time."""
    actions = [(os.POSIX_SPAWN_DUP2, one, at) for at, one in enumerate(given)]
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    ends = os.pidfd_open(pid)
    is_late = not select.select([ends], [], [], longest_s)[0]
    os.close(ends)
    if is_late:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return b"late" if is_late else b"%d" % code


def _answer(asked: socket.socket, words: list[bytes], fds: list[int]) -> None:
    rights = array.array("i", fds).tobytes()
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
    asked.sendmsg([b"\0".join(words)], beside)


def _told(error: OSError) -> list[bytes]:
    return [b"error", b"%d" % (error.errno or 0), str(error.strerror).encode()]


def _check(code: int) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main()
    except ConnectionError:
        sys.exit(1)  # nobody waits for the answer: interrupted
