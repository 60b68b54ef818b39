"""Timeouts as a table with their meanings."""

from __future__ import annotations

from natscope.render import timeouts as rendered
from natscope.views.timeouts import timeouts

UDP = timeouts({"udp_timeout": 60, "quic_timeout": 7}, None).found


def test_a_line_has_the_value_and_the_least_an_rfc_asks_for() -> None:
    assert rendered.text(UDP, heading=True, meanings=False) == [
        "TIMEOUT       SECONDS         FLOWS  RFC",
        "udp_timeout       *60  1m00s      -  120  below: RFC 4787 REQ-5",
        "quic_timeout        7             -    -",
    ]


def test_below_a_line_stands_what_it_means_and_where_it_hurts() -> None:
    lines = rendered.text(UDP, heading=False, meanings=True)
    assert lines[1] == "    traffic one way, or not yet both ways for 2 s"
    assert lines[2].startswith("    too long: ")
    assert lines[-2].startswith("      ports below 1024") or "RFC 4787" in lines[-3]
    assert lines[-1].split()[0] == "quic_timeout"
    assert max(map(len, lines)) <= 80
