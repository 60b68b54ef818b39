"""Netlink framing and attributes, by cases."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.errors import DecodeError

DONE = nlmsg.build(uapi.NLMSG_DONE, uapi.NLM_F_MULTI, 7, struct.pack("=i", 0))


@dataclass(frozen=True)
class Bad:
    id: str
    data: bytes
    reason: str
    offset: int = 0


BAD_FRAMES = [
    Bad("a header cut off", DONE[:10], "needs 16 bytes, has 10"),
    Bad("the second header cut off", DONE + b"\x14", "needs 16 bytes, has 1", 20),
    Bad("longer than the datagram", DONE[:-4], "nlmsg_len is 20"),
    Bad(
        "shorter than its header",
        struct.pack("=IHHII", 3, 0, 0, 0, 0),
        "nlmsg_len is 3",
    ),
]


def test_messages_of_a_datagram_come_in_order() -> None:
    first = nlmsg.build(0x100, 2, 7, b"abcde")
    found = list(nlmsg.split(first + DONE))
    assert [(m.type, m.start, m.end) for m in found] == [(0x100, 0, 21), (3, 24, 44)]


def test_the_last_message_may_be_unpadded() -> None:
    bare = nlmsg.build(0x100, 2, 7, b"abcde")[:21]
    assert [m.end for m in nlmsg.split(DONE + bare)] == [20, 41]


@pytest.mark.parametrize("case", BAD_FRAMES, ids=lambda case: case.id)
def test_bad_framing_names_the_place(case: Bad) -> None:
    with pytest.raises(DecodeError, match=case.reason) as caught:
        list(nlmsg.split(case.data))
    assert caught.value.offset == case.offset


def test_attributes_lose_their_flag_bits_and_padding() -> None:
    run = nla.nest(5, nla.build(1, b"ftp\0"), nla.build(2, b"x")) + nla.build(7, b"")
    outer = list(nla.walk(run, 0, len(run), ("flow",)))
    assert [(a.type, a.end - a.start) for a in outer] == [(5, 16), (7, 0)]
    inner = list(nla.walk(run, outer[0].start, outer[0].end, ("CTA_HELP",)))
    assert [(a.type, run[a.start : a.end]) for a in inner] == [(1, b"ftp\0"), (2, b"x")]


def test_an_attribute_longer_than_its_room_is_an_error() -> None:
    run = struct.pack("=HH", 12, 1) + b"1234"
    with pytest.raises(DecodeError, match="nla_len is 12") as caught:
        list(nla.walk(run, 0, len(run), ("CTA_MARK",)))
    assert caught.value.path == ("CTA_MARK",)


def _refusal(
    flags: int, tail: bytes, *, code: int = -22, echo: bytes = DONE
) -> nlmsg.Ack:
    data = nlmsg.build(
        uapi.NLMSG_ERROR, flags, 7, struct.pack("=i", code) + echo + tail
    )
    (message,) = nlmsg.split(data)
    return nlmsg.ack(data, message)


def _words(verdict: nlmsg.Ack) -> tuple[int, str | None, int | None]:
    return verdict.errno, verdict.extack, verdict.offset


def test_an_error_carries_the_kernels_words_and_the_offset() -> None:
    tail = nla.build(1, b"Unknown attribute\0") + nla.build(2, struct.pack("=I", 20))
    expected = (22, "Unknown attribute", 20)
    assert _words(_refusal(uapi.NLM_F_ACK_TLVS, tail)) == expected
    capped = uapi.NLM_F_ACK_TLVS | uapi.NLM_F_CAPPED
    assert _words(_refusal(capped, tail, echo=DONE[:16])) == expected


def test_an_error_without_words_has_its_number() -> None:
    assert _refusal(0, b"").errno == 22
    assert _refusal(0, b"", code=0).errno == 0


def test_done_may_carry_an_error() -> None:
    data = nlmsg.build(uapi.NLMSG_DONE, 2, 7, struct.pack("=i", -4))
    (message,) = nlmsg.split(data)
    assert nlmsg.ack(data, message).errno == 4
