"""A subscription to events: a socket that listens, and knows what it lost.

The kernel's receive buffer is the queue: it is drained with recvmmsg(2) into a
reused buffer and grown while it fills.  Each event there costs 1,280 bytes
(its skb), so the limit is what a burst may take of the machine's memory, and
nothing is taken before it is needed.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import nlmsg
from natscope.errors import KernelError, NatscopeError
from natscope.sources.closing import Closing
from natscope.sources.nlsocket import NetlinkSocket
from natscope.sources.slots import Slots

if TYPE_CHECKING:
    from natscope.sources.netns import Namespace
    from natscope.sources.nlsocket import Wire

FIRST_BUFFER = 64 << 20
LARGEST_BUFFER = 1 << 30
_OF_MEMORY = 8
"""At most this part of the machine's memory, unless a size was asked for."""
SLOT = 1024
"""Room for one event; the longest ctnetlink makes are a few hundred bytes."""
SLOTS = 4096
ALL_GROUPS = (
    uapi.Group.CONNTRACK_NEW,
    uapi.Group.CONNTRACK_UPDATE,
    uapi.Group.CONNTRACK_DESTROY,
)
_MSG_DONTWAIT = 0x40
_MEMINFO = struct.Struct("=9I")
_ALLOCATED, _DROPS = 0, 8
_RECEIVING = "receiving events"


@dataclass(frozen=True, slots=True)
class Received:
    """Datagrams, each at the start of its slot; valid until the next are asked for.

    Attributes:
        buffer: their bytes.
        lengths: of each; datagram i begins at ``i * SLOT``.
        received_ns: when they were read, ns since 1970.
        lost: messages the socket dropped since those before.
    """

    buffer: memoryview
    lengths: list[int]
    received_ns: int
    lost: int = 0

    def messages(self) -> Iterator[bytes]:
        """The messages one by one."""
        for slot, length in enumerate(self.lengths):
            data = bytes(self.buffer[slot * SLOT : slot * SLOT + length])
            yield from (data[m.start : m.end] for m in nlmsg.split(data))


class Subscription(Closing):
    """The events of some groups, as they come from the kernel.

    Args:
        groups: of uapi.Group.
        namespace: another network namespace.
        program: a classic BPF program (struct sock_filter, packed) that drops
            what nobody wants before it takes room; see ``Filter.socket_program``.
        buffer: size of the receive buffer in bytes, and no growth; None starts
            with 64 MiB and doubles it up to 1 GiB, or an eighth of the memory.
        reliable: a DESTROY that finds the buffer full is kept by the kernel and
            sent again (NETLINK_BROADCAST_ERROR).
        wire: sees every datagram, for debugging.

    Raises:
        NatscopeError: a buffer of a size no socket takes.
        KernelError: not permitted, no such group, or a program the kernel does
            not take.
    """

    def __init__(
        self,
        groups: Iterable[int] = ALL_GROUPS,
        namespace: Namespace | None = None,
        *,
        program: bytes | None = None,
        buffer: int | None = None,
        reliable: bool = False,
        wire: Wire | None = None,
    ) -> None:
        if buffer is not None and not 0 < buffer < LARGEST_BUFFER:
            raise NatscopeError(
                f"a receive buffer of {buffer} bytes",
                hint=f"from 1 to {LARGEST_BUFFER - 1}; without, it grows with need",
            )
        self._socket = NetlinkSocket(namespace=namespace)
        self._wire = wire
        self._drops = 0
        self._most = _largest_buffer()
        self._grows = buffer is None
        try:
            self.buffer_size = self._socket.listen(
                groups,
                min(FIRST_BUFFER, self._most) // 2 if buffer is None else buffer,
                program=program,
                reliable=reliable,
            )
            self._slots = Slots(SLOTS, SLOT)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._socket.fileno()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def receive(self) -> Received:
        """What is there now, at most SLOTS datagrams; does not wait.

        Raises:
            KernelError: the socket failed.
        """
        lengths = self._drain()
        buffer, now = self._slots.buffer, time.time_ns()
        if self._wire is not None:
            for slot, length in enumerate(lengths):
                at = slot * SLOT
                self._wire("received", bytes(buffer[at : at + length]))
        return Received(buffer, lengths, now, self._watch())

    def _drain(self) -> list[int]:
        while True:
            try:
                return self._slots.receive(self.fileno(), _MSG_DONTWAIT)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return []
                # ENOBUFS comes once, before what is queued; _watch has the figure
                if error.errno not in (errno.EINTR, errno.ENOBUFS):
                    raise _failed(error) from error

    def queued(self) -> int:
        """Bytes of the receive buffer that are taken."""
        return self._meminfo()[_ALLOCATED]

    def _watch(self) -> int:
        """How many messages were dropped since the last call; makes room."""
        told = self._meminfo()
        lost = (told[_DROPS] - self._drops) & 0xFFFF_FFFF
        self._drops = told[_DROPS]
        full = told[_ALLOCATED] > self.buffer_size // 2 or lost
        if full and self._grows:
            self._grow()
        return lost

    def _grow(self) -> None:
        """Double the buffer; the kernel doubles what it is asked for."""
        before = self.buffer_size
        self.buffer_size = self._socket.set_buffer(min(before, self._most // 2))
        self._grows = before < self.buffer_size < self._most

    def _meminfo(self) -> tuple[int, ...]:
        told = self._socket.getsockopt(uapi.SO_MEMINFO, _MEMINFO.size)
        return _MEMINFO.unpack(told)


def _largest_buffer() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(LARGEST_BUFFER, memory // _OF_MEMORY)


def _failed(error: OSError) -> KernelError:
    return KernelError(_RECEIVING, error.errno or 0, error.strerror or str(error))
