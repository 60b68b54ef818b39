"""The format of a recording: frames, each whole and checked by itself.

A recording is a header frame, then pieces of the table and events as ctnetlink
sent them; ``docs/reference/recording-format`` is the specification.  Reading
trusts nothing: lengths have limits, both checksums must fit, and after damage
the reader goes on at the next good frame and says what it left out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from typing import Any

from natscope.codec import nlmsg
from natscope.errors import DecodeError, MissingTool

MAGIC = b"\x89NSR"
"""Begins every frame, and so the file; not ASCII, so no text begins with it."""
VERSION = 1
FRAME = struct.Struct("<4sBBBBIIQIIIII")
"""Magic, version, kind, packing, zero, stored, length, time_ns, lost, count,
sequence, CRC-32 of the payload as stored, CRC-32 of the 40 bytes before."""
FRAME_SIZE = FRAME.size
LARGEST = 1 << 20
"""Bytes of a payload, packed and unpacked; what claims more is damage."""
_CRC = struct.Struct("<I")
TIME_SIZE = nlmsg.HEADER.size + 8
"""Bytes of a time message."""
NLMSG_NOOP = 1  # linux/netlink.h: "nothing", left out by whoever reads messages


class FrameKind(IntEnum):
    """What the payload of a frame is."""

    HEADER = 1
    """JSON: the Header; begins a file."""
    DUMP_BEGIN = 2
    """Empty: from here to DUMP_END, DUMP frames are the whole table."""
    DUMP = 3
    """Entries as the kernel dumped them."""
    DUMP_END = 4
    """Empty; ``count`` is how many entries there were."""
    EVENTS = 5
    """Event messages as received, after time messages of when they were."""
    LOSS = 6
    """Empty; ``lost`` events never came."""
    END = 7
    """JSON: why the file ends, and totals."""


class Packing(IntEnum):
    """How a payload is compressed."""

    NONE = 0
    ZLIB = 1
    ZSTD = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that proved whole.

    Attributes:
        kind: what the payload is; a kind this version does not know is an int.
        payload: its bytes, unpacked.
        time_ns: when the last of it was received, ns since 1970.
        lost: events lost before it.
        count: messages in the payload.
        sequence: its number in the file, the header's is 0.
        offset: where it begins, in bytes from the start of the file.
    """

    kind: int
    payload: bytes
    time_ns: int
    lost: int = 0
    count: int = 0
    sequence: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that are no frame, and were left out.

    Attributes:
        offset: where they begin, in bytes from the start of the file.
        length: how many.
        reason: what is wrong with the first of them.
        at_end: nothing follows them, as after a crash or a full disk.
    """

    offset: int
    length: int
    reason: str
    at_end: bool = False

    def __str__(self) -> str:
        return f"{self.length} bytes at byte {self.offset} left out: {self.reason}"


class Packer:
    """Makes the frames of one file, numbering them.

    Args:
        packing: how payloads are compressed where that is asked for.
    """

    def __init__(self, packing: Packing | None = None) -> None:
        self._packing = best_packing() if packing is None else packing
        self._compress = _compressor(self._packing)
        self._sequence = 0

    def frame(
        self,
        kind: FrameKind,
        payload: bytes = b"",
        *,
        time_ns: int,
        lost: int = 0,
        count: int = 0,
        compress: bool = True,
    ) -> bytes:
        """One frame; ``compress=False`` when there is no time for it.

        Raises:
            ValueError: the payload is larger than LARGEST.
        """
        if len(payload) > LARGEST:
            msg = f"a payload of {len(payload)} bytes, at most {LARGEST} fit a frame"
            raise ValueError(msg)
        packing, stored = Packing.NONE, payload
        if compress and payload and self._packing != Packing.NONE:
            packed = self._compress(payload)
            if len(packed) < len(payload):
                packing, stored = self._packing, packed
        head = FRAME.pack(
            *(MAGIC, VERSION, kind, packing, 0, len(stored), len(payload), time_ns),
            *(min(lost, 0xFFFF_FFFF), count, self._sequence, zlib.crc32(stored), 0),
        )[: -_CRC.size]
        self._sequence += 1
        return b"".join((head, _CRC.pack(zlib.crc32(head)), stored))

    def take_back(self) -> None:
        """The last frame is not in the file: the next has its number."""
        self._sequence -= 1


def best_packing() -> Packing:
    """zstd where the zstandard package is installed, else zlib."""
    return Packing.ZLIB if _zstandard() is None else Packing.ZSTD


def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        return None


def _compressor(packing: Packing) -> Any:
    if packing == Packing.ZSTD:
        return _zstandard().ZstdCompressor(level=1, write_content_size=True).compress
    return lambda payload: zlib.compress(payload, 1)


def time_message(time_ns: int) -> bytes:
    """A netlink message that says when those after it were received."""
    header = nlmsg.HEADER.pack(TIME_SIZE, NLMSG_NOOP, 0, 0, 0)
    return header + struct.pack("=Q", time_ns)


def read_frames(blocks: Iterable[bytes]) -> Iterator[Frame | Gap]:
    """The frames of a file, and what between them is none; in bounded memory.

    Args:
        blocks: the bytes of the file in pieces of any size.

    Raises:
        DecodeError: the file begins with a frame of a later version.
        MissingTool: it is packed with zstd and zstandard is not installed.
    """
    window = _Window(blocks)
    bad: tuple[int, str] | None = None
    while window.has(1):
        found = _frame_at(window)
        if isinstance(found, str):
            bad = bad or (window.offset, found)
            window.skip_to_magic()
            continue
        frame, size = found
        if bad is not None:
            yield Gap(bad[0], window.offset - bad[0], bad[1])
            bad = None
        window.skip(size)
        yield frame
    if bad is not None:
        yield Gap(bad[0], window.offset - bad[0], bad[1], at_end=True)


class _Window:
    """The part of a file that is looked at: never much more than a frame."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self.bytes = bytearray()
        self.offset = 0
        """Of the first byte, from the start of the file."""

    def has(self, size: int) -> bool:
        """Whether so many bytes are there, after reading what it takes."""
        while len(self.bytes) < size:
            block = next(self._blocks, None)
            if block is None:
                return False
            self.bytes += block
        return True

    def skip(self, size: int) -> None:
        """Go on by so many bytes, which are there."""
        del self.bytes[:size]
        self.offset += size

    def skip_to_magic(self) -> None:
        """Go on by a byte at least, to the next that may begin a frame."""
        at = self.bytes.find(MAGIC, 1)
        while at < 0:
            # its beginning may be the end of what is here
            self.skip(max(1, len(self.bytes) - len(MAGIC) + 1))
            more = self.has(len(self.bytes) + 1)
            at = self.bytes.find(MAGIC)
            if not more:
                break
        self.skip(at if at >= 0 else len(self.bytes))


def _frame_at(window: _Window) -> tuple[Frame, int] | str:
    """The frame a window begins with and its size; what is wrong if it is none."""
    if not window.has(FRAME_SIZE):
        return "a frame is cut off"
    told = FRAME.unpack_from(window.bytes)
    magic, version, kind, packing, _, stored, length, time_ns = told[:8]
    lost, count, sequence, crc, head_crc = told[8:]
    if magic != MAGIC:
        return "no frame begins here"
    if zlib.crc32(window.bytes[: FRAME_SIZE - _CRC.size]) != head_crc:
        return "the head of a frame is damaged"
    if version != VERSION:
        return _other_version(version, window.offset)
    if max(stored, length) > LARGEST:
        return f"a frame claims {max(stored, length)} bytes"
    if not window.has(FRAME_SIZE + stored):
        return "a frame is cut off"
    packed = bytes(window.bytes[FRAME_SIZE : FRAME_SIZE + stored])
    if zlib.crc32(packed) != crc:
        return "the payload of a frame is damaged"
    payload = _unpacked(packed, packing, length)
    if payload is None:
        return "the payload of a frame cannot be unpacked"
    frame = Frame(kind, payload, time_ns, lost, count, sequence, window.offset)
    return frame, FRAME_SIZE + stored


def _other_version(version: int, offset: int) -> str:
    if offset == 0:
        reason = f"version {version}, this natscope reads version {VERSION}"
        raise DecodeError(reason, path=("recording",), offset=4)
    return f"a frame of version {version}"


def _unpacked(packed: bytes, packing: int, length: int) -> bytes | None:
    """A payload of exactly ``length`` bytes, None if it is none."""
    try:
        payload = _UNPACKERS[packing](packed, length)
    except (KeyError, zlib.error, ValueError):
        return None
    return payload if len(payload) == length else None


def _plain(packed: bytes, length: int) -> bytes:
    return packed


def _inflated(packed: bytes, length: int) -> bytes:
    # 0 would be "no limit"
    return zlib.decompressobj().decompress(packed, length + 1)


def _from_zstd(packed: bytes, length: int) -> bytes:
    zstandard = _zstandard()
    if zstandard is None:
        raise MissingTool(
            "this recording is packed with zstd",
            hint="install the Python package zstandard (natscope[zstd])",
        )
    unpacker = zstandard.ZstdDecompressor(max_window_size=LARGEST)
    try:
        with unpacker.stream_reader(packed) as stream:
            payload: bytes = stream.read(length + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return payload


_UNPACKERS: dict[int, Callable[[bytes, int], bytes]] = {
    Packing.NONE: _plain,
    Packing.ZLIB: _inflated,
    Packing.ZSTD: _from_zstd,
}
