"""A collector that is sent datagrams, and may not be there at all."""

from __future__ import annotations

import socket
import time
from collections import deque

from natscope.sinks.collector import Collector, P


class UdpCollector(Collector[P]):
    """Sends datagrams; see the module ``sinks.collector``.

    Attributes:
        refused: datagrams that an ICMP message said nobody took.
    """

    kind = socket.SOCK_DGRAM
    refused = 0
    _begun = False
    _told = False

    def _is_open(self) -> bool:
        return self._begun

    def _is_waiting(self) -> bool:
        return bool(self._queue or (self._begun and self._messages))

    def _has_arrived(self) -> bool:
        return True

    def _push(self) -> None:
        assert self._socket is not None
        if not self._begun:
            self._begun = True
            self._messages: deque[bytes] = deque()
            self._opened()
        self._listen()
        now_ns = time.time_ns()
        while self._messages or self._queue:
            if not self._messages:
                self._current = self._next()
                self._messages.extend(self._wrapping.wrap(self._current, now_ns))
            try:
                self._socket.send(self._messages[0])
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                # an answer to a datagram before this one, which was not sent
                self._was_refused()
                continue
            self._messages.popleft()

    def _listen(self) -> None:
        """Take what the kernel says of datagrams before."""
        assert self._socket is not None
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            self._was_refused()

    def _was_refused(self) -> None:
        self.refused += 1
        if not self._told:
            self._told = True
            self._tell(f"{self.destination}: nobody listens there (ICMP refusal)")

    def _unwritten(self) -> None:
        if self._begun and self._messages:
            self._back(self._current)
            self._messages.clear()
        self._begun = False
