"""NFT_MSG_TRACE: what nf_tables tells of the packets that have nftrace set.

Each message is one step: a rule that matched, the end of a chain, or a base
chain's policy (nft_trace_notify(), net/netfilter/nf_tables_trace.c).  Numbers are
big-endian; the id is an opaque word.  What puts steps together to packets is
``traversal``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.errors import DecodeError
from natscope.model.journey import Tracked, Verdict
from natscope.uapi import nftables
from natscope.uapi.nftables import NftaTrace, NftaVerdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE = uapi.NFNL_SUBSYS_NFTABLES << 8 | nftables.NFT_MSG_TRACE
"""nlmsg_type of a trace message."""
FAMILIES = {
    nftables.NFPROTO_INET: "inet",
    uapi.AF_INET: "ip",
    nftables.NFPROTO_ARP: "arp",
    nftables.NFPROTO_NETDEV: "netdev",
    nftables.NFPROTO_BRIDGE: "bridge",
    uapi.AF_INET6: "ip6",
}
"""nft's words for the families of tables."""


@dataclass(frozen=True, slots=True)
class TraceMessage:
    """One step of a packet's way through the chains.

    ``None`` is not told.  The headers, interfaces and what conntrack made of the
    packet come with the first step in a base chain alone (``packet_dumped``).
    """

    family: str
    """Of the table: ip, ip6, inet, arp, bridge, netdev; a number if unknown."""
    table: str
    chain: str
    id: int
    """The same for all steps of a packet, and sometimes for the next one's too."""
    type: int
    """Of nftables.NftTraceType; wrong for ends of chains on 6.18: see ``is_end``."""
    rule_handle: int | None = None
    verdict: Verdict | None = None
    target: str | None = None
    """The chain a jump or goto leads to."""
    policy: Verdict | None = None
    link_header: bytes | None = None
    network_header: bytes | None = None
    """At most 40 bytes."""
    transport_header: bytes | None = None
    """At most 20 bytes."""
    iif: int | None = None
    iif_type: int | None = None
    oif: int | None = None
    oif_type: int | None = None
    mark: int | None = None
    nfproto: int | None = None
    """The family of the packet: AF_INET in a table of family inet."""
    ct_id: int | None = None
    """As ``conntrack -L -o id`` prints it."""
    ct_direction: int | None = None
    ct_status: int | None = None
    ct_state: int | None = None
    unknown: tuple[tuple[int, bytes], ...] = ()
    """Attributes of newer kernels: type and payload."""

    @property
    def is_end(self) -> bool:
        """The end of a chain without a verdict of a rule.

        Not by the type: nft_trace_notify() compares a masked verdict with
        NFT_CONTINUE, which never is equal, so 6.18 says RULE without a handle.
        """
        return self.rule_handle is None and self.type != nftables.NftTraceType.POLICY

    @property
    def tracked(self) -> Tracked | None:
        """What conntrack had made of the packet; None before it, or INVALID."""
        if self.ct_state is None:
            return None
        status = self.ct_status or 0
        return Tracked(self.ct_state, self.ct_direction or 0, status, self.ct_id)


def decode(message: nlmsg.Bytes) -> TraceMessage:
    """Decode one whole netlink message.

    Raises:
        DecodeError: with the attribute and the byte offset.
    """
    nlmsg.see_header(message)
    at, end = nlmsg.ATTRIBUTES_AT, len(message)
    told = _Told(message)
    for attribute in nla.walk(message, at, end, ("NFTA_TRACE",)):
        told.read(attribute)
    values = told.values
    for name in ("table", "chain", "id", "type"):
        if name not in values:
            path = (f"NFTA_TRACE_{name.upper()}",)
            raise DecodeError("is missing", path=path, offset=at)
    family = message[nlmsg.HEADER.size]
    values["family"] = FAMILIES.get(family, str(family))
    return TraceMessage(**values, unknown=tuple(told.unknown))


@dataclass(slots=True)
class _Told:
    """The attributes of a message as they are found, by field."""

    message: nlmsg.Bytes
    values: dict[str, Any] = field(default_factory=dict)
    unknown: list[tuple[int, bytes]] = field(default_factory=list)

    def read(self, attribute: nla.Attribute) -> None:
        kind, start = attribute.type, attribute.start
        payload = bytes(self.message[start : attribute.end])
        if kind in _NUMBERS:
            name, form = _NUMBERS[kind]
            self.values[name] = _number(payload, form, (kind,), start)
        elif kind in _TEXTS:
            self.values[_TEXTS[kind]] = _text(payload)
        elif kind in _HEADERS:
            self.values[_HEADERS[kind]] = payload
        elif kind == NftaTrace.NFTA_TRACE_POLICY:
            self.values["policy"] = _verdict(payload, (kind,), start)
        elif kind == NftaTrace.NFTA_TRACE_VERDICT:
            self.nested_verdict(attribute)
        elif kind != NftaTrace.NFTA_TRACE_PAD:
            self.unknown.append((kind, payload))

    def nested_verdict(self, outer: nla.Attribute) -> None:
        path = ("NFTA_TRACE_VERDICT",)
        for inner in nla.walk(self.message, outer.start, outer.end, path):
            payload = bytes(self.message[inner.start : inner.end])
            if inner.type == NftaVerdict.NFTA_VERDICT_CODE:
                kinds = (outer.type, inner.type)
                self.values["verdict"] = _verdict(payload, kinds, inner.start)
            elif inner.type == NftaVerdict.NFTA_VERDICT_CHAIN:
                self.values["target"] = _text(payload)


_BYTE, _SHORT, _WORD, _LONG, _CODE = map(struct.Struct, (">B", ">H", ">I", ">Q", ">i"))
_NUMBERS = {
    NftaTrace.NFTA_TRACE_RULE_HANDLE: ("rule_handle", _LONG),
    NftaTrace.NFTA_TRACE_TYPE: ("type", _WORD),
    NftaTrace.NFTA_TRACE_ID: ("id", _WORD),
    NftaTrace.NFTA_TRACE_IIF: ("iif", _WORD),
    NftaTrace.NFTA_TRACE_IIFTYPE: ("iif_type", _SHORT),
    NftaTrace.NFTA_TRACE_OIF: ("oif", _WORD),
    NftaTrace.NFTA_TRACE_OIFTYPE: ("oif_type", _SHORT),
    NftaTrace.NFTA_TRACE_MARK: ("mark", _WORD),
    NftaTrace.NFTA_TRACE_NFPROTO: ("nfproto", _WORD),
    NftaTrace.NFTA_TRACE_CT_ID: ("ct_id", _WORD),
    NftaTrace.NFTA_TRACE_CT_DIRECTION: ("ct_direction", _BYTE),
    NftaTrace.NFTA_TRACE_CT_STATUS: ("ct_status", _WORD),
    NftaTrace.NFTA_TRACE_CT_STATE: ("ct_state", _WORD),
}
_TEXTS = {
    NftaTrace.NFTA_TRACE_TABLE: "table",
    NftaTrace.NFTA_TRACE_CHAIN: "chain",
}
_HEADERS = {
    NftaTrace.NFTA_TRACE_LL_HEADER: "link_header",
    NftaTrace.NFTA_TRACE_NETWORK_HEADER: "network_header",
    NftaTrace.NFTA_TRACE_TRANSPORT_HEADER: "transport_header",
}


def _number(
    payload: bytes, form: struct.Struct, kinds: tuple[int, ...], offset: int
) -> int:
    if len(payload) != form.size:
        reason = f"needs {form.size} bytes, has {len(payload)}"
        raise DecodeError(reason, path=_path(kinds), offset=offset)
    value: int = form.unpack(payload)[0]
    return value


def _text(payload: bytes) -> str:
    return payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _verdict(payload: bytes, kinds: tuple[int, ...], offset: int) -> Verdict:
    """Verdicts of nf_tables are negative; of the others, NF_VERDICT_MASK is read.

    Above it stand an errno (NF_DROP_ERR) or the number of a queue.
    """
    code = _number(payload, _CODE, kinds, offset)
    try:
        return Verdict(code if code < 0 else code & 0xFF)
    except ValueError:
        reason = f"{code} is no verdict"
        raise DecodeError(reason, path=_path(kinds), offset=offset) from None


def _path(kinds: tuple[int, ...]) -> tuple[str, ...]:
    """The names of an attribute and of the one in it."""
    enums = (NftaTrace, NftaVerdict)
    return tuple(
        uapi.names(enum)[kind] for enum, kind in zip(enums, kinds, strict=False)
    )
