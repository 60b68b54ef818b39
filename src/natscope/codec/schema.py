"""The CTA_* tree as data: which attribute, of which type, fills which column.

The one statement of what a conntrack message means; both decoders and the
encoder read it.  Integers are big-endian; CTA_LABELS is a bitmap of host-order
longs.  An attribute that is not here, or is longer than here, is kept whole as
model.flow.Unknown: newer kernels send more.
"""

from __future__ import annotations

from natscope import uapi
from natscope.errors import DecodeError
from natscope.uapi import (
    Cta,
    CtaCounters,
    CtaDccp,
    CtaExpect,
    CtaExpectNat,
    CtaHelp,
    CtaIp,
    CtaProto,
    CtaProtoinfo,
    CtaSctp,
    CtaSecctx,
    CtaSeqadj,
    CtaSynproxy,
    CtaTcp,
    CtaTimestamp,
    CtaTuple,
)

U8, BE16, BE32, BE64, BE32S = "u8", "be16", "be32", "be64", "be32s"
IP4, IP6, STRING, LABELS, PAD = "ip4", "ip6", "string", "labels", "pad"

SIZES = {
    U8: 1,
    BE16: 2,
    BE32: 4,
    BE64: 8,
    BE32S: 4,
    IP4: 4,
    IP6: 16,
    LABELS: 16,
}
"""Payload bytes of each kind of leaf; strings and padding have any."""


class Leaf:
    """An attribute with a value: of which kind, for which column."""

    __slots__ = ("column", "kind", "name")

    def __init__(self, name: str, kind: str, column: str = "") -> None:
        self.name = name
        self.kind = kind
        self.column = column


class Nest:
    """An attribute of attributes; ``names`` are those of the whole C enum."""

    __slots__ = ("children", "name", "names")

    def __init__(
        self, name: str, children: dict[int, Leaf | Nest], names: dict[int, str]
    ) -> None:
        self.name = name
        self.children = children
        self.names = names

    def child_name(self, kind: int) -> str:
        """The kernel's name of a child, or its number."""
        return self.names.get(kind, str(kind))


def _nest(name: str, enum: type, children: dict[int, tuple[str, str] | Nest]) -> Nest:
    names = uapi.names(enum)
    return Nest(name, _children(children, names), names)


def _children(
    children: dict[int, tuple[str, str] | Nest], names: dict[int, str]
) -> dict[int, Leaf | Nest]:
    return {
        kind: child if isinstance(child, Nest) else Leaf(names[kind], *child)
        for kind, child in children.items()
    }


def _tuple(name: str, side: str) -> Nest:
    proto = "proto" if side == "orig" else f"{side}_proto"
    l4: dict[int, tuple[str, str] | Nest] = {
        CtaProto.CTA_PROTO_NUM: (U8, proto),
        CtaProto.CTA_PROTO_SRC_PORT: (BE16, f"{side}_sport"),
        CtaProto.CTA_PROTO_DST_PORT: (BE16, f"{side}_dport"),
    }
    if side != "master":  # no helper tracks ICMP
        l4 |= {
            CtaProto.CTA_PROTO_ICMP_ID: (BE16, f"{side}_icmp_id"),
            CtaProto.CTA_PROTO_ICMP_TYPE: (U8, f"{side}_icmp_type"),
            CtaProto.CTA_PROTO_ICMP_CODE: (U8, f"{side}_icmp_code"),
            CtaProto.CTA_PROTO_ICMPV6_ID: (BE16, f"{side}_icmp_id"),
            CtaProto.CTA_PROTO_ICMPV6_TYPE: (U8, f"{side}_icmp_type"),
            CtaProto.CTA_PROTO_ICMPV6_CODE: (U8, f"{side}_icmp_code"),
        }
    ip = _nest(
        "CTA_TUPLE_IP",
        CtaIp,
        {
            CtaIp.CTA_IP_V4_SRC: (IP4, f"{side}_src"),
            CtaIp.CTA_IP_V4_DST: (IP4, f"{side}_dst"),
            CtaIp.CTA_IP_V6_SRC: (IP6, f"{side}_src"),
            CtaIp.CTA_IP_V6_DST: (IP6, f"{side}_dst"),
        },
    )
    return _nest(
        name,
        CtaTuple,
        {
            CtaTuple.CTA_TUPLE_IP: ip,
            CtaTuple.CTA_TUPLE_PROTO: _nest("CTA_TUPLE_PROTO", CtaProto, l4),
            CtaTuple.CTA_TUPLE_ZONE: (BE16, f"{side}_zone"),
        },
    )


def _counters(name: str, side: str) -> Nest:
    return _nest(
        name,
        CtaCounters,
        {
            CtaCounters.CTA_COUNTERS_PACKETS: (BE64, f"{side}_packets"),
            CtaCounters.CTA_COUNTERS_BYTES: (BE64, f"{side}_bytes"),
            CtaCounters.CTA_COUNTERS_PAD: (PAD, ""),
        },
    )


def _seqadj(name: str, side: str) -> Nest:
    return _nest(
        name,
        CtaSeqadj,
        {
            CtaSeqadj.CTA_SEQADJ_CORRECTION_POS: (BE32, f"seqadj_{side}_pos"),
            CtaSeqadj.CTA_SEQADJ_OFFSET_BEFORE: (BE32S, f"seqadj_{side}_before"),
            CtaSeqadj.CTA_SEQADJ_OFFSET_AFTER: (BE32S, f"seqadj_{side}_after"),
        },
    )


_PROTOINFO = _nest(
    "CTA_PROTOINFO",
    CtaProtoinfo,
    {
        CtaProtoinfo.CTA_PROTOINFO_TCP: _nest(
            "CTA_PROTOINFO_TCP",
            CtaTcp,
            {
                CtaTcp.CTA_PROTOINFO_TCP_STATE: (U8, "tcp_state"),
                CtaTcp.CTA_PROTOINFO_TCP_WSCALE_ORIGINAL: (U8, "tcp_wscale_orig"),
                CtaTcp.CTA_PROTOINFO_TCP_WSCALE_REPLY: (U8, "tcp_wscale_reply"),
                CtaTcp.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: (BE16, "tcp_flags_orig"),
                CtaTcp.CTA_PROTOINFO_TCP_FLAGS_REPLY: (BE16, "tcp_flags_reply"),
            },
        ),
        CtaProtoinfo.CTA_PROTOINFO_DCCP: _nest(
            "CTA_PROTOINFO_DCCP",
            CtaDccp,
            {
                CtaDccp.CTA_PROTOINFO_DCCP_STATE: (U8, "dccp_state"),
                CtaDccp.CTA_PROTOINFO_DCCP_ROLE: (U8, "dccp_role"),
                CtaDccp.CTA_PROTOINFO_DCCP_HANDSHAKE_SEQ: (BE64, "dccp_handshake_seq"),
                CtaDccp.CTA_PROTOINFO_DCCP_PAD: (PAD, ""),
            },
        ),
        CtaProtoinfo.CTA_PROTOINFO_SCTP: _nest(
            "CTA_PROTOINFO_SCTP",
            CtaSctp,
            {
                CtaSctp.CTA_PROTOINFO_SCTP_STATE: (U8, "sctp_state"),
                CtaSctp.CTA_PROTOINFO_SCTP_VTAG_ORIGINAL: (BE32, "sctp_vtag_orig"),
                CtaSctp.CTA_PROTOINFO_SCTP_VTAG_REPLY: (BE32, "sctp_vtag_reply"),
            },
        ),
    },
)

_FLOW: dict[int, tuple[str, str] | Nest] = {
    Cta.CTA_TUPLE_ORIG: _tuple("CTA_TUPLE_ORIG", "orig"),
    Cta.CTA_TUPLE_REPLY: _tuple("CTA_TUPLE_REPLY", "reply"),
    Cta.CTA_TUPLE_MASTER: _tuple("CTA_TUPLE_MASTER", "master"),
    Cta.CTA_STATUS: (BE32, "status"),
    Cta.CTA_PROTOINFO: _PROTOINFO,
    Cta.CTA_HELP: _nest(
        "CTA_HELP", CtaHelp, {CtaHelp.CTA_HELP_NAME: (STRING, "helper")}
    ),
    Cta.CTA_TIMEOUT: (BE32, "timeout"),
    Cta.CTA_MARK: (BE32, "mark"),
    Cta.CTA_COUNTERS_ORIG: _counters("CTA_COUNTERS_ORIG", "orig"),
    Cta.CTA_COUNTERS_REPLY: _counters("CTA_COUNTERS_REPLY", "reply"),
    Cta.CTA_USE: (BE32, "use"),
    Cta.CTA_ID: (BE32, "id"),
    Cta.CTA_SEQ_ADJ_ORIG: _seqadj("CTA_SEQ_ADJ_ORIG", "orig"),
    Cta.CTA_SEQ_ADJ_REPLY: _seqadj("CTA_SEQ_ADJ_REPLY", "reply"),
    Cta.CTA_SECMARK: (BE32, "secmark"),
    Cta.CTA_ZONE: (BE16, "zone"),
    Cta.CTA_SECCTX: _nest(
        "CTA_SECCTX", CtaSecctx, {CtaSecctx.CTA_SECCTX_NAME: (STRING, "secctx")}
    ),
    Cta.CTA_TIMESTAMP: _nest(
        "CTA_TIMESTAMP",
        CtaTimestamp,
        {
            CtaTimestamp.CTA_TIMESTAMP_START: (BE64, "start_ns"),
            CtaTimestamp.CTA_TIMESTAMP_STOP: (BE64, "stop_ns"),
            CtaTimestamp.CTA_TIMESTAMP_PAD: (PAD, ""),
        },
    ),
    Cta.CTA_LABELS: (LABELS, "labels"),
    Cta.CTA_SYNPROXY: _nest(
        "CTA_SYNPROXY",
        CtaSynproxy,
        {
            CtaSynproxy.CTA_SYNPROXY_ISN: (BE32, "synproxy_isn"),
            CtaSynproxy.CTA_SYNPROXY_ITS: (BE32, "synproxy_its"),
            CtaSynproxy.CTA_SYNPROXY_TSOFF: (BE32, "synproxy_tsoff"),
        },
    ),
    Cta.CTA_TIMESTAMP_EVENT: (BE64, "event_ns"),
}

FLOW = _nest("flow", Cta, _FLOW)
"""Root of the tree: the attributes of an IPCTNL_MSG_CT_NEW message."""

EXPECTATION = _nest(
    "expectation",
    CtaExpect,
    {
        CtaExpect.CTA_EXPECT_MASTER: _tuple("CTA_EXPECT_MASTER", "master"),
        CtaExpect.CTA_EXPECT_TUPLE: _tuple("CTA_EXPECT_TUPLE", "expected"),
        CtaExpect.CTA_EXPECT_MASK: _tuple("CTA_EXPECT_MASK", "mask"),
        CtaExpect.CTA_EXPECT_TIMEOUT: (BE32, "timeout"),
        CtaExpect.CTA_EXPECT_ID: (BE32, "id"),
        CtaExpect.CTA_EXPECT_HELP_NAME: (STRING, "helper"),
        CtaExpect.CTA_EXPECT_ZONE: (BE16, "zone"),
        CtaExpect.CTA_EXPECT_FLAGS: (BE32, "flags"),
        CtaExpect.CTA_EXPECT_CLASS: (BE32, "class_"),
        CtaExpect.CTA_EXPECT_FN: (STRING, "fn"),
        CtaExpect.CTA_EXPECT_NAT: _nest(
            "CTA_EXPECT_NAT",
            CtaExpectNat,
            {
                CtaExpectNat.CTA_EXPECT_NAT_DIR: (BE32, "nat_dir"),
                CtaExpectNat.CTA_EXPECT_NAT_TUPLE: _tuple(
                    "CTA_EXPECT_NAT_TUPLE", "nat"
                ),
            },
        ),
    },
)
"""Root of the tree: the attributes of an IPCTNL_MSG_EXP_NEW message."""


def address_family(kinds: dict[str, str], attributes_at: int) -> int:
    """The family of a flow, from the leaf kind each column was read from.

    Raises:
        DecodeError: a tuple is missing or incomplete, or the families differ:
            a flow is keyed by both of its tuples.
    """
    family = kinds.get("orig_src")
    for side, attribute in _SIDES:
        if side == "master" and not any(c.startswith("master_") for c in kinds):
            continue
        proto = "proto" if side == "orig" else f"{side}_proto"
        for column in (f"{side}_src", f"{side}_dst", proto):
            if column not in kinds:
                reason = f"{column} is missing"
                raise DecodeError(reason, path=(attribute,), offset=attributes_at)
        if kinds[f"{side}_src"] != family or kinds[f"{side}_dst"] != family:
            reason = "IPv4 and IPv6 in one flow"
            raise DecodeError(reason, path=(attribute,), offset=attributes_at)
    return uapi.AF_INET if family == IP4 else uapi.AF_INET6


_SIDES = (
    ("orig", "CTA_TUPLE_ORIG"),
    ("reply", "CTA_TUPLE_REPLY"),
    ("master", "CTA_TUPLE_MASTER"),
)
