"""Receiving a dump: a thread fills a few reused buffers by recvmmsg(2).

The system call releases the interpreter lock, so the caller decodes one buffer
while the next is filled.
"""

from __future__ import annotations

import queue
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import nlmsg
from natscope.sources.slots import Slots

if TYPE_CHECKING:
    from _socket import socket

SLOT = 1 << 16
"""One datagram's room; ctnetlink fills up to 32 KiB (netlink_dump)."""
SLOTS = 64
BUFFERS = 4
_NEARLY_FULL = 30_000
"""The kernel fills 32 KiB less what one more entry would need."""
_MSG_WAITFORONE = 0x10000
_FINAL = (uapi.NLMSG_DONE, uapi.NLMSG_ERROR, uapi.NLMSG_OVERRUN)


@dataclass(slots=True)
class Datagrams:
    """A buffer of datagrams, each at the start of its slot; valid until the
    next one is asked for."""

    slots: Slots
    extents: list[tuple[int, int]] = field(default_factory=list)

    @property
    def buffer(self) -> memoryview:
        """The bytes the extents are of."""
        return self.slots.buffer


class Receiver(threading.Thread):
    """Fills buffers with the datagrams of one dump until its end.

    ``filled`` carries buffers, then the final datagram as bytes or an OSError,
    then None.
    """

    def __init__(self, sock: socket, request: bytes) -> None:
        super().__init__(name="natscope-receive", daemon=True)
        self._socket = sock
        self._fd = sock.fileno()
        self._request = request
        (self._seq,) = struct.unpack_from("=I", request, 8)
        self._stopping = False
        self.filled: queue.SimpleQueue[Datagrams | bytes | OSError | None]
        self.filled = queue.SimpleQueue()
        self.free: queue.SimpleQueue[Datagrams | None] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self.free.put(Datagrams(Slots(SLOTS, SLOT)))

    def run(self) -> None:
        """Send the request and fill buffers until the dump is over."""
        try:
            # the kernel walks to the first entry before send(2) returns
            self._socket.send(self._request)
            while (room := self.free.get()) is not None:
                if self._stopping or self._fill(room):
                    break
        except OSError as error:
            self.filled.put(error)
        self.filled.put(None)

    def stop(self) -> None:
        """Make the thread end, whether or not the dump has."""
        self._stopping = True
        self.free.put(None)
        self.join()

    def _fill(self, datagrams: Datagrams) -> bool:
        """Receive into one buffer; true when the dump is over."""
        try:
            lengths = datagrams.slots.receive(self._fd, _MSG_WAITFORONE)
        except InterruptedError:
            return False
        final = b""
        for slot, length in enumerate(lengths):
            start = slot * SLOT
            end = start + length
            if self._is_final(datagrams.buffer, start):
                final = bytes(datagrams.buffer[start:end])
                break
            datagrams.extents.append((start, end))
            done = self._done_within(datagrams.buffer, start, end)
            if done < end:
                final = bytes(datagrams.buffer[done:end])
                datagrams.extents[-1] = (start, done)
                break
        if datagrams.extents:
            self.filled.put(datagrams)
        else:
            self.free.put(datagrams)
        if final:
            self.filled.put(final)
        return bool(final)

    def _is_final(self, buffer: memoryview, start: int) -> bool:
        kind, _, seq = struct.unpack_from("=HHI", buffer, start + 4)
        return kind in _FINAL and seq == self._seq

    def _done_within(self, buffer: memoryview, start: int, end: int) -> int:
        """Where NLMSG_DONE begins when it shares the last datagram (netlink_dump).

        A datagram that is nearly full is not the last, and is not searched.
        """
        at = start
        while end - start < _NEARLY_FULL and at + nlmsg.HEADER.size <= end:
            length, kind, _, seq = struct.unpack_from("=IHHI", buffer, at)
            if kind in _FINAL and seq == self._seq:
                return at
            if length < nlmsg.HEADER.size:
                break  # nonsense: for the decoder to say so
            at += nlmsg.align(length)
        return end
