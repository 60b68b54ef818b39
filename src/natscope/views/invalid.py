"""What conntrack means by what it logs of a packet it does not like.

The texts are those of nf_l4proto_log_invalid() and nf_ct_l4proto_log_invalid() in
net/netfilter/nf_conntrack_proto_*.c.  Not all of them are about INVALID packets: some
are let through, and only change nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from natscope.model.flow import Flow
from natscope.model.packet import Packet


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that may be wrong with a packet."""

    key: str
    """A word for programs, and to count by."""
    words: str
    """The reason, as a sentence about the packet; what it is about is filled in."""
    advice: str
    is_invalid: bool = True
    """ct state invalid; else the packet is let through."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What conntrack said of one packet."""

    reason: Reason
    words: str
    """The reason with the numbers of this packet."""
    said: str
    """The kernel's own text."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A packet conntrack complained of, with the entry it would have found."""

    complaint: Complaint
    packet: Packet | None
    """None where the log had no IP packet."""
    entry: Flow | None = None
    iif: str | None = None
    time_ns: int | None = None


_ASYMMETRIC = (
    "see that both directions of the flow pass this box (ip route get, both ways; "
    "VRRP, ECMP); else do not track it (notrack), or be liberal: "
    "net.netfilter.nf_conntrack_tcp_be_liberal=1"
)
_BROKEN = "the sender or something on the way breaks packets: capture before this box"
_FORGED = "port scans look like this: dropping it is right"
_HARMLESS = "nothing to do: it is let through"

OTHER = Reason(
    "other", "conntrack said: {said}", "see the kernel's sources for the text"
)
FLAGS = Reason("tcp-flags", "its TCP flags never go together", _FORGED)
CHECKSUM = Reason(
    "checksum",
    "its checksum is wrong",
    "a bad cable, NIC or driver; between virtual machines often checksum offload: "
    "ethtool -K DEV tx off on the sender, or net.netfilter.nf_conntrack_checksum=0",
)
NO_ENTRY = Reason(
    "no-entry",
    "there is no entry for it, and such a packet opens none",
    "the entry timed out (keep-alives, or a longer nf_conntrack_tcp_timeout_*), was "
    f"deleted, or never seen: {_ASYMMETRIC}",
)
MALFORMED = Reason("malformed", "its headers say more than the packet holds", _BROKEN)
SEQ_OVER = Reason(
    "seq-over-window",
    "its data lies beyond {0}, the end of the receiver's window",
    "the window scale was never seen, as in a flow picked up midway, or packets of "
    f"the other direction were not: {_ASYMMETRIC}",
)
ACK_OVER = Reason(
    "ack-unseen",
    "it acknowledges data above {0}, which this box has not seen",
    f"the other direction goes past this box: {_ASYMMETRIC}",
)
RETRANSMITTED = Reason(
    "retransmission",
    "it repeats data that was acknowledged long ago, below {0}",
    f"{_HARMLESS}; many of them mean loss or delay on the way",
    is_invalid=False,
)
DELAYED_ACK = Reason(
    "delayed-ack",
    "it acknowledges less than {0}, as a packet that was long under way does",
    f"{_HARMLESS}; many of them mean packets are reordered on the way",
    is_invalid=False,
)
MORE_BYTES = Reason(
    "more-bytes",
    "it has {0} bytes more than the receiver's window takes",
    _HARMLESS,
    is_invalid=False,
)
IGNORED = Reason(
    "ignored",
    "a {flag} of the {direction} direction while the flow is {state}",
    f"{_HARMLESS}; the other end decides, as over a port used again too early",
    is_invalid=False,
)
STATE = Reason(
    "tcp-state",
    "a {flag} of the {direction} direction does not fit a flow that is {state}",
    "a connection that one end has forgotten, or a port used again too early; "
    "natscope delete removes the old entry",
)
RST = Reason(
    "rst",
    "a reset with a sequence number below what was acknowledged",
    "late or forged; net.netfilter.nf_conntrack_tcp_ignore_invalid_rst=1 lets such "
    "resets through",
)
CHALLENGE = Reason(
    "challenge-ack",
    "a challenge ACK, the answer to a SYN the other end did not expect",
    _HARMLESS,
    is_invalid=False,
)
SHORTER = Reason(
    "shorter-timeout",
    "it was let through, and the flow's timeout lowered to {0} s",
    _HARMLESS,
    is_invalid=False,
)
ICMP_TYPE = Reason("icmp-type", "its ICMP type is none that is known", _FORGED)
ICMP_OTHER = Reason(
    "icmp-mismatch",
    "an ICMP error sent to {0} about a packet of {1}",
    "an ICMP error must go to who sent the packet it is about: forged, or translated "
    "on the way by something that leaves the inner packet alone",
)
SCTP_TAG = Reason(
    "sctp-tag",
    "its verification tag is {0}, the association has {1}",
    "the association began anew, or past this box",
)
SCTP_STATE = Reason(
    "sctp-state",
    "an SCTP chunk of type {2} does not fit the association's state ({0})",
    "the association began anew, or past this box",
)

_PATTERNS: tuple[tuple[str, Reason], ...] = (
    (r"invalid tcp flag combination", FLAGS),
    (r"bad CRC|bad checksum|bad hw icmp checksum", CHECKSUM),
    (r"invalid new", NO_ENTRY),
    (r"truncated|short packet|malformed", MALFORMED),
    (r"SEQ is over upper bound (\d+)", SEQ_OVER),
    (r"ACK is over upper bound (\d+)", ACK_OVER),
    (r"SEQ is under lower bound (\d+)", RETRANSMITTED),
    (r"ignored ACK under lower bound (\d+)", DELAYED_ACK),
    (r"(\d+) bytes more than expected", MORE_BYTES),
    (
        r"packet \(index (?P<flag>\d+)\) in dir (?P<direction>\d+) ignored, "
        r"state (?P<state>\w+)",
        IGNORED,
    ),
    (
        r"packet \(index (?P<flag>\d+)\) in dir (?P<direction>\d+) invalid, "
        r"state (?P<state>\w+)",
        STATE,
    ),
    (r"response for index \d+ lower(?:ed)? timeout to (\w+)", SHORTER),
    (r"challenge-ack ignored", CHALLENGE),
    (r"invalid rst", RST),
    (r"invalid icmp type", ICMP_TYPE),
    (r"outer daddr (\S+) != inner (\S+)", ICMP_OTHER),
    (r"verification tag check failed (\w+) vs (\w+)", SCTP_TAG),
    (r"Invalid, old_state (\d+), dir (\d+), type (\d+)", SCTP_STATE),
)
_COMPILED = tuple((re.compile(pattern), reason) for pattern, reason in _PATTERNS)
_PREFIX = re.compile(r"nf_ct_proto_\d+: ")
_FLAGS = ("SYN", "SYN/ACK", "FIN", "ACK", "RST", "packet without flags")
"""enum tcp_bit_set, net/netfilter/nf_conntrack_proto_tcp.c."""
_DIRECTIONS = ("original", "reply")

REASONS = (*dict.fromkeys(reason for _, reason in _PATTERNS), OTHER)


def complaint(prefix: str) -> Complaint:
    """What a message means; a text nobody knows is passed on as it is.

    Args:
        prefix: of the logged packet, as it came.
    """
    said = _PREFIX.sub("", prefix).strip()
    for pattern, reason in _COMPILED:
        found = pattern.search(said)
        if found is not None:
            named = {
                name: _named(name, value) for name, value in found.groupdict().items()
            }
            words = reason.words.format(*found.groups(), **named)
            return Complaint(reason, words, said)
    return Complaint(OTHER, OTHER.words.format(said=said), said)


def is_conntracks(prefix: str) -> bool:
    """Whether a logged packet is one conntrack complained of, no rule's."""
    return _PREFIX.match(prefix) is not None


def _named(name: str, value: str) -> str:
    if name == "state":
        return value
    names = _FLAGS if name == "flag" else _DIRECTIONS
    number = int(value)
    return names[number] if number < len(names) else value


def by_reason(packets: Iterable[Invalid]) -> list[tuple[Reason, int]]:
    """How many packets of each reason, the most first."""
    return Counter(one.complaint.reason for one in packets).most_common()


def by_peer(packets: Iterable[Invalid]) -> list[tuple[str, int]]:
    """How many packets of each source address, the most first."""
    found = (str(one.packet.src) for one in packets if one.packet is not None)
    return Counter(found).most_common()
