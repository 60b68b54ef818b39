"""Capture files: made here byte by byte, and by Wireshark's own tools."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from natscope.codec.packets import encode
from natscope.codec.pcap import Captured, read, to_packet, to_packets
from natscope.errors import DecodeError
from natscope.model.packet import Packet

A, B = ip_address("10.0.0.5"), ip_address("93.184.216.34")
A6, B6 = ip_address("fd00::5"), ip_address("2001:db8::1")
TCP = Packet(A, B, 6, 51000, 443, tcp_flags=2, seq=1, ack=0, window=64240)
UDP6 = Packet(A6, B6, 17, 51000, 53, payload=b"abc")
MACS = bytes(12)
V4, V6 = b"\x08\x00", b"\x86\xdd"
VLAN, OUTER = b"\x81\x00\x00\x05", b"\x88\xa8\x00\x06"
TIME_NS = 1_700_000_000_123_456_789
TIME_US = TIME_NS // 1000 * 1000


def pcap(frames: list[bytes], *, order: str, magic: int, linktype: int = 101) -> bytes:
    """A pcap file of whole frames, all of one moment."""
    unit = 1000 if magic == 0xA1B2C3D4 else 1
    seconds, fraction = divmod(TIME_NS, 10**9)
    file = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for frame in frames:
        size = len(frame)
        head = struct.pack(f"{order}IIII", seconds, fraction // unit, size, size)
        file += head + frame
    return file


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(frame: bytes, *, order: str, resolution: int, ticks: int) -> bytes:
    """A pcapng file: section, interface, a block nobody knows, a frame, a simple one."""
    end = bytes(4)
    head = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
    options = option(order, 2, b"eth0") + option(order, 9, bytes([resolution])) + end
    interface = struct.pack(f"{order}HHI", 101, 0, 24) + options
    size = len(frame)
    enhanced = struct.pack(
        f"{order}IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, size, size
    )
    return b"".join(
        block(order, kind, body)
        for kind, body in (
            (0x0A0D0D0A, head),
            (1, interface),
            (0x0BAD, b"whatever"),
            (6, enhanced + frame),
            (3, struct.pack(f"{order}I", size) + frame[:24]),
        )
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "time_ns"), [(0xA1B2C3D4, TIME_US), (0xA1B23C4D, TIME_NS)]
)
def test_a_pcap_file_is_read(order: str, magic: int, time_ns: int) -> None:
    frames = [encode(TCP), encode(UDP6), b""]
    found = list(read(pcap(frames, order=order, magic=magic)))
    assert found == [Captured(time_ns, 101, frame, len(frame)) for frame in frames]


@dataclass(frozen=True)
class Clock:
    id: str
    resolution: int
    ticks: int
    time_ns: int


CLOCKS = [
    Clock("microseconds", 6, TIME_NS // 1000, TIME_US),
    Clock("nanoseconds", 9, TIME_NS, TIME_NS),
    Clock("a 1024th of a second", 0x80 | 10, (5 << 10) + 512, 5_500_000_000),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("clock", CLOCKS, ids=lambda clock: clock.id)
def test_a_pcapng_file_is_read(order: str, clock: Clock) -> None:
    frame = encode(TCP)
    file = pcapng(frame, order=order, resolution=clock.resolution, ticks=clock.ticks)
    whole, simple = read(file)
    assert whole == Captured(clock.time_ns, 101, frame, 40, "eth0")
    assert simple == Captured(None, 101, frame[:24], 40, "eth0")
    packet = to_packet(simple)
    assert packet is not None
    assert (packet.dport, packet.tcp_flags, packet.length) == (443, None, 40)


def test_sections_may_follow_each_other_in_either_byte_order() -> None:
    frame = encode(TCP)
    file = b"".join(pcapng(frame, order=o, resolution=9, ticks=7) for o in "<>")
    assert [found.time_ns for found in read(file)] == [7, None, 7, None]


def test_a_file_may_be_a_stream() -> None:
    file = io.BytesIO(pcap([encode(TCP)], order="<", magic=0xA1B2C3D4))
    assert [to_packet(frame) for frame in read(file)] == [TCP]


@dataclass(frozen=True)
class Link:
    """A frame of a link type, and the packet in it."""

    id: str
    linktype: int
    frame: bytes
    packet: Packet | None


_T, _U = encode(TCP), encode(UDP6)
_SLL2 = bytes(18)
LINKS = [
    Link("Ethernet", 1, MACS + V4 + _T, TCP),
    Link("Ethernet padded to its least", 1, MACS + V4 + _T + bytes(6), TCP),
    Link("Ethernet with a VLAN tag", 1, MACS + VLAN + V6 + _U, UDP6),
    Link("Ethernet with two", 1, MACS + OUTER + VLAN + V4 + _T, TCP),
    Link("ARP", 1, MACS + b"\x08\x06" + bytes(28), None),
    Link("a length in the place of a type", 1, MACS + b"\0\x26" + bytes(38), None),
    Link("a frame cut in its header", 1, MACS, None),
    Link("raw IPv4", 101, _T, TCP),
    Link("raw IPv6", 229, _U, UDP6),
    Link("raw, but nothing", 101, b"", None),
    Link("Linux cooked", 113, bytes(14) + V4 + _T, TCP),
    Link("Linux cooked 2", 276, V6 + _SLL2 + _U, UDP6),
    Link(
        "Linux cooked 2 with a VLAN tag",
        276,
        VLAN[:2] + _SLL2 + VLAN[2:] + V4 + _T,
        TCP,
    ),
    Link("BSD loopback", 0, b"\2\0\0\0" + _T, TCP),
    Link("BSD loopback of the other byte order", 0, b"\0\0\0\x1e" + _U, UDP6),
    Link("OpenBSD loopback", 108, b"\0\0\0\x18" + _U, UDP6),
    Link("loopback of something else", 108, b"\0\0\0\x07" + _U, None),
]


@pytest.mark.parametrize("case", LINKS, ids=lambda case: case.id)
def test_the_packet_is_found_in_its_frame(case: Link) -> None:
    assert (
        to_packet(Captured(0, case.linktype, case.frame, len(case.frame)))
        == case.packet
    )


def test_a_link_type_nobody_knows_is_said() -> None:
    with pytest.raises(DecodeError, match="link type 127"):
        to_packet(Captured(0, 127, b"", 0))


def test_one_bad_packet_does_not_hide_the_next() -> None:
    frames = [Captured(0, 101, data, len(data)) for data in (_T[:-1], _T)]
    bad, good = [packet for _, packet in to_packets(frames)]
    assert isinstance(bad, DecodeError)
    assert good == TCP


@dataclass(frozen=True)
class Damaged:
    """A file that goes wrong at a byte, and how many frames come before."""

    id: str
    data: bytes
    offset: int
    frames: int


_FILE = pcap([_T, _T], order="<", magic=0xA1B2C3D4)
_NG = pcapng(_T, order="<", resolution=6, ticks=0)
_SECOND = 24 + 16 + 40
_EPB_AT = _NG.index(struct.pack("<II", 6, 72))
DAMAGED = [
    Damaged("nothing", b"", 0, 0),
    Damaged("text", b"GET / HTTP/1.0", 0, 0),
    Damaged("a header cut off", _FILE[:20], 4, 0),
    Damaged("a packet header cut off", _FILE[: _SECOND + 5], _SECOND, 1),
    Damaged("a packet cut off", _FILE[:-1], _SECOND + 16, 1),
    Damaged(
        "a length of four gigabytes",
        _FILE[: _SECOND + 8] + b"\xff\xff\xff\xff" + _FILE[_SECOND + 12 :],
        _SECOND + 16,
        1,
    ),
    Damaged("pcapng with no byte order", _NG[:8] + bytes(20), 12, 0),
    Damaged("a block cut off", _NG[:-2], _EPB_AT + 72 + 8, 1),
    Damaged("two lengths that differ", _NG[:-1] + b"\1", len(_NG), 1),
    Damaged("an unaligned block", _NG + struct.pack("<II", 6, 14), len(_NG) + 8, 2),
    Damaged(
        "a frame of no interface",
        _NG + block("<", 6, struct.pack("<IIIII", 9, 0, 0, 0, 0)),
        len(_NG) + 32,
        2,
    ),
    Damaged(
        "a frame longer than its block",
        _NG + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 9, 9)),
        len(_NG) + 32,
        2,
    ),
    Damaged("a block too short", _NG + block("<", 6, bytes(4)), len(_NG) + 16, 2),
]


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case.id)
def test_a_damaged_file_is_refused_at_the_damage(case: Damaged) -> None:
    with pytest.raises(DecodeError) as caught:
        list(read(case.data))
    assert caught.value.offset == case.offset


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case.id)
def test_what_comes_before_the_damage_is_told(case: Damaged) -> None:
    frames = read(case.data)
    for _ in range(case.frames):
        assert next(frames).data
    with pytest.raises(DecodeError):
        next(frames)


def tool(name: str, *arguments: str | Path, text: str | None = None) -> str:
    """What one of Wireshark's programs prints; skips where it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed (Debian package wireshark-common)")
    done = subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        input=text,
        check=True,
        timeout=60,
    )
    return done.stdout


def dump(data: bytes) -> str:
    """Bytes as text2pcap reads them."""
    rows = range(0, len(data), 16)
    return "".join(f"{at:06x} {data[at : at + 16].hex(' ')}\n" for at in rows)


_PACKETS = [TCP, replace(TCP, tcp_flags=0x18, payload=b"GET /"), UDP6]


def made(folder: Path, format: str) -> Path:
    """A capture of Ethernet frames, as text2pcap writes it."""
    file = folder / format
    types = {4: V4, 6: V6}
    frames = [MACS + types[one.src.version] + encode(one) for one in _PACKETS]
    hexadecimal = "".join(map(dump, frames))
    tool("text2pcap", "-q", "-F", format, "-", file, text=hexadecimal)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("format", ["pcap", "nsecpcap", "pcapng"])
def test_what_text2pcap_writes_is_read(tmp_path: Path, format: str) -> None:
    found = list(read(made(tmp_path, format).read_bytes()))
    assert [to_packet(frame) for frame in found] == _PACKETS
    assert all(frame.time_ns for frame in found)


@pytest.mark.slow
def test_what_mergecap_and_editcap_make_of_it_is_read(tmp_path: Path) -> None:
    merged, cut = tmp_path / "merged", tmp_path / "cut"
    files = [made(tmp_path, format) for format in ("pcapng", "nsecpcap")]
    tool("mergecap", "-a", "-w", merged, *files)
    assert [to_packet(frame) for frame in read(merged.read_bytes())] == _PACKETS * 2
    tool("editcap", "-s", "54", "-F", "pcap", merged, cut)
    second = to_packet(list(read(cut.read_bytes()))[1])
    assert second is not None
    assert (second.tcp_flags, second.payload, second.length) == (0x18, b"", 45)


@pytest.mark.slow
def test_tshark_finds_every_checksum_right(tmp_path: Path) -> None:
    found = tool(
        "tshark", "-r", made(tmp_path, "pcap"), "-T", "fields",
        "-o", "ip.check_checksum:TRUE",
        "-o", "tcp.check_checksum:TRUE",
        "-o", "udp.check_checksum:TRUE",
        "-e", "ip.checksum.status", "-e", "tcp.checksum.status",
        "-e", "udp.checksum.status",
    )  # fmt: skip
    assert found.splitlines() == ["1\t1\t", "1\t1\t", "\t\t1"]
