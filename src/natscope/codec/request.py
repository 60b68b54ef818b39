"""Requests about one entry: get, delete, insert, update; and flush.

Each is a layout filled with the cells of a flow; ``requests`` fills the same
layouts with the columns of many.
"""

from __future__ import annotations

import sys

from natscope import uapi
from natscope.codec import nlmsg
from natscope.codec.layout import Layout, Shape, Writer
from natscope.codec.schema import BE16, BE32, FLOW, IP4, IP6, LABELS
from natscope.uapi import Cta, CtaFilter, CtaNat, CtaProtonat, FilterFlag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.codec.scalar import Cells

_NEW = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
_GET = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.GET
_DELETE = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.DELETE

_INSERTED = (
    *(Cta.CTA_STATUS, Cta.CTA_TIMEOUT, Cta.CTA_PROTOINFO, Cta.CTA_MARK),
    *(Cta.CTA_SEQ_ADJ_ORIG, Cta.CTA_SEQ_ADJ_REPLY, Cta.CTA_SYNPROXY),
    *(Cta.CTA_ZONE, Cta.CTA_HELP, Cta.CTA_LABELS, Cta.CTA_TUPLE_MASTER),
)
"""What ctnetlink_create_conntrack() takes beside tuples and NAT."""
_UPDATED = tuple(
    kind for kind in _INSERTED if kind not in (Cta.CTA_ZONE, Cta.CTA_TUPLE_MASTER)
)
"""What ctnetlink_change_conntrack() takes; a master is EOPNOTSUPP."""

SNAT_ADDRESS, SNAT_PORT = "snat_address", "snat_port"
DNAT_ADDRESS, DNAT_PORT = "dnat_address", "dnat_port"
"""Cells of an insert beside the columns: what the translation shall be."""
MARK_MASK, LABELS_MASK = "mark_mask", "labels_mask"
"""Cells of an update beside the columns: which bits to change, the others keep."""


def get(cells: Cells, *, seq: int) -> bytes:
    """Ask for the entry of a tuple, original or else reply, in its zone."""
    return about(Shape.of(cells), _GET).fill(cells, seq)


def delete(cells: Cells, *, seq: int, ack: bool = True) -> bytes:
    """Delete the entry of a tuple; with an ``id``, only if it is still that one
    (ctnetlink_del_conntrack: else ENOENT)."""
    flags = uapi.NLM_F_ACK if ack else 0
    return about(Shape.of(cells), _DELETE, flags).fill(cells, seq)


def insert(cells: Cells, *, seq: int, ack: bool = True) -> bytes:
    """Make an entry of an original and a reply tuple.

    The reply tuple is that of an untranslated flow; the translation is asked
    for by SNAT_ADDRESS, SNAT_PORT, DNAT_ADDRESS and DNAT_PORT: a translated
    reply tuple alone would be stored but never applied to a packet.

    Args:
        cells: the flow; of many, ``requests.insertable`` makes them.
        seq: sequence number.
        ack: ask for an acknowledgement.
    """
    return insertion(Shape.of(cells), uapi.NLM_F_ACK if ack else 0).fill(cells, seq)


def update(cells: Cells, *, seq: int, ack: bool = True) -> bytes:
    """Change the entry of a tuple: every settable column of the cells is set.

    With MARK_MASK the kernel computes the mark (ctnetlink_change_mark:
    ``old & ~mask ^ mark``), with LABELS_MASK the labels' bits.
    """
    flags = uapi.NLM_F_ACK if ack else 0
    return change(Shape.of(cells), flags).fill(cells, seq)


def flush(*, seq: int, family: int = uapi.AF_UNSPEC) -> bytes:
    """Delete every entry of a family, or all.

    ctnetlink_del_conntrack() heeds the family only from nfgenmsg.version 1 on.
    """
    payload = nlmsg.NFGENMSG.pack(family, 1, 0)
    return nlmsg.build(_DELETE, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK, seq, payload)


def statistics(*, seq: int) -> bytes:
    """Ask for the number of entries and their limit (IPCTNL_MSG_CT_GET_STATS)."""
    kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.GET_STATS
    return nlmsg.build(kind, uapi.NLM_F_REQUEST, seq, nlmsg.NFGENMSG.pack(0, 0, 0))


def statistics_by_cpu(*, seq: int) -> bytes:
    """Ask for the counters of every CPU (IPCTNL_MSG_CT_GET_STATS_CPU)."""
    kind = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.GET_STATS_CPU
    flags = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP
    return nlmsg.build(kind, flags, seq, nlmsg.NFGENMSG.pack(0, 0, 0))


def window_flags(tcp_state: int) -> int:
    """struct nf_ct_tcp_flags.flags of a flow whose windows so far are not known.

    As conntrack(8) sets them: any window is taken, a closing flow may be opened
    again.
    """
    closing = tcp_state >= _TIME_WAIT
    return _BE_LIBERAL | _SACK_PERM | (_CLOSE_INIT if closing else 0)


_TIME_WAIT = uapi.TCP_STATES.index("TIME_WAIT")
_SACK_PERM, _CLOSE_INIT, _BE_LIBERAL = 0x02, 0x04, 0x08
"""IP_CT_TCP_FLAG_*."""
TCP_FLAGS = ("tcp_flags_orig", "tcp_flags_reply")
ALL_TCP_FLAGS = 0xFF
"""struct nf_ct_tcp_flags.mask: a dump has none, a request sets only its bits."""
SETTABLE_STATUS = (
    uapi.Status.SEEN_REPLY | uapi.Status.ASSURED | uapi.Status.FIXED_TIMEOUT
)
"""The status bits a request can set (IPS_UNCHANGEABLE_MASK leaves them)."""


def reply_of(cells: Cells) -> Cells:
    """The reply tuple of an untranslated flow, as cells."""
    reply: Cells = {"reply_proto": cells["proto"]}
    turned = (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport"))
    for mine, other in turned:
        if f"orig_{other}" in cells:
            reply[f"reply_{mine}"] = cells[f"orig_{other}"]
    for same in ("icmp_id", "icmp_code"):
        if f"orig_{same}" in cells:
            reply[f"reply_{same}"] = cells[f"orig_{same}"]
    if "orig_icmp_type" in cells:
        v6 = cells["proto"] == uapi.IPPROTO_ICMPV6
        types = uapi.ICMPV6_REPLY_TYPE if v6 else uapi.ICMP_REPLY_TYPE
        asked = cells["orig_icmp_type"]
        reply["reply_icmp_type"] = types.get(asked, asked)
    return reply


def about(shape: Shape, kind: int, flags: int = 0) -> Layout:
    """The layout of a request about an entry: tuple, zone, and id on delete."""
    writer = _begin(shape, kind, flags)
    _key(writer, shape)
    if kind == _DELETE and "id" in shape.columns:
        writer.value(Cta.CTA_ID, BE32, "id")
    return writer.layout()


def find(cells: Cells, *, seq: int) -> bytes:
    """Ask for the entries of a tuple in every zone: a dump the kernel filters.

    What comes is a superset, to be checked: of IPv6 the kernel compares the
    addresses wrongly (6.18), of most protocols no ports.
    """
    shape = Shape.of(cells)
    orig = "orig_src" in shape.columns
    kind = Cta.CTA_TUPLE_ORIG if orig else Cta.CTA_TUPLE_REPLY
    flags = FilterFlag.PROTO_NUM
    if shape.family == uapi.AF_INET:
        flags |= FilterFlag.IP_SRC | FilterFlag.IP_DST
    if shape.proto in (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP):
        flags |= FilterFlag.PROTO_SRC_PORT | FilterFlag.PROTO_DST_PORT
    writer = _begin(shape, _GET, uapi.NLM_F_DUMP)
    writer.branch(kind, FLOW.children[kind], shape)
    sides = CtaFilter.CTA_FILTER_ORIG_FLAGS, CtaFilter.CTA_FILTER_REPLY_FLAGS
    told = flags.to_bytes(4, sys.byteorder)  # read with nla_get_u32
    side = sides[0] if orig else sides[1]
    writer.nest(Cta.CTA_FILTER, lambda: writer.constant(side, told))
    return writer.layout().fill(cells, seq)


def deletion(shape: Shape) -> Layout:
    """The layout of a delete without acknowledgement."""
    return about(shape, _DELETE)


def lookup(shape: Shape) -> Layout:
    """The layout of a get."""
    return about(shape, _GET)


def insertion(shape: Shape, flags: int = 0) -> Layout:
    """The layout of an insert."""
    writer = _begin(shape, _NEW, flags | uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
    for kind in (Cta.CTA_TUPLE_ORIG, Cta.CTA_TUPLE_REPLY):
        writer.branch(kind, FLOW.children[kind], shape)
    _nat(writer, shape, Cta.CTA_NAT_SRC, SNAT_ADDRESS, SNAT_PORT)
    _nat(writer, shape, Cta.CTA_NAT_DST, DNAT_ADDRESS, DNAT_PORT)
    for kind in _INSERTED:
        writer.branch(kind, FLOW.children[kind], shape)
    return writer.layout()


def change(shape: Shape, flags: int = 0) -> Layout:
    """The layout of an update."""
    writer = _begin(shape, _NEW, flags)
    _key(writer, shape)
    for kind in _UPDATED:
        writer.branch(kind, FLOW.children[kind], shape)
    if MARK_MASK in shape.columns:
        writer.value(Cta.CTA_MARK_MASK, BE32, MARK_MASK)
    if LABELS_MASK in shape.columns:
        writer.value(Cta.CTA_LABELS_MASK, LABELS, LABELS_MASK)
    return writer.layout()


def _begin(shape: Shape, kind: int, flags: int) -> Writer:
    header = nlmsg.HEADER.pack(0, kind, flags | uapi.NLM_F_REQUEST, 0, 0)
    return Writer(header + nlmsg.NFGENMSG.pack(shape.family, 0, 0))


def _key(writer: Writer, shape: Shape) -> None:
    told = Cta.CTA_TUPLE_ORIG if "orig_src" in shape.columns else Cta.CTA_TUPLE_REPLY
    for kind in (told, Cta.CTA_ZONE):
        writer.branch(kind, FLOW.children[kind], shape)


def _nat(writer: Writer, shape: Shape, kind: int, address: str, port: str) -> None:
    """A translation to exactly one address and port, each if it is asked for."""
    v4 = shape.family == uapi.AF_INET
    bounds = (
        (CtaNat.CTA_NAT_V4_MINIP, CtaNat.CTA_NAT_V4_MAXIP)
        if v4
        else (CtaNat.CTA_NAT_V6_MINIP, CtaNat.CTA_NAT_V6_MAXIP)
    )

    def ports() -> None:
        writer.value(CtaProtonat.CTA_PROTONAT_PORT_MIN, BE16, port)
        writer.value(CtaProtonat.CTA_PROTONAT_PORT_MAX, BE16, port)

    def inside() -> None:
        if address in shape.columns:
            for bound in bounds:
                writer.value(bound, IP4 if v4 else IP6, address)
        if port in shape.columns:
            writer.nest(CtaNat.CTA_NAT_PROTO, ports)

    writer.nest(kind, inside)
