"""``natscope trace`` by positions, as an operator starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conftest import unavailable
from natscope.cli.diagnostics import ExitCode
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import Traffic
from natscope.trace.bpf import loader

pytestmark = pytest.mark.kernel

ALICE, SERVER = network.HOSTS["alice"].v4, network.SERVER_V4
PATIENCE_S = 20
TRACE = (sys.executable, "-m", "natscope", "trace", "--for", "20s")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if (why := loader.available()) is not None:
        unavailable(why)
    try:
        with built() as made, Traffic(made) as traffic:
            traffic.ping("alice", SERVER, 1)
            yield made
    except NamespaceError as error:
        unavailable(str(error))


class Running:
    """The command at work in the box, watching."""

    def __init__(self, lab: Lab, *words: str) -> None:
        where = lab.box.path
        self.process = subprocess.Popen(
            [*TRACE, "--netns", where, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[int(where.rpartition("/")[2])],
        )
        assert self.process.stderr is not None
        self.begun = self.process.stderr.readline()

    def end(self) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, error


def test_bpf_is_chosen_by_itself_and_the_way_to_the_rules_told(lab: Lab) -> None:
    running = Running(lab, "--count", "1", "host", ALICE)
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 2)
    code, _, error = running.end()
    assert (code, error) == (ExitCode.DONE, "")
    assert "watching by bpf" in running.begun
    assert f"natscope trace --method nft --netns {lab.box.path} host {ALICE}" in (
        running.begun
    )


def test_events_stand_between_the_packets_in_the_order_of_time(lab: Lab) -> None:
    running = Running(lab, "--count", "4", "host", ALICE)
    with Traffic(lab) as traffic:
        traffic.syn("alice", (SERVER, 443))
        traffic.ping("alice", SERVER, 3)
        code, out, _ = running.end()
    assert code == ExitCode.DONE
    marks = ["SYN\n", "opened", "RST/ACK\n", "refused", "echo-request"]
    places = [out.index(mark) for mark in marks]
    assert places == sorted(places)


def test_ndjson_carries_packets_and_events_in_the_order_of_time(lab: Lab) -> None:
    running = Running(lab, "--ndjson", "--count", "2", "icmp and host", ALICE)
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 4)
    code, out, _ = running.end()
    assert code == ExitCode.DONE
    told = [json.loads(line) for line in out.splitlines()]
    assert [one.get("outcome") or one.get("what") for one in told] == [
        "forwarded",
        "opened",
        "forwarded",
        "replied",
    ]
    assert [one["time_ns"] for one in told] == sorted(one["time_ns"] for one in told)


def test_json_is_one_document_of_packets_and_events(lab: Lab) -> None:
    running = Running(lab, "--json", "--count", "2", "icmp and host", ALICE)
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 5)
    code, out, _ = running.end()
    document = json.loads(out)
    assert (code, document["schema"], document["lost"]) == (0, "natscope.journey/1", 0)
    assert len(document["journeys"]) == 2
    assert [event["what"] for event in document["events"]] == ["opened", "replied"]


def test_without_events_there_are_none(lab: Lab) -> None:
    words = ("--ndjson", "--no-events", "--count", "2", "icmp and host", ALICE)
    running = Running(lab, *words)
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 6)
    _, out, _ = running.end()
    assert all("outcome" in json.loads(line) for line in out.splitlines())


def test_interrupted_it_shows_what_came_and_says_how_much(lab: Lab) -> None:
    running = Running(lab, "icmp and host", ALICE)
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 7)
        os.kill(running.process.pid, signal.SIGINT)
        code, out, error = running.end()
    assert code == ExitCode.DONE
    assert out.count("FORWARDED") == 2
    assert error.startswith("natscope: 2 packets in ")
    assert error.endswith(" s, 0 steps lost\n")


def test_interrupted_without_a_packet_it_says_what_that_may_mean(lab: Lab) -> None:
    running = Running(lab, "--json", "host 192.0.2.123")
    os.kill(running.process.pid, signal.SIGINT)
    code, out, error = running.end()
    assert code == ExitCode.NOTHING
    assert json.loads(out)["journeys"] == []
    assert "0 packets in " in error
    assert "it did not reach this box" in error


def test_a_pipe_that_is_closed_ends_it(lab: Lab) -> None:
    running = Running(lab, "icmp and host", ALICE)
    assert running.process.stdout is not None
    running.process.stdout.close()
    with Traffic(lab) as traffic:
        traffic.ping("alice", SERVER, 8)
    running.process.stdout = None
    code, _, error = running.end()
    assert (code, error) == (ExitCode.DONE, "")
