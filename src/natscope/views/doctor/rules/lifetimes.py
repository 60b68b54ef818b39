"""R17, R18, R29: flows that stay too long, or end too soon."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.table.age import age_s, configured_timeout_s, idle_s
from natscope.views.doctor.reading.rows import (
    Mask,
    examples,
    has_port,
    in_tcp_state,
    most,
)
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import NotRead, Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.shares import percent

_PREFIX = "net.netfilter.nf_conntrack_"
_ESTABLISHED = "tcp_timeout_established"
_CLOSE_WAIT = "tcp_timeout_close_wait"
_TIME_WAIT = "tcp_timeout_time_wait"
_DAY_S = 86_400
"""Of kube-proxy."""
_KEEPALIVE_S = 7200
"""net.ipv4.tcp_keepalive_time, RFC 1122 §4.2.3.6."""
_SHORT_S = 30
"""Of TIME_WAIT: half of what Linux itself waits (TCP_TIMEWAIT_LEN)."""
_OFTEN_S = 25
"""Of keep-alives: what wg(8) calls sensible for most firewalls."""
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
    """R17: established TCP flows that are idle for long fill the table, or are cut."""
    timeout = snapshot.evidence.timeouts.get(_ESTABLISHED)
    if timeout is None:
        raise NotRead(_PREFIX + _ESTABLISHED)
    table = snapshot.flows
    seconds, known = idle_s(table, snapshot.evidence)
    known = known & in_tcp_state(table, "ESTABLISHED")
    if timeout < thresholds.established_shortest_s:
        silent = known & (2 * seconds > timeout)
        yield _too_short(snapshot, silent, timeout, thresholds.established_shortest_s)
    limit = snapshot.limit
    used = snapshot.count / limit if limit else 0.0
    if used < thresholds.idle_table:
        return
    total = int(np.count_nonzero(known))
    rows = known & (seconds > thresholds.idle_after_s)
    idle = int(np.count_nonzero(rows))
    if total < thresholds.idle_flows or idle < thresholds.idle_share * total:
        return
    yield _idle(snapshot, rows, total, used, thresholds)


def _idle(
    snapshot: Snapshot, rows: Mask, total: int, used: float, thresholds: Thresholds
) -> Finding:
    timeout = snapshot.evidence.timeouts[_ESTABLISHED]
    idle = int(np.count_nonzero(rows))
    hours, rest = divmod(thresholds.idle_after_s, 3600)
    over = f"{thresholds.idle_after_s}s" if rest else f"{hours}h"
    remedies = [
        Remedy(
            f"natscope delete 'tcp and state established and idle > {over}'",
            "those that are there; natscope undo puts them back",
            is_destructive=True,
        )
    ]
    for seconds in (_DAY_S, thresholds.established_shortest_s):
        if seconds < timeout:
            about = "of packets from now on; what is idle keeps what it has"
            remedies.insert(0, _set(_ESTABLISHED, seconds, about))
            break
    return Finding(
        "R17",
        Severity.WARNING,
        f"{idle} of {total} established TCP flows are idle for more than {over}, and "
        f"the table is {percent(used)} full",
        (
            Fact("idle flows", idle),
            Fact("timeout", timeout, "s"),
            *_whose(snapshot, rows),
        ),
        examples(snapshot.flows, rows),
        "Their ends have most likely gone without a word. Each keeps its place until "
        "nf_conntrack_tcp_timeout_established has run off: five days by default.",
        tuple(remedies),
        "natscope count: it falls",
        about="idle",
    )


def _too_short(
    snapshot: Snapshot, silent: Mask, timeout: int, shortest: int
) -> Finding:
    return Finding(
        "R17",
        Severity.INFO,
        f"TCP connections that are silent for {timeout} s are cut",
        (
            Fact(_PREFIX + _ESTABLISHED, timeout, "s"),
            Fact("keep-alives begin after", _KEEPALIVE_S, "s by default"),
            Fact("RFC 5382 REQ-5", shortest, "s at least"),
            Fact("flows silent for half of it", int(np.count_nonzero(silent))),
        ),
        examples(snapshot.flows, silent),
        why="Keep-alives come every two hours by default (RFC 1122). When a flow has "
        "timed out, its ends still believe in it, and the next packet is lost.",
        remedies=(
            _set(_ESTABLISHED, shortest, "the least RFC 5382 allows"),
            Remedy(
                f"sysctl -w net.ipv4.tcp_keepalive_time={max(1, timeout // 2)}",
                "or this, on the hosts at the ends, for programs with SO_KEEPALIVE",
                is_pattern=True,
            ),
        ),
        verify=f"sysctl {_PREFIX}{_ESTABLISHED}",
        about="short",
    )


def closing_flows(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R18: flows that are closed, or half closed, pile up.

    Where the timeout is as short as it may be, there is nothing left to set.
    """
    table = snapshot.flows
    tcp = int(np.count_nonzero(table["proto"] == uapi.IPPROTO_TCP))
    waiting = in_tcp_state(table, "CLOSE_WAIT")
    timeout = snapshot.evidence.timeouts.get(_CLOSE_WAIT, 0)
    long = timeout >= thresholds.close_wait_timeout_s
    if long and _is_many(waiting, tcp, thresholds.close_wait_share, thresholds):
        about = "the kernel's own; kube-proxy sets it back: there it is "
        about += "conntrack.tcpCloseWaitTimeout of its configuration"
        yield _piled_up(snapshot, waiting, tcp, _set(_CLOSE_WAIT, 60, about))
    limit = snapshot.limit
    used = snapshot.count / limit if limit else 0.0
    waiting = in_tcp_state(table, "TIME_WAIT")
    timeout = snapshot.evidence.timeouts.get(_TIME_WAIT, 0)
    full = used >= thresholds.time_wait_table and timeout > _SHORT_S
    if full and _is_many(waiting, tcp, thresholds.time_wait_share, thresholds):
        about = "of flows that come to this state from now on"
        yield _piled_up(snapshot, waiting, tcp, _set(_TIME_WAIT, _SHORT_S, about))


def _is_many(rows: Mask, tcp: int, share: float, thresholds: Thresholds) -> bool:
    found = int(np.count_nonzero(rows))
    return found >= thresholds.closing_flows and found > share * tcp


def _piled_up(snapshot: Snapshot, rows: Mask, tcp: int, remedy: Remedy) -> Finding:
    assert remedy.sysctl is not None
    setting = remedy.sysctl[0].removeprefix(_PREFIX)
    state = setting.removeprefix("tcp_timeout_").upper()
    found = int(np.count_nonzero(rows))
    return Finding(
        "R18",
        Severity.WARNING,
        f"{found} of {tcp} TCP flows are {state}",
        (
            Fact(state, found),
            Fact("TCP flows", tcp),
            Fact("timeout", snapshot.evidence.timeouts[setting], "s"),
            *_whose(snapshot, rows),
        ),
        examples(snapshot.flows, rows),
        "One end has closed, or both: such a flow carries nothing any more, and keeps "
        "its place and its source port until its timeout has run off.",
        (remedy,),
        f"natscope list --all --group-by state: {state} falls",
        about=state,
    )


def flapping_mappings(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R29: UDP mappings that live on keep-alives hardly faster than the timeout.

    The mean gap is that between the packets of the busier direction, from the first to
    the last: answers come at once.
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
    idle, timed = idle_s(flows, snapshot.evidence)
    enough = aged & timed & flows.has("orig_packets") & (timeout > 0)
    enough &= packets >= max(thresholds.keepalive_packets, 2)
    gaps = np.maximum(packets.astype(np.int64) - 1, 1)
    gap = np.where(enough, (age - idle) / gaps, 0.0)
    # a gap above the timeout would have ended the flow: packets went uncounted
    late = enough & (gap > thresholds.keepalive_share * timeout) & (gap <= timeout)
    for port in np.unique(flows["orig_dport"][late]).tolist():
        these = late & (flows["orig_dport"] == port)
        slowest = int(np.argmax(np.where(these, gap, 0.0)))
        seconds = float(gap[slowest]), int(timeout[slowest])
        yield _flapping(snapshot, port, *seconds, examples(flows, these))


def _flapping(
    snapshot: Snapshot, port: int, gap: float, timeout: int, flows: tuple[Flow, ...]
) -> Finding:
    stream = snapshot.evidence.timeouts.get("udp_timeout_stream")
    setting, enough = (
        ("udp_timeout_stream", 300) if timeout == stream else ("udp_timeout", 120)
    )
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
            _set(
                setting,
                max(enough, 2 * timeout),
                "RFC 4787 REQ-5: two minutes at least, five are better",
            ),
            Remedy(
                f"PersistentKeepalive = {min(_OFTEN_S, max(1, timeout // 2))}",
                "of WireGuard; others have a setting like it",
                is_pattern=True,
            ),
        ),
        f"natscope list udp and dst port {port}: idle stays far below the timeout",
        about=f"port {port}",
    )


def _whose(snapshot: Snapshot, rows: Mask) -> tuple[Fact, ...]:
    top = most(snapshot.flows, "orig_src", rows)
    return () if top is None else (Fact("most of", f"{top.address} ({top.count})"),)


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
