"""Packets conntrack complained of, as lines and as objects."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

from natscope import uapi
from natscope.model.flow import Flow
from natscope.model.packet import Packet
from natscope.render import invalid
from natscope.views.invalid import Invalid, complaint

PACKET = Packet(
    ip_address("10.0.0.2"),
    ip_address("192.0.2.80"),
    uapi.IPPROTO_TCP,
    sport=4000,
    dport=80,
    tcp_flags=uapi.TcpFlag.ACK,
)
ENTRY = Flow(PACKET.tuple, PACKET.tuple.reversed(), tcp_state=3, timeout=100, id=7)
OVER = complaint("nf_ct_proto_6: SEQ is over upper bound 2002 (over the window …) ")
ONE = Invalid(OVER, PACKET, ENTRY, "eth0", 5)


def test_a_packet_is_told_with_its_reason_and_its_entry() -> None:
    assert list(invalid.lines(ONE, "12:00:00.000")) == [
        "12:00:00.000  tcp 10.0.0.2:4000 > 192.0.2.80:80 ACK, in eth0",
        "              INVALID: its data lies beyond 2002, the end of the receiver's "
        "window",
        "              entry: tcp ESTABLISHED 10.0.0.2:4000 > 192.0.2.80:80, reply "
        "192.0.2.80:80 > 10.0.0.2:4000, 100 s left",
    ]


def test_what_is_let_through_is_not_called_invalid() -> None:
    late = complaint("nf_ct_proto_6: SEQ is under lower bound 9 (already …) ")
    told = list(invalid.lines(Invalid(late, None), "12:00:00.000"))
    assert told == [
        "12:00:00.000  no IP packet",
        "              let through: it repeats data that was acknowledged long ago, "
        "below 9",
    ]


def test_the_summary_counts_reasons_silence_and_peers() -> None:
    many = [
        replace(ONE, packet=replace(PACKET, src=ip_address(f"10.0.1.{n}")))
        for n in range(12)
    ]
    told = list(invalid.summary([*many, ONE, ONE], silent=3))
    assert told[0] == "    14  seq-over-window"
    assert told[2] == "     3  without a message"
    assert told[-1].startswith("from    10.0.0.2 (2), 10.0.1.0 (1), ")
    assert told[-1].endswith(", 3 more")


def test_nothing_is_summed_up_of_nothing() -> None:
    assert list(invalid.summary([], silent=0)) == []


def test_a_packet_is_an_object_for_programs() -> None:
    told = json.loads(json.dumps(invalid.document(ONE)))
    assert told == {
        "time_ns": 5,
        "packet": "tcp 10.0.0.2:4000 > 192.0.2.80:80 ACK",
        "src": "10.0.0.2",
        "dst": "192.0.2.80",
        "iif": "eth0",
        "invalid": True,
        "reason": "seq-over-window",
        "words": "its data lies beyond 2002, the end of the receiver's window",
        "advice": OVER.reason.advice,
        "kernel": "SEQ is over upper bound 2002 (over the window …)",
        "entry": {
            "id": 7,
            "orig": "10.0.0.2:4000 > 192.0.2.80:80",
            "reply": "192.0.2.80:80 > 10.0.0.2:4000",
            "tcp_state": "ESTABLISHED",
            "timeout": 100,
        },
    }
