"""The netlink socket: the only module that opens one.

Requests get their answers checked; a dump is received by ``receiver``, and
changes go out many at a time.
"""

from __future__ import annotations

# the module under ``socket``, which would cost a short command a third of its time
import _socket as socket
import errno
import os
import select
import struct
import sys

from natscope import uapi
from natscope.codec import nlmsg
from natscope.errors import KernelError, PermissionNeeded
from natscope.sources.closing import Closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from natscope.sources.netns import Namespace
    from natscope.sources.receiver import Datagrams

    Wire = Callable[[str, bytes], None]
    """Called with "sent" or "received" and the bytes, for each datagram."""

KIND = (socket.AF_NETLINK, socket.SOCK_RAW)
"""Family and type of the socket :meth:`NetlinkSocket.of` takes."""
RECEIVE_BUFFER = 8 << 20
TIMEOUT_S = 30
_LARGEST = 1 << 20
_MEMINFO = struct.Struct("=9I")
_DROPS = 8
_ANSWER = 1 << 16
"""Bytes no answer about one entry has."""
_FINAL = (uapi.NLMSG_DONE, uapi.NLMSG_ERROR, uapi.NLMSG_OVERRUN)


class NetlinkSocket(Closing):
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

    @classmethod
    def of(cls, opened: socket.socket) -> NetlinkSocket:
        """On a socket that was opened elsewhere: in another user's namespace.

        Raises:
            KernelError: it is no netlink socket.
        """
        made = cls.__new__(cls)
        made._socket = _prepared(opened)
        made._wire = None
        made._seq = int.from_bytes(os.urandom(3), "big")
        return made

    def close(self) -> None:
        """Close the socket; a dump in progress ends."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._socket.fileno()

    def listen(
        self,
        groups: Iterable[int],
        buffer_size: int | None = None,
        *,
        program: bytes | None = None,
        reliable: bool = False,
    ) -> int:
        """Receive the events of these groups from now on.

        Args:
            groups: of uapi.Group.
            buffer_size: of the receive buffer, in bytes.
            program: classic BPF, struct sock_filter packed; what it rejects
                never takes room.
            reliable: what finds no room is the sender's to keep.

        Returns:
            The size of the receive buffer in force (the kernel doubles it).

        Raises:
            KernelError: not permitted, no such group, or no such program.
        """
        try:
            if buffer_size is not None:
                _set_buffer(self._socket, buffer_size)
            if program is not None:
                _attach(self._socket, program)
            if reliable:
                option = uapi.NETLINK_BROADCAST_ERROR
                self._socket.setsockopt(uapi.SOL_NETLINK, option, 1)
            for group in groups:
                self._socket.setsockopt(
                    uapi.SOL_NETLINK, uapi.NETLINK_ADD_MEMBERSHIP, group
                )
            no_limit = struct.pack("@ll", 0, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, no_limit)
        except OSError as error:
            if error.errno == errno.EPERM:
                verdict = nlmsg.Ack(errno.EPERM)
                raise refusal("listening to events", verdict) from error
            raise _os_error("listening to events", error) from error
        return self._buffer_size()

    def set_buffer(self, size: int) -> int:
        """Make the receive buffer larger; its size now (the kernel doubles it)."""
        _set_buffer(self._socket, size)
        return self._buffer_size()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def drain(self, operation: str) -> list[bytes]:
        """Every datagram that is there; does not wait.

        Raises:
            KernelError: the socket failed.  A loss is no failure: see ``dropped``.
        """
        found: list[bytes] = []
        while True:
            try:
                data = self._socket.recv(_LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError as error:
                # comes once, before what is queued
                if error.errno == errno.ENOBUFS:
                    continue
                raise _os_error(operation, error) from error
            if self._wire is not None:
                self._wire("received", data)
            found.append(data)

    def dropped(self) -> int:
        """How many messages found no room so far (sk_drops)."""
        told = self.getsockopt(uapi.SO_MEMINFO, _MEMINFO.size)
        drops: int = _MEMINFO.unpack(told)[_DROPS]
        return drops

    def _buffer_size(self) -> int:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def getsockopt(self, option: int, size: int) -> bytes:
        """A SOL_SOCKET option as it lies in memory."""
        return self._socket.getsockopt(socket.SOL_SOCKET, option, size)

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
        flags, seq = struct.unpack_from("=HI", request, 6)
        # CREATE and EXCL share bits with DUMP, but no request has both of DUMP's
        many = flags & uapi.NLM_F_DUMP == uapi.NLM_F_DUMP or flags & uapi.NLM_F_ACK
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
                if not many:
                    return answers

    def exchange(self, requests: bytes, operation: str) -> list[bytes]:
        """Send concatenated requests; return every message that comes back.

        The kernel works while send(2) runs, so nothing is waited for: a request
        without NLM_F_ACK that succeeds and asks for nothing gives no message.

        Raises:
            KernelError: sending failed, or answers were lost (ENOBUFS).
        """
        self._send(requests)
        found: list[bytes] = []
        while True:
            try:
                data = self._socket.recv(_ANSWER, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            except OSError as error:
                raise _os_error(operation, error) from error
            if self._wire is not None:
                self._wire("received", data)
            if int.from_bytes(data[:4], sys.byteorder) == len(data):
                found.append(data)  # as the kernel answers such requests
                continue
            found += [data[m.start : m.end] for m in nlmsg.split(data)]

    def dump(self, request: bytes, operation: str) -> Generator[Datagrams]:
        """Send a dump request; yield buffers of datagrams as they fill.

        The first buffer is empty and comes at once: the kernel is at work, and
        the caller may be too.  NLMSG_DONE is left out.

        Raises:
            KernelError: the kernel refused or broke off.
        """
        if self._wire is not None:
            self._wire("sent", request)
        from natscope.sources.receiver import Datagrams, Receiver
        from natscope.sources.slots import Slots

        receiver = Receiver(self._socket, request)
        receiver.start()
        try:
            yield Datagrams(Slots(1, 4))  # under way: time to load what decodes
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
            data = self._socket.recv(_LARGEST)
        except OSError as error:
            raise _os_error(operation, error) from error
        if self._wire is not None:
            self._wire("received", data)
        return data


def _open(protocol: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError as error:
        raise _os_error("opening a netlink socket", error) from error
    return _prepared(sock)


def _prepared(sock: socket.socket) -> socket.socket:
    try:
        _prepare(sock)
    except OSError as error:
        sock.close()
        raise _os_error("preparing a netlink socket", error) from error
    return sock


def _set_buffer(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _attach(sock: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER with struct sock_fprog: a count and a pointer."""
    import ctypes

    held = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    try:
        sock.setsockopt(socket.SOL_SOCKET, uapi.SO_ATTACH_FILTER, told)
    except OSError as error:
        # net.core.optmem_max was small before 6.8; what passes is filtered again
        if error.errno != errno.ENOMEM:
            raise


def _prepare(sock: socket.socket) -> None:
    if sock.getsockname()[0] == 0:  # else it is bound
        sock.bind((0, 0))
    _set_buffer(sock, RECEIVE_BUFFER)
    sock.setsockopt(uapi.SOL_NETLINK, uapi.NETLINK_EXT_ACK, 1)
    # The kernel's own timeout keeps the socket blocking: one system call a read.
    wait = struct.pack("@ll", TIMEOUT_S, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)


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
