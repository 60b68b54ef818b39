"""What a packet is to conntrack, and what would come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope.model.packet import GRE_PPTP, Chunk, Packet, answer, opening
from natscope.model.tuples import FlowTuple
from natscope.uapi import AF_INET, AF_INET6, SctpChunk, TcpFlag

A, B, R = (ip_address(text) for text in ("10.0.0.5", "93.184.216.34", "192.0.2.1"))
A6, B6 = ip_address("fd00::5"), ip_address("2001:db8::1")
TCP = Packet(A, B, 6, 51000, 443, tcp_flags=TcpFlag.SYN, seq=7, ack=0, window=1000)
UDP = Packet(A, B, 17, 51000, 53, payload=b"question")
ECHO = Packet(A, B, 1, icmp_type=8, icmp_code=0, icmp_id=77, icmp_seq=3)


@dataclass(frozen=True)
class Keyed:
    id: str
    packet: Packet
    tuple: FlowTuple


KEYED = [
    Keyed("tcp", TCP, FlowTuple(A, B, 6, 51000, 443)),
    Keyed("echo", ECHO, FlowTuple(A, B, 1, None, None, 8, 0, 77)),
    Keyed("esp has no ports", Packet(A, B, 50, spi=5), FlowTuple(A, B, 50)),
    Keyed(
        "gre of RFC 2784 has no keys to conntrack",
        Packet(A, B, 47, gre_flags=0x2000, gre_key=9),
        FlowTuple(A, B, 47, 0, 0),
    ),
    Keyed(
        "pptp has the call id",
        Packet(A, B, 47, gre_flags=0x2001, gre_key=9),
        FlowTuple(A, B, 47, 0, 9),
    ),
    Keyed(
        "an ICMP error is about the flow it quotes, the other way",
        Packet(R, A, 1, icmp_type=11, icmp_code=0, quoted=TCP),
        FlowTuple(B, A, 6, 443, 51000),
    ),
    Keyed(
        "an ICMPv6 error too",
        Packet(B6, A6, 58, icmp_type=2, icmp_code=0, quoted=Packet(A6, B6, 17, 1, 2)),
        FlowTuple(B6, A6, 17, 2, 1),
    ),
    Keyed(
        "an ICMP error that quotes nothing",
        Packet(R, A, 1, icmp_type=3, icmp_code=1),
        FlowTuple(R, A, 1, None, None, 3, 1, None),
    ),
]


@pytest.mark.parametrize("case", KEYED, ids=lambda case: case.id)
def test_a_packet_has_the_tuple_conntrack_looks_up(case: Keyed) -> None:
    assert case.packet.tuple == case.tuple


def test_the_family_is_that_of_the_addresses() -> None:
    assert (TCP.family, Packet(A6, B6, 17).family) == (AF_INET, AF_INET6)


@dataclass(frozen=True)
class Answered:
    """What a packet with these flags is answered with: flags, seq, ack."""

    id: str
    flags: int
    payload: bytes
    back: tuple[int, int, int]


SYN, ACK, FIN, RST = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.FIN, TcpFlag.RST
ANSWERED = [
    Answered("a SYN opens", SYN, b"", (SYN | ACK, 0, 101)),
    Answered("a SYN/ACK is acknowledged", SYN | ACK, b"", (ACK, 500, 101)),
    Answered("data are counted", TcpFlag.PSH | ACK, b"abc", (ACK, 500, 103)),
    Answered("a FIN closes", FIN | ACK, b"", (FIN | ACK, 500, 101)),
    Answered("a reset is turned round", RST, b"", (RST, 500, 100)),
]


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.id)
def test_tcp_is_answered_in_sequence(case: Answered) -> None:
    asked = replace(TCP, tcp_flags=case.flags, seq=100, ack=500, payload=case.payload)
    back = answer(asked)
    assert (back.tcp_flags, back.seq, back.ack) == case.back
    assert back.tuple == asked.tuple.reversed()


def test_sequence_numbers_wrap() -> None:
    assert answer(replace(TCP, seq=0xFFFF_FFFF)).ack == 0


def test_a_syn_is_answered_with_its_own_options() -> None:
    options = bytes.fromhex("020405b4")
    back = answer(replace(TCP, tcp_options=options))
    assert back.tcp_options == options
    assert answer(back).tcp_options == b""


def test_an_echo_reply_repeats_the_echo() -> None:
    back = answer(replace(ECHO, payload=b"x"))
    assert (back.icmp_type, back.icmp_id, back.icmp_seq) == (0, 77, 3)
    assert back.payload == b"x"


def test_udp_goes_back_with_a_fresh_ttl() -> None:
    back = answer(replace(UDP, ttl=3))
    assert (back.tuple, back.ttl) == (UDP.tuple.reversed(), 64)


def test_an_sctp_association_opens_and_closes_step_by_step() -> None:
    tag = (7).to_bytes(4, "big")
    init = (Chunk(SctpChunk.INIT, 0, tag + bytes(12)),)
    packet = Packet(A, B, 132, 1, 2, vtag=0, chunks=init)
    seen = []
    for _ in range(4):
        seen.append((packet.chunks[0].type, packet.vtag))
        packet = answer(packet)
    assert seen == [
        (SctpChunk.INIT, 0),
        (SctpChunk.INIT_ACK, 7),
        (SctpChunk.COOKIE_ECHO, 7),
        (SctpChunk.COOKIE_ACK, 7),
    ]


def test_sctp_without_chunks_is_turned_round() -> None:
    packet = Packet(A, B, 132, 1, 2, vtag=5)
    assert answer(packet).tuple == packet.tuple.reversed()


OPENED = [
    FlowTuple(A, B, 6, 51000, 443),
    FlowTuple(A6, B6, 17, 51000, 53),
    FlowTuple(A, B, 132, 1, 2),
    FlowTuple(A, B, 1, None, None, 8, 0, 77),
    FlowTuple(A6, B6, 58, None, None, 128, 0, 77),
    FlowTuple(A, B, 47, 0, 0),
    FlowTuple(A, B, 47, 0, 9),
    FlowTuple(A, B, 50),
    FlowTuple(A, B, 89),
]


@pytest.mark.parametrize("key", OPENED, ids=str)
def test_what_opens_a_flow_has_its_tuple(key: FlowTuple) -> None:
    assert opening(key).tuple == key


def test_a_flow_opens_as_its_protocol_does() -> None:
    tcp, sctp, pptp = (opening(OPENED[at]) for at in (0, 2, 6))
    assert (tcp.tcp_flags, tcp.ack) == (TcpFlag.SYN, 0)
    assert (sctp.vtag, sctp.chunks[0].type) == (0, SctpChunk.INIT)
    assert (pptp.gre_flags, pptp.gre_key) == (GRE_PPTP, 9)


def test_a_ping_without_an_id_gets_one() -> None:
    assert opening(FlowTuple(A, B, 1)).icmp_id == 1
