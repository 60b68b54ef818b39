"""Every way a box can translate, named as people name it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_interface

import pytest

from natscope.model import nat
from natscope.model.evidence import Evidence
from natscope.model.nat import Endpoint, Kind, Translation
from unit.model.translated import CASES, EVIDENCE, Case, at


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_flow_is_of_one_kind_and_its_parts_are_cast(case: Case) -> None:
    assert (case.kind, case.ends) == nat.classify(case.flow, EVIDENCE)


def _named(name: str) -> Translation:
    [case] = (case for case in CASES if case.id == name)
    return nat.translation(case.flow, EVIDENCE)


def test_a_masquerade_shows_inside_public_outside() -> None:
    assert _named("source, port changed") == Translation(
        Kind.SOURCE,
        inside=Endpoint(at("10.0.0.5"), 40_000),
        public=Endpoint(at("203.0.113.7"), 1025),
        outside=Endpoint(at("192.0.2.1"), 443),
        target=None,
    )


def test_a_port_forward_shows_its_public_port_and_its_target() -> None:
    assert _named("port forward") == Translation(
        Kind.DESTINATION,
        inside=Endpoint(at("10.0.0.5"), 80),
        public=Endpoint(at("203.0.113.7"), 8080),
        outside=Endpoint(at("192.0.2.1"), 50_000),
        target=Endpoint(at("10.0.0.5"), 80),
    )


def test_a_hairpin_shows_the_client_the_public_name_and_the_target() -> None:
    assert _named("hairpin") == Translation(
        Kind.HAIRPIN,
        inside=Endpoint(at("10.0.0.6"), 50_000),
        public=Endpoint(at("203.0.113.7"), 8080),
        outside=None,
        target=Endpoint(at("10.0.0.5"), 80),
    )


def test_an_icmp_id_stands_where_the_senders_port_would() -> None:
    ping = _named("ping, v6")
    assert ping.inside == Endpoint(at("fd00::5"), 9)
    assert ping.public == Endpoint(at("2001:db8:f::7"), 10)
    assert ping.outside == Endpoint(at("2001:db8::1"), None)


def test_without_evidence_a_redirect_looks_like_a_port_forward() -> None:
    [case] = (c for c in CASES if c.id == "redirect to the box's own address")
    assert nat.classify(case.flow, Evidence())[0] is Kind.DESTINATION


@dataclass(frozen=True)
class Pair:
    id: str
    one: str
    other: str
    own: str | None
    same: bool


PAIRS = [
    Pair("one /24", "10.0.0.1", "10.0.0.200", None, True),
    Pair("two /24", "10.0.0.1", "10.0.1.1", None, False),
    Pair("two /24 of one own prefix", "10.0.0.1", "10.0.1.1", "10.0.9.9/16", True),
    Pair("an own prefix elsewhere", "10.0.0.1", "10.0.1.1", "10.1.0.1/16", False),
    Pair("one /64", "fd00::1", "fd00::ffff:0:0:1", None, True),
    Pair("two /64", "fd00::1", "fd00:0:0:1::1", None, False),
    Pair("two /64 of one own prefix", "fd00::1", "fd00:0:0:1::1", "fd00::9/48", True),
    Pair("the other family's prefix", "10.0.0.1", "10.0.1.1", "::/0", False),
]


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: case.id)
def test_one_subnet_is_what_the_box_calls_one_else_24_or_64(case: Pair) -> None:
    own = (ip_interface(case.own),) if case.own else ()
    assert case.same == nat.same_subnet(at(case.one), at(case.other), own)
    assert case.same == nat.same_subnet(at(case.other), at(case.one), own)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.255.255", True),
        ("172.32.0.0", False),
        ("192.168.0.1", True),
        ("100.64.0.1", True),
        ("100.128.0.0", False),
        ("203.0.113.7", False),
        ("fd12::1", True),
        ("fe80::1", True),
        ("2001:db8::1", False),
        ("::1", True),
    ],
)
def test_private_is_what_the_world_cannot_reach(address: str, private: bool) -> None:
    assert private == nat.is_private(at(address))


def test_every_kind_has_a_letter_of_its_own_and_words() -> None:
    letters = [kind.letter for kind in Kind]
    assert letters == ["-", "s", "d", "h", "r", "p", "sd"]
    assert len(nat.KIND_WORDS) == len(Kind)


def test_an_end_that_is_not_there_has_no_endpoint() -> None:
    flow = replace(CASES[0].flow, status=None)
    assert nat.endpoint(flow, nat.End.NONE) is None
