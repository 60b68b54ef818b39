"""R17, R18, R29: flows that stay too long, or end too soon."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.table.age import age_s, configured_timeout_s, idle_s
from natscope.views.doctor.rows import Mask, examples, has_port, in_tcp_state, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_PREFIX = "net.netfilter.nf_conntrack_"
_ESTABLISHED = "tcp_timeout_established"
_CLOSE_WAIT = "tcp_timeout_close_wait"
_TIME_WAIT = "tcp_timeout_time_wait"
_DAY_S = 86_400
_TOLD = {
    500: "IKE",
    3478: "STUN",
    4500: "IPsec NAT-T",
    5060: "SIP",
    41641: "Tailscale",
    51820: "WireGuard",
}
"""UDP ports of what must stay reachable from outside while it is silent."""


def dead_flows(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R17: established TCP flows that are idle for long fill the table."""
    short = snapshot.evidence.timeouts.get(_ESTABLISHED)
    if short is not None and short < thresholds.established_shortest_s:
        yield _too_short(short, thresholds.established_shortest_s)
    limit = snapshot.limit
    used = snapshot.count / limit if limit else 0.0
    if used < thresholds.idle_table:
        return
    table = snapshot.flows
    seconds, known = idle_s(table, snapshot.evidence)
    known = known & in_tcp_state(table, "ESTABLISHED")
    total = int(np.count_nonzero(known))
    rows = known & (seconds > thresholds.idle_after_s)
    idle = int(np.count_nonzero(rows))
    if total < thresholds.idle_flows or idle < thresholds.idle_share * total:
        return
    over = f"{thresholds.idle_after_s}s"
    yield _idle(snapshot, rows, f"{idle} of {total}", over, used)


def _idle(snapshot: Snapshot, rows: Mask, told: str, over: str, used: float) -> Finding:
    timeout = snapshot.evidence.timeouts[_ESTABLISHED]
    return Finding(
        "R17",
        Severity.WARNING,
        f"{told} established TCP flows are idle for more than {over}, and the table "
        f"is {used:.0%} full",
        (
            Fact("idle flows", int(np.count_nonzero(rows))),
            Fact("timeout", timeout, "s"),
            *_whose(snapshot, rows),
        ),
        examples(snapshot.flows, rows),
        "Their ends have most likely gone without a word. Each keeps its place until "
        "nf_conntrack_tcp_timeout_established has run off: five days by default.",
        (
            _set(_ESTABLISHED, _DAY_S, "what kube-proxy sets; of new packets on"),
            Remedy(
                f"natscope delete tcp and state established and 'idle > {over}' "
                "--dry-run",
                "those that are there; without --dry-run they are cut",
                is_destructive=True,
            ),
        ),
        "natscope count: it falls",
        about="idle",
    )


def _too_short(timeout: int, shortest: int) -> Finding:
    return Finding(
        "R17",
        Severity.INFO,
        f"TCP connections that are silent for {timeout} s are cut",
        (
            Fact("nf_conntrack_tcp_timeout_established", timeout, "s"),
            Fact("RFC 5382 REQ-5", shortest, "s"),
        ),
        why="Keep-alives come every two hours by default (RFC 1122). When a flow has "
        "timed out, its ends still believe in it, and the next packet is lost.",
        remedies=(
            _set(_ESTABLISHED, shortest, "the least RFC 5382 allows"),
            Remedy(
                f"sysctl -w net.ipv4.tcp_keepalive_time={max(1, timeout // 2)}",
                "or on the hosts, where keep-alives are switched on",
            ),
        ),
        verify=f"sysctl {_PREFIX}{_ESTABLISHED}",
        about="short",
    )


def closing_flows(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R18: flows that are closed, or half closed, pile up."""
    table = snapshot.flows
    tcp = int(np.count_nonzero(table["proto"] == uapi.IPPROTO_TCP))
    waiting = in_tcp_state(table, "CLOSE_WAIT")
    timeout = snapshot.evidence.timeouts.get(_CLOSE_WAIT, 0)
    long = timeout >= thresholds.close_wait_timeout_s
    if long and _is_many(waiting, tcp, thresholds.close_wait_share, thresholds):
        yield _piled_up(snapshot, waiting, tcp, _CLOSE_WAIT, 60)
    limit = snapshot.limit
    used = snapshot.count / limit if limit else 0.0
    waiting = in_tcp_state(table, "TIME_WAIT")
    full = used >= thresholds.time_wait_table
    if full and _is_many(waiting, tcp, thresholds.time_wait_share, thresholds):
        yield _piled_up(snapshot, waiting, tcp, _TIME_WAIT, 30)


def _is_many(rows: Mask, tcp: int, share: float, thresholds: Thresholds) -> bool:
    found = int(np.count_nonzero(rows))
    return found >= thresholds.closing_flows and found > share * tcp


def _piled_up(
    snapshot: Snapshot, rows: Mask, tcp: int, setting: str, seconds: int
) -> Finding:
    state = setting.removeprefix("tcp_timeout_").upper()
    found = int(np.count_nonzero(rows))
    timeout = snapshot.evidence.timeouts.get(setting)
    facts = [Fact(state, found), Fact("TCP flows", tcp)]
    facts += [] if timeout is None else [Fact("timeout", timeout, "s")]
    return Finding(
        "R18",
        Severity.WARNING,
        f"{found} of {tcp} TCP flows are {state}",
        (*facts, *_whose(snapshot, rows)),
        examples(snapshot.flows, rows),
        "One end has closed, or both: such a flow carries nothing any more, and keeps "
        "its place and its source port until its timeout has run off.",
        (_set(setting, seconds, "of flows that come to this state from now on"),),
        f"natscope list --group-by state: {state} falls",
        about=state,
    )


def flapping_mappings(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R29: UDP mappings that live on keep-alives hardly faster than the timeout.

    The mean gap is age over packets of the busier direction: answers come at once.
    """
    table = snapshot.flows
    rows = (table["proto"] == uapi.IPPROTO_UDP) & (snapshot.translations.kind != 0)
    rows &= has_port(table, "orig_dport", tuple(_TOLD))
    if not rows.any():
        return
    flows = table.take(np.flatnonzero(rows))
    age, aged = age_s(flows, snapshot.evidence)
    packets = np.maximum(flows["orig_packets"], flows["reply_packets"])
    timeout = configured_timeout_s(flows, snapshot.evidence)
    enough = aged & flows.has("orig_packets") & (timeout > 0)
    enough &= packets >= thresholds.keepalive_packets
    gap = np.where(enough, age / np.maximum(packets, 1), 0.0)
    # a gap above the timeout would have ended the flow: packets went uncounted
    late = enough & (gap > thresholds.keepalive_share * timeout) & (gap <= timeout)
    for port in np.unique(flows["orig_dport"][late]).tolist():
        these = late & (flows["orig_dport"] == port)
        slowest = int(np.argmax(np.where(these, gap, 0.0)))
        seconds = float(gap[slowest]), int(timeout[slowest])
        yield _flapping(port, *seconds, examples(flows, these))


def _flapping(port: int, gap: float, timeout: int, flows: tuple[Flow, ...]) -> Finding:
    return Finding(
        "R29",
        Severity.WARNING,
        f"{_TOLD[port]}: a packet every {gap:.0f} s keeps mappings that last "
        f"{timeout} s",
        (
            Fact("mean gap", round(gap, 1), "s"),
            Fact("timeout", timeout, "s"),
            Fact("port", port),
        ),
        flows,
        "One keep-alive that is lost or late ends the mapping: then nobody reaches the "
        "inside host until it speaks again, from another public port perhaps.",
        (
            _set("udp_timeout_stream", 300, "RFC 4787 REQ-5 recommends 5 minutes"),
            Remedy(
                "PersistentKeepalive = 25",
                "of WireGuard; others have a setting like it",
            ),
        ),
        f"natscope list udp and dst port {port}: idle stays far below the timeout",
        about=f"port {port}",
    )


def _whose(snapshot: Snapshot, rows: Mask) -> tuple[Fact, ...]:
    top = most(snapshot.flows, "orig_src", rows)
    return () if top is None else (Fact(f"of {top.address}", top.count),)


def _set(setting: str, seconds: int, about: str) -> Remedy:
    name = _PREFIX + setting
    return Remedy(f"sysctl -w {name}={seconds}", about, (name, str(seconds)))


RULES = (
    Rule(
        "R17",
        "idle-flows",
        "established flows that are dead, or cut too soon",
        ("flows", "count", "limit"),
        dead_flows,
        "RFC 5382 REQ-5; kubernetes#32551, kube-router#521",
    ),
    Rule(
        "R18",
        "closing-flows",
        "CLOSE_WAIT and TIME_WAIT that pile up",
        ("flows", "count", "limit"),
        closing_flows,
        "tcp_conntracks; kubernetes#97377",
    ),
    Rule(
        "R29",
        "udp-keepalive",
        "UDP mappings that end between keep-alives",
        ("flows",),
        flapping_mappings,
        "nf_conntrack_udp_packet(); RFC 4787 REQ-5",
    ),
)
