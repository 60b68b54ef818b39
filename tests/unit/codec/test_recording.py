"""Frames of a recording: what is whole is read, what is not is left out and told."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import pytest

from natscope.codec.recorded import (
    Header,
    Totals,
    decode_header,
    decode_totals,
    encode_header,
    encode_totals,
)
from natscope.codec.recording import (
    FRAME,
    FRAME_SIZE,
    LARGEST,
    MAGIC,
    Frame,
    FrameKind,
    Gap,
    Packer,
    Packing,
    read_frames,
)
from natscope.errors import DecodeError


def _three(packing: Packing = Packing.ZLIB) -> list[bytes]:
    packer = Packer(packing)
    return [
        packer.frame(FrameKind.HEADER, b"{}", time_ns=1),
        packer.frame(FrameKind.EVENTS, b"ab" * 500, time_ns=2, count=5),
        packer.frame(FrameKind.LOSS, time_ns=3, lost=7),
    ]


def _read(data: bytes, block: int = 1 << 16) -> list[Frame | Gap]:
    return list(read_frames(data[at : at + block] for at in range(0, len(data), block)))


@pytest.mark.parametrize("packing", Packing)
@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_frames_are_read_as_they_were_written(packing: Packing, block: int) -> None:
    frames = _three(packing)
    first, second, third = _read(b"".join(frames), block)
    assert first == Frame(FrameKind.HEADER, b"{}", 1)
    assert second == Frame(
        FrameKind.EVENTS, b"ab" * 500, 2, 0, 5, 1, offset=len(frames[0])
    )
    assert third == Frame(
        FrameKind.LOSS, b"", 3, 7, 0, 2, offset=len(frames[0]) + len(frames[1])
    )


def test_a_payload_is_packed_only_where_that_makes_it_smaller() -> None:
    head, events, _ = _three()
    assert (FRAME.unpack_from(head)[3], len(head)) == (Packing.NONE, FRAME_SIZE + 2)
    assert FRAME.unpack_from(events)[3] == Packing.ZLIB
    assert len(events) < 100
    hurried = Packer(Packing.ZLIB).frame(
        FrameKind.EVENTS, bytes(999), time_ns=0, compress=False
    )
    assert len(hurried) == FRAME_SIZE + 999


def test_a_frame_cut_off_at_any_byte_costs_that_frame_alone() -> None:
    head, events, loss = _three()
    for cut in range(1, len(loss)):
        *whole, gap = _read(head + events + loss[:cut])
        assert [found.kind for found in whole if isinstance(found, Frame)] == [1, 5]
        assert isinstance(gap, Gap)
        assert (gap.offset, gap.length) == (len(head) + len(events), cut)
        assert gap.at_end


def test_damage_in_the_middle_costs_one_frame_and_is_measured() -> None:
    head, events, loss = _three()
    for at in range(len(events)):
        damaged = bytearray(events)
        damaged[at] ^= 0x10
        first, gap, last = _read(head + bytes(damaged) + loss)
        assert isinstance(first, Frame)
        assert isinstance(gap, Gap)
        assert isinstance(last, Frame)
        assert (gap.offset, gap.length) == (len(head), len(events))
        assert not gap.at_end
        assert (last.kind, last.sequence) == (FrameKind.LOSS, 2)


def test_bytes_before_between_and_after_frames_are_left_out() -> None:
    head, events, loss = _three()
    found = _read(b"x\x89N" + head + MAGIC * 20 + events + bytes(5000) + loss + MAGIC)
    assert [type(one) for one in found] == [Gap, Frame, Gap, Frame, Gap, Frame, Gap]
    gaps = [one.length for one in found if isinstance(one, Gap)]
    assert gaps == [3, 80, 5000, 4]


@dataclass(frozen=True)
class Lie:
    id: str
    field: int
    value: int
    reason: str


LIES = [
    Lie("kind unknown is read", 2, 99, ""),
    Lie("packing unknown", 3, 9, "cannot be unpacked"),
    Lie("stored too large", 5, LARGEST + 1, f"claims {LARGEST + 1} bytes"),
    Lie("length too large", 6, 0xFFFFFFFF, "claims 4294967295 bytes"),
    Lie("length too small", 6, 10, "cannot be unpacked"),
    Lie("stored too long for the file", 5, 5000, "cut off"),
    Lie("a later version in the middle", 1, 2, "version 2"),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.id)
def test_a_head_whose_checksum_fits_is_not_trusted_either(lie: Lie) -> None:
    head, events, _ = _three()
    told = list(FRAME.unpack_from(events))
    told[lie.field] = lie.value
    forged = FRAME.pack(*told)[:-4]
    forged += struct.pack("<I", zlib.crc32(forged)) + events[FRAME_SIZE:]
    last = _read(head + forged)[-1]
    if lie.reason:
        assert isinstance(last, Gap)
        assert lie.reason in last.reason
    else:
        assert isinstance(last, Frame)
        assert last.kind == lie.value


def test_a_small_frame_cannot_unpack_to_more_than_it_says() -> None:
    bomb = zlib.compress(bytes(50 << 20), 9)
    head = FRAME.pack(
        *(MAGIC, 1, FrameKind.EVENTS, Packing.ZLIB, 0, len(bomb), 1000, 0),
        *(0, 0, 0, zlib.crc32(bomb), 0),
    )[:-4]
    (gap,) = _read(head + struct.pack("<I", zlib.crc32(head)) + bomb)
    assert isinstance(gap, Gap)
    assert gap.reason == "the payload of a frame cannot be unpacked"


def test_a_file_of_a_later_version_is_refused() -> None:
    head = bytearray(_three()[0])
    head[4] = 2
    head[40:44] = struct.pack("<I", zlib.crc32(head[:40]))
    with pytest.raises(DecodeError, match="version 2, this natscope reads version 1"):
        _read(bytes(head))


def test_a_payload_too_large_for_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1048576"):
        Packer(Packing.NONE).frame(FrameKind.DUMP, bytes(LARGEST + 1), time_ns=0)


HEADER = Header(
    start_ns=5,
    hostname="gw1",
    netns="blue",
    sysctls={"events": 2},
    timeouts={"udp_timeout": 30},
    addresses=("203.0.113.7/24", "2001:db8::7/64"),
    dumps=False,
)


def test_a_header_is_read_as_it_was_written() -> None:
    assert decode_header(encode_header(HEADER)) == HEADER
    evidence = HEADER.evidence(9)
    assert (evidence.now_ns, evidence.timeouts) == (9, {"udp_timeout": 30})
    assert [str(a) for a in evidence.addresses] == ["203.0.113.7/24", "2001:db8::7/64"]


def test_totals_are_read_as_they_were_written() -> None:
    totals = Totals("SIGTERM", events=5, lost=1, flows=9)
    assert decode_totals(encode_totals(totals)) == totals


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"start_ns": -1}',
        b'{"start_ns": true}',
        b'{"hostname": 5}',
        b'{"netns": 5}',
        b'{"sysctls": {"a": "b"}}',
        b'{"addresses": "::1"}',
        b'{"byteorder": "middle"}',
    ],
)
def test_a_header_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_header(payload)


def test_what_a_later_natscope_adds_to_a_header_is_let_be() -> None:
    assert decode_header(b'{"hostname": "gw1", "moon": [1]}').hostname == "gw1"
