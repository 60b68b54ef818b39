"""Records, as a program writes them."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

from natscope import uapi
from natscope.codec import packets
from natscope.model.flow import Flow
from natscope.model.packet import Packet
from natscope.model.tuples import FlowTuple
from natscope.trace.layout import ENTRY, EntryLayout, Layout
from natscope.trace.records import DROPPED, HEADERS, SIZE, Record, decode

AT = EntryLayout(
    start=8, orig=24, reply=80, status=120, tcp_state=216, mark=160, zone=4
)
LAYOUT = Layout(
    skb_nfct=0, skb_dev=0, skb_mark=0, skb_tail=0, skb_head=0, skb_network=0,
    skb_transport=0, context_state=0, context_skb=0, state_hook=0, state_in=0,
    state_out=0, state_net=0, net_hooks={}, hook_entries=8, ifindex=0, device_net=0,
    entry=AT,
)  # fmt: skip
PACKET = Packet(
    ip_address("10.0.0.2"), ip_address("198.51.100.9"), uapi.IPPROTO_UDP,
    sport=4001, dport=53, payload=b"question",
)  # fmt: skip
_SKB, _ENTRY = 0xFFFF_8880_0000_1000, 0xFFFF_8880_0000_2000
NEW, REPLY, UNTRACKED = 2, 3, 7
"""enum ip_conntrack_info."""


def written(
    ct: int = 0,
    entry: bytes = b"",
    *,
    hook: int = 0,
    place: int = 0,
    mark: int = 7,
    headed: int | None = None,
) -> Record:
    data = packets.encode(PACKET)
    fixed = struct.pack(
        "<QQQIIBBxxIIII4x",
        1_000, _SKB, ct, 3, place, hook, uapi.AF_INET, mark,
        len(data) if headed is None else headed, 2, 5,
    )  # fmt: skip
    record = fixed + entry.ljust(ENTRY, b"\0") + data.ljust(HEADERS, b"\xee")
    assert len(record) == SIZE
    return decode(record, LAYOUT)


def tuple_bytes(src: str, dst: str, ports: tuple[int, int], proto: int) -> bytes:
    """struct nf_conntrack_tuple."""
    one, other = ip_address(src), ip_address(dst)
    family = uapi.AF_INET if one.version == 4 else uapi.AF_INET6
    return (
        one.packed.ljust(16, b"\0") + struct.pack(">H", ports[0])
        + struct.pack("<H", family) + other.packed.ljust(16, b"\0")
        + struct.pack(">HBB", ports[1], proto, 0)
    )  # fmt: skip


def entry(orig: bytes, reply: bytes, zone: tuple[int, int], **numbers: int) -> bytes:
    data = bytearray(ENTRY)
    struct.pack_into("<HBB", data, 4, zone[0], 0, zone[1])
    data[AT.orig : AT.orig + 40], data[AT.reply : AT.reply + 40] = orig, reply
    struct.pack_into("<I", data, AT.status, numbers["status"])
    struct.pack_into("<I", data, 160, numbers["mark"])
    data[AT.tcp_state] = numbers.get("tcp_state", 0)
    return bytes(data)


MASQUERADED = (
    tuple_bytes("10.0.0.2", "198.51.100.9", (4001, 53), uapi.IPPROTO_UDP),
    tuple_bytes("198.51.100.9", "203.0.113.1", (53, 4001), uapi.IPPROTO_UDP),
)


def test_a_packet_before_conntrack_has_no_entry() -> None:
    found = written()
    assert (found.number, found.skb, found.time_ns) == (3, _SKB, 1_000)
    assert (found.iif, found.oif, found.mark) == (2, 5, 7)
    assert (found.flow, found.state, found.direction) == (None, None, 0)
    assert found.packet is not None
    assert found.packet.tuple == PACKET.tuple


def test_an_entry_is_told_with_both_tuples() -> None:
    data = entry(*MASQUERADED, (0, 3), status=0x1A8, mark=9, tcp_state=3)
    found = written(_ENTRY | NEW, data)
    assert found.flow == Flow(
        orig=FlowTuple(
            ip_address("10.0.0.2"), ip_address("198.51.100.9"), 17, 4001, 53
        ),
        reply=FlowTuple(
            ip_address("198.51.100.9"), ip_address("203.0.113.1"), 17, 53, 4001
        ),
        status=0x1A8,
        mark=9,
    )
    assert (found.state, found.direction) == (8, 0)
    assert written(_ENTRY | REPLY, data).state == 2
    assert written(_ENTRY | REPLY, data).direction == 1


def test_a_zone_is_of_both_directions_or_of_one() -> None:
    both = written(_ENTRY, entry(*MASQUERADED, (5, 3), status=0, mark=0)).flow
    one = written(_ENTRY, entry(*MASQUERADED, (5, 1), status=0, mark=0)).flow
    assert both is not None
    assert one is not None
    assert (both.zone, both.orig.zone, both.reply.zone) == (5, None, None)
    assert (one.zone, one.orig.zone, one.reply.zone) == (None, 5, None)


def test_an_icmp_tuple_has_id_type_and_code() -> None:
    orig = tuple_bytes("fd00::2", "2001:db8::9", (77, 0x8000), uapi.IPPROTO_ICMPV6)
    reply = tuple_bytes("2001:db8::9", "fd00::2", (77, 0x8100), uapi.IPPROTO_ICMPV6)
    flow = written(_ENTRY, entry(orig, reply, (0, 3), status=0, mark=0)).flow
    assert flow is not None
    assert flow.orig == FlowTuple(
        ip_address("fd00::2"), ip_address("2001:db8::9"), 58,
        icmp_type=128, icmp_code=0, icmp_id=77,
    )  # fmt: skip


def test_an_untracked_packet_says_so() -> None:
    assert written(UNTRACKED).state == 64


def test_the_hooks_stand_in_place_of_an_entry_after_conntrack() -> None:
    hooks = struct.pack("<Q4Q", 2, 0x1000, 0, 0x2000, 0)
    assert written(0, hooks, place=1).hooks == (0x1000, 0x2000)
    assert written(0, hooks, place=0).hooks == ()
    many = struct.pack("<Q28Q", 40, *range(28))
    assert written(0, many, place=1).hooks == tuple(range(0, 28, 2))


def test_a_drop_has_a_reason_and_a_place() -> None:
    found = written(0xFFFF_FFFF_8100_0000, hook=DROPPED, mark=69)
    assert (found.reason, found.address) == (69, 0xFFFF_FFFF_8100_0000)
    assert (found.flow, found.mark) == (None, 0)


def test_what_follows_the_head_of_the_skb_is_not_read() -> None:
    cut = written(headed=20).packet
    assert cut is not None
    assert (cut.sport, cut.payload) == (None, b"")
    assert written(headed=3).packet is None


def test_the_layout_tells_what_the_kernel_lacks() -> None:
    bare = replace(LAYOUT, entry=replace(AT, mark=None, zone=None))
    data = bytearray(SIZE)
    struct.pack_into("<Q", data, 16, _ENTRY | NEW)
    start = 56 + AT.orig
    data[start : start + 40] = MASQUERADED[0]
    data[56 + AT.reply : 56 + AT.reply + 40] = MASQUERADED[1]
    flow = decode(bytes(data), bare).flow
    assert flow is not None
    assert (flow.mark, flow.zone) == (None, None)
