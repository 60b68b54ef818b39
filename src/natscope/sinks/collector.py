"""A collector somewhere on the network, which may be away for a while.

What is offered waits in a bounded queue and is sent as the socket takes it;
nothing here blocks but the look-up of the name at the beginning.  Over TCP a
parcel is done with when the other end has acknowledged it: what was under way
when a connection broke is sent again on the next, perhaps a second time.  What
the queue cannot hold is dropped and counted.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from natscope.errors import NatscopeError
from natscope.sources.closing import Closing

QUEUE = 64 << 20
"""Octets that wait for a collector at most."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
CONNECTING_S = 10.0


_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class Parcel(Protocol):
    """What is offered; its length is in octets."""

    @property
    def flows(self) -> int:
        """What it counts for when it is sent, or dropped."""

    def __len__(self) -> int:
        """Octets it takes in the queue."""


P = TypeVar("P", bound=Parcel)
P_in = TypeVar("P_in", bound=Parcel, contravariant=True)


class Wrapping(Protocol[P_in]):
    """Turns parcels into messages when they are about to be sent."""

    def begin(self) -> None:
        """A new transport session: the collector knows nothing."""

    def wrap(self, parcel: P_in, now_ns: int) -> list[bytes]:
        """The messages of a parcel, in order."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to send."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Collector(Closing, ABC, Generic[P]):
    """A destination, what waits for it, and what became of the rest.

    Args:
        destination: looked up once, in the network namespace of the caller.
        wrapping: makes the messages.
        tell: is given news of the connection, a line each.
        queue: octets that may wait.

    Attributes:
        sent: flows sent; over TCP, acknowledged or under way.
        not_sent: flows dropped.

    Raises:
        NatscopeError: there is no such host.
    """

    kind: socket.SocketKind

    def __init__(
        self,
        destination: Destination,
        wrapping: Wrapping[P],
        tell: Callable[[str], None],
        queue: int = QUEUE,
    ) -> None:
        self.destination = destination
        self.sent = 0
        self.not_sent = 0
        self._wrapping = wrapping
        self._tell = tell
        self._limit = queue
        self._queue: deque[P] = deque()
        self._queued = 0
        self._full = False
        self._addresses = deque(_looked_up(destination, self.kind))
        self._socket: socket.socket | None = None
        self._pause_s = FIRST_PAUSE_S
        self._retry_at = 0.0
        self._trouble = ""
        self._failures = 0

    @property
    def queued(self) -> int:
        """Octets that wait."""
        return self._queued

    def offer(self, parcel: P) -> None:
        """Send this as soon as it can be; drop it when the queue is full."""
        if self._queued + len(parcel) <= self._limit:
            self._queue.append(parcel)
            self._queued += len(parcel)
            self._full = False
            return
        self.not_sent += parcel.flows
        if not self._full:
            self._full = True
            self._tell(f"{self.destination}: the queue is full; records are dropped")

    def watch(self, poll: select.poll) -> float | None:
        """Register what is waited for; seconds until ``work`` is due at the latest."""
        if self._socket is not None:
            wants = select.POLLIN | (select.POLLOUT if self._is_waiting() else 0)
            poll.register(self._socket.fileno(), wants)
            return None if self._is_open() else self._left_s()
        return self._left_s()

    def work(self) -> None:
        """Connect, send and notice what happened, without waiting."""
        try:
            if self._socket is None:
                if time.monotonic() < self._retry_at:
                    return
                self._connect()
            self._push()
        except OSError as error:
            self._broken(error.strerror or str(error))

    def drain(self, patience_s: float) -> bool:
        """Send what waits, for so long at most; whether all of it went.

        A collector that is away is tried once.
        """
        until = time.monotonic() + patience_s
        failures = self._failures
        self._retry_at = min(self._retry_at, time.monotonic())
        while self._is_waiting() or not self._has_arrived():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self.work()
            if self._failures > failures:
                return False
            poll = select.poll()
            due = self.watch(poll)
            poll.poll(1000 * min(left, 0.05 if due is None else max(due, 0.01)))
        return True

    def close(self) -> None:
        """Close the connection; what still waits is counted as not sent."""
        if self._socket is not None:
            self._unwritten()
            self._socket.close()
            self._socket = None
        self.not_sent += sum(parcel.flows for parcel in self._queue)
        self._queue.clear()
        self._queued = 0

    def _left_s(self) -> float:
        return max(0.0, self._retry_at - time.monotonic())

    def _next(self) -> P:
        parcel = self._queue.popleft()
        self._queued -= len(parcel)
        self.sent += parcel.flows
        return parcel

    def _back(self, parcel: P) -> None:
        """Put a parcel to the front again."""
        self._queue.appendleft(parcel)
        self._queued += len(parcel)
        self.sent -= parcel.flows

    def _connect(self) -> None:
        family, address = self._addresses[0]
        self._addresses.rotate(-1)
        self._socket = socket.socket(family, self.kind | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._retry_at = time.monotonic() + CONNECTING_S
        code = self._socket.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def _opened(self) -> None:
        """A transport session has begun."""
        self._trouble = ""
        self._pause_s = FIRST_PAUSE_S
        self._wrapping.begin()

    def _broken(self, reason: str) -> None:
        """Take back what did not arrive, and try again later."""
        if self._socket is not None:
            self._unwritten()
            self._socket.close()
            self._socket = None
        self._retry_at = time.monotonic() + self._pause_s
        self._failures += 1
        if reason != self._trouble:
            self._trouble = reason
            self._tell(f"{self.destination}: {reason}; what comes waits, trying again")
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    @abstractmethod
    def _is_open(self) -> bool:
        """Whether messages can be sent."""

    @abstractmethod
    def _is_waiting(self) -> bool:
        """Whether anything has not gone yet."""

    @abstractmethod
    def _has_arrived(self) -> bool:
        """Whether everything that went is known to be there, or never will be."""

    @abstractmethod
    def _push(self) -> None:
        """Send what the socket takes."""

    @abstractmethod
    def _unwritten(self) -> None:
        """Put back what the socket took and did not deliver."""


def _looked_up(
    destination: Destination, kind: socket.SocketKind
) -> list[tuple[int, _Address]]:
    try:
        found = socket.getaddrinfo(destination.host, destination.port, type=kind)
    except OSError as error:
        raise NatscopeError(
            f"{destination}: {error.strerror or error}",
            hint="give the collector as HOST:PORT or [IPv6]:PORT",
        ) from error
    return [(int(family), address) for family, _, _, _, address in found]
