"""The flows a command of conntrack(8) means, as a filter of the one engine.

What is listed is what is deleted, changed and followed.  An attribute an entry
does not have matches nothing, as with libnetfilter_conntrack's NFCT_CMP_MASK;
zones are the exception, where none is zone 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.cli.conntrack.values import U32
from natscope.filter import Filter
from natscope.filter.syntax import (
    Bits,
    Changed,
    Hosts,
    Not,
    Number,
    Ports,
    Span,
    Spot,
    State,
    Status,
    Tree,
    Where,
    all_of,
    any_of,
)
from natscope.filter.values import masked

if TYPE_CHECKING:
    from natscope.cli.conntrack.request import Nat, Request, Spans

_ENDS = {
    "orig_src": "src",
    "orig_dst": "dst",
    "reply_src": "reply-src",
    "reply_dst": "reply-dst",
}
"""Columns of addresses, and the filter's words for their ends."""
_PORTS = {
    "orig_sport": "src",
    "orig_dport": "dst",
    "reply_sport": "reply-src",
    "reply_dport": "reply-dst",
}
_NUMBERS = {
    "proto": "proto",
    "orig_icmp_type": "icmp-type",
    "orig_icmp_code": "icmp-code",
    "orig_icmp_id": "orig_icmp_id",
    "timeout": "timeout",
    "secmark": "secmark",
    "id": "id",
    "sctp_vtag_orig": "sctp_vtag_orig",
    "sctp_vtag_reply": "sctp_vtag_reply",
    "dccp_role": "dccp_role",
}
"""Columns of other numbers, and the filter's words for them."""
_SET_BY_UPDATE = frozenset(
    {
        *("timeout", "tcp_state", "sctp_state", "dccp_state", "dccp_role"),
        *("sctp_vtag_orig", "sctp_vtag_reply"),
    }
)
"""Cells that are values of ``-U``, not conditions."""


def wanted(request: Request, label_bits: int) -> Filter:
    """The flows whose listing, deletion, change or events were asked for.

    Args:
        request: the command and its options.
        label_bits: the bits of ``request.labels``, by a label map.
    """
    parts = list(_conditions(request, label_bits))
    return Filter(" ".join(sorted(request.given)), all_of(parts))


def settings(request: Request) -> dict[str, int]:
    """What ``-U`` sets, column to value: timeout, state, tags, status bits.

    Status bits are added to those an entry has.  The mark with its mask and the
    labels stand in the request.
    """
    found = {
        column: value
        for column, value in request.cells.items()
        if column in _SET_BY_UPDATE
    }
    if "status" in request.given:
        found["status"] = request.status_set
    return found


def _conditions(request: Request, label_bits: int) -> Iterator[Tree]:
    updates = request.command == "update"
    if request.family:
        yield _is("family", request.family)
    for column, value in request.cells.items():
        if not (updates and column in _SET_BY_UPDATE):
            yield from _cell(column, value, request.cells.get("proto"))
    for column, (network, mask) in request.networks.items():
        yield _at(_ENDS[column], network, mask)
    for column, spans in request.spans.items():
        yield _ports(column, spans, request.cells.get("proto"))
    if label_bits:
        yield Number("labels", (Bits(label_bits, label_bits),))
    if not updates:
        if request.states:
            yield State(request.states)
        if request.mark is not None:
            yield _mark(*request.mark)
        yield from _status(request)
    yield from _translations(request)


def _cell(column: str, value: int | bytes, proto: int | None) -> Iterator[Tree]:
    if isinstance(value, bytes):
        yield _at(_ENDS[column], value, None)
    elif column in _PORTS:
        yield _ports(column, ((value, value),), proto)
    elif column in _NUMBERS:
        yield _is(_NUMBERS[column], value)
    elif column == "zone":
        yield _zone(value)
    elif column in ("orig_zone", "reply_zone"):
        word = column.replace("_", "-")
        yield _is(word, value) if value else Not(Number(word, (Span(1, None),)))


def _is(word: str, value: int) -> Tree:
    return Number(word, (Span(value, value),))


def _at(end: str, packed: bytes, mask: bytes | None) -> Tree:
    """An address, or a network, at an end."""
    whole = b"\xff" * len(packed)
    bits = int.from_bytes(whole if mask is None else mask, "big")
    version = 4 if len(packed) == 4 else 6
    address = masked(version, int.from_bytes(packed, "big"), bits)
    return Hosts(Where((end,)), (Spot(address),))


def _ports(column: str, spans: Spans, proto: int | None) -> Tree:
    """Ports, or GRE keys: the filter's ports never are the latter."""
    found = tuple(Span(low, high) for low, high in spans)
    if proto == uapi.IPPROTO_GRE:
        return Number(column, found)
    return Ports(Where((_PORTS[column],)), found)


_ONE_WAY = [Number(f"{way}-zone", (Span(0, None),)) for way in ("orig", "reply")]
"""Entries with a zone of one direction alone, which have no CTA_ZONE."""


def _zone(zone: int) -> Tree:
    """CTA_ZONE, the zone of both directions; an entry without it has 0."""
    if zone == 0:
        return any_of([_is("zone", 0), *_ONE_WAY])
    return all_of([_is("zone", zone), *map(Not, _ONE_WAY)])


_NOTHING = all_of([_is("family", uapi.AF_INET), _is("family", uapi.AF_INET6)])
"""What no flow can be."""


def _mark(value: int, mask: int) -> Tree:
    if value & ~mask:
        return _NOTHING
    return _is("mark", value) if mask == U32 else Number("mark", (Bits(value, mask),))


def _status(request: Request) -> Iterator[Tree]:
    """Bits that are set, and bits that are clear, of the same entry."""
    if request.status_set:
        yield Status((Bits(request.status_set, request.status_set),))
    if request.status_clear:
        yield Status((Bits(0, request.status_clear),))


def _translations(request: Request) -> Iterator[Tree]:
    if request.snat is not None:
        yield _translated(request.snat, source=True)
    if request.dnat is not None:
        yield _translated(request.dnat, source=False)
    if request.any_nat is not None:
        ways = (_translated(request.any_nat, source=way) for way in (True, False))
        yield any_of(list(ways))


def _translated(nat: Nat, *, source: bool) -> Tree:
    """Translated as NFCT_GOPT_IS_SNAT and its like have it.

    The tuples differ, and the status bit, where it is told, says that the kernel
    has decided on a translation.  A port counts only if it is another, too.
    """
    done = uapi.Status.SRC_NAT_DONE if source else uapi.Status.DST_NAT_DONE
    host, port = ("src", "sport") if source else ("dst", "dport")
    end = "reply-dst" if source else "reply-src"
    address, mask, spans = nat
    parts: list[Tree] = [Not(Status((Bits(0, done),)))]
    if address is None:
        parts.append(any_of([Changed(host), Changed(port)]))
    else:
        parts += [Changed(host), _at(end, address, mask)]
    if spans is not None:
        found = tuple(Span(low, high) for low, high in spans)
        parts += [Changed(port), Ports(Where((end,)), found)]
    return all_of(parts)
