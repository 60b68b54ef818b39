"""What a flow's two tuples and status bits say about its translation.

The kernel keeps no "NAT table": a flow is translated when its reply tuple is
not the original one turned round (nf_nat_setup_info).  This module names what
that means to people, for one flow; ``table.nat`` says the same of columns, and
a property test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, ip_network
from typing import TYPE_CHECKING

from natscope import uapi
from natscope.model.evidence import Evidence, Interface

if TYPE_CHECKING:
    from natscope.model.flow import Flow
    from natscope.model.tuples import Address, FlowTuple

PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598, carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",  # RFC 4193
        "fe80::/10",
        "::1/128",
    )
)
"""Addresses the world cannot reach: they tell inside from outside."""

SUBNET_V4, SUBNET_V6 = 24, 64
"""Prefix taken for one subnet where the box's own prefixes do not settle it."""


class Kind(IntEnum):
    """How a flow is translated; the letter is what listings show."""

    NONE = 0
    SOURCE = 1
    DESTINATION = 2
    HAIRPIN = 3
    REDIRECT = 4
    PORT = 5
    BOTH = 6

    @property
    def letter(self) -> str:
        """The mark of this kind in listings."""
        return KIND_LETTERS[self]


KIND_LETTERS = ("-", "s", "d", "h", "r", "p", "sd")
KIND_WORDS = (
    "not translated",
    "source translated",
    "destination translated (port forward)",
    "hairpin: both translated, both ends in one subnet",
    "redirected to the box itself",
    "port only",
    "source and destination translated",
)


class End(IntEnum):
    """One of the four ends a flow's two tuples name."""

    NONE = 0
    ORIG_SRC = 1
    ORIG_DST = 2
    REPLY_SRC = 3
    REPLY_DST = 4


@dataclass(frozen=True, slots=True)
class Ends:
    """Which end plays which part; see :func:`ends_of`."""

    inside: End = End.NONE
    public: End = End.NONE
    outside: End = End.NONE
    target: End = End.NONE


_OUTWARD = Ends(End.ORIG_SRC, End.REPLY_DST, End.ORIG_DST)
_INWARD = Ends(End.REPLY_SRC, End.ORIG_DST, End.ORIG_SRC, End.REPLY_SRC)
_TURNED = Ends(End.ORIG_SRC, End.ORIG_DST, End.NONE, End.REPLY_SRC)
_TWICE = Ends(End.ORIG_SRC, End.REPLY_DST, End.ORIG_DST, End.REPLY_SRC)
_DIVERTED = Ends(End.ORIG_SRC, End.NONE, End.ORIG_DST, End.REPLY_SRC)

ROLES = (
    Ends(End.ORIG_SRC, End.NONE, End.ORIG_DST),
    _OUTWARD,
    _INWARD,
    _TURNED,
    _TWICE,
    _DIVERTED,
)
"""The ways the parts are cast; ``table.nat`` indexes this."""
UNTRANSLATED, OUTWARD, INWARD, TURNED, TWICE, DIVERTED = range(6)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address with what tells its users apart: port, GRE key or ICMP id."""

    address: Address
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """A flow as people think of it.

    ``inside`` is the host on our side, ``public`` the address and port the
    world sees, ``outside`` the remote end, ``target`` the host behind a
    translated destination.
    """

    kind: Kind
    inside: Endpoint | None
    public: Endpoint | None
    outside: Endpoint | None
    target: Endpoint | None


def translation(flow: Flow, evidence: Evidence) -> Translation:
    """Name the parts of one flow."""
    kind, ends = classify(flow, evidence)
    return Translation(
        kind,
        inside=endpoint(flow, ends.inside),
        public=endpoint(flow, ends.public),
        outside=endpoint(flow, ends.outside),
        target=endpoint(flow, ends.target),
    )


def classify(flow: Flow, evidence: Evidence) -> tuple[Kind, Ends]:
    """The kind of translation and who plays which part.

    A change counts only when the status bits, where known, say the kernel
    translates: an entry put in with unequal tuples alone is not translated.
    """
    orig, reply = flow.orig, flow.reply
    may_src = not flow.knows_status(uapi.Status.SRC_NAT) or bool(
        (flow.status or 0) & uapi.Status.SRC_NAT
    )
    may_dst = not flow.knows_status(uapi.Status.DST_NAT) or bool(
        (flow.status or 0) & uapi.Status.DST_NAT
    )
    snat = may_src and reply.dst != orig.src
    dnat = may_dst and reply.src != orig.dst
    spat = may_src and (
        _differ(orig.sport, reply.dport) or _differ(orig.icmp_id, reply.icmp_id)
    )
    dpat = may_dst and _differ(orig.dport, reply.sport)
    if snat and (dnat or dpat):
        if same_subnet(orig.src, reply.src, evidence.addresses):
            return Kind.HAIRPIN, ROLES[TURNED]
        return Kind.BOTH, ROLES[_twice(orig.src, reply.src)]
    if snat:
        return Kind.SOURCE, ROLES[OUTWARD]
    if dnat or dpat:
        cast = ROLES[DIVERTED if _leaves(orig, evidence) else INWARD]
        if is_local(reply.src, evidence.addresses):
            return Kind.REDIRECT, cast
        return Kind.DESTINATION if dnat else Kind.PORT, cast
    if spat:
        return Kind.PORT, ROLES[OUTWARD]
    return Kind.NONE, ROLES[UNTRANSLATED]


def endpoint(flow: Flow, end: End) -> Endpoint | None:
    """One end of a flow; an ICMP id stands at the end that sends requests."""
    match end:
        case End.ORIG_SRC:
            return Endpoint(flow.orig.src, _source_port(flow.orig.sport, flow.orig))
        case End.ORIG_DST:
            return Endpoint(flow.orig.dst, flow.orig.dport)
        case End.REPLY_SRC:
            return Endpoint(flow.reply.src, flow.reply.sport)
        case End.REPLY_DST:
            return Endpoint(flow.reply.dst, _source_port(flow.reply.dport, flow.reply))
        case _:
            return None


def is_private(address: Address) -> bool:
    """Whether the world cannot reach this address."""
    return any(address in net for net in PRIVATE if net.version == address.version)


def is_local(address: Address, interfaces: tuple[Interface, ...]) -> bool:
    """Whether the box itself has this address."""
    return address.is_loopback or any(address == own.ip for own in interfaces)


def same_subnet(
    one: Address, other: Address, interfaces: tuple[Interface, ...]
) -> bool:
    """Whether two hosts share a subnet.

    A prefix of the box decides when it holds either; else two private
    addresses share one in the same /24 or /64.
    """
    nets = [i.network for i in interfaces if i.version == one.version]
    if any(one in net or other in net for net in nets):
        return any(one in net and other in net for net in nets)
    bits = SUBNET_V4 if isinstance(one, IPv4Address) else SUBNET_V6
    near = other in ip_network((one, bits), strict=False)
    return near and is_private(one) and is_private(other)


def _leaves(orig: FlowTuple, evidence: Evidence) -> bool:
    """Whether a flow goes from our side to the world, as its sender sees it."""
    to_us = is_private(orig.dst) or is_local(orig.dst, evidence.addresses)
    return is_private(orig.src) and not to_us


def _twice(source: Address, target: Address) -> int:
    """Cast a flow translated at both ends by which of them is private."""
    if not is_private(target):
        return TWICE
    return TURNED if is_private(source) else INWARD


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


def _source_port(port: int | None, one: FlowTuple) -> int | None:
    return one.icmp_id if port is None else port
