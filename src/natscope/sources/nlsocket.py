"""The netlink socket: the only module that opens one.

Requests get their answers checked; a dump is received by a thread (recvmmsg
releases the interpreter lock) into a few reused buffers, while the caller
decodes the one before.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from natscope import uapi
from natscope.codec import nlmsg
from natscope.errors import KernelError, PermissionNeeded
from natscope.sources.netns import Namespace

Wire = Callable[[str, bytes], None]
"""Called with "sent" or "received" and the bytes, for each datagram."""

RECEIVE_BUFFER = 8 << 20
SLOT = 1 << 16
"""One datagram's room; ctnetlink fills up to 32 KiB (netlink_dump)."""
SLOTS = 64
BUFFERS = 4
TIMEOUT_S = 30
_NEARLY_FULL = 30_000
"""The kernel fills 32 KiB less what one more entry would need."""
_MSG_WAITFORONE = 0x10000
_MSG_TRUNC = 0x20
_FINAL = (uapi.NLMSG_DONE, uapi.NLMSG_ERROR, uapi.NLMSG_OVERRUN)


@dataclass(slots=True)
class Datagrams:
    """A buffer of datagrams, each at the start of its slot; valid until the
    next one is asked for."""

    buffer: memoryview
    extents: list[tuple[int, int]] = field(default_factory=list)


class NetlinkSocket:
    """A netlink socket in a namespace, for one request at a time."""

    def __init__(
        self,
        protocol: int = uapi.NETLINK_NETFILTER,
        namespace: Namespace | None = None,
        *,
        wire: Wire | None = None,
    ) -> None:
        if namespace is None:
            self._socket = _open(protocol)
        else:
            with namespace.enter():
                self._socket = _open(protocol)
        self._wire = wire
        self._seq = int.from_bytes(os.urandom(3), "big")

    def close(self) -> None:
        """Close the socket; a dump in progress ends."""
        self._socket.close()

    def next_seq(self) -> int:
        """A sequence number for the next request."""
        self._seq += 1
        return self._seq

    def ask(self, request: bytes, operation: str) -> list[bytes]:
        """Send a request; return the messages of the answer, acks left out.

        Raises:
            KernelError: the kernel refused; ``operation`` is what it refused.
        """
        self._send(request)
        (seq,) = struct.unpack_from("=I", request, 8)
        many = bool(struct.unpack_from("=H", request, 6)[0] & uapi.NLM_F_DUMP)
        answers: list[bytes] = []
        while True:
            data = self._receive(operation)
            for message in nlmsg.split(data):
                if message.seq != seq:
                    continue
                if message.type == uapi.NLMSG_OVERRUN:
                    raise KernelError(operation, errno.ENOBUFS, "messages were lost")
                if message.type in _FINAL:
                    _raise_for(operation, nlmsg.ack(data, message))
                    return answers
                answers.append(data[message.start : message.end])
                if not many and not _wants_ack(request):
                    return answers

    def send_all(self, requests: bytes) -> None:
        """Send concatenated requests that ask for no answer."""
        self._send(requests)

    def refusals(self) -> Iterator[nlmsg.Ack]:
        """The errors that came back for what ``send_all`` sent, without waiting."""
        while True:
            try:
                data = self._socket.recv(SLOT, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for message in nlmsg.split(data):
                if message.type == uapi.NLMSG_ERROR:
                    yield nlmsg.ack(data, message)

    def dump(self, request: bytes, operation: str) -> Generator[Datagrams]:
        """Send a dump request; yield buffers of datagrams as they fill.

        The first buffer is empty and comes at once: the kernel is at work, and
        the caller may be too.  NLMSG_DONE is left out.

        Raises:
            KernelError: the kernel refused or broke off.
        """
        if self._wire is not None:
            self._wire("sent", request)
        receiver = _Receiver(self._socket, request)
        receiver.start()
        try:
            yield Datagrams(memoryview(b""))  # under way: time to load what decodes
            while (filled := receiver.filled.get()) is not None:
                if isinstance(filled, OSError):
                    raise _os_error(operation, filled)
                if isinstance(filled, bytes):
                    self._finish(filled, operation)
                    continue
                self._show(filled)
                yield filled
                filled.extents.clear()
                receiver.free.put(filled)
        finally:
            receiver.stop()

    def _finish(self, final: bytes, operation: str) -> None:
        if self._wire is not None:
            self._wire("received", final)
        for message in nlmsg.split(final):
            if message.type in _FINAL:
                _raise_for(operation, nlmsg.ack(final, message))

    def _show(self, datagrams: Datagrams) -> None:
        if self._wire is not None:
            for start, end in datagrams.extents:
                self._wire("received", bytes(datagrams.buffer[start:end]))

    def _send(self, request: bytes) -> None:
        if self._wire is not None:
            self._wire("sent", request)
        try:
            self._socket.send(request)
        except OSError as error:
            raise _os_error("asking the kernel", error) from error

    def _receive(self, operation: str) -> bytes:
        try:
            data = self._socket.recv(1 << 20)
        except OSError as error:
            raise _os_error(operation, error) from error
        if self._wire is not None:
            self._wire("received", data)
        return data


class _Receiver(threading.Thread):
    """Fills buffers with the datagrams of one dump until its end.

    ``filled`` carries buffers, then the final datagram as bytes or an OSError,
    then None.
    """

    def __init__(self, sock: socket.socket, request: bytes) -> None:
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
            # pages of a map cost nothing until the kernel writes to them
            self.free.put(Datagrams(memoryview(mmap.mmap(-1, SLOT * SLOTS))))
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._vectors: dict[int, tuple[ctypes.Array[_Mmsghdr], object]] = {}

    def run(self) -> None:
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
        lengths = self._receive(datagrams.buffer)
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

    def _receive(self, buffer: memoryview) -> list[int]:
        vector = self._vector(buffer)
        count = self._recvmmsg(self._fd, vector, SLOTS, _MSG_WAITFORONE, None)
        if count < 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                return []
            raise OSError(code, os.strerror(code))
        filled = vector[:count]
        if any(entry.header.flags & _MSG_TRUNC for entry in filled):
            raise OSError(errno.EMSGSIZE, "a datagram was larger than 64 KiB")
        return [entry.length for entry in filled]

    def _vector(self, buffer: memoryview) -> ctypes.Array[_Mmsghdr]:
        base = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        if base not in self._vectors:
            places = (_Iovec * SLOTS)()
            vector = (_Mmsghdr * SLOTS)()
            for slot in range(SLOTS):
                places[slot].base = base + slot * SLOT
                places[slot].length = SLOT
                header = vector[slot].header
                header.iov = ctypes.addressof(places) + slot * ctypes.sizeof(_Iovec)
                header.iovlen = 1
            self._vectors[base] = (vector, places)
        return self._vectors[base][0]


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("header", _Msghdr), ("length", ctypes.c_uint)]


def _open(protocol: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError as error:
        raise _os_error("opening a netlink socket", error) from error
    try:
        _prepare(sock)
    except OSError as error:
        sock.close()
        raise _os_error("preparing a netlink socket", error) from error
    return sock


def _prepare(sock: socket.socket) -> None:
    sock.bind((0, 0))
    try:
        sock.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_EXT_ACK, 1)
    # The kernel's own timeout keeps the socket blocking: one system call a read.
    wait = struct.pack("@ll", TIMEOUT_S, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)


def _wants_ack(request: bytes) -> bool:
    return bool(struct.unpack_from("=H", request, 6)[0] & uapi.NLM_F_ACK)


def _raise_for(operation: str, verdict: nlmsg.Ack) -> None:
    if verdict.errno == 0:
        return
    raise refusal(operation, verdict)


def refusal(operation: str, verdict: nlmsg.Ack) -> KernelError:
    """The error for a verdict other than success, with what to do about it."""
    if verdict.errno == errno.EPERM:
        return PermissionNeeded(
            operation,
            verdict.errno,
            "CAP_NET_ADMIN is needed in this network namespace",
            extack=verdict.extack,
            hint="run as root (sudo), or give the capability: "
            "setpriv --ambient-caps +net_admin, AmbientCapabilities= in systemd",
        )
    return KernelError(
        operation,
        verdict.errno,
        _MEANINGS.get(verdict.errno, os.strerror(verdict.errno)),
        extack=verdict.extack,
        attribute_offset=verdict.offset,
    )


_MEANINGS = {
    errno.EOPNOTSUPP: "this kernel cannot do that (EOPNOTSUPP)",
    errno.EINVAL: "this kernel does not take the request as it is (EINVAL)",
    errno.EPROTONOSUPPORT: "this kernel has no netfilter netlink "
    "(CONFIG_NF_CT_NETLINK, module nf_conntrack_netlink)",
}


def _os_error(operation: str, error: OSError) -> KernelError:
    code = error.errno or 0
    if code in (errno.EAGAIN, errno.EWOULDBLOCK):
        return KernelError(operation, code, f"no answer within {TIMEOUT_S} s")
    reason = _MEANINGS.get(code, error.strerror or str(error))
    return KernelError(operation, code, reason)
