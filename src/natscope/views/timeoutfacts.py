"""What is known of each timeout: meaning, default, harm, and what RFCs ask for.

The defaults are those of nf_conntrack_proto_*.c.  RFC 4787 (UDP), 5382 (TCP) and 5508
(ICMP) say what a NAT must keep at least; RFC 7857 mends them.  None is known that says
so of the others.
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
_RESET = Advice(
    "RFC 7857 2.2",
    MINUTES_4,
    "4 min after an RST, for it may be forged or the other end not take it",
)
_UDP = Advice(
    "RFC 4787 REQ-5",
    120,
    "2 min at least, 5 min or more by default; less for servers at ports below 1024",
)
_ICMP = Advice("RFC 5508 REQ-2", 60, "60 s at least for a query")
_FLOOD = "floods against port forwards fill the table"
_ALONE = "one inside host has the server for its own: the next waits so long"
_CLOSED = "each holds a public port"
_SLOW = "slow answers open a flow of their own, or are INVALID"

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
        "clients that vanish while they close hold entry and port",
        "closing over a link that is down: the rest is INVALID",
        _CLOSING,
    ),
    "tcp_timeout_close_wait": Fact(
        60,
        "one side has closed, the other may still send",
        "kube-proxy sets 3600: leaking programs fill the table (k8s#97377)",
        "the other side's answer to a half-closed connection is cut (k8s#32551)",
        _CLOSING,
    ),
    "tcp_timeout_last_ack": Fact(
        30,
        "both sides have closed; the last ACK is to come",
        "each holds a public port",
        "the last ACK, sent again, is INVALID: servers stay in LAST_ACK",
        _CLOSING,
    ),
    "tcp_timeout_time_wait": Fact(
        120,
        "closed; late packets may come",
        "each holds a public port; since Linux 6.5 a new connection may evict it",
        "late packets are INVALID",
        _CLOSING,
    ),
    "tcp_timeout_close": Fact(
        10,
        "reset by an RST",
        "each holds a public port; since Linux 6.5 a new connection may evict it",
        "where the other end did not take the RST its connection is cut",
        _RESET,
    ),
    "tcp_timeout_max_retrans": Fact(
        300,
        "in any state, after nf_conntrack_tcp_max_retrans packets sent again without "
        "an answer: no longer than this",
        "connections to hosts that are gone hold entry and port",
        "connections are lost while a link is down",
    ),
    "tcp_timeout_unacknowledged": Fact(
        300,
        "in any state, while data is not acknowledged: no longer than this",
        "connections to hosts that are gone hold entry and port",
        "connections are lost while a link is down",
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
        "what has ended holds its port; senders that go on keep an old DNAT target",
        "calls on hold, games and tunnels lose their public port",
        _UDP,
    ),
    "icmp_timeout": Fact(
        30,
        "an echo request and its answers",
        "ping sweeps fill the table",
        "answers that take longer are INVALID",
        _ICMP,
    ),
    "icmpv6_timeout": Fact(
        30,
        "the same over IPv6",
        "ping sweeps fill the table",
        "answers that take longer are INVALID",
    ),
    "gre_timeout": Fact(
        30,
        "GRE one way",
        _ALONE,
        "idle PPTP tunnels are cut",
    ),
    "gre_timeout_stream": Fact(
        180,
        "GRE both ways",
        _ALONE,
        "idle PPTP tunnels are cut",
    ),
    "sctp_timeout_closed": Fact(
        10,
        "aborted, or closed",
        "each holds a public port",
        "late packets are INVALID",
    ),
    "sctp_timeout_cookie_wait": Fact(
        3, "an INIT without an answer", _FLOOD, "INITs that come again open a new flow"
    ),
    "sctp_timeout_cookie_echoed": Fact(
        3, "a COOKIE ECHO without an answer", _FLOOD, "slow servers"
    ),
    "sctp_timeout_established": Fact(
        210,
        "an open association without a packet",
        "associations that died without a SHUTDOWN hold entry and port",
        "heartbeats come every 30 s and more (RFC 9260 8.3)",
    ),
    "sctp_timeout_shutdown_sent": Fact(
        3, "one side shuts down", _CLOSED, "the rest is INVALID"
    ),
    "sctp_timeout_shutdown_recd": Fact(
        3, "the other side shuts down", _CLOSED, "data still to be sent is INVALID"
    ),
    "sctp_timeout_shutdown_ack_sent": Fact(
        3, "the shutdown is acknowledged", _CLOSED, "the rest is INVALID"
    ),
    "sctp_timeout_heartbeat_sent": Fact(
        30,
        "a path known by a heartbeat alone",
        "paths that are gone hold entry and port",
        "the path's public port changes between heartbeats",
    ),
    "dccp_timeout_request": Fact(
        240, "a REQUEST without an answer (DCCP: up to Linux 6.16)", _FLOOD, _SLOW
    ),
    "dccp_timeout_respond": Fact(480, "a RESPONSE without an ACK", _FLOOD, _SLOW),
    "dccp_timeout_partopen": Fact(480, "the first ACK was sent", _FLOOD, _SLOW),
    "dccp_timeout_open": Fact(
        43_200,
        "an open connection without a packet",
        "connections that died without a CLOSE hold entry and port",
        "idle connections are cut",
    ),
    "dccp_timeout_closereq": Fact(64, "a server asks to close", _CLOSED, _SLOW),
    "dccp_timeout_closing": Fact(64, "a CLOSE without a RESET", _CLOSED, _SLOW),
    "dccp_timeout_timewait": Fact(
        240, "closed; late packets may come", _CLOSED, "late packets are INVALID"
    ),
    "generic_timeout": Fact(
        600,
        "protocols conntrack does not know: ESP, OSPF, IP in IP …",
        _ALONE,
        "silent tunnels are cut: what then comes in has nowhere to go",
    ),
    "frag6_timeout": Fact(
        60,
        "IPv6 fragments that wait for the rest (RFC 8200 4.5: 60 s); no flow",
        "they take memory, up to nf_conntrack_frag6_high_thresh",
        "packets whose fragments come slowly are lost",
    ),
}
"""By the name of the sysctl after nf_conntrack_, in the order they are shown."""
