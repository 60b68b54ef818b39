"""Timeouts, the flows they hold, and what RFCs ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.table.age import configured_timeout_s
from natscope.table.flowtable import FlowTable
from natscope.views.timeoutfacts import FACTS
from natscope.views.timeouts import (
    COLUMNS,
    deviating,
    document,
    flows_by_timeout,
    record,
    timeouts,
)
from unit.table.flows import PING
from unit.views.natted import TIME_WAIT, flow, table

DEFAULTS = {name: fact.default_s for name, fact in FACTS.items()}
STREAM = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED
UDP = replace(flow(2000, proto=uapi.IPPROTO_UDP), status=0)
FLOWS = [
    flow(2000),
    flow(2001),
    flow(2002, state=TIME_WAIT),
    replace(flow(2003), status=uapi.Status.FIXED_TIMEOUT),
    UDP,
    replace(UDP, status=STREAM),
    PING,
    replace(UDP, status=None),
]


def test_each_flow_is_held_by_the_timeout_of_its_state() -> None:
    held = flows_by_timeout(table(FLOWS))
    assert {name: count for name, count in held.items() if count} == {
        "tcp_timeout_established": 2,
        "tcp_timeout_time_wait": 1,
        "udp_timeout": 1,
        "udp_timeout_stream": 1,
        "icmp_timeout": 1,
    }


def test_flows_are_held_by_what_their_silence_is_measured_with() -> None:
    rows = table(FLOWS)
    values = {name: at for at, name in enumerate(DEFAULTS)}
    by_age = configured_timeout_s(rows, Evidence(timeouts=values)).tolist()
    held = flows_by_timeout(rows)
    for name, at in values.items():
        assert held.get(name, 0) == by_age.count(at)


def test_the_kernels_defaults_are_shorter_than_rfcs_ask_for_in_nine_places() -> None:
    found = timeouts(DEFAULTS, None)
    assert [one.name for one in deviating(found.found)] == [
        *("tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_fin_wait"),
        *("tcp_timeout_close_wait", "tcp_timeout_last_ack", "tcp_timeout_time_wait"),
        *("tcp_timeout_close", "udp_timeout", "icmp_timeout"),
    ]
    assert not any(one.is_changed for one in found.found)


def test_of_each_is_told_where_it_hurts_to_be_too_long_and_too_short() -> None:
    assert [name for name, fact in FACTS.items() if not fact.too_long] == []
    assert [name for name, fact in FACTS.items() if not fact.too_short] == []


@dataclass(frozen=True)
class Asked:
    """What an RFC says, in its own figures."""

    name: str
    rfc: str
    least_s: int


ASKED = [
    Asked("udp_timeout", "RFC 4787 REQ-5", 2 * 60),
    Asked("udp_timeout_stream", "RFC 4787 REQ-5", 2 * 60),
    Asked("tcp_timeout_established", "RFC 5382 REQ-5", 2 * 3600 + 4 * 60),
    Asked("tcp_timeout_syn_sent", "RFC 5382 REQ-5, RFC 7857 2.1", 4 * 60),
    Asked("tcp_timeout_time_wait", "RFC 5382 REQ-5, RFC 7857 2.1", 4 * 60),
    Asked("tcp_timeout_close", "RFC 7857 2.2", 4 * 60),
    Asked("icmp_timeout", "RFC 5508 REQ-2", 60),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_an_rfc_is_met_at_its_figure_and_not_a_second_before(asked: Asked) -> None:
    (met,) = timeouts({asked.name: asked.least_s}, None).found
    (below,) = timeouts({asked.name: asked.least_s - 1}, None).found
    assert met.advice is not None
    assert (met.advice.rfc, met.is_below, below.is_below) == (asked.rfc, False, True)


def test_a_timeout_of_a_newer_kernel_is_shown_without_a_meaning() -> None:
    (old, new) = timeouts({"quic_timeout": 7, "udp_timeout": 300}, None).found
    assert (old.name, old.is_changed, old.is_below) == ("udp_timeout", True, False)
    assert record(new) == {
        "name": "quic_timeout",
        "sysctl": "net.netfilter.nf_conntrack_quic_timeout",
        "seconds": 7,
    }


def test_what_holds_nothing_is_told_apart_from_what_is_not_known() -> None:
    with_flows = {one.name: one.flows for one in timeouts(DEFAULTS, table([])).found}
    assert with_flows["udp_timeout"] == 0
    assert with_flows["tcp_timeout_max_retrans"] is None
    without = timeouts(DEFAULTS, None)
    assert {one.flows for one in without.found} == {None}
    assert "flows" not in document(without, without.found)


def test_flows_with_more_time_than_their_timeout_are_counted() -> None:
    found = timeouts(DEFAULTS | {"udp_timeout": 20}, table([UDP, flow(1)]))
    assert (found.flows, found.overlong) == (2, 1)


def test_a_record_has_no_more_than_csv_has_columns_for() -> None:
    udp = timeouts(DEFAULTS, FlowTable.empty()).found[10]
    assert set(COLUMNS) <= record(udp).keys()
    assert np.array_equal(record(udp)["rfc_least"], 120)
