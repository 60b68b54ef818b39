"""R01, R02, R04 to R06 on a real kernel: full tables, long chains, races that are lost.

The limit of the table is the host's, but each namespace has as many entries of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import unavailable
from kernel import crowd
from kernel.collectors import until
from kernel.holding import holding
from kernel.portbox import dropped
from kernel.router import (
    CLIENT,
    MASQUERADE,
    SERVER,
    TRACKED,
    Hosts,
    hosts,
)
from natscope import uapi
from natscope.actions import changes, mending
from natscope.model.finding import Finding, Severity
from natscope.sources import tools
from natscope.sources.kernel import Kernel
from natscope.views.doctor.diagnosis import diagnose

pytestmark = pytest.mark.kernel

SECOND = "10.0.0.3"
"""Another address of the client."""
RULES = ("R01", "R02", "R03", "R04", "R05", "R06", "R22")
SETTINGS = Path("/proc/sys/net/netfilter")
MOST_ENTRIES = 1 << 18
"""So many are put into a table within a second or two."""
LOAD = 45
"""Entries a chain, of which some have 50 already: few new flows are refused."""
PAGE_OF_BUCKETS = 512
DNS = """\
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat; udp dport 53 dnat to %s
    }
}
"""
RESOLVERS = ("192.0.2.53", "192.0.2.54")
"""Beyond the router; its rules lead to the server."""


@pytest.fixture
def box() -> Iterator[Hosts]:
    with hosts() as made:
        made.ip(made.client, f"addr add {SECOND}/24 dev eth0\n")
        yield made


def found(box: Hosts, meanwhile: Callable[[], object]) -> dict[str, Finding]:
    """What the rules about lost flows say, each at most once."""
    diagnosis = diagnose(box.snapshot(meanwhile), only=RULES)
    assert diagnosis.not_checked == ()
    rules = {one.rule: one for one in diagnosis.findings}
    assert len(rules) == len(diagnosis.findings)
    return rules


def told(finding: Finding) -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in finding.facts}


def await_losses(box: Hosts, count: int) -> None:
    """Wait until so many flows were dropped: the kernel may forward a burst later."""
    with box.router.enter():
        until(lambda: dropped() == (count, count), lambda: None)


def fill(box: Hosts, entries: int, status: int = crowd.ASSURED) -> None:
    """Put entries into the router's table."""
    with box.router.enter(), Kernel().socket() as sock:
        outcome = changes.insert(sock, crowd.many(entries, status))
    assert outcome.refused == {}


def limit() -> int:
    value = int((SETTINGS / "nf_conntrack_max").read_text())
    if value > MOST_ENTRIES:
        pytest.skip(f"nf_conntrack_max={value}: too many to fill the table with")
    return value


def test_a_full_table_that_drops_is_told(box: Hosts) -> None:
    box.rules(TRACKED)
    fill(box, limit())
    rules = found(box, lambda: box.datagrams([*range(4000, 4010)]))
    assert list(rules) == ["R01"]
    assert rules["R01"].severity is Severity.CRITICAL
    facts = told(rules["R01"])
    assert (facts["entries"], facts["dropped"]) == (limit(), 10)
    assert facts["flows to 9.9.9.9, mostly port 53"] == 100


def test_a_full_table_that_throws_young_entries_out_is_told(box: Hosts) -> None:
    box.rules(TRACKED)
    fill(box, limit(), uapi.Status.CONFIRMED)
    rules = found(box, lambda: box.datagrams([4000]))
    assert sorted(rules) == ["R01", "R06"]
    assert "dropped" not in told(rules["R01"])
    facts = told(rules["R06"])
    assert int(facts["thrown out"]) >= 1
    assert facts["not assured"] == 100


@pytest.mark.alone
def test_chains_that_are_too_long_are_told(box: Hosts) -> None:
    """The hash is the host's: it is made small for the few datagrams of this test."""
    box.rules(TRACKED)
    setting = SETTINGS / "nf_conntrack_buckets"
    if not setting.exists() or not setting.stat().st_mode & 0o200:
        pytest.skip("nf_conntrack_buckets is not to be set here")
    fill(box, LOAD * PAGE_OF_BUCKETS // 2)
    snapshot = box.snapshot()
    entries = snapshot.count + sum(one.count for one in snapshot.namespaces)
    buckets = 2 * entries // LOAD // PAGE_OF_BUCKETS * PAGE_OF_BUCKETS
    asking = box.open(box.client, socket.SOCK_DGRAM)
    before = setting.read_bytes()
    # opened here: the router's own is not to be written
    with setting.open("r+b", buffering=0) as file:

        def crowded() -> None:
            try:
                os.pwrite(file.fileno(), b"%d" % buckets, 0)
                for port in range(4000, 4300):
                    asking.sendto(b"hello", (SERVER, port))
            finally:
                os.pwrite(file.fileno(), before, 0)

        rules = found(box, crowded)
    assert list(rules) == ["R02"]
    assert rules["R02"].severity is Severity.CRITICAL
    assert 1 <= int(told(rules["R02"])["refused"]) <= 300


@dataclass(frozen=True)
class Race:
    id: str
    masquerade: str
    lost: int


RACES = [
    Race("ports in order", "masquerade", 4),
    Race("ports at random", "masquerade fully-random", 0),
]


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.id)
def test_flows_that_raced_for_a_port_are_told(box: Hosts, race: Race) -> None:
    box.rules(MASQUERADE.replace("masquerade", race.masquerade))
    with holding(box.router, "udp dport 4000") as held:

        def two_a_port(first: int) -> None:
            for port in range(first, first + 4):
                box.datagrams([4000], sport=port, src=CLIENT)
                box.datagrams([4000], sport=port, src=SECOND)
            held.let_go(8)

        rules = found(box, lambda: two_a_port(5000))
        if not race.lost:
            assert rules == {}
            return
        assert list(rules) == ["R04"]
        assert told(rules["R04"])["insert_failed"] == race.lost
        (remedy,) = rules["R04"].remedies
        box.mend(remedy)
        assert found(box, lambda: two_a_port(6000)) == {}


@dataclass(frozen=True)
class Ranged:
    id: str
    program: tuple[str, ...]
    text: str


RANGED = [
    Ranged(
        "nft",
        ("nft", "-f", "-"),
        """\
table inet nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        tcp dport 25 accept
        oifname "wan" meta l4proto { tcp, udp } counter masquerade to :2000-2127 comment "masquerade to :1-2"
        oifname "wan" masquerade
    }
}
""",
    ),
    Ranged(
        "iptables",
        ("iptables-nft-restore",),
        """\
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -p tcp -m tcp --dport 25 -j ACCEPT
-A POSTROUTING -o wan -p udp -j MASQUERADE --to-ports 2000-2127
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
""",
    ),
]


@pytest.mark.parametrize("kept", [100, 5, 0])
def test_a_range_that_was_full_at_the_first_reading_alone_explains_the_drops(
    box: Hosts, kept: int
) -> None:
    box.rules(
        MASQUERADE.replace("masquerade", "meta l4proto udp masquerade to :2000-2127")
    )
    for port in range(5000, 5128):
        box.datagrams([4000], sport=port)

    def more_then_most_end() -> None:
        for port in range(6000, 6020):
            box.datagrams([4000], sport=port)
        await_losses(box, 20)
        ended = range(2000, 2128 - kept)
        delete = "conntrack -D -p udp --reply-port-dst"
        with box.router.enter():
            mending.run("\n".join(f"{delete} {port}" for port in ended))

    rules = found(box, more_then_most_end)
    assert list(rules) == ["R03"]
    assert rules["R03"].severity is Severity.CRITICAL
    facts = told(rules["R03"])
    assert facts["new flows dropped"] == 20
    assert facts["peak" if kept == 100 else "ports held"] == 128


@pytest.mark.parametrize("ranged", RANGED, ids=lambda ranged: ranged.id)
def test_a_range_that_is_full_is_told_alone_and_widened(
    box: Hosts, ranged: Ranged
) -> None:
    """The rule behind it never has its turn: of its ports none are taken."""
    if tools.find(ranged.program[0]) is None:
        unavailable(f"{ranged.program[0]} is not installed")
    with box.router.enter():
        tools.run(ranged.program, stdin=ranged.text)

    def many(first: int) -> None:
        for port in range(first, first + 168):
            box.datagrams([4000], sport=port)
        await_losses(box, 40)

    rules = found(box, lambda: many(10_000))
    assert list(rules) == ["R03"]
    facts = told(rules["R03"])
    assert (facts["range"], facts["ports held"]) == ("2000-2127", 128)
    assert (facts["lost"], facts["new flows dropped"]) == (100, 40)
    wider, more = rules["R03"].remedies
    named = "#4" if ranged.id == "nft" else "rule 2"
    assert f" {named} gives 128 ports alone" in wider.about
    box.mend(wider)
    assert found(box, lambda: many(11_000)) == {}
    assert len(box.snapshot().flows) == 296
    assert more.is_pattern
    command = more.command.replace("FIRST", "198.51.100.5").replace(
        "LAST", "198.51.100.6"
    )
    with box.router.enter():
        mending.run(command)
    box.datagrams([4001])
    public = {str(one.reply.dst) for one in box.snapshot().flows}
    assert public & {"198.51.100.5", "198.51.100.6"}


def test_connections_that_raced_for_a_port_are_told(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.open(box.server, socket.SOCK_STREAM, ("", 4000)).listen()
    with holding(box.router, "tcp flags & (syn|ack) == syn tcp dport 4000") as held:

        def two_a_port() -> None:
            for port in range(5000, 5004):
                for source in (CLIENT, SECOND):
                    asking = box.open(box.client, socket.SOCK_STREAM, (source, port))
                    asking.setblocking(False)
                    asking.connect_ex((SERVER, 4000))
            held.let_go(8)

        rules = found(box, two_a_port)
    assert list(rules) == ["R04"]
    assert told(rules["R04"])["insert_failed"] == 4


def test_queries_that_a_rule_leads_to_two_servers_are_all_served(box: Hosts) -> None:
    box.rules(DNS % f"numgen inc mod 2 map {{ 0 : {SERVER}, 1 : 198.51.100.10 }}")
    box.ip(box.server, "addr add 198.51.100.10/24 dev eth0\n")
    with holding(box.router, "udp dport 53") as held:

        def two_a_socket() -> None:
            for _ in range(12):
                box.datagrams([53, 53], dst=RESOLVERS[0])
            held.let_go(24)

        rules = found(box, two_a_socket)
    assert list(rules) == ["R05"]
    assert rules["R05"].severity is Severity.INFO
    assert told(rules["R05"])["clash_resolve"] == 12


def test_queries_to_two_addresses_of_one_server_are_lost(box: Hosts) -> None:
    """As musl's resolver asks: all name servers at once, from one socket."""
    box.rules(DNS % SERVER)
    with holding(box.router, "udp dport 53") as held:

        def two_a_socket() -> None:
            for _ in range(4):
                asking = box.open(box.client, socket.SOCK_DGRAM)
                for resolver in RESOLVERS:
                    asking.sendto(b"query", (resolver, 53))
            held.let_go(8)

        rules = found(box, two_a_socket)
    assert list(rules) == ["R05"]
    assert rules["R05"].severity is Severity.WARNING
    assert told(rules["R05"])["insert_failed"] == 4
