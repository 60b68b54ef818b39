"""Whole packets of every protocol a Packet has names for, and of some others."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import strategies
from natscope import uapi
from natscope.model.packet import (
    ICMP_ERRORS,
    ICMP_REPLIES,
    Chunk,
    Extension,
    Fragment,
    Packet,
)

U8, U16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFF_FFFF)
PAYLOADS = st.binary(max_size=40)
_WORDS = st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
NAMED = (6, 17, 132, 47, 50, 51, 136, 33)


def packets(*, quotes: bool = True) -> st.SearchStrategy[Packet]:
    """Packets that are whole; with ``quotes``, ICMP errors too."""
    return strategies.versions().flatmap(lambda version: _packets(version, quotes))


@st.composite
def _packets(draw: st.DrawFn, version: int, quotes: bool) -> Packet:
    proto = draw(_protocols(version))
    fields = {"payload": draw(PAYLOADS)} | draw(_transport(proto))
    if proto in (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6):
        fields |= draw(_icmp(proto, quotes))
    if draw(st.booleans()):
        fields |= draw(_unusual(version))
    return Packet(
        src=draw(strategies.addresses(version)),
        dst=draw(strategies.addresses(version)),
        proto=proto,
        ttl=draw(U8),
        tos=draw(U8),
        **fields,
    )


def _protocols(version: int) -> st.SearchStrategy[int]:
    icmp = uapi.IPPROTO_ICMP if version == 4 else uapi.IPPROTO_ICMPV6
    # the other family's ICMP is bytes to this one; AH over IPv6 is an extension
    left_out = {uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6}
    if version == 6:
        left_out |= {0, 43, 44, 51, 60}
    named = [
        number for number in (*NAMED, icmp, icmp) if number not in left_out - {icmp}
    ]
    return st.sampled_from(named) | U8.filter(lambda number: number not in left_out)


@st.composite
def _transport(draw: st.DrawFn, proto: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if proto in uapi.PORT_PROTOCOLS:
        fields |= {"sport": draw(strategies.ports()), "dport": draw(strategies.ports())}
    match proto:
        case uapi.IPPROTO_TCP:
            fields |= {"seq": draw(U32), "ack": draw(U32), "window": draw(U16)}
            fields |= {"tcp_flags": draw(U8), "tcp_options": draw(_WORDS)}
        case uapi.IPPROTO_SCTP:
            chunks = st.builds(Chunk, U8, U8, PAYLOADS)
            some = tuple(draw(st.lists(chunks, max_size=3)))
            fields |= {"vtag": draw(U32), "chunks": some, "payload": b""}
        case uapi.IPPROTO_ESP:
            fields |= {"spi": draw(U32), "seq": draw(U32)}
        case uapi.IPPROTO_AH:
            fields |= {"spi": draw(U32), "seq": draw(U32), "ah_next": draw(U8)}
        case uapi.IPPROTO_GRE:
            flags = draw(st.sampled_from((0, 0x2000, 0xA000, 0x8000, 0x2001)))
            keys = (
                {0: st.none(), 0x2000: U32}[flags & 0x2000] if flags != 0x2001 else U16
            )
            fields |= {"gre_flags": flags, "gre_protocol": draw(U16)}
            fields |= {"gre_key": draw(keys)}
    return fields


@st.composite
def _icmp(draw: st.DrawFn, proto: int, quotes: bool) -> dict[str, Any]:
    replies, errors = ICMP_REPLIES[proto], ICMP_ERRORS[proto]
    known = [*replies, 3, 11] if proto == uapi.IPPROTO_ICMP else [*replies, 1, 2]
    kind = draw(st.sampled_from(known) | U8)
    fields: dict[str, Any] = {"icmp_type": kind, "icmp_code": draw(U8)}
    if kind in replies:
        return fields | {"icmp_id": draw(U16), "icmp_seq": draw(U16)}
    fields["icmp_rest"] = draw(U32)
    if kind in errors:
        fields["payload"] = b""  # any bytes may happen to be a packet
        if quotes:
            version = 4 if proto == uapi.IPPROTO_ICMP else 6
            # the quote of a quote stays bytes
            fields["quoted"] = draw(_packets(version, False))
    return fields


@st.composite
def _unusual(draw: st.DrawFn, version: int) -> dict[str, Any]:
    """What packets seldom have: IP options, extension headers."""
    fields: dict[str, Any] = {"ip_id": draw(U16)}
    if version == 4:
        return fields | {
            "ip_options": draw(_WORDS),
            "dont_fragment": draw(st.booleans()),
        }
    eights = st.binary(min_size=14, max_size=14).map(lambda body: b"\1" + body)
    headers = st.builds(Extension, st.sampled_from((0, 43, 60)), eights)
    fields |= {"extensions": tuple(draw(st.lists(headers, max_size=3)))}
    return {"flow_label": draw(st.integers(0, 0xF_FFFF))} | fields | {"ip_id": 0}


@st.composite
def fragments(draw: st.DrawFn) -> Packet:
    """Later fragments: no transport header, bytes alone."""
    version = draw(strategies.versions())
    return Packet(
        src=draw(strategies.addresses(version)),
        dst=draw(strategies.addresses(version)),
        proto=draw(st.sampled_from((6, 17, 99))),
        ip_id=draw(U16),
        fragment=Fragment(8 * draw(st.integers(1, 0x1FFF)), draw(st.booleans())),
        dont_fragment=version == 6,
        payload=draw(PAYLOADS),
    )
