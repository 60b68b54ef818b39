"""What programs test of a filter."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from natscope.filter import parse
from natscope.trace.needles import AddressNeedle, Needles, needles
from natscope.uapi import AF_INET, AF_INET6

BOTH = (AF_INET, AF_INET6)


def net(text: str) -> AddressNeedle:
    network = ip_network(text)
    return AddressNeedle(
        network.version, int(network.network_address), int(network.netmask)
    )


@dataclass(frozen=True)
class Case:
    id: str
    filter: str
    wanted: Needles


CASES = [
    Case("everything", "", Needles()),
    Case("a protocol", "tcp", Needles(protocols=(6,))),
    Case(
        "an address decides the family",
        "src 10.0.0.5",
        Needles((AF_INET,), (), ((net("10.0.0.5/32"),),)),
    ),
    Case(
        "a network",
        "inside net 2001:db8::/32",
        Needles((AF_INET6,), (), ((net("2001:db8::/32"),),)),
    ),
    Case(
        "an address with its port",
        "public 203.0.113.7:41234",
        Needles((AF_INET,), (), ((net("203.0.113.7/32"),),), (((41234, 41234),),)),
    ),
    Case(
        "ports and ranges",
        "dst port 53,8000-8080",
        Needles(ports=(((53, 53), (8000, 8080)),)),
    ),
    Case(
        "either of two families",
        "host 10.0.0.5,fd00::5",
        Needles(BOTH, (), ((net("10.0.0.5/32"), net("fd00::5/128")),)),
    ),
    Case("a family", "ip6", Needles((AF_INET6,))),
    Case("what is negated may be anything", "not tcp", Needles()),
    Case("and so may alternatives", "tcp or host 10.0.0.5", Needles()),
    Case(
        "what no header tells is left out", "udp and mark 7", Needles(protocols=(17,))
    ),
    Case("another flow's ends are not looked at", "master host 10.0.0.5", Needles()),
    Case(
        "a span of addresses that is no network is left out",
        "host 10.0.0.1-10.0.0.9",
        Needles(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_needles_of_a_filter(case: Case) -> None:
    assert needles(parse(case.filter).tree) == case.wanted


def test_an_address_is_compared_in_words_as_it_travels() -> None:
    assert net("10.0.0.0/8").words() == [(0x0A000000, 0xFF000000)]
    assert net("2001:db8::/40").words() == [
        (0x20010DB8, 0xFFFFFFFF),
        (0, 0xFF000000),
        (0, 0),
        (0, 0),
    ]


def test_a_group_of_both_families_has_its_part_of_each() -> None:
    found = needles(parse("host 10.0.0.5,fd00::5").tree)
    assert found.of(AF_INET) == ((net("10.0.0.5/32"),),)
    assert found.of(AF_INET6) == ((net("fd00::5/128"),),)
    assert int(ip_address("fd00::5")) == found.of(AF_INET6)[0][0].value
