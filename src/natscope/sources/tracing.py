"""Where the kernel tells what it does with packets: nftrace, and the packet log."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from natscope import uapi
from natscope.codec import nflog, nftrace, nlmsg
from natscope.codec.nflog import LoggedPacket
from natscope.codec.nftrace import TraceMessage
from natscope.errors import KernelError, PermissionNeeded
from natscope.sources import box
from natscope.sources.closing import Closing
from natscope.sources.netns import Namespace, inside
from natscope.sources.nlsocket import NetlinkSocket

BUFFER = 16 << 20
"""A traced packet sends some ten messages of about 1 KiB each at once."""
ALL_PROTOCOLS = 255
"""A value of nf_conntrack_log_invalid: whatever the protocol."""
_LOG_INVALID = "nf_conntrack_log_invalid"
_NF_LOG = box.SYSCTLS / "nf_log"
_INSTANCES = Path("/proc/thread-self/net/netfilter/nfnetlink_log")
_FAMILIES = (uapi.AF_INET, uapi.AF_INET6)


class _Listening(Closing):
    """A socket that is listened to, until it is closed."""

    def __init__(self, socket: NetlinkSocket) -> None:
        self._socket = socket
        self.lost = 0
        """Messages that found no room so far."""

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._socket.fileno()

    def _messages(self, kind: int, timeout: float, operation: str) -> list[bytes]:
        """The messages of one type that are there, after that time at the latest."""
        if timeout and not self._socket.wait(timeout):
            return []
        found = [
            data[message.start : message.end]
            for data in self._socket.drain(operation)
            for message in nlmsg.split(data)
            if message.type == kind
        ]
        self.lost = self._socket.dropped()
        return found


class Traces(_Listening):
    """NFT_MSG_TRACE of a network namespace, from now on.

    Args:
        namespace: another one; None is the calling thread's.
        socket: a netlink socket to listen with, from any namespace; then
            ``namespace`` is not looked at.
        buffer: of the socket, in bytes.

    Raises:
        KernelError: not permitted, or a kernel without nf_tables.
    """

    def __init__(
        self,
        namespace: Namespace | None = None,
        *,
        socket: NetlinkSocket | None = None,
        buffer: int = BUFFER,
    ) -> None:
        super().__init__(socket or NetlinkSocket(namespace=namespace))
        try:
            self._socket.listen((uapi.Group.NFTRACE,), buffer)
        except BaseException:
            self._socket.close()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        return self._socket.wait(timeout)

    def read(self, timeout: float = 0.0) -> list[TraceMessage]:
        """What was told, in order; empty when nothing came within the time.

        Raises:
            KernelError: the socket failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        found = self._messages(nftrace.TYPE, timeout, "reading the trace")
        return [nftrace.decode(message) for message in found]


class PacketLog(_Listening):
    """What is logged to a group of nfnetlink_log, from now on.

    The families' logs must lead there: see :meth:`take_over`.

    Args:
        namespace: another one; None is the calling thread's.
        socket: a netlink socket to use, from any namespace.
        group: conntrack and iptables-legacy's TRACE log to group 0.

    Raises:
        KernelError: not permitted; or another program, such as ulogd, has it.
    """

    def __init__(
        self,
        namespace: Namespace | None = None,
        *,
        socket: NetlinkSocket | None = None,
        group: int = 0,
    ) -> None:
        super().__init__(socket or NetlinkSocket(namespace=namespace))
        self._namespace = namespace
        try:
            self._socket.set_buffer(BUFFER)
            self._bind(group)
        except BaseException:
            self._socket.close()
            raise

    def _bind(self, group: int) -> None:
        request = nflog.bind_request(group, seq=self._socket.next_seq())
        operation = f"listening to group {group} of nfnetlink_log"
        try:
            self._socket.ask(request, operation)
        except PermissionNeeded as error:
            # a group that is taken is refused with EPERM too
            owner = self._owner(group)
            if owner is None:
                raise
            raise KernelError(
                operation,
                errno.EBUSY,
                f"port {owner[0]} has it{owner[1]}",
                hint="only one program may; stop it (ulogd?) for as long as this runs",
            ) from error

    def _owner(self, group: int) -> tuple[str, str] | None:
        """Port and program that listen to a group."""
        with inside(self._namespace):
            try:
                lines = _INSTANCES.read_text().splitlines()
            except OSError:
                return None
        for line in lines:
            number, port = line.split()[:2]
            if int(number) == group:
                return port, _program(port)
        return None

    def take_over(self, family: int) -> None:
        """Have a family's log (AF_INET, AF_INET6) go to nfnetlink_log.

        In the socket's namespace, and until somebody changes it: nf_log.FAMILY.

        Raises:
            KernelError: the kernel refused.
        """
        for bind in (False, True):
            seq = self._socket.next_seq()
            request = nflog.family_request(family, seq=seq, bind=bind)
            self._socket.ask(request, "turning the packet log to nfnetlink_log")

    def read(self, timeout: float = 0.0) -> list[LoggedPacket]:
        """What was logged, in order; empty when nothing came within the time.

        Raises:
            KernelError: the socket failed.
            DecodeError: bytes that are not what the kernel documents.
        """
        found = self._messages(nflog.PACKET, timeout, "reading the packet log")
        return [nflog.decode(message) for message in found]


def _program(port: str) -> str:
    """The name behind a port, which most programs have by their process id."""
    try:
        return f" ({Path('/proc', port, 'comm').read_text().strip()})"
    except OSError:
        return ""


@contextmanager
def packet_log(namespace: Namespace | None = None) -> Iterator[PacketLog]:
    """Both families' logs, for as long as the body runs; nf_log.N is put back.

    Raises:
        KernelError: as PacketLog.
    """
    with ExitStack() as stack:
        log = stack.enter_context(PacketLog(namespace))
        for family in _FAMILIES:
            path = _NF_LOG / str(family)
            with inside(namespace):
                found = _read(path)
            stack.callback(_put_back, namespace, path, found)
            log.take_over(family)
        yield log


@contextmanager
def invalid_log(
    namespace: Namespace | None = None, *, protocol: int = ALL_PROTOCOLS
) -> Iterator[PacketLog]:
    """What conntrack says of packets it calls INVALID.

    Sets nf_conntrack_log_invalid, has both families logged to nfnetlink_log, and
    puts back what was found.  A process that is killed leaves both.

    Args:
        namespace: another one; None is the calling thread's.
        protocol: an IP protocol, or 255: all.

    Raises:
        KernelError: not permitted, the group is taken, or connection tracking is
            not loaded.
    """
    path = box.SYSCTLS / _LOG_INVALID
    with packet_log(namespace) as log, ExitStack() as stack:
        with inside(namespace):
            found = _read(path)
            if found is None:
                raise KernelError(
                    f"reading net.netfilter.{_LOG_INVALID}",
                    errno.ENOENT,
                    "connection tracking is not loaded",
                    hint="modprobe nf_conntrack, or any rule that uses it",
                )
            stack.callback(_put_back, namespace, path, found)
            _write(path, str(protocol))
        yield log


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _put_back(namespace: Namespace | None, path: Path, found: str | None) -> None:
    with inside(namespace):
        if found is not None and _read(path) != found:
            _write(path, found)


def _write(path: Path, value: str) -> None:
    operation = f"setting {path.relative_to('/proc/sys')} to {value}"
    try:
        path.write_text(value)
    except OSError as error:
        code, reason = error.errno or 0, error.strerror or str(error)
        kind = PermissionNeeded if code in (errno.EACCES, errno.EPERM) else KernelError
        raise kind(operation, code, reason) from error
