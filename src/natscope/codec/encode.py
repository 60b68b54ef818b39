"""Flows and requests to ctnetlink messages.

``encode_flow`` is the schema read backwards, so that what it writes decodes to
the same Flow.  Requests carry the kernel's own filters where it has them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.codec.schema import (
    BE32S,
    FLOW,
    IP4,
    IP6,
    LABELS,
    PAD,
    SIZES,
    STRING,
    Leaf,
    Nest,
)
from natscope.model.prefilter import KernelFilter, KernelTuple
from natscope.uapi import Cta, CtaFilter, CtaIp, CtaNat, CtaProto, CtaTuple, FilterFlag

if TYPE_CHECKING:
    from natscope.model.flow import Flow
    from natscope.model.tuples import FlowTuple

_ICMPV6_LEAVES = frozenset(
    {
        CtaProto.CTA_PROTO_ICMPV6_ID.name,
        CtaProto.CTA_PROTO_ICMPV6_TYPE.name,
        CtaProto.CTA_PROTO_ICMPV6_CODE.name,
    }
)
_ICMP_LEAVES = frozenset(name.replace("ICMPV6", "ICMP") for name in _ICMPV6_LEAVES)


def encode_flow(flow: Flow) -> bytes:
    """The attributes of a flow, all that have a value, in schema order.

    ``extra`` is left out: what has no column has no known place.
    """
    cells = _cells(flow)
    skip = {IP6 if flow.family == uapi.AF_INET else IP4}
    skip |= _ICMP_LEAVES if flow.proto == uapi.IPPROTO_ICMPV6 else _ICMPV6_LEAVES
    return b"".join(_children(FLOW, cells, skip))


def flow_message(flow: Flow, *, seq: int = 0, flags: int = uapi.NLM_F_MULTI) -> bytes:
    """A whole IPCTNL_MSG_CT_NEW message, as a dump would hold it."""
    payload = nlmsg.NFGENMSG.pack(flow.family, 0, 0) + encode_flow(flow)
    kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
    return nlmsg.build(kind, flags, seq, payload)


def insert_message(flow: Flow, *, seq: int = 0, ack: bool = True) -> bytes:
    """A request to put a flow into the table, translated as its tuples say.

    The reply tuple is sent untranslated and the translation as CTA_NAT_SRC and
    CTA_NAT_DST: a translated reply alone is stored but never applied
    (ctnetlink_create_conntrack).
    """
    plain = flow.orig.reversed()
    attributes = [
        _tuple(Cta.CTA_TUPLE_ORIG, flow.orig),
        _tuple(Cta.CTA_TUPLE_REPLY, plain),
        *_nat(flow, plain),
    ]
    cells = _cells(flow) | {"status": (flow.status or 0) | uapi.Status.CONFIRMED}
    for key in _SETTABLE:
        child = FLOW.children[key]
        attributes.extend(_one(key, child, cells, _ICMPV6_LEAVES))
    flags = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL | (uapi.NLM_F_ACK if ack else 0)
    return nlmsg.build_netfilter(
        uapi.NFNL_SUBSYS_CTNETLINK,
        uapi.CtMsg.NEW,
        flags,
        seq,
        flow.family,
        b"".join(attributes),
    )


_SETTABLE = (
    *(Cta.CTA_STATUS, Cta.CTA_TIMEOUT, Cta.CTA_PROTOINFO, Cta.CTA_MARK),
    *(Cta.CTA_ZONE, Cta.CTA_HELP, Cta.CTA_LABELS, Cta.CTA_TUPLE_MASTER),
)


def dump_request(
    prefilter: KernelFilter, *, seq: int, command: uapi.CtMsg = uapi.CtMsg.GET
) -> bytes:
    """A request for the whole table, or what the kernel can leave out of it.

    ctnetlink_alloc_filter() and friends: mark and status with mask, zone,
    family, and parts of both tuples (CTA_FILTER, since 5.8).
    """
    attributes = []
    if prefilter.mark is not None:
        attributes.append(_be32(Cta.CTA_MARK, prefilter.mark))
        attributes.append(_be32(Cta.CTA_MARK_MASK, prefilter.mark_mask))
    if prefilter.status is not None:
        attributes.append(_be32(Cta.CTA_STATUS, prefilter.status))
        attributes.append(_be32(Cta.CTA_STATUS_MASK, prefilter.status_mask))
    if prefilter.zone is not None:
        attributes.append(nla.build(Cta.CTA_ZONE, prefilter.zone.to_bytes(2, "big")))
    attributes.extend(_tuple_filter(prefilter))
    return nlmsg.build_netfilter(
        uapi.NFNL_SUBSYS_CTNETLINK,
        command,
        uapi.NLM_F_DUMP,
        seq,
        prefilter.family,
        b"".join(attributes),
    )


def simple_request(
    command: int, *, seq: int, dump: bool = False, subsystem: int | None = None
) -> bytes:
    """A request without attributes, such as for statistics."""
    return nlmsg.build_netfilter(
        uapi.NFNL_SUBSYS_CTNETLINK if subsystem is None else subsystem,
        command,
        uapi.NLM_F_DUMP if dump else uapi.NLM_F_ACK,
        seq,
        uapi.AF_UNSPEC,
        b"",
    )


def _tuple_filter(prefilter: KernelFilter) -> Iterator[bytes]:
    flags = []
    sides = (
        (Cta.CTA_TUPLE_ORIG, CtaFilter.CTA_FILTER_ORIG_FLAGS, prefilter.orig),
        (Cta.CTA_TUPLE_REPLY, CtaFilter.CTA_FILTER_REPLY_FLAGS, prefilter.reply),
    )
    for attribute, flag_attribute, part in sides:
        wanted, ip, l4 = _tuple_part(part)
        if not wanted:
            continue
        children = [nla.nest(CtaTuple.CTA_TUPLE_IP, *ip)] if ip else []
        children += [nla.nest(CtaTuple.CTA_TUPLE_PROTO, *l4)] if l4 else []
        yield nla.nest(attribute, *children)
        # read with nla_get_u32: the host's order
        flags.append(nla.build(flag_attribute, int(wanted).to_bytes(4, sys.byteorder)))
    if flags:
        yield nla.nest(Cta.CTA_FILTER, *flags)


def _tuple_part(part: KernelTuple) -> tuple[FilterFlag, list[bytes], list[bytes]]:
    flags, ip, l4 = FilterFlag(0), [], []
    if part.src is not None:
        flags |= FilterFlag.IP_SRC
        ip.append(nla.build(CtaIp.CTA_IP_V4_SRC, part.src.to_bytes(4, "big")))
    if part.dst is not None:
        flags |= FilterFlag.IP_DST
        ip.append(nla.build(CtaIp.CTA_IP_V4_DST, part.dst.to_bytes(4, "big")))
    if part.proto is not None:
        flags |= FilterFlag.PROTO_NUM
        l4.append(nla.build(CtaProto.CTA_PROTO_NUM, bytes([part.proto])))
    if part.sport is not None:
        flags |= FilterFlag.PROTO_SRC_PORT
        port = part.sport.to_bytes(2, "big")
        l4.append(nla.build(CtaProto.CTA_PROTO_SRC_PORT, port))
    if part.dport is not None:
        flags |= FilterFlag.PROTO_DST_PORT
        port = part.dport.to_bytes(2, "big")
        l4.append(nla.build(CtaProto.CTA_PROTO_DST_PORT, port))
    return flags, ip, l4


def _cells(flow: Flow) -> dict[str, Any]:
    cells = {name: getattr(flow, name) for name in flow.__slots__}
    sides = {"orig": flow.orig, "reply": flow.reply, "master": flow.master}
    for side, one in sides.items():
        if one is not None:
            cells |= _tuple_cells(side, one)
    return {name: value for name, value in cells.items() if value is not None}


def _tuple_cells(side: str, one: FlowTuple) -> dict[str, Any]:
    cells = {f"{side}_{name}": getattr(one, name) for name in one.__slots__}
    if side == "orig":
        cells["proto"] = one.proto
    return cells


def _tuple(attribute: Cta, one: FlowTuple) -> bytes:
    skip = {IP6 if one.src.version == 4 else IP4}
    skip |= _ICMP_LEAVES if one.proto == uapi.IPPROTO_ICMPV6 else _ICMPV6_LEAVES
    child = FLOW.children[Cta.CTA_TUPLE_ORIG]
    cells = _tuple_cells("orig", one)
    cells = {name: value for name, value in cells.items() if value is not None}
    return b"".join(_one(attribute, child, cells, skip))


def _nat(flow: Flow, plain: FlowTuple) -> Iterator[bytes]:
    """What the reply tuple differs by, as the range of exactly one translation."""
    changes = (
        (Cta.CTA_NAT_SRC, plain.dst, flow.reply.dst, plain.dport, flow.reply.dport),
        (Cta.CTA_NAT_DST, plain.src, flow.reply.src, plain.sport, flow.reply.sport),
    )
    for attribute, before, after, port_before, port_after in changes:
        if before == after and port_before == port_after:
            continue
        v4 = after.version == 4
        low = CtaNat.CTA_NAT_V4_MINIP if v4 else CtaNat.CTA_NAT_V6_MINIP
        high = CtaNat.CTA_NAT_V4_MAXIP if v4 else CtaNat.CTA_NAT_V6_MAXIP
        children = [nla.build(low, after.packed), nla.build(high, after.packed)]
        if port_after is not None:
            port = port_after.to_bytes(2, "big")
            bounds = (
                (uapi.CtaProtonat.CTA_PROTONAT_PORT_MIN, port),
                (
                    uapi.CtaProtonat.CTA_PROTONAT_PORT_MAX,
                    port,
                ),
            )
            range_ = [nla.build(kind, value) for kind, value in bounds]
            children.append(nla.nest(CtaNat.CTA_NAT_PROTO, *range_))
        yield nla.nest(attribute, *children)


def _children(
    nest: Nest, cells: dict[str, Any], skip: set[str] | frozenset[str]
) -> Iterator[bytes]:
    for kind, child in nest.children.items():
        yield from _one(kind, child, cells, skip)


def _one(
    kind: int,
    child: Leaf | Nest,
    cells: dict[str, Any],
    skip: set[str] | frozenset[str],
) -> Iterator[bytes]:
    if isinstance(child, Nest):
        inner = b"".join(_children(child, cells, skip))
        if inner:
            yield nla.build(kind | uapi.NLA_F_NESTED, inner)
    elif child.kind not in skip and child.name not in skip and child.column in cells:
        yield nla.build(kind, _payload(child.kind, cells[child.column]))


def _payload(kind: str, value: Any) -> bytes:
    if kind in (IP4, IP6):
        packed: bytes = value.packed
        return packed
    if kind == STRING:
        text: str = value
        return text.encode() + b"\0"
    if kind == LABELS:
        words = (value & (1 << 64) - 1, value >> 64)
        return b"".join(word.to_bytes(8, sys.byteorder) for word in words)
    if kind == PAD:
        return b""
    number: int = value
    return number.to_bytes(SIZES[kind], "big", signed=kind == BE32S)


def _be32(attribute: Cta, value: int) -> bytes:
    return nla.build(attribute, value.to_bytes(4, "big"))
