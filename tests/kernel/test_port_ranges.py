"""Who shares which ports: what is told is what the kernel lets out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from kernel.portbox import (
    INSIDE,
    INSIDE_V6,
    PUBLIC,
    SERVER_V6,
    box,
    connect,
    datagram,
    load,
    ping,
    send,
    use,
)
from natscope import uapi
from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    send: Callable[[ExitStack, int], bool]
    family: str = "ip"


FIVE = "2000-2004"
CASES = [
    Case("UDP", f"meta l4proto udp snat to {PUBLIC}:{FIVE}",
         lambda opened, _: send(opened)),
    Case("TCP", f"meta l4proto tcp masquerade to :{FIVE}",
         lambda opened, at: connect(opened, INSIDE[at % 2])),
    Case("ids of ICMP", f"meta l4proto icmp snat to {PUBLIC}:{FIVE}", ping),
    Case("ports at random", f"meta l4proto udp snat to {PUBLIC}:{FIVE} fully-random",
         lambda opened, at: send(opened, sport=2000 + at)),
    Case("IPv6", f"meta l4proto udp masquerade to :{FIVE}",
         lambda opened, _: send(opened, INSIDE_V6, SERVER_V6), "ip6"),
    Case("an address of several, without a look at the others",
         f"meta l4proto udp snat to 203.0.113.7-203.0.113.8:{FIVE}",
         lambda opened, _: send(opened)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_five_ports_are_five_flows(netns: Namespace, case: Case) -> None:
    """Whatever takes them; and the last is told before the kernel drops the next."""
    with box(case.rule, family=case.family) as opened:
        assert all(case.send(opened, at) for at in range(4))
        (of,) = use().busiest(9)
        assert (str(of.range), of.used, of.loss) == (FIVE, 4, 0)
        assert case.send(opened, 4)
        (of,) = use().busiest(9)
        assert (str(of.range), of.used, of.loss) == (FIVE, 5, 1)
        assert not case.send(opened, 5)


def test_each_zone_has_all_ports(netns: Namespace) -> None:
    raw = f"ip saddr {INSIDE[1]} ct zone set 5"
    with box(f"meta l4proto udp masquerade to :{FIVE}", raw=raw) as opened:
        for inside in INSIDE:
            assert sum(send(opened, inside) for _ in range(7)) == 5
        found = use().busiest(9)
    assert sorted((of.zone, of.used, of.loss) for of in found) == [(0, 5, 1), (5, 5, 1)]


def test_a_mapped_network_has_the_ports_of_each_address(netns: Namespace) -> None:
    rule = "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }"
    with box(rule) as opened:
        assert all(send(opened, inside, sport=5000) for inside in INSIDE)
        found = use().busiest(9)
    assert sorted((str(of.public), of.used) for of in found) == [
        *(("203.0.113.2", 1), ("203.0.113.3", 1)),
    ]


NAMED = """map blocks {
        type ipv4_addr : interval ipv4_addr . inet_service; flags interval
        elements = { %s }
    }"""
TWO_BLOCKS = "10.0.0.2 : 203.0.113.7 . 2000-2004, 10.0.0.3 : 203.0.113.7 . 2005-2007"


@pytest.mark.parametrize(
    ("map_", "more"),
    [
        pytest.param(f"{{ {TWO_BLOCKS} }}", "", id="in the rule"),
        pytest.param("@blocks", NAMED % TWO_BLOCKS, id="with a name"),
    ],
)
def test_a_host_has_the_ports_of_its_block(
    netns: Namespace, map_: str, more: str
) -> None:
    rule = f"meta l4proto udp snat ip to ip saddr map {map_}"
    with box(rule, more=more) as opened:
        assert [sum(send(opened, inside) for _ in range(7)) for inside in INSIDE] == [
            *(5, 3),
        ]
        found = use().busiest(9)
    assert sorted((str(of.range), of.used, of.loss, of.hosts) for of in found) == [
        *(("2000-2004", 5, 1, 1), ("2005-2007", 3, 1, 1)),
    ]


def test_a_persistent_rule_gives_a_host_one_address_of_several(
    netns: Namespace,
) -> None:
    rule = "snat to 203.0.113.0-203.0.113.7"
    servers = [f"198.51.100.{last}" for last in range(1, 33)]
    with box(rule) as opened:
        assert all(send(opened, to=server) for server in servers)
        assert len({pool.public for pool in use().pools}) > 1
        load(f"{rule} persistent")
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        assert all(send(opened, to=server) for server in servers)
        assert len({pool.public for pool in use().pools}) == 1


def test_a_range_is_of_the_line_its_rule_is_for(netns: Namespace) -> None:
    rules = ('oifname "wan" meta l4proto udp masquerade to :2000-2009',
             'oifname "lo" masquerade')  # fmt: skip
    with box(*rules) as opened:
        assert send(opened)
        assert [str(pool.range) for pool in use().pools] == ["2000-2009"]


@pytest.mark.parametrize(
    ("proto", "payload"),
    [
        pytest.param(uapi.IPPROTO_GRE, bytes((0, 0, 8, 0, 1, 2, 3, 4)), id="GRE"),
        pytest.param(uapi.IPPROTO_ESP, b"an SPI and more", id="ESP"),
    ],
)
def test_without_ports_one_host_has_a_server_for_its_own(
    netns: Namespace, proto: int, payload: bytes
) -> None:
    with box(f"snat to {PUBLIC}") as opened:
        assert datagram(opened, proto, payload, INSIDE[0])
        assert not datagram(opened, proto, payload, INSIDE[1])
        assert use().pools == ()
