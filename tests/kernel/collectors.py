"""Collectors of the tests' own, on loopback of the namespace the caller is in."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time

PATIENCE_S = 5.0


def loopback_up() -> None:
    """A fresh namespace has a loopback that is down."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class TcpServer:
    """Takes one connection after the other.

    Args:
        port: to come back to; 0 is any.
    """

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]
        self.connection: socket.socket | None = None

    def accept(self) -> None:
        """Take a connection, that has been or will be made."""
        self.connection = self._listener.accept()[0]
        self.connection.settimeout(PATIENCE_S)

    def read(self, count: int) -> bytes:
        """So many octets."""
        assert self.connection is not None
        found = b""
        while len(found) < count:
            piece = self.connection.recv(count - len(found))
            assert piece, f"hung up after {len(found)} octets of {count}"
            found += piece
        return found

    def read_all(self) -> bytes:
        """Everything until the other end hangs up."""
        assert self.connection is not None
        found = []
        while piece := self.connection.recv(1 << 16):
            found.append(piece)
        return b"".join(found)

    def reset(self) -> None:
        """Break the connection; what was not read is gone."""
        assert self.connection is not None
        at_once = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self.connection.close()
        self.connection = None

    def close(self) -> None:
        """Go away; the port is free again."""
        if self.connection is not None:
            self.connection.close()
        self._listener.close()


def until(condition: object, work: object) -> None:
    """Work until a condition holds, with a deadline."""
    assert callable(condition)
    assert callable(work)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        work()
        select.select([], [], [], 0.002)
