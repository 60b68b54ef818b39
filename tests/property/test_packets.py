"""Packets and bytes say the same, whatever the packet."""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from natscope.codec.checksum import crc32c, internet_checksum
from natscope.codec.packets import decode, decode_headers, encode, text
from natscope.codec.text.question import parse, unparse
from natscope.codec.text.question_words import PROTOCOLS, WORDS
from natscope.errors import DecodeError, FilterError
from natscope.model.names import ICMP_TYPES
from natscope.model.packet import Packet, Question, answer, opening
from property.packets import U32, fragments, packets


@given(packet=packets() | fragments())
def test_a_packet_written_is_the_packet_read(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(packet=packets(), padding=st.binary(max_size=20))
def test_what_follows_a_packet_is_no_part_of_it(packet: Packet, padding: bytes) -> None:
    data = encode(packet)
    if packet.src.version == 4 or len(data) > 40:  # a jumbogram has the length 0
        assert decode(data + padding) == packet


@given(packet=packets(), data=st.data())
def test_the_beginning_of_a_packet_is_read_and_written_again(
    packet: Packet, data: st.DataObject
) -> None:
    whole = encode(packet)
    least = 20 if packet.src.version == 4 else 40
    part = whole[: data.draw(st.integers(least, len(whole)))]
    cut = decode(part, cut=True)
    assert (cut.src, cut.dst) == (packet.src, packet.dst)
    again = decode(encode(cut), cut=True)
    # a header cut within its checksum is written whole
    assert replace(again, length=cut.length) == cut
    assert cut.length in (None, len(whole))


@given(data=st.binary(max_size=120), cut=st.booleans())
def test_any_bytes_are_a_packet_or_a_decode_error(data: bytes, cut: bool) -> None:
    try:
        packet = decode(data, cut=cut)
    except DecodeError as error:
        assert error.path
        assert 0 <= error.offset <= len(data)
    else:
        assert text(packet)
        assert packet.tuple.proto is not None


@given(packet=packets(), at=st.integers(0, 200), bits=st.integers(1, 255))
def test_a_damaged_packet_is_a_packet_or_a_decode_error(
    packet: Packet, at: int, bits: int
) -> None:
    damaged = bytearray(encode(packet))
    damaged[at % len(damaged)] ^= bits
    for cut in (False, True):
        try:
            again = decode(damaged, cut=cut)
        except DecodeError:
            continue
        assert encode(replace(again, length=None) if not cut else again)


@given(network=st.binary(max_size=40), transport=st.binary(max_size=20))
def test_any_trace_headers_are_a_packet_or_a_decode_error(
    network: bytes, transport: bytes
) -> None:
    try:
        decode_headers(network, transport)
    except DecodeError as error:
        assert error.path


def _summed(data: bytes) -> int:
    """RFC 1071 as it is written: add words, fold the carries."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(data=st.binary(max_size=200) | st.just(b"\xff" * 8) | st.just(bytes(8)))
def test_the_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    assert internet_checksum(data) == _summed(data)


def _divided(data: bytes) -> int:
    """CRC32c one bit after the other."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFF_FFFF


@given(data=st.binary(max_size=100))
def test_the_crc_is_that_of_castagnoli(data: bytes) -> None:
    assert crc32c(data) == _divided(data)


@given(packet=packets())
def test_every_checksum_in_a_packet_adds_up(packet: Packet) -> None:
    data = encode(replace(packet, quoted=None, extensions=()))
    size = 40 if packet.src.version == 6 else 4 * (data[0] & 15)
    if packet.src.version == 4:
        assert _summed(data[:size]) == 0
    rest = data[size:]
    if packet.proto == 132:
        (carried,) = struct.unpack_from("<I", rest, 8)
        assert _divided(rest[:8] + bytes(4) + rest[12:]) == carried
    elif packet.proto == 1 and packet.src.version == 4:
        assert _summed(rest) == 0
    elif packet.proto in (6, 17, 136) or (packet.proto, packet.src.version) == (58, 6):
        ends = packet.src.packed + packet.dst.packed
        pseudo = struct.pack(">II", len(rest), packet.proto)  # the same sum as IPv4's
        assert _summed(ends + pseudo + rest) == 0
        if packet.proto == 17:
            assert rest[6:8] != bytes(2)  # it would say that there is none


@given(packet=packets())
def test_a_bad_checksum_does_not_add_up(packet: Packet) -> None:
    good = encode(replace(packet, quoted=None, bad_checksum=False))
    bad = encode(replace(packet, quoted=None, bad_checksum=True))
    signed = packet.proto in (6, 17, 132, 136) or packet.icmp_type is not None
    assert (good != bad) == signed
    assert decode(good) == decode(bad)


@given(packet=packets(quotes=False))
def test_an_answer_goes_back_and_can_be_sent(packet: Packet) -> None:
    back = answer(packet)
    assert (back.src, back.dst) == (packet.dst, packet.src)
    assert (back.sport, back.dport) == (packet.dport, packet.sport)
    assert decode(encode(back)) == back


_ANY_WORDS = st.lists(
    st.sampled_from([*WORDS, *PROTOCOLS, *ICMP_TYPES])
    | st.sampled_from(["to", "out", "about", "badsum", "ping", "from", "proto", ">"])
    | st.sampled_from(["10.0.0.5", "1.1.1.1:80", "fd00::1", "[::1]:443", "7", "0x10"])
    | st.sampled_from(["syn", "syn/ack", "none", "eth0", '"a b"', "02:00:00:00:00:01"])
    | st.text(max_size=8),
    max_size=14,
)


@given(words=_ANY_WORDS)
def test_any_words_are_a_question_or_a_filter_error(words: list[str]) -> None:
    for said in (words, " ".join(words)):
        try:
            question = parse(said)
        except FilterError as error:
            assert 0 <= error.start <= error.end <= len(error.text)
        else:
            assert parse(unparse(question)) == question
            assert encode(question.packet)


@given(packet=packets(), iif=st.none() | st.just("eth0"), mark=U32)
def test_a_question_read_again_is_the_same(
    packet: Packet, iif: str | None, mark: int
) -> None:
    """What the language can say of any packet, it says and reads."""
    said = parse(unparse(Question(packet, iif, mark)))
    assert (said.iif, said.mark) == (iif, mark)
    if packet.gre_version == 0:  # it has no word for PPTP
        assert said.packet.tuple == packet.tuple
    assert parse(unparse(said)) == said
    assert (said.packet.ttl, said.packet.tos) == (packet.ttl, packet.tos)


@given(packet=packets(quotes=False))
def test_a_question_about_a_tuple_is_about_the_packet_that_opens_it(
    packet: Packet,
) -> None:
    first = opening(packet.tuple)
    assert decode(encode(first)) == first
    if packet.gre_version == 0:
        assert parse(unparse(Question(first))).packet == first
