"""What the verbs of change say: before it, after it, and when it is cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest

from kernel import stock
from natscope.cli import main
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render import saved
from natscope.sources.kernel import Kernel
from natscope.table.flowtable import FlowTable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

Run = Callable[..., tuple[int, str, str]]
MANY = 40_000


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs natscope; its exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def natscope(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capfd.readouterr()
        return code, out, err

    return natscope


def test_a_plan_as_json_has_the_keys_of_the_outcome_and_a_sample(run: Run) -> None:
    stock.insert_all()
    planned = json.loads(run("delete", "tcp", "--dry-run", "--json")[1])
    listed = json.loads(run("list", "--all", "--json", "tcp")[1])["flows"]
    assert (planned["planned"], planned["done"]) == (5, 0)
    told = {json.dumps(one["inside"]) for one in planned["sample"]}
    assert told == {json.dumps(one["inside"]) for one in listed}
    done = json.loads(run("delete", "tcp", "--json")[1])
    assert planned.keys() - {"sample", "changes"} == done.keys()


def test_the_plan_of_an_update_tells_old_and_new(run: Run) -> None:
    source = FlowTuple(IPv4Address("10.0.0.5"), IPv4Address("10.0.0.6"), 17, 5, 53)
    stock.conntrack(
        *["-I", "-p", "udp", "-s", "10.0.0.5", "-d", "10.0.0.6"],
        "-t",
        "600",
        "--sport",
        "5",
        "--dport",
        "53",
        "-m",
        "17",
    )
    code, out, _ = run(
        "update", "udp", "--mark", "0x2/0xf", "--status", "assured", "-n"
    )
    assert code == 0
    assert "udp 10.0.0.5:5 to 10.0.0.6:53: mark 0x11 -> 0x12, status " in out
    assert "assured" in out.rpartition("->")[2]
    assert {f.mark for f in Kernel().table() if f.orig == source} == {17}


def test_every_flow_can_be_named_as_the_hint_says(run: Run) -> None:
    stock.insert_all()
    code, _, err = run("update", "--mark", "5")
    assert (code, "natscope update ip or ip6" in err) == (2, True)
    assert run("update", "ip", "or", "ip6", "--mark", "5")[0] == 0
    assert set(Kernel().table()["mark"].tolist()) == {5}


def test_the_changes_that_can_be_taken_back_are_listed_newest_first(run: Run) -> None:
    stock.insert_all()
    for words in (("undo", "--list"), ("undo",), ("undo", "--dry-run")):
        code, _, err = run(*words)
        assert (code, "nothing to undo" in err) == (1, True), words
    assert run("update", "tcp", "--mark", "5")[0] == 0
    assert run("delete", "udp")[0] == 0
    assert run("undo")[0] == 0
    _, out, _ = run("undo", "--list")
    rows = [line.split()[2:5] for line in out.splitlines()[1:]]
    changes = json.loads(run("undo", "--list", "--json")[1])["changes"]
    assert [row[0] for row in rows] == ["delete", "update"]
    assert [row[2] for row in rows] == ["yes", "no"]
    assert [one["undone"] for one in changes] == [True, False]
    assert [str(one["flows"]) for one in changes] == [row[1] for row in rows]


def test_an_empty_file_is_no_flow_to_insert_and_nothing_more(run: Run) -> None:
    assert run("restore", "/dev/null") == (1, "", "no flow to insert\n")


@dataclass(frozen=True)
class Words:
    """A command line that lacks something, and what it says."""

    id: str
    words: str
    said: str


LACKING = [
    Words("no brackets", "udp 10.0.0.1:1 to fd00::1:2", "[ADDRESS]:PORT"),
    Words("no to", "tcp 10.0.0.1:1 10.0.0.2:2", "to ADDRESS[:PORT]"),
    Words("no destination", "tcp 10.0.0.1:1 to", "to ADDRESS[:PORT]"),
    Words("no ICMP id", "icmp 10.0.0.1 to 10.0.0.2", "--id N"),
]


@pytest.mark.parametrize("case", LACKING, ids=lambda case: case.id)
def test_a_flow_that_is_not_whole_is_refused_in_two_lines(
    run: Run, case: Words
) -> None:
    code, _, err = run("insert", *case.words.split())
    assert (code, len(err.splitlines())) == (2, 2)
    assert case.said in err


def many() -> FlowTable:
    """Enough flows that a change of them can be cut short."""
    to = IPv4Address("198.51.100.9")
    ends = (FlowTuple(IPv4Address(0x0A000000 + n), to, 17, 5, 53) for n in range(MANY))
    flows = [Flow(orig, orig.reversed(), timeout=600) for orig in ends]
    return FlowTable.from_flows(flows)


CUT_SHORT = ["delete ip", "update ip --mark 5", "restore {}"]


@pytest.mark.parametrize("words", CUT_SHORT)
def test_what_is_cut_short_says_how_far_it_came_and_is_undone(
    run: Run, tmp_path: Path, words: str
) -> None:
    path = tmp_path / "flows.jsonl"
    path.write_bytes(saved.header(time_ns=1, flows=MANY) + saved.flows(many()))
    verb = words.split()[0]
    if verb != "restore":
        assert run("restore", "--no-undo", str(path))[0] == 0
    before = Kernel().count()[0]
    command = [sys.executable, "-m", "natscope", *words.format(path).split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not changed(verb, before):
            assert process.poll() is None, "it was over before it was cut short"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    action = "insert" if verb == "restore" else verb
    assert err.startswith(f"{action} interrupted after about "), err
    assert "; undo: natscope undo" in err
    assert run("undo")[0] == 0
    table = Kernel().table()
    assert (len(table), np.unique(table["mark"]).tolist()) == (
        before,
        [0] if before else [],
    )


def changed(verb: str, before: int) -> bool:
    """Whether a change of many flows is under way."""
    if verb == "update":
        return len(Kernel().table("mark 5")) > 0
    return Kernel().count()[0] != before
