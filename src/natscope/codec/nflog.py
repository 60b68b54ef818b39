"""nfnetlink_log: binding to a group, and the packets the kernel logs there.

A message has what the rule or tracker said as its prefix, and the packet.  All
numbers are big-endian (net/netfilter/nfnetlink_log.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.errors import DecodeError
from natscope.uapi.nflog import (
    NFULNL_COPY_PACKET,
    Nfula,
    NfulaCfg,
    NfulnlCmd,
    NfulnlMsg,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PACKET = uapi.NFNL_SUBSYS_ULOG << 8 | NfulnlMsg.PACKET
"""nlmsg_type of a logged packet."""
COPIED = 256
"""Bytes of each packet asked for: every header conntrack looks at."""
_FLAGS = uapi.NLM_F_REQUEST | uapi.NLM_F_ACK
_MODE = struct.Struct(">IBx")
_PACKET_HDR = struct.Struct(">HBx")
_TIMESTAMP = struct.Struct(">QQ")


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """A packet the kernel logged; ``None`` is not told."""

    family: int
    """AF_INET, AF_INET6, NFPROTO_BRIDGE …"""
    group: int
    prefix: str = ""
    """What was said of it, as it came: nf_conntrack ends it with a space."""
    payload: bytes = b""
    """From the IP header on, at most what was asked for."""
    hook: int | None = None
    """NF_INET_PRE_ROUTING (0) for what conntrack logs, wherever it was."""
    hw_protocol: int | None = None
    """EtherType."""
    iif: int | None = None
    oif: int | None = None
    mark: int | None = None
    time_ns: int | None = None
    """When it arrived; packets of the box itself have none."""
    unknown: tuple[tuple[int, bytes], ...] = ()
    """Attributes this record has no field for: type and payload."""


def family_request(family: int, *, seq: int, bind: bool) -> bytes:
    """Have this family's log go to nfnetlink_log, or to nobody.

    The same as writing net.netfilter.nf_log.FAMILY, in the socket's namespace.
    """
    command = NfulnlCmd.PF_BIND if bind else NfulnlCmd.PF_UNBIND
    told = nla.build(NfulaCfg.NFULA_CFG_CMD, bytes([command]))
    return _config(family, 0, seq, told)


def bind_request(group: int, *, seq: int, copied: int = COPIED) -> bytes:
    """Receive what is logged to a group, each packet at once."""
    return _config(
        uapi.AF_UNSPEC,
        group,
        seq,
        nla.build(NfulaCfg.NFULA_CFG_CMD, bytes([NfulnlCmd.BIND])),
        nla.build(NfulaCfg.NFULA_CFG_MODE, _MODE.pack(copied, NFULNL_COPY_PACKET)),
        nla.build(NfulaCfg.NFULA_CFG_QTHRESH, struct.pack(">I", 1)),
    )


def unbind_request(group: int, *, seq: int) -> bytes:
    """Let go of a group, as closing the socket does too."""
    told = nla.build(NfulaCfg.NFULA_CFG_CMD, bytes([NfulnlCmd.UNBIND]))
    return _config(uapi.AF_UNSPEC, group, seq, told)


def _config(family: int, group: int, seq: int, *attributes: bytes) -> bytes:
    kind = uapi.NFNL_SUBSYS_ULOG << 8 | NfulnlMsg.CONFIG
    # nfgenmsg.res_id is the group here
    header = struct.pack(">BBH", family, 0, group)
    return nlmsg.build(kind, _FLAGS, seq, header + b"".join(attributes))


def decode(message: nlmsg.Bytes) -> LoggedPacket:
    """Decode one whole netlink message.

    Raises:
        DecodeError: with the attribute and the byte offset.
    """
    nlmsg.see_header(message)
    at, end = nlmsg.ATTRIBUTES_AT, len(message)
    family, _, group = struct.unpack_from(">BBH", message, nlmsg.HEADER.size)
    values: dict[str, Any] = {}
    unknown: list[tuple[int, bytes]] = []
    for attribute in nla.walk(message, at, end, ("NFULA",)):
        payload = bytes(message[attribute.start : attribute.end])
        _read(attribute, payload, values, unknown)
    return LoggedPacket(family, group, **values, unknown=tuple(unknown))


_NUMBERS = {
    Nfula.NFULA_MARK: "mark",
    Nfula.NFULA_IFINDEX_INDEV: "iif",
    Nfula.NFULA_IFINDEX_OUTDEV: "oif",
}
_SIZES = {
    **dict.fromkeys(_NUMBERS, 4),
    Nfula.NFULA_PACKET_HDR: _PACKET_HDR.size,
    Nfula.NFULA_TIMESTAMP: _TIMESTAMP.size,
}
_NAMES = uapi.names(Nfula)


def _read(
    attribute: nla.Attribute,
    payload: bytes,
    values: dict[str, Any],
    unknown: list[tuple[int, bytes]],
) -> None:
    kind = attribute.type
    size = _SIZES.get(kind, len(payload))
    if len(payload) != size:
        reason = f"needs {size} bytes, has {len(payload)}"
        raise DecodeError(reason, path=(_NAMES[kind],), offset=attribute.start)
    if kind in _NUMBERS:
        values[_NUMBERS[kind]] = int.from_bytes(payload, "big")
    elif kind == Nfula.NFULA_PACKET_HDR:
        values["hw_protocol"], values["hook"] = _PACKET_HDR.unpack(payload)
    elif kind == Nfula.NFULA_TIMESTAMP:
        seconds, microseconds = _TIMESTAMP.unpack(payload)
        values["time_ns"] = seconds * 10**9 + microseconds * 1000
    elif kind == Nfula.NFULA_PAYLOAD:
        values["payload"] = payload
    elif kind == Nfula.NFULA_PREFIX:
        text = payload.partition(b"\0")[0]
        values["prefix"] = text.decode("utf-8", "backslashreplace")
    else:
        unknown.append((kind, payload))
