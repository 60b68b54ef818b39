"""What is made of a packet's records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.journey import Hook
from natscope.model.packet import Packet
from natscope.trace.drops import Reasons, Symbols
from natscope.trace.records import DROPPED, Record
from natscope.trace.sightings import Reader

POINTS = {Hook.PREROUTING: (-301, -199), Hook.INPUT: (-1,), Hook.POSTROUTING: (99, 101)}
KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000100 T nft_do_chain\t[nf_tables]
ffffffff81000200 t ipv4_conntrack_in
ffffffff81000210 d data_in_between
ffffffff81000300 t nf_hook_run_bpf
"""
PACKET = Packet(
    ip_address("10.0.0.2"), ip_address("198.51.100.9"), uapi.IPPROTO_UDP,
    sport=4001, dport=53, ip_id=77,
)  # fmt: skip
SEEN = Record(
    number=1, skb=16, time_ns=5, hook=0, family=uapi.AF_INET, place=0,
    iif=2, oif=0, mark=0, packet=PACKET,
)  # fmt: skip
LEFT = replace(SEEN, hook=Hook.POSTROUTING, place=1, oif=3)
DROP = replace(SEEN, hook=DROPPED, reason=69, address=0xFFFFFFFF81000142)


def reader(tmp_path: Path, kallsyms: str = KALLSYMS) -> Reader:
    path = tmp_path / "kallsyms"
    path.write_text(kallsyms)
    names = {2: "lan", 3: "wan"}

    def name(index: int) -> str:
        if index not in names:
            raise OSError
        return names[index]

    reasons = {4: "SKB_DROP_REASON_QUEUE_PURGE", 69: "SKB_DROP_REASON_NETFILTER_DROP"}
    return Reader(POINTS, Reasons(reasons), name, Symbols(path))


def test_a_packet_that_came_to_the_end_has_left(tmp_path: Path) -> None:
    found = reader(tmp_path).sightings([SEEN, LEFT])
    assert [(p.hook, p.priority, p.iif, p.oif) for p in found.positions] == [
        (Hook.PREROUTING, -301, "lan", None),
        (Hook.POSTROUTING, 101, "lan", "wan"),
    ]
    assert [d.interface for d in found.departures] == ["wan"]
    assert [v.base.priority for v in found.visits] == [-301, 101]


def test_a_packet_that_did_not_has_not(tmp_path: Path) -> None:
    assert reader(tmp_path).sightings([SEEN]).departures == ()


def test_a_dropped_packet_has_not_left_and_says_where(tmp_path: Path) -> None:
    found = reader(tmp_path).sightings([SEEN, LEFT, DROP])
    assert found.departures == ()
    assert found.drop is not None
    assert (found.drop.reason, found.drop.place) == (
        "NETFILTER_DROP",
        "nft_do_chain+0x42",
    )


def test_the_drop_of_another_packet_in_its_memory_is_not_its_own(
    tmp_path: Path,
) -> None:
    other = replace(DROP, packet=replace(PACKET, ip_id=78))
    found = reader(tmp_path).sightings([SEEN, LEFT, other])
    assert found.drop is None
    assert found.departures != ()


def test_notes_of_another_skb_are_left_out(tmp_path: Path) -> None:
    found = reader(tmp_path).sightings([replace(SEEN, skb=32), SEEN, LEFT])
    assert len(found.positions) == 2


def test_what_a_socket_does_with_a_packet_that_has_left_is_no_drop(
    tmp_path: Path,
) -> None:
    """On the other end of a veth the same skb goes on; in a queue it has no device."""
    found = reader(tmp_path).sightings([SEEN, LEFT, replace(DROP, iif=0)])
    assert found.drop is None
    assert [d.interface for d in found.departures] == ["wan"]


def test_an_unread_packet_that_goes_with_its_socket_was_delivered(
    tmp_path: Path,
) -> None:
    at_the_box = replace(SEEN, hook=Hook.INPUT, place=0)
    purged = replace(DROP, iif=0, reason=4)
    found = reader(tmp_path).sightings([SEEN, at_the_box, purged])
    assert found.drop is None
    assert [d.interface for d in found.departures] == [None]


@dataclass(frozen=True)
class Other:
    id: str
    packet: Packet


OTHERS = [
    Other("another protocol", replace(PACKET, proto=uapi.IPPROTO_UDPLITE)),
    Other("another IP id", replace(PACKET, ip_id=78)),
    Other("another flow label", replace(PACKET, flow_label=9)),
    Other("an echo reply", replace(PACKET, icmp_type=0, icmp_seq=1)),
    Other("a reset", replace(PACKET, tcp_flags=uapi.TcpFlag.RST)),
    Other("another SPI", replace(PACKET, spi=5)),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda case: case.id)
@pytest.mark.parametrize("at", [0, 2])
def test_another_packet_in_the_same_memory_is_left_out(
    tmp_path: Path, other: Other, at: int
) -> None:
    records = [SEEN, LEFT]
    records.insert(at, replace(SEEN, packet=other.packet))
    found = reader(tmp_path).sightings(records)
    assert [p.packet for p in found.positions] == [PACKET, PACKET]
    assert found.departures != ()


def test_what_translation_touches_makes_no_other_packet(tmp_path: Path) -> None:
    turned = replace(
        PACKET, src=ip_address("203.0.113.1"), sport=9, ttl=63, tcp_flags=0x40
    )
    found = reader(tmp_path).sightings([SEEN, replace(LEFT, packet=turned)])
    assert [p.packet for p in found.positions] == [PACKET, turned]


def test_a_reason_of_a_newer_kernel_is_its_number() -> None:
    assert Reasons({}).name(200) == "REASON200"


def test_where_symbols_are_hidden_there_is_no_place(tmp_path: Path) -> None:
    hidden = "0000000000000000 T _stext\n0000000000000000 T nft_do_chain\n"
    found = reader(tmp_path, hidden).sightings([SEEN, DROP])
    assert found.drop is not None
    assert found.drop.place is None


def test_an_entry_that_was_confirmed_before_is_the_one_it_found(
    tmp_path: Path,
) -> None:
    there = PACKET.tuple
    new = Flow(there, there.reversed(), status=0)
    known = replace(new, status=uapi.Status.CONFIRMED)
    reads = reader(tmp_path)
    made = reads.sightings([SEEN, replace(LEFT, flow=new, state=8)])
    found = reads.sightings([SEEN, replace(LEFT, flow=known, state=2)])
    assert (made.before, made.after) == (None, new)
    assert (found.before, found.after) == (known, known)


def test_conntrack_is_at_work_where_its_function_is_among_the_hooks(
    tmp_path: Path,
) -> None:
    bpf, conntrack = 0xFFFFFFFF81000300, 0xFFFFFFFF81000200
    late = replace(SEEN, place=1)
    reads = reader(tmp_path)
    assert reads.sightings([SEEN]).is_tracked is None
    assert reads.sightings([replace(late, hooks=(bpf,))]).is_tracked is False
    assert reads.sightings([replace(late, hooks=(bpf, conntrack))]).is_tracked is True
    assert reads.sightings([SEEN]).is_tracked is True


def test_an_interface_that_has_gone_is_its_number(tmp_path: Path) -> None:
    found = reader(tmp_path).sightings([replace(SEEN, iif=9)])
    assert found.positions[0].iif == "9"
