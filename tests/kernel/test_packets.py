"""Packets written here, received by a real kernel: it judges every byte of them."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import unavailable
from natscope.codec.packets import decode, encode
from natscope.codec.text.question import parse
from natscope.model.packet import Packet, answer
from natscope.model.tuples import FlowTuple
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.uapi import TcpFlag

pytestmark = pytest.mark.kernel

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST = 65_535
V4, V4_PEER = "10.9.0.1", "10.9.0.2"
V6, V6_PEER = "fd09::1", "fd09::2"
PORT = 4000


class Tunnel:
    """A tun device: what is written comes in from outside, at once.

    What the kernel sends out of it is read back.
    """

    def __init__(self) -> None:
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._fd, _TUNSETIFF, name)

    def inject(self, packet: Packet) -> list[Packet]:
        """Let a packet come in; what goes out because of it."""
        list(self._waiting())
        os.write(self._fd, encode(packet))
        return list(self._waiting())

    def _waiting(self) -> Iterator[Packet]:
        while True:
            try:
                yield decode(os.read(self._fd, _LARGEST))
            except BlockingIOError:
                return

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def tunnel(netns: Namespace) -> Iterator[Tunnel]:
    """A tun device with an address of each family, conntrack at work."""
    try:
        tun = Tunnel()
    except OSError as error:
        unavailable(f"no tun device: {error}")
        raise
    batch = f"""
        link set lo up
        addr add {V4}/24 dev tun0
        addr add {V6}/64 dev tun0 nodad
        link set tun0 up
    """
    run(["ip", "-batch", "-"], batch)
    nft("add table inet t")
    nft("add chain inet t c { type filter hook input priority 0; }")
    nft("add rule inet t c ct state new counter")
    yield tun
    tun.close()


def nft(command: str) -> str:
    return run(["nft", "-f", "-"], command)


def run(command: list[str], text: str) -> str:
    done = subprocess.run(
        command, input=text, text=True, check=True, capture_output=True
    )
    return done.stdout


def counter(name: str) -> int:
    """A counter of /proc/net/snmp or snmp6: ``Udp InCsumErrors``, ``Icmp6InErrors``."""
    if " " not in name:
        lines = Path("/proc/thread-self/net/snmp6").read_text().splitlines()
        return int(dict(line.split() for line in lines)[name])
    group, key = name.split()
    text = Path("/proc/thread-self/net/snmp").read_text()
    names, numbers = [
        row.split() for row in text.splitlines() if row.startswith(f"{group}:")
    ]
    return int(numbers[names.index(key)])


def receiver(kind: int, host: str, proto: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, kind, proto)
    made.bind((host, PORT))
    made.setblocking(False)
    return made


@pytest.mark.parametrize("question", [
    f'udp {V4_PEER}:7 to {V4}:{PORT} payload "odd" in tun0',
    f'udp [{V6_PEER}]:7 to [{V6}]:{PORT} payload "even" in tun0',
])  # fmt: skip
def test_a_socket_receives_a_datagram(tunnel: Tunnel, question: str) -> None:
    packet = parse(question).packet
    with receiver(socket.SOCK_DGRAM, str(packet.dst)) as sock:
        tunnel.inject(packet)
        data, peer = sock.recvfrom(100)
    assert (data, peer[:2]) == (packet.payload, (str(packet.src), 7))


def test_a_socket_receives_a_lite_datagram(tunnel: Tunnel) -> None:
    packet = parse(f"udplite {V4_PEER} to {V4}:{PORT} payload 0x010203").packet
    try:
        sock = receiver(socket.SOCK_DGRAM, V4, socket.IPPROTO_UDPLITE)
    except OSError as error:
        unavailable(f"no UDP-Lite: {error}")
        raise
    with sock:
        tunnel.inject(packet)
        assert sock.recv(100) == b"\1\2\3"


@dataclass(frozen=True)
class Checked:
    """A packet whose checksum the kernel verifies, and the counter of wrong ones."""

    question: str
    counter: str

    @property
    def id(self) -> str:
        return self.question


CHECKED = [
    Checked(f"tcp {V4_PEER} to {V4}:9", "Tcp InCsumErrors"),
    Checked(f"tcp [{V6_PEER}] to [{V6}]:9", "Tcp InCsumErrors"),
    Checked(f"udp {V4_PEER} to {V4}:{PORT} payload abc", "Udp InCsumErrors"),
    Checked(f"udp [{V6_PEER}] to [{V6}]:{PORT} payload abc", "Udp6InCsumErrors"),
    Checked(f"ping {V4_PEER} to {V4} payload abc", "Icmp InCsumErrors"),
    Checked(f"ping {V6_PEER} to {V6} payload abc", "Icmp6InCsumErrors"),
]


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.id)
def test_the_kernel_finds_a_checksum_right_and_a_wrong_one_wrong(
    tunnel: Tunnel, case: Checked
) -> None:
    packet = parse(case.question).packet
    with receiver(socket.SOCK_DGRAM, str(packet.dst)):  # UDP is verified on delivery
        tunnel.inject(packet)
        assert counter(case.counter) == 0
        tunnel.inject(replace(packet, bad_checksum=True))
        assert counter(case.counter) == 1


@pytest.mark.parametrize("host", [V4, V6])
def test_a_listener_answers_as_foretold(tunnel: Tunnel, host: str) -> None:
    peer = V6_PEER if host == V6 else V4_PEER
    to = f"[{host}]:{PORT}" if host == V6 else f"{host}:{PORT}"
    syn = parse(f"tcp {peer} to {to} seq 4294967295").packet
    with receiver(socket.SOCK_STREAM, host) as listener:
        listener.listen()
        (came,) = tunnel.inject(syn)
        foretold = answer(syn)
        assert came.tuple == foretold.tuple
        assert (came.tcp_flags, came.ack) == (foretold.tcp_flags, foretold.ack)
        assert tunnel.inject(answer(came)) == []
        accepted, _ = listener.accept()  # the handshake is complete
        accepted.close()


def test_a_closed_port_answers_with_a_reset(tunnel: Tunnel) -> None:
    syn = parse(f"tcp {V4_PEER} to {V4}:9 seq 41").packet
    (came,) = tunnel.inject(syn)
    assert (came.tcp_flags, came.ack) == (TcpFlag.RST | TcpFlag.ACK, 42)
    assert came.tuple == syn.tuple.reversed()


@pytest.mark.parametrize("question", [
    f"ping {V4_PEER} to {V4} id 7 seq 9 payload abc",
    f"ping {V6_PEER} to {V6} id 7 seq 9 payload abc",
])  # fmt: skip
def test_an_echo_is_answered_as_foretold(tunnel: Tunnel, question: str) -> None:
    packet = parse(question).packet
    (came,) = tunnel.inject(packet)
    came = replace(came, ip_id=0, dont_fragment=True, flow_label=0)  # the sender's own
    assert came == answer(packet)


@pytest.mark.parametrize("question", [
    f'udp {V4_PEER}:7 to {V4}:9 payload "for nobody"',
    f'udp [{V6_PEER}]:7 to [{V6}]:9 payload "for nobody"',
])  # fmt: skip
def test_an_error_of_the_kernel_quotes_what_was_sent(
    tunnel: Tunnel, question: str
) -> None:
    packet = parse(question).packet
    (came,) = tunnel.inject(packet)
    assert came.is_icmp_error
    assert came.quoted == packet
    assert came.tuple == packet.tuple.reversed()


KEYED = [
    f"tcp {V4_PEER} to {V4}:9",
    f"tcp [{V6_PEER}]:5 to [{V6}]:9 flags ack",
    f"udp {V4_PEER} to {V4}:{PORT}",
    f"ping {V4_PEER} to {V4} id 77",
    f"ping {V6_PEER} to {V6} id 77",
    f"sctp {V4_PEER} to {V4}:{PORT}",
    f"sctp [{V6_PEER}]:1 to [{V6}]:{PORT}",
    f"gre {V4_PEER} to {V4}",
    f"gre {V4_PEER} to {V4} key 9",
    f"esp {V4_PEER} to {V4}",
    f"ah {V4_PEER} to {V4}",
    f"89 {V6_PEER} to {V6}",
]


@pytest.mark.parametrize("question", KEYED)
def test_conntrack_keys_a_packet_by_its_tuple(tunnel: Tunnel, question: str) -> None:
    # the box's own resets and errors would end the flow
    nft("add chain inet t out { type filter hook output priority -400; policy drop; }")
    packet = parse(question).packet
    tunnel.inject(packet)
    assert tracked() == [packet.tuple]


def tracked() -> list[FlowTuple]:
    with Kernel() as kernel:
        return [flow.orig for flow in kernel.flows()]


def test_an_sctp_packet_with_a_wrong_crc_is_invalid(tunnel: Tunnel) -> None:
    question = f"sctp {V4_PEER} to {V4}:{PORT}"
    tunnel.inject(parse(f"{question} badsum").packet)
    assert tracked() == []
    tunnel.inject(parse(question).packet)
    assert len(tracked()) == 1


def test_conntrack_finds_the_flow_an_error_is_about(tunnel: Tunnel) -> None:
    nft("add rule inet t c ct state related counter")
    flow = parse(f"udp {V4_PEER}:7 to {V4}:{PORT}").packet
    error = parse(
        f"icmp {V4_PEER} to {V4} type destination-unreachable code 3 "
        f"about udp {V4}:{PORT} to {V4_PEER}:7"
    ).packet
    with receiver(socket.SOCK_DGRAM, V4):
        tunnel.inject(flow)
        tunnel.inject(error)
    assert error.tuple == flow.tuple
    assert "ct state related counter packets 1 " in nft("list chain inet t c")
