"""How old a flow is, and how long it has been silent.

The kernel keeps no time of the last packet.  Every packet sets the timeout to
what is configured for the protocol and state, so the silence is what has run
off since.  That is an estimate: a per-rule timeout policy, or retransmissions
and a closed window (tcp_timeout_max_retrans), start from another value.
``table.age`` says the same of columns, and a property test holds them equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from natscope import uapi
from natscope.model.evidence import Evidence

if TYPE_CHECKING:
    from natscope.model.flow import Flow

NS_PER_S = 1_000_000_000

NO_CLOCK = uapi.Status.FIXED_TIMEOUT | uapi.Status.OFFLOAD | uapi.Status.HW_OFFLOAD
"""Flows whose timeout does not start again with every packet."""

BY_STATE = {
    uapi.IPPROTO_TCP: ("tcp_state", "tcp_timeout_", uapi.TCP_STATES),
    uapi.IPPROTO_SCTP: ("sctp_state", "sctp_timeout_", uapi.SCTP_STATES),
    uapi.IPPROTO_DCCP: ("dccp_state", "dccp_timeout_", uapi.DCCP_STATES),
}
"""Protocols with a timeout for each state: column, prefix of the sysctl, states.
A state without a sysctl (TCP's SYN_SENT2) has no known timeout."""

BY_STREAM = {
    uapi.IPPROTO_UDP: ("udp_timeout", "udp_timeout_stream"),
    uapi.IPPROTO_UDPLITE: ("udp_timeout", "udp_timeout_stream"),
    uapi.IPPROTO_GRE: ("gre_timeout", "gre_timeout_stream"),
}
"""Protocols whose timeout grows when traffic flows both ways for a while
(nf_conntrack_udp_packet): SEEN_REPLY and ASSURED."""

BY_PROTOCOL = {
    uapi.IPPROTO_ICMP: "icmp_timeout",
    uapi.IPPROTO_ICMPV6: "icmpv6_timeout",
}
"""Protocols with one timeout; all others have ``generic_timeout``."""

STREAM_BITS = (uapi.Status.SEEN_REPLY, uapi.Status.ASSURED)
STREAM = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED


def age_s(flow: Flow, evidence: Evidence) -> int | None:
    """Seconds since the flow began; for a flow that ended, how long it lived.

    A flow born after ``evidence.now_ns``, during the dump, has age 0.
    """
    if flow.delta_time is not None:
        return flow.delta_time
    end = flow.stop_ns if flow.stop_ns is not None else evidence.now_ns
    if flow.start_ns is None or end is None:
        return None
    return max(0, end - flow.start_ns) // NS_PER_S


def idle_s(flow: Flow, evidence: Evidence) -> int | None:
    """Seconds since the last packet: configured timeout minus time left.

    Unknown for a flow whose timeout does not start again with every packet,
    and where more time is left than is configured now.
    """
    configured = configured_timeout_s(flow, evidence)
    if configured is None or flow.timeout is None or flow.timeout > configured:
        return None
    return configured - flow.timeout


def configured_timeout_s(flow: Flow, evidence: Evidence) -> int | None:
    """The timeout every packet of this flow sets, in its present state."""
    if (flow.status or 0) & NO_CLOCK:
        return None
    name = _sysctl(flow)
    return None if name is None else evidence.timeouts.get(name)


def _sysctl(flow: Flow) -> str | None:
    if flow.proto in BY_STATE:
        column, prefix, states = BY_STATE[flow.proto]
        state: int | None = getattr(flow, column)
        if state is None or state >= len(states):
            return None
        return prefix + states[state].lower()
    if flow.proto in BY_STREAM:
        if not all(flow.knows_status(bit) for bit in STREAM_BITS):
            return None
        once, stream = BY_STREAM[flow.proto]
        return stream if (flow.status or 0) & STREAM == STREAM else once
    return BY_PROTOCOL.get(flow.proto, "generic_timeout")
