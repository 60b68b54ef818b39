"""Ports that run out, made on a real kernel: what is counted is what it drops by."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pytest
from bench.exhaustion import Count, about, crowd

from kernel.portbox import (
    INSIDE,
    OTHER,
    PUBLIC,
    SERVER,
    box,
    connect,
    dropped,
    load,
    send,
    use,
)
from natscope import uapi
from natscope.codec.text.natrules import nat_rules
from natscope.sources.bundle import collect
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.views.pools import Destination
from natscope.views.portranges import PortRanges
from natscope.views.ports import port_use

pytestmark = pytest.mark.kernel


def natscope(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "natscope", "ports", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def of_server(found: Sequence[Destination], to: str = SERVER) -> Destination:
    (of,) = (one for one in found if str(one.address) == to)
    return of


def test_a_range_that_is_used_up_is_told_and_so_are_the_drops(
    netns: Namespace,
) -> None:
    with box("meta l4proto tcp masquerade to :2000-2009") as opened:
        for inside in (INSIDE[0],) * 8 + (INSIDE[1],) * 6:
            connect(opened, inside)
        assert dropped() == (4, 4)
        told = natscope("--json")
    (of,) = told["destinations"]
    assert (of["first"], of["last"], of["rule"]) == (2000, 2009, "ip nat post #3")
    assert (of["used"], of["hard"], of["occupancy"], of["loss"]) == (10, 10, 1, 1)
    assert (of["severity"], of["hosts"], of["fair"]) == ("critical", 2, 5)
    assert of["top_hosts"] == [
        {"address": INSIDE[0], "ports": 8},
        {"address": INSIDE[1], "ports": 2},
    ]


def test_another_destination_has_all_ports_still(netns: Namespace) -> None:
    with box("meta l4proto udp masquerade to :2000-2009") as opened:
        assert sum(send(opened) for _ in range(14)) == 10
        assert all(send(opened, to=OTHER) for _ in range(4))
        found = use().busiest(9)
    assert (of_server(found).used, of_server(found).loss) == (10, 1.0)
    assert (of_server(found, OTHER).used, of_server(found, OTHER).loss) == (4, 0.0)


def test_up_to_128_ports_are_searched_to_the_last(netns: Namespace) -> None:
    with box("meta l4proto udp snat to 203.0.113.7:3000-3127") as opened:
        for _ in range(127):
            assert send(opened)
        assert of_server(use().busiest(9)).loss == 0
        assert send(opened)
        assert not send(opened)
        assert of_server(use().busiest(9)).loss == 1


def test_the_kernel_loses_as_many_flows_as_are_foretold(netns: Namespace) -> None:
    """Within five deviations: of each flow its chance was known before it was sent."""
    foretold = variance = lost = 0.0
    with box("meta l4proto udp snat to 203.0.113.7:3000-3299") as opened:
        for _ in range(280):
            send(opened)
        ranges = PortRanges(nat_rules(collect()))
        with Kernel() as kernel:
            for _ in range(100):
                found = port_use(kernel.table(), ranges, evicts=True).busiest(1)
                chance = found[0].loss
                foretold += chance
                variance += chance * (1 - chance)
                lost += not send(opened)
    assert foretold > 10
    assert lost == pytest.approx(foretold, abs=5 * variance**0.5)


def test_of_64512_ports_too_as_many_are_lost_as_are_foretold(
    netns: Namespace,
) -> None:
    """None while two thirds are taken, then as the clumps of taken ports have it."""
    count = Count()
    with crowd(random.Random(7)) as hosts:
        assert hosts.fill_to(2 / 3) == 0
        for level in (0.95, 0.97, 0.98):
            about(level, hosts, count)
    chance = count.foretold / count.tried
    assert 0.1 < chance < 0.3
    deviation = (count.tried * chance * (1 - chance)) ** 0.5
    assert count.dropped == pytest.approx(count.foretold, abs=5 * deviation)


def test_flows_keep_their_ports_where_no_range_is_named(netns: Namespace) -> None:
    with box(f"snat to {PUBLIC}") as opened:
        for _ in range(3):
            assert send(opened)
        (of,) = use().busiest(9)
    assert (str(of.range), of.range.rule, of.used) == ("1024-65535", "", 3)


def test_new_connections_get_the_ports_of_closing_ones(netns: Namespace) -> None:
    """Each port is evicted if the new sequence number is ahead: one of ten mostly is."""
    with box("meta l4proto tcp masquerade to :2000-2009") as opened:
        for _ in range(10):
            connect(opened, INSIDE[0])
        (of,) = use().busiest(9)
        assert (of.used, of.closing, of.loss) == (10, 0, 1)
        subprocess.run(
            ["conntrack", "-U", "-p", "tcp", "-d", SERVER, "--state", "TIME_WAIT"],
            check=True,
            capture_output=True,
        )
        (of,) = use().busiest(9)
        assert (of.used, of.closing, of.occupancy, of.loss) == (10, 10, 0, 0)
        for _ in range(3):
            connect(opened, INSIDE[1])
        (of,) = use().busiest(9)
    assert (of.used, of.hosts) == (10, 2)
    assert 1 <= of.hard <= 3


def test_a_filter_and_the_growth_between_two_readings(netns: Namespace) -> None:
    with box("meta l4proto udp masquerade to :2000-2009") as opened:
        assert send(opened)
        assert send(opened, to=OTHER)
        told = natscope("--json", "--interval", "0.2s", "dst", "host", OTHER)
    (of,) = told["destinations"]
    assert (of["destination"], of["growth_per_s"]) == (
        {"address": OTHER, "port": 53},
        0,
    )
    assert told["counters"]["insert_failed"] == 0
    assert of["proto"] == uapi.protocol_name(uapi.IPPROTO_UDP)


def test_alarms_are_raised_and_cleared_while_watched(netns: Namespace) -> None:
    words = [sys.executable, "-m", "natscope", "ports", "--watch", "0.2s", "--ndjson"]
    with box("meta l4proto udp masquerade to :2000-2009") as opened:
        assert send(opened)
        watching = opened.enter_context(
            subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        opened.callback(watching.terminate)
        assert watching.stdout is not None
        assert watching.stderr is not None
        first = json.loads(watching.stdout.readline())
        assert (first["used"], first["peak"], "severity" in first) == (1, 1, False)
        assert sum(send(opened) for _ in range(14)) == 9
        _read_until(watching.stderr, "raised critical: udp from ")
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        assert send(opened)
        _read_until(watching.stderr, "cleared: udp from ")
        peaks = {json.loads(line)["peak"] for line in _until(watching.stdout, first)}
    assert max(peaks) == 10


def test_an_alarm_is_said_once_in_the_reading_that_raises_it(netns: Namespace) -> None:
    words = [sys.executable, "-m", "natscope", "ports", "--watch", "0.2s"]
    with box("meta l4proto udp masquerade to :2000-2009") as opened:
        assert sum(send(opened) for _ in range(10)) == 10
        watching = opened.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        )
        opened.callback(watching.terminate)
        assert watching.stdout is not None
        first = []
        for line in watching.stdout:
            first.append(line)
            if line.startswith("raised critical: udp from "):
                break
    assert sum("critical: udp from " in line for line in first) == 1


def test_rules_that_change_are_seen_while_watched(netns: Namespace) -> None:
    words = [sys.executable, "-m", "natscope", "ports", "--watch", "0.2s", "--ndjson"]
    with box("meta l4proto udp masquerade to :2000-2009") as opened:
        assert sum(send(opened) for _ in range(8)) == 8
        watching = opened.enter_context(
            subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        opened.callback(watching.terminate)
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["last"] == 2009
        _read_until(watching.stderr, "raised warning: udp from ")
        load("meta l4proto udp masquerade to :2000-2099")
        assert any(json.loads(line)["last"] == 2099 for line in watching.stdout)
        _read_until(watching.stderr, "cleared: udp from ")


def _until(lines: IO[str], first: dict[str, Any]) -> Iterator[str]:
    """What was told up to a reading that shows as many ports as the first."""
    for line in lines:
        yield line
        if json.loads(line)["used"] == first["used"] and json.loads(line)["peak"] > 1:
            return


def _read_until(lines: IO[str], beginning: str) -> None:
    """Read on; a reading in the midst of a burst raises a lesser alarm first."""
    for line in lines:
        if line.startswith(beginning):
            return
    pytest.fail(f"no line begins with {beginning!r}")
