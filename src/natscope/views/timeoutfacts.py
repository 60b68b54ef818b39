"""What is known of each timeout: meaning, default, harm, and what RFCs ask for.

The defaults are those of nf_conntrack_proto_*.c.  RFC 4787 (UDP), 5382 (TCP) and 5508
(ICMP) say what a NAT must keep at least; RFC 7857 mends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOURS_2_MINUTES_4 = 7440
MINUTES_4 = 240


@dataclass(frozen=True, slots=True)
class Advice:
    """What an RFC asks of a NAT."""

    rfc: str
    least_s: int
    says: str


@dataclass(frozen=True, slots=True)
class Fact:
    """What a timeout means."""

    default_s: int
    meaning: str
    too_long: str = ""
    """What hurts if it is."""
    too_short: str = ""
    advice: Advice | None = None


_ESTABLISHED = Advice(
    "RFC 5382 REQ-5",
    HOURS_2_MINUTES_4,
    "an idle connection must be kept for 2 h 4 min, as TCP keep-alives come after 2 h",
)
_OPENING = Advice(
    "RFC 5382 REQ-5, RFC 7857 2.1",
    MINUTES_4,
    "4 min by default; less may be set for connections that are only half open",
)
_CLOSING = Advice(
    "RFC 5382 REQ-5, RFC 7857 2.1",
    MINUTES_4,
    "4 min for connections that close; ports are the longer taken",
)
_UDP = Advice(
    "RFC 4787 REQ-5",
    120,
    "2 min at least, 5 min or more by default; less for servers at ports below 1024",
)
_ICMP = Advice("RFC 5508 REQ-2", 60, "60 s at least for a query")

FACTS: Mapping[str, Fact] = {
    "tcp_timeout_syn_sent": Fact(
        120,
        "a SYN without an answer",
        "scans and floods fill the table",
        "slow servers: the client's SYN comes again after 1, 3, 7, 15, 31 s",
        _OPENING,
    ),
    "tcp_timeout_syn_recv": Fact(
        60,
        "a SYN/ACK whose ACK has not come",
        "SYN floods against port forwards fill the table",
        "clients behind lossy links",
        _OPENING,
    ),
    "tcp_timeout_established": Fact(
        432_000,
        "an open connection without a packet",
        "connections that died without a FIN hold entry and port for days",
        "idle SSH, database and push connections are cut without a word: the next "
        "packet is INVALID",
        _ESTABLISHED,
    ),
    "tcp_timeout_fin_wait": Fact(
        120,
        "a FIN that is not acknowledged yet",
        too_short="closing over a link that is down: the rest is INVALID",
        advice=_CLOSING,
    ),
    "tcp_timeout_close_wait": Fact(
        60,
        "one side has closed, the other may still send",
        "kube-proxy sets 3600: leaking programs fill the table (k8s#97377)",
        "the other side's answer to a half-closed connection is cut (k8s#32551)",
        _CLOSING,
    ),
    "tcp_timeout_last_ack": Fact(
        30, "both sides have closed; the last ACK is to come", advice=_CLOSING
    ),
    "tcp_timeout_time_wait": Fact(
        120,
        "closed; late packets may come",
        "each holds a public port; since Linux 6.5 a new connection may evict it",
        "late packets are INVALID",
        _CLOSING,
    ),
    "tcp_timeout_close": Fact(
        10, "reset by an RST", "each holds a public port", "late packets are INVALID"
    ),
    "tcp_timeout_max_retrans": Fact(
        300,
        "in any state, after nf_conntrack_tcp_max_retrans packets sent again without "
        "an answer: no longer than this",
        too_short="connections are lost while a link is down",
    ),
    "tcp_timeout_unacknowledged": Fact(
        300,
        "in any state, while data is not acknowledged: no longer than this",
        too_short="connections are lost while a link is down",
    ),
    "udp_timeout": Fact(
        30,
        "traffic one way, or not yet both ways for 2 s",
        "DNS and scans fill the table",
        "keep-alives that come less often lose their public port: WireGuard (25 s), "
        "SIP, IPsec NAT-T (20 s)",
        _UDP,
    ),
    "udp_timeout_stream": Fact(
        120,
        "traffic both ways for more than 2 s",
        too_short="calls on hold, games and tunnels lose their public port",
        advice=_UDP,
    ),
    "icmp_timeout": Fact(
        30, "an echo request and its answers", too_short="slow pings", advice=_ICMP
    ),
    "icmpv6_timeout": Fact(30, "the same over IPv6"),
    "gre_timeout": Fact(30, "GRE one way", too_short="idle PPTP tunnels"),
    "gre_timeout_stream": Fact(180, "GRE both ways", too_short="idle PPTP tunnels"),
    "sctp_timeout_closed": Fact(10, "aborted, or closed"),
    "sctp_timeout_cookie_wait": Fact(3, "an INIT without an answer"),
    "sctp_timeout_cookie_echoed": Fact(3, "a COOKIE ECHO without an answer"),
    "sctp_timeout_established": Fact(
        210,
        "an open association without a packet",
        too_short="heartbeats come every 30 s and more (RFC 9260 8.3)",
    ),
    "sctp_timeout_shutdown_sent": Fact(3, "one side shuts down"),
    "sctp_timeout_shutdown_recd": Fact(3, "the other side shuts down"),
    "sctp_timeout_shutdown_ack_sent": Fact(3, "the shutdown is acknowledged"),
    "sctp_timeout_heartbeat_sent": Fact(30, "a path known by a heartbeat alone"),
    "generic_timeout": Fact(
        600, "protocols conntrack does not know: ESP, OSPF, IP in IP …"
    ),
    "frag6_timeout": Fact(
        60, "IPv6 fragments that wait for the rest (RFC 8200 4.5: 60 s); no flow"
    ),
}
"""By the name of the sysctl after nf_conntrack_, in the order they are shown."""
