"""Packets byte by byte: vectors of others, errors with their place, one line each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope.codec.checksum import crc32c, internet_checksum
from natscope.codec.packets import decode, decode_headers, encode, text
from natscope.errors import DecodeError
from natscope.model.packet import Chunk, Extension, Fragment, Packet

A, B = ip_address("10.0.0.5"), ip_address("93.184.216.34")
A6, B6 = ip_address("fd00::5"), ip_address("2001:db8::1")
TCP = Packet(A, B, 6, 51000, 443, tcp_flags=2, seq=1, ack=0, window=64240)
UDP6 = Packet(A6, B6, 17, 51000, 53, payload=b"abc")


def test_the_checksum_of_a_known_header() -> None:
    # the example of RFC 1071 section 3
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


def test_the_crc_of_known_bytes() -> None:
    # RFC 3720 appendix B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_a_header_whose_checksum_is_known() -> None:
    data = bytes.fromhex(
        "4500003c1c4640004006b1e6ac100a63ac100a0c"
        "c0de01bb000000640000000ca002faf000000000020405b40402080a0000000100000000"
        "01030307"
    )
    packet = decode(data)
    assert (str(packet.src), packet.sport, packet.dport) == ("172.16.10.99", 49374, 443)
    assert (packet.ip_id, packet.tcp_flags, packet.window) == (0x1C46, 2, 64240)
    assert packet.tcp_options == data[40:]
    assert encode(packet)[:20] == data[:20]  # its header checksum is b1e6


@dataclass(frozen=True)
class Bad:
    """Bytes that are no packet, and where."""

    id: str
    data: bytes
    path: str
    offset: int


_V4 = encode(TCP)
_V6 = encode(UDP6)


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


BAD = [
    Bad("nothing", b"", "IP", 0),
    Bad("ARP", b"\0\1\x08\0", "IP", 0),
    Bad("a short IPv4 header", _V4[:19], "IPv4", 0),
    Bad("a short IPv6 header", _V6[:39], "IPv6", 0),
    Bad("an impossible header length", changed(_V4, 0, 0x44), "IPv4.ihl", 0),
    Bad("an end that is missing", _V4[:-1], "IPv4.length", 2),
    Bad("an IPv6 end that is missing", _V6[:-1], "IPv6.length", 4),
    Bad(
        "a data offset below the header", changed(_V4, 32, 0x40), "TCP.data offset", 32
    ),
    Bad("a data offset beyond the end", changed(_V4, 32, 0x60), "TCP", 20),
    Bad("a UDP length beyond the end", changed(_V6, 45, 99), "UDP.length", 44),
    Bad(
        "a TCP header that is short",
        changed(_V4, 3, 39)[:39],
        "TCP",
        20,
    ),
    Bad(
        "an extension header beyond the end",
        changed(_V6, 6, 0),
        "IPv6 extension header",
        40,
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_packet_that_is_none_is_refused_with_its_place(case: Bad) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(case.data)
    assert (".".join(caught.value.path), caught.value.offset) == (
        case.path,
        case.offset,
    )


def test_a_segment_that_the_hardware_cuts_later_has_no_length() -> None:
    whole = encode(replace(TCP, payload=b"x" * 100))
    assert decode(whole[:2] + bytes(2) + whole[4:]).payload == b"x" * 100


@dataclass(frozen=True)
class Cut:
    """How much there is of a TCP packet, and what is known from it."""

    id: str
    size: int
    ports: tuple[int | None, int | None]
    seq: int | None
    flags: int | None


CUT = [
    Cut("no transport header", 20, (None, None), None, None),
    Cut("the ports", 24, (51000, 443), None, None),
    Cut("as an ICMP error quotes it", 28, (51000, 443), 1, None),
    Cut("up to the flags", 34, (51000, 443), 1, 2),
    Cut("as a trace message has it", 40, (51000, 443), 1, 2),
]


@pytest.mark.parametrize("case", CUT, ids=lambda case: case.id)
def test_of_a_packet_cut_off_what_is_there_is_told(case: Cut) -> None:
    whole = encode(replace(TCP, payload=b"abc"))
    packet = decode(whole[: case.size], cut=True)
    assert (packet.sport, packet.dport) == case.ports
    assert (packet.seq, packet.tcp_flags) == (case.seq, case.flags)
    assert (packet.length, packet.payload) == (43, b"")


def test_an_error_quotes_a_packet() -> None:
    error = Packet(B, A, 1, icmp_type=3, icmp_code=4, icmp_rest=1400, quoted=TCP)
    data = encode(error)
    assert data[28:] == encode(TCP)
    assert decode(data) == error


def test_an_error_may_quote_eight_bytes_of_a_packet() -> None:
    whole = encode(replace(TCP, payload=b"x" * 500))
    quoted = decode(whole[:28], cut=True)
    data = encode(Packet(B, A, 1, icmp_type=11, icmp_code=0, quoted=quoted))
    assert data[28:] == whole[:28]
    assert decode(data).quoted == quoted


def test_an_error_about_no_packet_keeps_its_bytes() -> None:
    error = Packet(B, A, 1, icmp_type=3, icmp_code=1, icmp_rest=0, payload=b"\0\1\2")
    assert decode(encode(error)) == error


def test_trace_headers_are_joined() -> None:
    whole = encode(replace(TCP, payload=b"abc"))
    packet = decode_headers(whole[:20], whole[20:40])
    assert (packet.dport, packet.tcp_flags, packet.length) == (443, 2, 43)


def test_trace_headers_with_more_ip_options_than_a_message_takes() -> None:
    whole = encode(replace(TCP, ip_options=bytes([1] * 36)))
    packet = decode_headers(whole[:40], whole[56:76])
    assert (packet.sport, packet.dport, packet.tcp_flags) == (51000, 443, 2)


def test_trace_headers_behind_an_extension_tell_no_protocol() -> None:
    whole = encode(replace(UDP6, extensions=(Extension(60, b"\0" + bytes(6)),)))
    packet = decode_headers(whole[:40], whole[48:])
    assert (packet.proto, packet.dst, packet.dport) == (60, B6, None)


def test_ah_over_ipv6_is_passed_over_as_the_kernel_does() -> None:
    header = Extension(51, b"\4" + bytes(22))
    packet = replace(UDP6, extensions=(header,))
    data = encode(packet)
    assert data[6] == 51
    assert decode(data) == packet


def test_a_first_fragment_has_ports_and_a_later_one_has_not() -> None:
    first = encode(replace(TCP, fragment=Fragment(0, True), payload=b"x" * 24))
    later = encode(Packet(A, B, 6, fragment=Fragment(40), payload=b"x" * 24))
    assert decode(first).sport == 51000
    assert decode(later).sport is None


@dataclass(frozen=True)
class Unsaid:
    id: str
    packet: Packet
    reason: str


UNSAID = [
    Unsaid("no port", Packet(A, B, 17, 5), "UDP packet needs dport"),
    Unsaid("no flags", replace(TCP, tcp_flags=None), "TCP packet needs tcp_flags"),
    Unsaid("no type", Packet(A, B, 1), "ICMP packet needs icmp_type"),
    Unsaid("two families", Packet(A, B6, 17, 1, 2), "two IP versions"),
    Unsaid("too great a port", Packet(A, B, 17, 1, 65536), "too great"),
]


@pytest.mark.parametrize("case", UNSAID, ids=lambda case: case.id)
def test_a_packet_that_cannot_be_written_says_why(case: Unsaid) -> None:
    with pytest.raises(ValueError, match=case.reason):
        encode(case.packet)


@dataclass(frozen=True)
class Line:
    packet: Packet
    line: str


_ERROR = Packet(B, A, 1, icmp_type=3, icmp_code=4, icmp_rest=1400, quoted=TCP)
LINES = [
    Line(TCP, "tcp 10.0.0.5:51000 > 93.184.216.34:443 SYN"),
    Line(
        replace(TCP, tcp_flags=0x12), "tcp 10.0.0.5:51000 > 93.184.216.34:443 SYN/ACK"
    ),
    Line(
        replace(TCP, tcp_flags=0), "tcp 10.0.0.5:51000 > 93.184.216.34:443 flags none"
    ),
    Line(UDP6, "udp [fd00::5]:51000 > [2001:db8::1]:53"),
    Line(
        Packet(A, B, 1, icmp_type=8, icmp_code=0, icmp_id=1, icmp_seq=2),
        "icmp 10.0.0.5 > 93.184.216.34 echo-request id 1 seq 2",
    ),
    Line(
        _ERROR,
        "icmp 93.184.216.34 > 10.0.0.5 destination-unreachable code 4 mtu 1400 "
        "about tcp 10.0.0.5:51000 > 93.184.216.34:443 SYN",
    ),
    Line(Packet(A, B, 1, icmp_type=99), "icmp 10.0.0.5 > 93.184.216.34 type 99"),
    Line(
        Packet(A, B, 132, 1, 2, chunks=(Chunk(1), Chunk(99))),
        "sctp 10.0.0.5:1 > 93.184.216.34:2 INIT chunk 99",
    ),
    Line(Packet(A, B, 50, spi=256), "esp 10.0.0.5 > 93.184.216.34 spi 0x100"),
    Line(Packet(A, B, 47, gre_key=7), "gre 10.0.0.5 > 93.184.216.34 key 7"),
    Line(Packet(A, B, 200), "200 10.0.0.5 > 93.184.216.34"),
    Line(
        Packet(A, B, 17, fragment=Fragment(1480)),
        "udp 10.0.0.5 > 93.184.216.34 fragment at 1480",
    ),
]


@pytest.mark.parametrize("case", LINES, ids=lambda case: case.line)
def test_a_packet_in_one_line(case: Line) -> None:
    assert text(case.packet) == case.line
