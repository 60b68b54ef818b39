"""Expectations: messages to records, and requests about them.

NFNL_SUBSYS_CTNETLINK_EXP; the attributes are data in ``schema.EXPECTATION``.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.codec.layout import Shape, Writer
from natscope.codec.scalar import Reading
from natscope.codec.schema import EXPECTATION
from natscope.codec.stats import CpuStats
from natscope.errors import DecodeError
from natscope.model.expectation import Expectation
from natscope.model.ipversion import family_of
from natscope.model.tuples import FlowTuple
from natscope.uapi import CtaExpect, CtaStatsExp

_SUBSYSTEM = uapi.NFNL_SUBSYS_CTNETLINK_EXP << 8
_FIELDS = ("sport", "dport", "icmp_type", "icmp_code", "icmp_id", "zone")
_SIDES = {
    "expected": "CTA_EXPECT_TUPLE",
    "mask": "CTA_EXPECT_MASK",
    "master": "CTA_EXPECT_MASTER",
}
_CREATED = (
    *(CtaExpect.CTA_EXPECT_MASTER, CtaExpect.CTA_EXPECT_TUPLE),
    *(CtaExpect.CTA_EXPECT_MASK, CtaExpect.CTA_EXPECT_TIMEOUT),
    *(CtaExpect.CTA_EXPECT_ZONE, CtaExpect.CTA_EXPECT_HELP_NAME),
    *(CtaExpect.CTA_EXPECT_FLAGS, CtaExpect.CTA_EXPECT_CLASS),
    *(CtaExpect.CTA_EXPECT_NAT, CtaExpect.CTA_EXPECT_FN),
)
"""What ctnetlink_create_expect() takes."""


def decode_expectation(message: nlmsg.Bytes) -> Expectation:
    """Decode one whole netlink message that describes an expectation.

    Raises:
        DecodeError: with the attribute path and the byte offset.
    """
    nlmsg.see_header(message)
    reading = Reading(message)
    reading.walk(EXPECTATION, nlmsg.ATTRIBUTES_AT, len(message), ())
    values = reading.values
    sides: dict[str, Any] = {
        side: _tuple(values, side, name) for side, name in _SIDES.items()
    }
    nat = None
    if "nat_src" in values:
        nat = _tuple(values, "nat", "CTA_EXPECT_NAT_TUPLE")
    names = ("timeout", "zone", "flags", "class_", "id", "helper", "fn", "nat_dir")
    sides |= {name: values.get(name) for name in names}
    one = Expectation(**sides, nat=nat)
    if not one.is_of_one_family():
        reason = "IPv4 and IPv6 in one expectation"
        raise DecodeError(reason, path=("expectation",), offset=nlmsg.ATTRIBUTES_AT)
    return one


def _tuple(values: dict[str, Any], side: str, attribute: str) -> FlowTuple:
    for column in (f"{side}_src", f"{side}_dst", f"{side}_proto"):
        if column not in values:
            reason = f"{column} is missing"
            raise DecodeError(reason, path=(attribute,), offset=nlmsg.ATTRIBUTES_AT)
    ends = [ip_address(values[f"{side}_{end}"]) for end in ("src", "dst")]
    rest = {field: values.get(f"{side}_{field}") for field in _FIELDS}
    return FlowTuple(ends[0], ends[1], values[f"{side}_proto"], **rest)


def create_request(expectation: Expectation, *, seq: int) -> bytes:
    """Announce a flow; its master must be in the table and have a helper.

    Raises:
        ValueError: IPv4 and IPv6 in one expectation.
    """
    if not expectation.is_of_one_family():
        msg = "an expectation is of IPv4 or of IPv6, not of both"
        raise ValueError(msg)
    flags = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL | uapi.NLM_F_ACK
    return _request(uapi.ExpMsg.NEW, flags, seq, _cells(expectation), _CREATED)


def get_request(expected: FlowTuple, *, seq: int, zone: int | None = None) -> bytes:
    """Ask for the expectation a tuple fulfils."""
    return _about(uapi.ExpMsg.GET, 0, seq, expected, zone)


def delete_request(
    expected: FlowTuple, *, seq: int, zone: int | None = None, id: int | None = None
) -> bytes:
    """Delete the expectation a tuple fulfils; with ``id``, only that one."""
    return _about(uapi.ExpMsg.DELETE, uapi.NLM_F_ACK, seq, expected, zone, id)


def delete_by_helper_request(helper: str, *, seq: int) -> bytes:
    """Delete every expectation of a helper."""
    cells = {"helper": helper, "family": uapi.AF_UNSPEC, "proto": 0}
    kinds = (CtaExpect.CTA_EXPECT_HELP_NAME,)
    return _request(uapi.ExpMsg.DELETE, uapi.NLM_F_ACK, seq, cells, kinds)


def flush_request(*, seq: int) -> bytes:
    """Delete every expectation of the namespace."""
    cells = {"family": uapi.AF_UNSPEC, "proto": 0}
    return _request(uapi.ExpMsg.DELETE, uapi.NLM_F_ACK, seq, cells, ())


def dump_request(*, seq: int, family: int = uapi.AF_UNSPEC) -> bytes:
    """Ask for every expectation, or those of a family."""
    cells = {"family": family, "proto": 0}
    return _request(uapi.ExpMsg.GET, uapi.NLM_F_DUMP, seq, cells, ())


def dump_of_master_request(
    master: FlowTuple, *, seq: int, zone: int | None = None
) -> bytes:
    """Ask for the expectations of one flow; ``zone`` is the one that is in.

    With NLM_F_ACK: where the flow has no helper, ctnetlink_dump_exp_ct() starts
    no dump, and without it there would be no answer at all.
    """
    cells = _tuple_cells("master", master)
    cells |= {"family": _family(master), "proto": master.proto}
    if zone is not None:
        cells["zone"] = zone
    flags = uapi.NLM_F_DUMP | uapi.NLM_F_ACK
    kinds = (CtaExpect.CTA_EXPECT_MASTER, CtaExpect.CTA_EXPECT_ZONE)
    return _request(uapi.ExpMsg.GET, flags, seq, cells, kinds)


def stats_request(*, seq: int) -> bytes:
    """Ask for the counters of every CPU."""
    cells = {"family": uapi.AF_UNSPEC, "proto": 0}
    return _request(uapi.ExpMsg.GET_STATS_CPU, uapi.NLM_F_DUMP, seq, cells, ())


def decode_stats(message: bytes) -> CpuStats:
    """Read one answer to IPCTNL_MSG_EXP_GET_STATS_CPU.

    Raises:
        DecodeError: it is cut off, or a counter is not 32 bits.
    """
    names = uapi.names(CtaStatsExp)
    counters = {}
    nlmsg.see_header(message)
    at, end = nlmsg.ATTRIBUTES_AT, len(message)
    for attribute in nla.walk(message, at, end, ("CTA_STATS_EXP",)):
        payload = message[attribute.start : attribute.end]
        if len(payload) != 4:
            reason = f"needs 4 bytes, has {len(payload)}"
            raise DecodeError(reason, path=("CTA_STATS_EXP",), offset=attribute.start)
        name = names.get(attribute.type, f"CTA_STATS_EXP_UNKNOWN{attribute.type}")
        key = f"expect_{name.removeprefix('CTA_STATS_EXP_').lower()}"
        counters[key] = int.from_bytes(payload, "big")
    return CpuStats(int.from_bytes(message[at - 2 : at], "big"), counters)


def _about(
    command: int,
    flags: int,
    seq: int,
    expected: FlowTuple,
    zone: int | None,
    id: int | None = None,
) -> bytes:
    cells = _tuple_cells("expected", expected)
    cells |= {"family": _family(expected), "proto": expected.proto}
    more = {"zone": zone, "id": id}
    cells |= {name: value for name, value in more.items() if value is not None}
    kinds = (
        CtaExpect.CTA_EXPECT_TUPLE,
        CtaExpect.CTA_EXPECT_ZONE,
        CtaExpect.CTA_EXPECT_ID,
    )
    return _request(command, flags, seq, cells, kinds)


def _cells(expectation: Expectation) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for side in ("expected", "mask", "master", "nat"):
        one: FlowTuple | None = getattr(expectation, side)
        if one is not None:
            cells |= _tuple_cells(side, one)
    for name in ("timeout", "zone", "flags", "class_", "helper", "fn", "nat_dir"):
        cells[name] = getattr(expectation, name)
    expected = expectation.expected
    cells |= {"family": _family(expected), "proto": expected.proto}
    return {name: value for name, value in cells.items() if value is not None}


def _tuple_cells(side: str, one: FlowTuple) -> dict[str, Any]:
    cells = {f"{side}_{name}": getattr(one, name) for name in one.__slots__}
    cells |= {f"{side}_src": one.src.packed, f"{side}_dst": one.dst.packed}
    return {name: value for name, value in cells.items() if value is not None}


def _family(one: FlowTuple) -> int:
    return family_of(one.src)


def _request(
    command: int, flags: int, seq: int, cells: dict[str, Any], kinds: tuple[int, ...]
) -> bytes:
    flags |= uapi.NLM_F_REQUEST
    header = nlmsg.HEADER.pack(0, _SUBSYSTEM | command, flags, 0, 0)
    writer = Writer(header + nlmsg.NFGENMSG.pack(cells["family"], 0, 0))
    texts: dict[str, str] = {n: cells[n] for n in ("helper", "fn") if n in cells}
    shape = Shape(cells["family"], cells["proto"], set(cells), texts)
    for kind in kinds:
        writer.branch(kind, EXPECTATION.children[kind], shape)
    return writer.layout().fill(cells, seq)
