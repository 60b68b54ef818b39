"""NFT_MSG_TRACE as the kernel builds it, for tests."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from natscope import uapi
from natscope.codec import nftrace, nla, nlmsg, packets
from natscope.codec.nftrace import TraceMessage
from natscope.model.journey import Verdict
from natscope.model.packet import Packet
from natscope.uapi import nftables
from natscope.uapi.nftables import NftaTrace, NftaVerdict

POLICY, RULE = nftables.NftTraceType.POLICY, nftables.NftTraceType.RULE
NUMBERS = {
    "rule_handle": (NftaTrace.NFTA_TRACE_RULE_HANDLE, ">Q"),
    "type": (NftaTrace.NFTA_TRACE_TYPE, ">I"),
    "id": (NftaTrace.NFTA_TRACE_ID, ">I"),
    "policy": (NftaTrace.NFTA_TRACE_POLICY, ">i"),
    "iif": (NftaTrace.NFTA_TRACE_IIF, ">I"),
    "iif_type": (NftaTrace.NFTA_TRACE_IIFTYPE, ">H"),
    "oif": (NftaTrace.NFTA_TRACE_OIF, ">I"),
    "oif_type": (NftaTrace.NFTA_TRACE_OIFTYPE, ">H"),
    "mark": (NftaTrace.NFTA_TRACE_MARK, ">I"),
    "nfproto": (NftaTrace.NFTA_TRACE_NFPROTO, ">I"),
    "ct_id": (NftaTrace.NFTA_TRACE_CT_ID, ">I"),
    "ct_direction": (NftaTrace.NFTA_TRACE_CT_DIRECTION, ">B"),
    "ct_status": (NftaTrace.NFTA_TRACE_CT_STATUS, ">I"),
    "ct_state": (NftaTrace.NFTA_TRACE_CT_STATE, ">I"),
}
BYTES = {
    "link_header": NftaTrace.NFTA_TRACE_LL_HEADER,
    "network_header": NftaTrace.NFTA_TRACE_NETWORK_HEADER,
    "transport_header": NftaTrace.NFTA_TRACE_TRANSPORT_HEADER,
}
FAMILIES = {word: number for number, word in nftrace.FAMILIES.items()}


def encoded(step: TraceMessage) -> bytes:
    """A step as the kernel would send it."""
    attributes = [
        nla.build(NftaTrace.NFTA_TRACE_TABLE, step.table.encode() + b"\0"),
        nla.build(NftaTrace.NFTA_TRACE_CHAIN, step.chain.encode() + b"\0"),
    ]
    for name, (kind, form) in NUMBERS.items():
        if (value := getattr(step, name)) is not None:
            attributes.append(nla.build(kind, struct.pack(form, value)))
    for name, kind in BYTES.items():
        if (told := getattr(step, name)) is not None:
            attributes.append(nla.build(kind, told))
    if step.verdict is not None:
        code = struct.pack(">i", step.verdict)
        nested = nla.build(NftaVerdict.NFTA_VERDICT_CODE, code)
        if step.target is not None:
            target = step.target.encode() + b"\0"
            nested += nla.build(NftaVerdict.NFTA_VERDICT_CHAIN, target)
        attributes.append(nla.nest(NftaTrace.NFTA_TRACE_VERDICT, nested))
    attributes += [nla.build(kind, told) for kind, told in step.unknown]
    family = FAMILIES[step.family]
    body = b"".join(attributes)
    return nlmsg.build_netfilter(
        uapi.NFNL_SUBSYS_NFTABLES, nftables.NFT_MSG_TRACE, 0, 0, family, body
    )


def syn(seq: int = 1, dst: str = "192.0.2.80", dport: int = 80) -> Packet:
    """A packet that opens a connection; ``seq`` is its own."""
    return Packet(
        ip_address("10.0.0.2"),
        ip_address(dst),
        uapi.IPPROTO_TCP,
        sport=4000,
        dport=dport,
        tcp_flags=uapi.TcpFlag.SYN,
        seq=seq,
        ack=0,
        window=1000,
    )


def first(
    chain: str, packet: Packet, id: int = 7, iif: int | None = None
) -> TraceMessage:
    """A rule of a base chain that continues: the step that has the headers."""
    data = packets.encode(packet)
    return TraceMessage(
        "ip",
        "t",
        chain,
        id,
        RULE,
        verdict=Verdict.CONTINUE,
        network_header=data[:20],
        transport_header=data[20:40],
        iif=iif,
    )


def end(chain: str, policy: Verdict = Verdict.ACCEPT, id: int = 7) -> TraceMessage:
    """The policy of a base chain."""
    return TraceMessage("ip", "t", chain, id, POLICY, policy=policy)
