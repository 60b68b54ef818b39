"""Flows as the messages a dump would hold, and requests for dumps.

``encode_flow`` is the schema read backwards, so that what it writes decodes to
the same Flow.  Dump requests carry the kernel's own filters where it has them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.codec.layout import Shape, Writer
from natscope.codec.schema import FLOW
from natscope.model.prefilter import KernelFilter, KernelTuple
from natscope.uapi import Cta, CtaFilter, CtaIp, CtaProto, CtaTuple, FilterFlag

if TYPE_CHECKING:
    from natscope.codec.scalar import Cells
    from natscope.model.flow import Flow
    from natscope.model.tuples import FlowTuple


def encode_flow(flow: Flow) -> bytes:
    """The attributes of a flow, all that have a value, in schema order.

    ``extra`` is left out: what has no column has no known place.
    """
    cells = cells_of(flow)
    writer = Writer()
    writer.children(FLOW, Shape.of(cells))
    return writer.filled(cells)


def flow_message(flow: Flow, *, seq: int = 0, flags: int = uapi.NLM_F_MULTI) -> bytes:
    """A whole IPCTNL_MSG_CT_NEW message, as a dump would hold it."""
    payload = nlmsg.NFGENMSG.pack(flow.family, 0, 0) + encode_flow(flow)
    kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
    return nlmsg.build(kind, flags, seq, payload)


def cells_of(flow: Flow) -> Cells:
    """A flow's cells: ``scalar.flow_of`` backwards, without ``extra``."""
    tuples = ("orig", "reply", "master")
    cells: Cells = {name: getattr(flow, name) for name in flow.__slots__}
    cells |= {"family": flow.family, "extra": None}
    for side in tuples:
        if (one := cells.pop(side)) is not None:
            cells |= _tuple_cells(side, one)
    return {name: value for name, value in cells.items() if value is not None}


def dump_request(
    prefilter: KernelFilter, *, seq: int, command: int = uapi.CtMsg.GET
) -> bytes:
    """A request for the whole table, or what the kernel can leave out of it.

    ctnetlink_alloc_filter() and friends: mark and status with mask, zone,
    family, and parts of both tuples (CTA_FILTER, since 5.8).
    """
    return nlmsg.build_netfilter(
        uapi.NFNL_SUBSYS_CTNETLINK,
        command,
        uapi.NLM_F_DUMP,
        seq,
        prefilter.family,
        b"".join(_filter_attributes(prefilter)),
    )


def flush_request(prefilter: KernelFilter, *, seq: int) -> bytes:
    """Delete every entry the filter matches, in one request.

    Filters are heeded since 6.12, families since nfgenmsg.version is 1; older
    kernels delete more: see ``actions.probe``.
    """
    payload = nlmsg.NFGENMSG.pack(prefilter.family, 1, 0)
    payload += b"".join(_filter_attributes(prefilter))
    kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.DELETE
    return nlmsg.build(kind, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK, seq, payload)


def _filter_attributes(prefilter: KernelFilter) -> list[bytes]:
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
    return attributes


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
        flags.append(nla.build(flag_attribute, wanted.to_bytes(4, sys.byteorder)))
    if flags:
        yield nla.nest(Cta.CTA_FILTER, *flags)


def _tuple_part(part: KernelTuple) -> tuple[int, list[bytes], list[bytes]]:
    flags, ip, l4 = 0, [], []
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


def _tuple_cells(side: str, one: FlowTuple) -> Cells:
    cells: Cells = {f"{side}_{name}": getattr(one, name) for name in one.__slots__}
    cells |= {f"{side}_src": one.src.packed, f"{side}_dst": one.dst.packed}
    if side == "orig":
        cells["proto"] = cells.pop("orig_proto")
    return cells


def _be32(attribute: int, value: int) -> bytes:
    return nla.build(attribute, value.to_bytes(4, "big"))
