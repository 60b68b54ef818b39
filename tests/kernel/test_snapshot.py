"""What the doctor reads of a box, against what was made there and what tools say."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from conftest import unavailable
from natscope.codec.bundle import decode, encode
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import Traffic
from natscope.model.measured import Listener, Measured
from natscope.sources import ethtool, tools
from natscope.sources.netns import Namespace
from natscope.sources.snapshot import collect, follow

pytestmark = pytest.mark.kernel

SERVER = network.SERVER_V4
COUNTED = """flush ruleset
table ip nat {
  chain post {
    type nat hook postrouting priority srcnat
    oifname "wan" counter masquerade
  }
}
"""


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    """A lab of one's own, and its sockets."""
    try:
        with built() as lab, Traffic(lab) as made:
            yield made
    except NamespaceError as error:
        unavailable(str(error))


def measured(traffic: Traffic, rounds: int) -> Measured:
    """The box, which forwards so many questions and answers between two readings."""

    def meanwhile(_: float) -> None:
        at = (SERVER, 4000)
        traffic.udp("alice", at, WORLD, at, rounds=rounds)

    bundle, table = collect(traffic.lab.box.path, 1.0, wait=meanwhile)
    assert bundle.missing == ()
    assert bundle.measured is not None
    assert bundle.measured.missing == ()
    assert table is not None
    # the box may report a multicast group between the two
    assert bundle.measured.count in range(len(table) - 1, len(table) + 2)
    return bundle.measured


def test_what_rose_is_what_happened_meanwhile(traffic: Traffic) -> None:
    traffic.lab.run(BOX, ["nft", "-f", "-"], stdin=COUNTED)
    traffic.udp("bob", (SERVER, 4001), WORLD, (SERVER, 4001), rounds=5)
    found = measured(traffic, rounds=3)
    assert found.counters_rose is not None
    assert found.counters_rose["Ip.ForwDatagrams"] == 6
    assert found.hits_rose == {"ip nat post 1": 1}
    assert found.rose is not None
    assert found.rose["insert_failed"] == 0
    assert found.interval_ms > 0


def test_a_single_reading_knows_of_no_rise(traffic: Traffic) -> None:
    bundle, _ = collect(traffic.lab.box.path)
    found = bundle.measured
    assert found is not None
    assert (found.interval_ms, found.rose, found.counters_rose) == (0, None, None)
    assert (found.nics_rose, found.hits_rose) == (None, None)
    assert found.stats is not None


def test_a_rule_that_came_before_another_takes_no_hits_of_it(traffic: Traffic) -> None:
    lab = traffic.lab
    lab.run(BOX, ["nft", "-f", "-"], stdin=COUNTED)
    traffic.udp("bob", (SERVER, 4001), WORLD, (SERVER, 4001))
    first = ["nft", "insert", "rule", "ip", "nat", "post", "oifname", "lan", "counter"]
    bundle, _ = collect(lab.box.path, 1.0, wait=lambda _: lab.run(BOX, first))
    assert bundle.measured is not None
    assert bundle.measured.hits_rose == {}


def test_readings_follow_each_other(traffic: Traffic) -> None:
    rounds = iter([2, 5, 0])
    ports = iter(range(4000, 5000))

    def meanwhile(_: float) -> None:
        for _ in range(next(rounds)):
            at = (SERVER, next(ports))
            traffic.udp("alice", at, WORLD, at)

    readings = follow(traffic.lab.box.path, 1.0, wait=meanwhile)
    rises = []
    for bundle, _ in (next(readings), next(readings), next(readings)):
        assert bundle.measured is not None
        assert bundle.measured.counters_rose is not None
        rises.append(bundle.measured.counters_rose["Ip.ForwDatagrams"])
    assert rises == [4, 10, 0]


def test_what_was_read_is_kept_in_a_bundle(traffic: Traffic) -> None:
    bundle, _ = collect(traffic.lab.box.path, 1.0, wait=lambda _: None)
    assert decode(encode(bundle)) == bundle


def test_sockets_that_wait_for_strangers_are_those_ss_names(netns: Namespace) -> None:
    tools.run(["ip", "link", "set", "lo", "up"])
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    made = [socket.socket(family, kind)
            for family in (socket.AF_INET, socket.AF_INET6) for kind in kinds]  # fmt: skip
    tcp4, udp4, tcp6, udp6 = made
    talking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for one, address in ((tcp4, "127.0.0.1"), (udp4, ""), (tcp6, "::1"), (udp6, "::1")):
        one.bind((address, 5000 if one.family == socket.AF_INET else 6000))
    tcp4.listen()
    tcp6.listen()
    client = socket.create_connection(("127.0.0.1", 5000))
    talking.connect(("127.0.0.1", 5000))
    try:
        bundle, _ = collect()
        assert bundle.measured is not None
        assert bundle.measured.listeners is not None
        assert set(bundle.measured.listeners) == {
            Listener("tcp", ip_address("127.0.0.1"), 5000),
            Listener("udp", ip_address("0.0.0.0"), 5000),
            Listener("tcp", ip_address("::1"), 6000),
            Listener("udp", ip_address("::1"), 6000),
        }
        told = tools.run(["ss", "-Hltun"]).splitlines()
        assert len(told) == len(bundle.measured.listeners)
    finally:
        for one in (*made, client, talking):
            one.close()


def test_an_interfaces_own_statistics_are_read(netns: Namespace) -> None:
    tools.run(["ip", "link", "add", "one", "type", "veth", "peer", "name", "two"])
    found = ethtool.statistics("one")
    index = tools.run(["ip", "-o", "link", "show", "two"]).partition(":")[0]
    assert found["peer_ifindex"] == int(index)
    with pytest.raises(OSError, match="No such device"):
        ethtool.statistics("three")


def test_namespaces_that_only_processes_hold_are_counted(netns: Namespace) -> None:
    words = ["unshare", "-n", "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        bundle, _ = collect()
        other.communicate(b"\n")
    found = bundle.measured
    assert found is not None
    assert found.is_initial is False
    assert found.namespaces is not None
    assert f"pid {other.pid}" in [one.name for one in found.namespaces]
