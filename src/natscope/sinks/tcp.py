"""A collector behind a TCP connection."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from collections import deque

from natscope.sinks.collector import Collector, P

_AHEAD = 256 << 10
"""Octets made into messages before the socket takes them."""
_SIOCOUTQ = 0x5411  # linux/sockios.h: not acknowledged yet
_INT = struct.Struct("=i")


class TcpCollector(Collector[P]):
    """Sends over TCP; see the module ``sinks.collector``."""

    kind = socket.SOCK_STREAM
    _open = False

    def _is_open(self) -> bool:
        return self._open

    def _is_waiting(self) -> bool:
        return bool(self._queue or (self._open and self._pending))

    def _has_arrived(self) -> bool:
        if not self._open:
            return True
        self._forget_the_acknowledged()
        return not self._under_way

    def _push(self) -> None:
        if not self._open and not self._is_connected():
            return
        self._notice_the_end()
        while True:
            self._fill()
            if not self._pending:
                break
            try:
                written = self._sock.send(self._pending, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            del self._pending[:written]
            self._written += written
        self._forget_the_acknowledged()

    @property
    def _sock(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _is_connected(self) -> bool:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._sock.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            if time.monotonic() >= self._retry_at:
                raise TimeoutError(errno.ETIMEDOUT, "no answer") from error
            return False
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._open = True
        self._pending = bytearray()
        self._written = 0
        self._under_way: deque[tuple[int, P]] = deque()
        self._opened()
        self._tell(f"{self.destination}: connected")
        return True

    def _notice_the_end(self) -> None:
        """A collector says nothing; reading finds out that it has gone."""
        try:
            while self._sock.recv(4096):
                pass
        except BlockingIOError:
            return
        raise ConnectionResetError(errno.ECONNRESET, "the collector hung up")

    def _fill(self) -> None:
        now_ns = time.time_ns()
        while self._queue and len(self._pending) < _AHEAD:
            parcel = self._next()
            for message in self._wrapping.wrap(parcel, now_ns):
                self._pending += message
            self._under_way.append((self._written + len(self._pending), parcel))

    def _forget_the_acknowledged(self) -> None:
        arrived = self._written - self._outstanding()
        while self._under_way and self._under_way[0][0] <= arrived:
            self._under_way.popleft()

    def _outstanding(self) -> int:
        """Octets the socket took that the other end has not acknowledged."""
        told = fcntl.ioctl(self._sock, _SIOCOUTQ, bytes(_INT.size))
        outstanding: int = _INT.unpack(told)[0]
        return outstanding

    def _unwritten(self) -> None:
        if not self._open:
            return
        self._forget_the_acknowledged()
        while self._under_way:
            self._back(self._under_way.pop()[1])
        self._open = False
