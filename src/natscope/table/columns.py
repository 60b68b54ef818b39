"""The columns of a FlowTable: the one list of names, types, units and sources.

Needs no NumPy, so that help and documentation can be made from it.  Every
column but the ``always`` ones has a presence bit: a row without the bit holds
zero there and means "the source did not say".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    ``dtype`` is a NumPy type string; ``S`` columns are as wide as their widest
    value.  ``width`` is the number of words a row has: addresses and labels are
    two uint64, high word first.
    """

    name: str
    dtype: str
    kernel: str
    meaning: str
    unit: str = ""
    width: int = 1
    always: bool = False


ADDRESS = "128-bit address, IPv4 in the low 32 bits"


def _address(name: str, kernel: str, meaning: str, *, always: bool = True) -> Column:
    return Column(name, "u8", kernel, meaning, ADDRESS, width=2, always=always)


def _direction(name: str, attribute: str) -> tuple[Column, ...]:
    ip, l4 = f"{attribute}.CTA_TUPLE_IP", f"{attribute}.CTA_TUPLE_PROTO"
    return (
        _address(f"{name}_src", f"{ip}.CTA_IP_V[46]_SRC", "source address"),
        _address(f"{name}_dst", f"{ip}.CTA_IP_V[46]_DST", "destination address"),
        Column(f"{name}_sport", "u2", f"{l4}.CTA_PROTO_SRC_PORT", "port or GRE key"),
        Column(f"{name}_dport", "u2", f"{l4}.CTA_PROTO_DST_PORT", "port or GRE key"),
        Column(f"{name}_icmp_type", "u1", f"{l4}.CTA_PROTO_ICMP[V6]_TYPE", "ICMP type"),
        Column(f"{name}_icmp_code", "u1", f"{l4}.CTA_PROTO_ICMP[V6]_CODE", "ICMP code"),
        Column(f"{name}_icmp_id", "u2", f"{l4}.CTA_PROTO_ICMP[V6]_ID", "ICMP id"),
        Column(
            f"{name}_zone",
            "u2",
            f"{attribute}.CTA_TUPLE_ZONE",
            "zone of this direction alone",
        ),
    )


_TCP = "CTA_PROTOINFO.CTA_PROTOINFO_TCP.CTA_PROTOINFO_TCP"
_SCTP = "CTA_PROTOINFO.CTA_PROTOINFO_SCTP.CTA_PROTOINFO_SCTP"
_DCCP = "CTA_PROTOINFO.CTA_PROTOINFO_DCCP.CTA_PROTOINFO_DCCP"
_ICMP_FREE_MASTER = "CTA_TUPLE_MASTER.CTA_TUPLE"

COLUMNS: tuple[Column, ...] = (
    Column(
        "family",
        "u1",
        "CTA_IP_V4_SRC or CTA_IP_V6_SRC",
        "address family",
        "2 is AF_INET, 10 is AF_INET6",
        always=True,
    ),
    Column(
        "proto",
        "u1",
        "CTA_TUPLE_ORIG.CTA_TUPLE_PROTO.CTA_PROTO_NUM",
        "IP protocol number",
        always=True,
    ),
    Column(
        "reply_proto",
        "u1",
        "CTA_TUPLE_REPLY.CTA_TUPLE_PROTO.CTA_PROTO_NUM",
        "IP protocol number of the reply tuple; always that of proto",
        always=True,
    ),
    *_direction("orig", "CTA_TUPLE_ORIG"),
    *_direction("reply", "CTA_TUPLE_REPLY"),
    _address(
        "master_src",
        f"{_ICMP_FREE_MASTER}_IP.CTA_IP_V[46]_SRC",
        "source of the flow that expected this one",
        always=False,
    ),
    _address(
        "master_dst",
        f"{_ICMP_FREE_MASTER}_IP.CTA_IP_V[46]_DST",
        "destination of the flow that expected this one",
        always=False,
    ),
    Column(
        "master_proto",
        "u1",
        f"{_ICMP_FREE_MASTER}_PROTO.CTA_PROTO_NUM",
        "protocol of the flow that expected this one",
    ),
    Column(
        "master_sport",
        "u2",
        f"{_ICMP_FREE_MASTER}_PROTO.CTA_PROTO_SRC_PORT",
        "its source port",
    ),
    Column(
        "master_dport",
        "u2",
        f"{_ICMP_FREE_MASTER}_PROTO.CTA_PROTO_DST_PORT",
        "its destination port",
    ),
    Column(
        "master_zone",
        "u2",
        f"{_ICMP_FREE_MASTER}_ZONE",
        "its zone, if of one direction",
    ),
    Column("zone", "u2", "CTA_ZONE", "zone; the kernel sends none for zone 0"),
    Column("status", "u4", "CTA_STATUS", "status bits", "enum ip_conntrack_status"),
    Column(
        "status_mask",
        "u4",
        "",
        "status bits the source could tell; absent when it told them all",
    ),
    Column("timeout", "u4", "CTA_TIMEOUT", "time left before the entry expires", "s"),
    Column("mark", "u4", "CTA_MARK", "connection mark"),
    Column(
        "orig_packets",
        "u8",
        "CTA_COUNTERS_ORIG.CTA_COUNTERS_PACKETS",
        "packets in the original direction",
        "packets",
    ),
    Column(
        "orig_bytes",
        "u8",
        "CTA_COUNTERS_ORIG.CTA_COUNTERS_BYTES",
        "bytes in the original direction",
        "bytes",
    ),
    Column(
        "reply_packets",
        "u8",
        "CTA_COUNTERS_REPLY.CTA_COUNTERS_PACKETS",
        "packets in the reply direction",
        "packets",
    ),
    Column(
        "reply_bytes",
        "u8",
        "CTA_COUNTERS_REPLY.CTA_COUNTERS_BYTES",
        "bytes in the reply direction",
        "bytes",
    ),
    Column("tcp_state", "u1", f"{_TCP}_STATE", "TCP state", "enum tcp_conntrack"),
    Column("tcp_wscale_orig", "u1", f"{_TCP}_WSCALE_ORIGINAL", "window scale", "shift"),
    Column("tcp_wscale_reply", "u1", f"{_TCP}_WSCALE_REPLY", "window scale", "shift"),
    Column(
        "tcp_flags_orig",
        "u2",
        f"{_TCP}_FLAGS_ORIGINAL",
        "struct nf_ct_tcp_flags: flags in the high byte, mask in the low",
    ),
    Column(
        "tcp_flags_reply",
        "u2",
        f"{_TCP}_FLAGS_REPLY",
        "struct nf_ct_tcp_flags: flags in the high byte, mask in the low",
    ),
    Column("sctp_state", "u1", f"{_SCTP}_STATE", "SCTP state", "enum sctp_conntrack"),
    Column("sctp_vtag_orig", "u4", f"{_SCTP}_VTAG_ORIGINAL", "verification tag"),
    Column("sctp_vtag_reply", "u4", f"{_SCTP}_VTAG_REPLY", "verification tag"),
    Column("dccp_state", "u1", f"{_DCCP}_STATE", "DCCP state", "enum ct_dccp_states"),
    Column("dccp_role", "u1", f"{_DCCP}_ROLE", "who opened it", "0 client, 1 server"),
    Column("dccp_handshake_seq", "u8", f"{_DCCP}_HANDSHAKE_SEQ", "sequence number"),
    Column("helper", "S", "CTA_HELP.CTA_HELP_NAME", "connection tracking helper"),
    Column("secctx", "S", "CTA_SECCTX.CTA_SECCTX_NAME", "security context"),
    Column("secmark", "u4", "CTA_SECMARK", "security mark; only in old listings"),
    Column("labels", "u8", "CTA_LABELS", "label bits 127..64 and 63..0", width=2),
    Column("label_names", "S", "", "label names as a saved listing printed them"),
    Column("id", "u4", "CTA_ID", "hash the kernel gives the entry"),
    Column("use", "u4", "CTA_USE", "reference count"),
    Column(
        "start_ns", "u8", "CTA_TIMESTAMP.CTA_TIMESTAMP_START", "birth", "ns since 1970"
    ),
    Column(
        "stop_ns", "u8", "CTA_TIMESTAMP.CTA_TIMESTAMP_STOP", "death", "ns since 1970"
    ),
    Column(
        "event_ns", "u8", "CTA_TIMESTAMP_EVENT", "time of the event", "ns since 1970"
    ),
    Column("delta_time", "u4", "", "age as a saved listing printed it", "s"),
    *(
        Column(
            f"seqadj_{way}_{field}",
            dtype,
            f"CTA_SEQ_ADJ_{way.upper()}.CTA_SEQADJ_{attribute}",
            meaning,
            "bytes",
        )
        for way in ("orig", "reply")
        for field, dtype, attribute, meaning in (
            ("pos", "u4", "CORRECTION_POS", "sequence number of the last correction"),
            ("before", "i4", "OFFSET_BEFORE", "offset before it"),
            ("after", "i4", "OFFSET_AFTER", "offset after it"),
        )
    ),
    Column("synproxy_isn", "u4", "CTA_SYNPROXY.CTA_SYNPROXY_ISN", "initial sequence"),
    Column(
        "synproxy_its", "u4", "CTA_SYNPROXY.CTA_SYNPROXY_ITS", "initial TCP timestamp"
    ),
    Column(
        "synproxy_tsoff", "u4", "CTA_SYNPROXY.CTA_SYNPROXY_TSOFF", "timestamp offset"
    ),
    Column("rate", "u8", "", "both directions, between two readings", "bytes per s"),
    Column("netns", "S", "", "network namespace the flow was read from"),
    Column("extra", "O", "", "attributes without a column, as model.flow.Unknown"),
)

BY_NAME = {column.name: column for column in COLUMNS}
BIT = {
    name: position
    for position, name in enumerate(c.name for c in COLUMNS if not c.always)
}
"""Position of each optional column in the presence word."""
