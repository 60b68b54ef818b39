"""Records: turning a tuple round, and what a source could tell."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple

TCP = FlowTuple(
    ip_address("10.0.0.5"), ip_address("192.0.2.1"), uapi.IPPROTO_TCP, 40_000, 443
)


def _icmp(proto: int, kind: int) -> FlowTuple:
    src, dst = (
        ("::1", "::2") if proto == uapi.IPPROTO_ICMPV6 else ("0.0.0.1", "0.0.0.2")
    )
    return FlowTuple(
        ip_address(src),
        ip_address(dst),
        proto,
        icmp_type=kind,
        icmp_code=0,
        icmp_id=7,
    )


def test_a_reply_comes_from_where_the_original_went() -> None:
    back = TCP.reversed()
    assert (TCP.dst, TCP.src) == (back.src, back.dst)
    assert (back.sport, back.dport) == (443, 40_000)
    assert back.reversed() == TCP


@dataclass(frozen=True)
class Reply:
    id: str
    proto: int
    asks: int
    answers: int


REPLIES = [
    Reply("echo", uapi.IPPROTO_ICMP, 8, 0),
    Reply("timestamp", uapi.IPPROTO_ICMP, 13, 14),
    Reply("echo, v6", uapi.IPPROTO_ICMPV6, 128, 129),
    Reply("a type without an answer", uapi.IPPROTO_ICMP, 3, 3),
    Reply("v4's echo is nothing in v6", uapi.IPPROTO_ICMPV6, 8, 8),
]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.id)
def test_an_icmp_reply_has_the_answering_type_and_the_same_id(case: Reply) -> None:
    back = _icmp(case.proto, case.asks).reversed()
    assert (case.answers, 0, 7) == (back.icmp_type, back.icmp_code, back.icmp_id)


def test_a_zone_of_one_direction_is_not_turned_round() -> None:
    assert replace(TCP, zone=5).reversed().zone is None


def test_family_and_protocol_are_those_of_the_original_tuple() -> None:
    v4 = Flow(orig=TCP, reply=TCP.reversed())
    six = _icmp(uapi.IPPROTO_ICMPV6, 128)
    v6 = Flow(orig=six, reply=six.reversed())
    assert (v4.family, v4.proto) == (uapi.AF_INET, uapi.IPPROTO_TCP)
    assert (v6.family, v6.proto) == (uapi.AF_INET6, uapi.IPPROTO_ICMPV6)


@dataclass(frozen=True)
class Told:
    id: str
    status: int | None
    mask: int | None
    known: bool


TOLD = [
    Told("no status at all", None, None, False),
    Told("all bits told, this one clear", 0, None, True),
    Told("this bit told", 0, 0x10, True),
    Told("other bits told", 0, 0x20, False),
]


@pytest.mark.parametrize("case", TOLD, ids=lambda case: case.id)
def test_a_clear_bit_is_not_an_untold_one(case: Told) -> None:
    flow = Flow(
        orig=TCP, reply=TCP.reversed(), status=case.status, status_mask=case.mask
    )
    assert case.known == flow.knows_status(uapi.Status.SRC_NAT)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TCP.sport = 1  # type: ignore[misc]  # that it cannot is the point
