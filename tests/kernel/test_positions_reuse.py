"""Packets one after the other in the same memory, each told by itself."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from conftest import unavailable
from natscope import uapi
from natscope.codec import packets
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import Traffic
from natscope.model.journey import Hook, Sightings
from natscope.model.packet import Packet
from natscope.trace import sightings
from natscope.trace.bpf import loader
from natscope.trace.positions import POINTS, Positions
from natscope.uapi import TcpFlag

pytestmark = pytest.mark.kernel

PATIENCE_S = 30.0
ROUNDS = 60
"""Of each sender, a connection refused and a ping answered in each."""
SENDERS = ("alice", "bob")
FILTERS = (
    "(tcp or icmp) and inside 10.0.0.0/24",
    "outside 198.51.100.9",
    "ip and (tcp or icmp)",
)
"""Whose packets match by their header, by their entry, and without a test; the box
itself sends IGMP."""
SERVER = network.SERVER_V4
FORWARDED = [
    (hook, priority)
    for hook in (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
    for priority in POINTS[hook]
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if (why := loader.available()) is not None:
        unavailable(why)
    try:
        with built() as made, Traffic(made) as traffic:
            for host in SENDERS:
                traffic.ping(host, SERVER, 1)
            yield made
    except NamespaceError as error:
        unavailable(str(error))


def asked(host: str, number: int) -> tuple[Packet, Packet]:
    """A SYN that is refused, and a ping; numbers tell flows apart."""
    source, server = ip_address(network.HOSTS[host].v4), ip_address(SERVER)
    return (
        Packet(
            source, server, uapi.IPPROTO_TCP, sport=5000 + number, dport=443,
            tcp_flags=TcpFlag.SYN, seq=number, window=1000,
        ),
        Packet(
            source, server, uapi.IPPROTO_ICMP,
            icmp_type=8, icmp_code=0, icmp_id=5000 + number, icmp_seq=number,
        ),
    )  # fmt: skip


def send_all(lab: Lab, host: str, numbers: range, cpu: int) -> None:
    """What one host asks, from one CPU."""
    os.sched_setaffinity(0, {cpu})
    with lab.inside(host):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for number in numbers:
            for packet in asked(host, number):
                raw.sendto(packets.encode(packet), (SERVER, 0))


def kind(packet: Packet | None) -> tuple[object, ...]:
    """What no translation touches here: no two flows want the same port."""
    assert packet is not None
    ports = {packet.sport, packet.dport} - {443}
    return packet.proto, packet.tcp_flags, packet.icmp_type, packet.icmp_seq, *ports


def whole(seen: Sightings) -> tuple[object, ...]:
    """A packet's kind, once it is sure that it is one from end to end."""
    assert [(p.hook, p.priority) for p in seen.positions] == FORWARDED
    (one,) = {kind(position.packet) for position in seen.positions}
    return one


@pytest.mark.parametrize("filter", FILTERS)
def test_packets_in_quick_succession_are_each_told_once_and_whole(
    lab: Lab, filter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused connections and pings go to and fro in the same few skbs.

    The programs must keep them apart alone, without what is made good afterwards.
    """
    monkeypatch.setattr(sightings, "_of_one", lambda records: records)
    sent = 2 * ROUNDS * len(SENDERS)
    cpus = sorted(os.sched_getaffinity(0))
    first = sent * FILTERS.index(filter)
    with (
        Positions(lab.box.path, filter, packets=2 * sent) as positions,
        ThreadPoolExecutor(len(SENDERS)) as pool,
    ):
        done = []
        for index, host in enumerate(SENDERS):
            numbers = range(first + index * ROUNDS, first + (index + 1) * ROUNDS)
            cpu = cpus[index % len(cpus)]
            done.append(pool.submit(send_all, lab, host, numbers, cpu))
        for one in done:
            one.result()
        found = list(positions.collect(PATIENCE_S))
        assert positions.lost == 0
    told = Counter(map(whole, found))
    assert len(told) == 2 * sent
    assert set(told.values()) == {1}
