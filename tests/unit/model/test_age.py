"""Age and silence of a flow, from timestamps and timeouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from natscope import uapi
from natscope.model.age import age_s, idle_s
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.table import age as columns
from natscope.table.flowtable import FlowTable
from unit.model.translated import flow, ping

S = 10**9
TCP = flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 10.0.0.5 40000", None)
UDP = flow("10.0.0.5 40000 192.0.2.1 53", "192.0.2.1 53 10.0.0.5 40000", None, "udp")
GRE = flow("10.0.0.5 1 192.0.2.1 2", "192.0.2.1 2 10.0.0.5 1", None, "gre")
ESP = flow("10.0.0.5 0 192.0.2.1 0", "192.0.2.1 0 10.0.0.5 0", None, "esp")
SCTP = flow("10.0.0.5 1 192.0.2.1 2", "192.0.2.1 2 10.0.0.5 1", None, "sctp")
PING = ping("10.0.0.5 192.0.2.1 7", "192.0.2.1 10.0.0.5 7", 0)
PING6 = ping("fd00::5 fd00::6 7", "fd00::6 fd00::5 7", 0)
BOX = Evidence(
    now_ns=1_000 * S,
    timeouts={
        "tcp_timeout_established": 432_000,
        "tcp_timeout_syn_sent": 120,
        "udp_timeout": 30,
        "udp_timeout_stream": 120,
        "gre_timeout": 31,
        "gre_timeout_stream": 180,
        "icmp_timeout": 29,
        "icmpv6_timeout": 28,
        "generic_timeout": 600,
        "sctp_timeout_established": 210,
    },
)
REPLIED = uapi.Status.SEEN_REPLY
STREAM = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED


@dataclass(frozen=True)
class Case:
    id: str
    flow: Flow
    fields: dict[str, Any]
    want: int | None
    box: Evidence = BOX


AGES = [
    Case("no timestamp", TCP, {}, None),
    Case("since its birth", TCP, {"start_ns": 400 * S}, 600),
    Case("whole seconds, rounded down", TCP, {"start_ns": 400 * S + 1}, 599),
    Case("born during the dump", TCP, {"start_ns": 1_001 * S}, 0),
    Case("ended", TCP, {"start_ns": 400 * S, "stop_ns": 410 * S}, 10),
    Case("no clock", TCP, {"start_ns": 400 * S}, None, Evidence()),
    Case("ended, no clock", TCP, {"start_ns": 0, "stop_ns": S}, 1, Evidence()),
    Case("as a listing says", TCP, {"delta_time": 7, "start_ns": 400 * S}, 7),
]
IDLES = [
    Case("by TCP state", TCP, {"tcp_state": 3, "timeout": 431_940}, 60),
    Case("just now", TCP, {"tcp_state": 1, "timeout": 120}, 0),
    Case("another TCP state", TCP, {"tcp_state": 1, "timeout": 100}, 20),
    Case("no state told", TCP, {"timeout": 100}, None),
    Case("a state without sysctl", TCP, {"tcp_state": 9, "timeout": 100}, None),
    Case("a state from a newer kernel", TCP, {"tcp_state": 77, "timeout": 1}, None),
    Case("no timeout told", TCP, {"tcp_state": 3}, None),
    Case("no sysctl known", TCP, {"tcp_state": 3, "timeout": 5}, None, Evidence()),
    Case("more left than configured", TCP, {"tcp_state": 1, "timeout": 121}, None),
    Case(
        "a fixed timeout",
        TCP,
        {"tcp_state": 3, "timeout": 5, "status": uapi.Status.FIXED_TIMEOUT},
        None,
    ),
    Case(
        "in a flowtable",
        TCP,
        {"tcp_state": 3, "timeout": 5, "status": uapi.Status.OFFLOAD},
        None,
    ),
    Case("UDP, once", UDP, {"timeout": 20, "status": REPLIED}, 10),
    Case("UDP, a stream", UDP, {"timeout": 20, "status": STREAM}, 100),
    Case("UDP, status not told", UDP, {"timeout": 20}, None),
    Case(
        "UDP, half the status told",
        UDP,
        {"timeout": 20, "status": REPLIED, "status_mask": REPLIED},
        None,
    ),
    Case("GRE, a stream", GRE, {"timeout": 20, "status": STREAM}, 160),
    Case("GRE, once", GRE, {"timeout": 20, "status": 0}, 11),
    Case("ICMP", PING, {"timeout": 20}, 9),
    Case("ICMPv6", PING6, {"timeout": 20}, 8),
    Case("any other protocol", ESP, {"timeout": 20}, 580),
    Case("SCTP", SCTP, {"timeout": 200, "sctp_state": 4}, 10),
]


def in_columns(
    seconds_of: Callable[[FlowTable, Evidence], columns.Known],
    flow: Flow,
    box: Evidence,
) -> int | None:
    """What the columns say of one row."""
    seconds, known = seconds_of(FlowTable.from_flows([flow]), box)
    return int(seconds[0]) if known[0] else None


@pytest.mark.parametrize("case", AGES, ids=lambda case: case.id)
def test_age_counts_from_the_timestamp(case: Case) -> None:
    flow = replace(case.flow, **case.fields)
    assert case.want == age_s(flow, case.box)
    assert case.want == in_columns(columns.age_s, flow, case.box)


@pytest.mark.parametrize("case", IDLES, ids=lambda case: case.id)
def test_silence_is_what_has_run_off_the_timeout(case: Case) -> None:
    flow = replace(case.flow, **case.fields)
    assert case.want == idle_s(flow, case.box)
    assert case.want == in_columns(columns.idle_s, flow, case.box)
