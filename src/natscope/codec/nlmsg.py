"""Netlink framing: messages in a buffer, and the kernel's answers to a request.

Sans-IO.  Headers are in the host's byte order and every message starts on a
4-byte boundary; the last one of a datagram may lack its padding.
"""

from __future__ import annotations

import struct

from natscope import uapi
from natscope.codec import nla
from natscope.errors import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Bytes = bytes | bytearray | memoryview

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
NFGENMSG = struct.Struct("=BBH")  # struct nfgenmsg; res_id is big-endian, zero
ATTRIBUTES_AT = HEADER.size + NFGENMSG.size
"""Offset of the first attribute of a netfilter message."""


class Message:
    """One netlink message: its header and where it lies in its buffer."""

    __slots__ = ("end", "flags", "portid", "seq", "start", "type")

    def __init__(
        self, kind: int, flags: int, seq: int, portid: int, start: int, end: int
    ) -> None:
        self.type = kind
        self.flags = flags
        self.seq = seq
        self.portid = portid
        self.start = start
        self.end = end

    @property
    def payload_at(self) -> int:
        """Offset of the first byte after struct nlmsghdr."""
        return self.start + HEADER.size


class Ack:
    """The kernel's verdict on a request: errno 0 is success.

    ``extack`` and ``offset`` are the extended acknowledgement: the kernel's
    words and the byte of the request they are about.
    """

    __slots__ = ("errno", "extack", "offset")

    def __init__(
        self, errno: int, extack: str | None = None, offset: int | None = None
    ) -> None:
        self.errno = errno
        self.extack = extack
        self.offset = offset


def align(length: int) -> int:
    """NLMSG_ALIGN and NLA_ALIGN: the next multiple of four."""
    return (length + 3) & ~3


def split(buffer: Bytes) -> Iterator[Message]:
    """The messages of a datagram, in order.

    Raises:
        DecodeError: a header that is cut off, too short or too long.
    """
    at, size = 0, len(buffer)
    while at < size:
        if size - at < HEADER.size:
            reason = f"needs {HEADER.size} bytes, has {size - at}"
            raise DecodeError(reason, path=("nlmsghdr",), offset=at)
        length, kind, flags, seq, portid = HEADER.unpack_from(buffer, at)
        if length < HEADER.size or length > size - at:
            reason = f"nlmsg_len is {length}, between 16 and {size - at} was needed"
            raise DecodeError(reason, path=("nlmsghdr",), offset=at)
        yield Message(kind, flags, seq, portid, at, at + length)
        at += align(length)


def see_header(message: Bytes) -> None:
    """Make sure that a netfilter message has both its headers.

    Raises:
        DecodeError: it is cut off before its first attribute.
    """
    if len(message) < ATTRIBUTES_AT:
        reason = f"needs {ATTRIBUTES_AT} bytes, has {len(message)}"
        raise DecodeError(reason, path=("nfgenmsg",), offset=len(message))


def build(kind: int, flags: int, seq: int, payload: bytes) -> bytes:
    """One message, padded, from port 0 (this process)."""
    length = HEADER.size + len(payload)
    padding = bytes(align(length) - length)
    return HEADER.pack(length, kind, flags, seq, 0) + payload + padding


def build_netfilter(
    subsystem: int, command: int, flags: int, seq: int, family: int, attributes: bytes
) -> bytes:
    """One nfnetlink message: subsystem and command, address family, attributes."""
    payload = NFGENMSG.pack(family, 0, 0) + attributes
    return build(subsystem << 8 | command, flags | uapi.NLM_F_REQUEST, seq, payload)


def ack(buffer: Bytes, message: Message) -> Ack:
    """Read an NLMSG_ERROR, or the status an NLMSG_DONE carries.

    Raises:
        DecodeError: the error code or an extended-ack attribute is cut off.
    """
    at = message.payload_at
    if message.end - at < 4:
        if message.type == uapi.NLMSG_DONE:
            return Ack(0)
        reason = f"needs 4 bytes, has {message.end - at}"
        raise DecodeError(reason, path=("nlmsgerr", "error"), offset=at)
    (code,) = struct.unpack_from("=i", buffer, at)
    at += 4
    if message.type == uapi.NLMSG_ERROR and code <= 0:
        at = _after_echo(buffer, message, at)
    if not message.flags & uapi.NLM_F_ACK_TLVS:
        return Ack(-code)
    return Ack(-code, *_extended(buffer, at, message.end))


def _after_echo(buffer: Bytes, message: Message, at: int) -> int:
    """Skip the request that an NLMSG_ERROR echoes: its header, or all of it."""
    if message.end - at < HEADER.size:
        return message.end
    (echoed,) = struct.unpack_from("=I", buffer, at)
    if message.flags & uapi.NLM_F_CAPPED:
        echoed = HEADER.size
    return min(message.end, at + align(max(echoed, HEADER.size)))


def _extended(buffer: Bytes, at: int, end: int) -> tuple[str | None, int | None]:
    text, offset = None, None
    for attribute in nla.walk(buffer, at, end, ("nlmsgerr",)):
        payload = bytes(buffer[attribute.start : attribute.end])
        if attribute.type == uapi.NLMSGERR_ATTR_MSG:
            text = payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        elif attribute.type == uapi.NLMSGERR_ATTR_OFFS and len(payload) == 4:
            (offset,) = struct.unpack("=I", payload)
    return text, offset
