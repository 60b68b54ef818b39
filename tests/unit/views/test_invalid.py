"""Every text conntrack logs of a packet, in plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.model.packet import Packet
from natscope.views import invalid
from natscope.views.invalid import Invalid, Reason, complaint


@dataclass(frozen=True)
class Case:
    id: str
    text: str
    reason: Reason
    words: str


CASES = [
    Case(
        "flags",
        "nf_ct_proto_6: invalid tcp flag combination ",
        invalid.FLAGS,
        "its TCP flags never go together",
    ),
    Case(
        "checksum",
        "nf_ct_proto_6: bad checksum ",
        invalid.CHECKSUM,
        "its checksum is wrong",
    ),
    Case(
        "checksum of ICMP",
        "nf_ct_proto_1: bad hw icmp checksum ",
        invalid.CHECKSUM,
        "its checksum is wrong",
    ),
    Case(
        "checksum of SCTP",
        "nf_ct_proto_132: nf_ct_sctp: bad CRC  ",
        invalid.CHECKSUM,
        "its checksum is wrong",
    ),
    Case(
        "no entry",
        "nf_ct_proto_6: invalid new ",
        invalid.NO_ENTRY,
        "there is no entry for it, and such a packet opens none",
    ),
    Case(
        "cut off",
        "nf_ct_proto_6: truncated packet ",
        invalid.MALFORMED,
        "its headers say more than the packet holds",
    ),
    Case(
        "cut off, UDP",
        "nf_ct_proto_17: truncated/malformed packet ",
        invalid.MALFORMED,
        "its headers say more than the packet holds",
    ),
    Case(
        "data beyond the window",
        "nf_ct_proto_6: SEQ is over upper bound 2002 (over the window of the receiver) ",
        invalid.SEQ_OVER,
        "its data lies beyond 2002, the end of the receiver's window",
    ),
    Case(
        "data nobody saw",
        "nf_ct_proto_6: ACK is over upper bound 5002 (ACKed data not seen yet) ",
        invalid.ACK_OVER,
        "it acknowledges data above 5002, which this box has not seen",
    ),
    Case(
        "an old retransmission",
        "nf_ct_proto_6: SEQ is under lower bound 0 (already ACKed data retransmitted) ",
        invalid.RETRANSMITTED,
        "it repeats data that was acknowledged long ago, below 0",
    ),
    Case(
        "an ACK that was long under way",
        "nf_ct_proto_6: ignored ACK under lower bound 4294906296 "
        "(possible overly delayed) ",
        invalid.DELAYED_ACK,
        "it acknowledges less than 4294906296, as a packet that was long under way does",
    ),
    Case(
        "a little too much",
        "nf_ct_proto_6: 400 bytes more than expected ",
        invalid.MORE_BYTES,
        "it has 400 bytes more than the receiver's window takes",
    ),
    Case(
        "a SYN in an open flow",
        "nf_ct_proto_6: packet (index 0) in dir 0 ignored, state ESTABLISHED ",
        invalid.IGNORED,
        "a SYN of the original direction while the flow is ESTABLISHED",
    ),
    Case(
        "a SYN/ACK in the wrong direction",
        "nf_ct_proto_6: packet (index 1) in dir 1 invalid, state SYN_SENT ",
        invalid.STATE,
        "a SYN/ACK of the reply direction does not fit a flow that is SYN_SENT",
    ),
    Case(
        "an index and a direction of a newer kernel",
        "nf_ct_proto_6: packet (index 9) in dir 7 invalid, state X ",
        invalid.STATE,
        "a 9 of the 7 direction does not fit a flow that is X",
    ),
    Case(
        "a late reset",
        "nf_ct_proto_6: invalid rst ",
        invalid.RST,
        "a reset with a sequence number below what was acknowledged",
    ),
    Case(
        "a challenge ACK",
        "nf_ct_proto_6: challenge-ack ignored ",
        invalid.CHALLENGE,
        "a challenge ACK, the answer to a SYN the other end did not expect",
    ),
    Case(
        "a shorter timeout",
        "nf_ct_proto_6: packet (index 3, dir 1) response for index 0 lower timeout to 30",
        invalid.SHORTER,
        "it was let through, and the flow's timeout lowered to 30 s",
    ),
    Case(
        "ICMP type",
        "nf_ct_proto_1: invalid icmp type ",
        invalid.ICMP_TYPE,
        "its ICMP type is none that is known",
    ),
    Case(
        "ICMP error to another host",
        "nf_ct_proto_1: outer daddr 10.7.1.9 != inner 10.7.1.2 ",
        invalid.ICMP_OTHER,
        "an ICMP error sent to 10.7.1.9 about a packet of 10.7.1.2",
    ),
    Case(
        "SCTP tag",
        "nf_ct_proto_132: verification tag check failed 7 vs ff for dir 1",
        invalid.SCTP_TAG,
        "its verification tag is 7, the association has ff",
    ),
    Case(
        "SCTP state",
        "nf_ct_proto_132: Invalid, old_state 3, dir 0, type 7",
        invalid.SCTP_STATE,
        "an SCTP chunk of type 7 does not fit the association's state (3)",
    ),
    Case(
        "a text of a newer kernel",
        "nf_ct_proto_6: something new {0} ",
        invalid.OTHER,
        "conntrack said: something new {0}",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_conntrack_says_is_put_into_plain_words(case: Case) -> None:
    found = complaint(case.text)
    assert (found.reason.key, found.words) == (case.reason.key, case.words)
    assert found.said == re.sub(r"^\w+: ", "", case.text).strip()


def test_every_reason_is_tried() -> None:
    assert {case.reason.key for case in CASES} == {r.key for r in invalid.REASONS}


def test_the_log_of_a_rule_is_none_of_conntracks() -> None:
    assert invalid.is_conntracks("nf_ct_proto_6: invalid new ")
    assert not invalid.is_conntracks("[UFW BLOCK] ")


def packet(src: str) -> Packet:
    return Packet(ip_address(src), ip_address("192.0.2.1"), 6, sport=1, dport=2)


def test_packets_are_counted_by_reason_and_by_peer() -> None:
    new, flags = (
        complaint(text) for text in ("invalid new", "invalid tcp flag combination")
    )
    packets = [
        Invalid(new, packet("10.0.0.1")),
        Invalid(flags, packet("10.0.0.2")),
        Invalid(new, packet("10.0.0.2")),
        Invalid(new, None),
    ]
    assert invalid.by_reason(packets) == [(invalid.NO_ENTRY, 3), (invalid.FLAGS, 1)]
    assert invalid.by_peer(packets) == [("10.0.0.2", 2), ("10.0.0.1", 1)]
