"""Each reason to call a packet INVALID, produced for real and named right."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from conftest import unavailable
from natscope import uapi
from natscope.codec import packets
from natscope.errors import NamespaceError
from natscope.filter import parse
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.model.packet import Packet
from natscope.trace.invalids import Complaints
from natscope.uapi import TcpFlag
from natscope.views import invalid
from natscope.views.invalid import Reason, complaint

pytestmark = pytest.mark.kernel

SYSCTLS = Path("/proc/sys/net/netfilter")
CLIENT, SERVER = ip_address("10.0.0.99"), ip_address(network.BLACK_HOLE_V4)
"""Nobody is there: whatever is sent, no stack answers it."""
PUBLIC = ip_address(network.PUBLIC_V4)
SYN, ACK, RST, FIN = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.RST, TcpFlag.FIN


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    try:
        with built() as made:
            yield made
    except NamespaceError as error:
        unavailable(f"no private namespace: {error}")


def out(sport: int, flags: int, seq: int = 0, ack: int = 0, **more: Any) -> Packet:
    """A TCP segment of the client."""
    return Packet(
        CLIENT, SERVER, uapi.IPPROTO_TCP, sport=sport, dport=80, tcp_flags=flags,
        seq=seq, ack=ack, window=1000, **more,
    )  # fmt: skip


def back(dport: int, flags: int, seq: int = 0, ack: int = 0) -> Packet:
    """One of the server, to the address the client is translated to."""
    return Packet(
        SERVER, PUBLIC, uapi.IPPROTO_TCP, sport=80, dport=dport, tcp_flags=flags,
        seq=seq, ack=ack, window=1000,
    )  # fmt: skip


def handshake(port: int) -> list[Packet]:
    return [
        out(port, SYN, 1000),
        back(port, SYN | ACK, 5000, 1001),
        out(port, ACK, 1001, 5001),
    ]


@dataclass(frozen=True)
class Case:
    """The last packet is the one that is complained of."""

    id: str
    packets: list[Packet]
    reason: Reason
    entry: bool = False


def udp(**more: Any) -> Packet:
    return Packet(
        CLIENT, SERVER, uapi.IPPROTO_UDP, sport=3000, dport=53, payload=b"x", **more
    )


def icmp(kind: int, **more: Any) -> Packet:
    return Packet(
        CLIENT, SERVER, uapi.IPPROTO_ICMP, icmp_type=kind, icmp_code=0, **more
    )


CASES = [
    Case("SYN and FIN", [out(1000, SYN | FIN)], invalid.FLAGS),
    Case("no flag at all", [out(1001, 0)], invalid.FLAGS),
    Case("a SYN's checksum", [out(1002, SYN, bad_checksum=True)], invalid.CHECKSUM),
    Case("UDP's checksum", [udp(bad_checksum=True)], invalid.CHECKSUM),
    Case(
        "ICMP's checksum",
        [icmp(8, icmp_id=1, icmp_seq=1, bad_checksum=True)],
        invalid.CHECKSUM,
    ),
    Case("RST without an entry", [out(1003, RST)], invalid.NO_ENTRY),
    Case("SYN/ACK without an entry", [out(1004, SYN | ACK)], invalid.NO_ENTRY),
    Case("ICMP type 40", [icmp(40)], invalid.ICMP_TYPE),
    Case(
        "data far beyond the window",
        [*handshake(2000), out(2000, ACK, 1001 + 900_000, 5001)],
        invalid.SEQ_OVER,
        entry=True,
    ),
    Case(
        "an ACK of data nobody sent",
        [*handshake(2001), out(2001, ACK, 1001, 10_001)],
        invalid.ACK_OVER,
        entry=True,
    ),
    Case(
        "an old retransmission",
        [
            *handshake(2002),
            out(2002, ACK, 1001 - 70_000 + (1 << 32), 5001, payload=b"a"),
        ],
        invalid.RETRANSMITTED,
        entry=True,
    ),
    Case(
        "a very old ACK",
        [*handshake(2003), out(2003, ACK, 1001, 5001 - 200_000 + (1 << 32))],
        invalid.DELAYED_ACK,
        entry=True,
    ),
    Case(
        "a SYN in an open flow",
        [*handshake(2004), out(2004, SYN, 99)],
        invalid.IGNORED,
        entry=True,
    ),
    Case(
        "a SYN of the server in an open flow",
        [*handshake(2005), back(2005, SYN, 99)],
        invalid.STATE,
        entry=True,
    ),
    Case(
        "a reset far behind",
        [
            *handshake(2006),
            out(2006, ACK, 1001, 5001, payload=b"a" * 900),
            back(2006, ACK, 5001, 1901),
            out(2006, RST, 1),
        ],
        invalid.RST,
        entry=True,
    ),
]


def send(lab: Lab, packet: Packet) -> None:
    host = network.WORLD if packet.src == SERVER else "alice"
    kind = socket.SOCK_RAW, socket.IPPROTO_RAW
    with lab.inside(host), socket.socket(socket.AF_INET, *kind) as raw:
        raw.sendto(packets.encode(packet), (str(packet.dst), 0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_packet_is_complained_of_for_its_reason(lab: Lab, case: Case) -> None:
    with Complaints(lab.box.path) as complaints:
        for packet in case.packets:
            send(lab, packet)
        found = complaints.read(5)
        assert complaints.lost == 0
    last = case.packets[-1]
    # an INVALID packet is not translated back: the box itself resets it, INVALID too
    logged, shown, entry, _ = [
        one for one in found if one[1] and one[1].src == last.src
    ][-1]
    assert complaint(logged.prefix).reason is case.reason
    assert shown is not None
    assert (shown.sport, shown.tcp_flags) == (last.sport, last.tcp_flags)
    assert (entry is not None) == case.entry


def test_a_filter_chooses_packets_by_their_entry_or_their_header(lab: Lab) -> None:
    wanted = parse(f"inside {CLIENT} and reply-dst port 2100")
    with Complaints(lab.box.path, wanted) as complaints:
        for packet in [out(1100, RST), *handshake(2100), back(2100, SYN, 99)]:
            send(lab, packet)
        found = complaints.read(5)
        assert complaints.count > len(found)
    ((_, shown, entry, iif),) = found
    assert shown is not None
    assert (shown.dport, iif) == (2100, "wan")
    assert entry is not None
    assert entry.orig.src == CLIENT


def test_what_is_invalid_without_a_message_is_counted(lab: Lab) -> None:
    with Complaints(lab.box.path) as complaints:
        send(lab, icmp(0, icmp_id=9, icmp_seq=1))  # an answer nobody asked for
        assert complaints.read(0.1) == []
        assert complaints.invalid() == 1


def command(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """The command at work in the box, its settings made."""
    made = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "natscope",
            "why-invalid",
            "--netns",
            lab.box.path,
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[int(lab.box.path.rpartition("/")[2])],
    )
    assert made.stderr is not None
    assert "listening" in made.stderr.readline()
    return made


def test_the_command_tells_packets_and_sums_them_up(lab: Lab) -> None:
    running = command(lab, "--json", "--count", "1")
    send(lab, replace(out(1200, RST), payload=b"late"))
    out_text, error = running.communicate(timeout=20)
    assert (running.returncode, error) == (0, "")
    told = json.loads(out_text)
    assert told["reasons"] == {"no-entry": 1}
    assert told["peers"] == {str(CLIENT): 1}
    (packet,) = told["packets"]
    assert packet["packet"].startswith(f"tcp {CLIENT}:1200 > {SERVER}:80 RST")
    assert (packet["invalid"], packet["kernel"]) == (True, "invalid new")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_settings_are_put_back_when_the_command_is_stopped(
    lab: Lab, number: signal.Signals
) -> None:
    names = ("nf_log/2", "nf_log/10", "nf_conntrack_log_invalid")

    def settings() -> list[str]:
        with lab.inside(network.BOX):
            return [(SYSCTLS / name).read_text() for name in names]

    before = settings()
    running = command(lab, "--for", "20s")
    assert settings() != before
    os.kill(running.pid, number)
    running.communicate(timeout=20)
    assert settings() == before
