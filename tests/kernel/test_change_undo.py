"""What is taken back is what was done: no more, and nothing of anyone else's."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest

from kernel import stock
from natscope.actions import plan, undo
from natscope.actions.changes import Outcome
from natscope.cli import changing, main
from natscope.model.expectation import Expectation
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render import saved
from natscope.sources import expectations, journal
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace, new_namespace
from natscope.table.flowtable import FlowTable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

Run = Callable[..., tuple[int, str, str]]
WEB = FlowTuple(ip_address("10.0.0.5"), ip_address("198.51.100.9"), 6, 51000, 443)
WORDS = ("tcp", "10.0.0.5:51000", "to", "198.51.100.9:443")


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


def flows(filter: str = "") -> set[tuple[object, ...]]:
    """The entries that are there: which they are, and what can be set."""
    return {
        (f.orig, f.reply, f.zone, f.mark, f.labels or 0, f.tcp_state, f.helper, f.id)
        for f in Kernel().table(filter)
    }


def use_connlabels() -> None:
    """A rule that uses them: else flows have no room for any."""
    rule = "type filter hook output priority 0; ct label set 3"
    subprocess.run(["nft", f"table ip l {{ chain c {{ {rule}; }}; }}"], check=True)


def web(**more: object) -> Flow:
    return replace(
        Flow(WEB, WEB.reversed(), status=6, timeout=600, tcp_state=3),
        **more,  # type: ignore[arg-type]
    )


def test_an_insert_that_replaced_flows_gives_them_their_values_back(
    run: Run, tmp_path: Path
) -> None:
    stock.insert_all()
    path = tmp_path / "saved.jsonl"
    assert run("save", str(path))[0] == 0
    assert run("update", "tcp or udp", "--mark", "77", "--no-undo")[0] == 0
    assert run("delete", "icmp or gre", "--no-undo")[0] == 0
    before = flows()
    code, _, err = run("restore", "--replace", str(path))
    assert (code, "2 flows inserted, 13 there already and changed" in err) == (0, True)
    assert flows() != before
    code, _, err = run("undo")
    assert code == 0, err
    assert flows() == before


def test_an_insert_is_taken_back_by_the_ids_the_kernel_gave(
    run: Run, tmp_path: Path
) -> None:
    stock.insert_all()
    path = tmp_path / "saved.jsonl"
    assert run("save", str(path))[0] == 0
    assert run("flush", "--yes", "--no-undo")[0] == 0
    code, _, err = run("restore", str(path))
    assert (code, "15 flows inserted" in err) == (0, True)
    assert run("delete", "tcp", "--no-undo")[0] == 0
    for words in stock.INSERTS:
        if "-p tcp" in words:
            stock.conntrack("-I", *words.split())
    successors = flows("tcp")
    code, _, err = run("undo")
    assert (code, "10 flows deleted, 5 gone meanwhile" in err) == (0, True), err
    assert flows() == successors


def test_what_was_there_before_an_insert_stays(run: Run) -> None:
    assert run("insert", *WORDS, "--mark", "5")[0] == 0
    before = flows()
    assert run("insert", *WORDS, "--mark", "9", "--replace")[0] == 0
    assert {f.mark for f in Kernel().table()} == {9}
    assert run("undo")[0] == 0
    assert flows() == before


def test_a_flow_told_twice_was_made_by_the_first(run: Run, tmp_path: Path) -> None:
    twice = FlowTable.from_flows([web(mark=5, id=1), web(mark=6, id=2)])
    path = tmp_path / "saved.jsonl"
    path.write_bytes(saved.header(time_ns=0, flows=2) + saved.flows(twice))
    code, _, err = run("restore", "--replace", str(path))
    assert (code, [flow.mark for flow in Kernel().table()]) == (0, [6]), err
    assert run("undo")[0] == 0
    assert Kernel().count()[0] == 0


def test_a_change_is_not_taken_back_in_another_namespace(run: Run) -> None:
    stock.insert_all()
    assert run("delete", "tcp")[0] == 0
    with new_namespace("other") as other, other.enter():
        code, _, err = run("undo")
        assert (code, "another network namespace" in err) == (2, True)
        assert Kernel().count()[0] == 0
    assert run("undo")[0] == 0
    assert len(Kernel().table("tcp")) == 5


def test_a_namespace_that_is_named_is_the_one(run: Run, netns: Namespace) -> None:
    """The name of one may be another's by the time: what it is decides."""
    stock.insert_all()
    assert run("delete", "tcp", "--netns", "/proc/thread-self/ns/net")[0] == 0
    with new_namespace("other") as other, other.enter():
        assert run("undo")[0] == 2
        assert run("undo", "--netns", netns.path)[0] == 0
    assert len(Kernel().table("tcp")) == 5


@dataclass(frozen=True)
class Meanwhile:
    """An update, what somebody else sets, what the undo leaves."""

    words: str
    meanwhile: dict[str, int]
    left: tuple[int, int]

    @property
    def id(self) -> str:
        return self.words


MEANWHILE = [
    Meanwhile("--mark 0x10/0xff", {"mark": 0xAB10}, (0xAB05, 0)),
    Meanwhile("--mark 0x10", {"mark": 0xAB10}, (5, 0)),
    Meanwhile("--label 7", {"labels": 0x8080}, (5, 0x8000)),
]


@pytest.mark.parametrize("case", MEANWHILE, ids=lambda case: case.id)
def test_bits_that_were_not_changed_are_not_set_back(run: Run, case: Meanwhile) -> None:
    use_connlabels()
    kernel = Kernel()
    assert plan.insert(kernel, [web(mark=5)]).run().done == 1
    assert run("update", "tcp", *case.words.split())[0] == 0
    assert plan.update(kernel, "tcp", case.meanwhile).run().done == 1
    assert run("undo")[0] == 0
    (flow,) = kernel.table()
    assert (flow.mark, flow.labels or 0) == case.left


def test_an_update_leaves_a_successor_alone() -> None:
    # a successor in the same place in memory has the same id, and a later start
    (stock.SYSCTLS / "nf_conntrack_timestamp").write_text("1")
    kernel = Kernel()
    plan.insert(kernel, [web(mark=5)]).run()
    deleted = plan.delete(kernel, "tcp")
    planned = plan.update(kernel, "tcp", {"mark": 9})
    (taken_back,) = undo.plan(kernel, undo.before(planned))
    plan.flush(kernel).run()
    plan.insert(kernel, [web(mark=6)]).run()
    for change in (planned, taken_back, deleted):
        outcome = change.run()
        assert (outcome.done, outcome.vanished) == (0, [0])
    assert [flow.mark for flow in kernel.table()] == [6]


def test_one_undo_that_has_nothing_left_to_do_makes_room_for_the_next(run: Run) -> None:
    stock.insert_all()
    assert run("delete", "tcp")[0] == 0
    assert run("update", "udp", "--mark", "8")[0] == 0
    assert run("flush", "--yes", "--no-undo")[0] == 0
    code, _, err = run("undo")
    assert (code, "gone meanwhile" in err) == (1, True)
    assert run("undo")[0] == 0
    assert len(Kernel().table("tcp")) == 5


def test_a_refused_change_leaves_no_undo_file(run: Run) -> None:
    assert run("insert", *WORDS, "--helper", "no-such")[0] == 3
    assert journal.listed() == []


FTP = FlowTuple(ip_address("10.0.0.5"), ip_address("198.51.100.9"), 6, 40001, 21)
DATA = Expectation(
    expected=FlowTuple(ip_address("198.51.100.9"), ip_address("10.0.0.5"), 6, 0, 40000),
    mask=FlowTuple(
        ip_address("255.255.255.255"), ip_address("255.255.255.255"), 6, 0, 65535
    ),
    master=FTP,
    timeout=300,
    helper="ftp",
)


def announced() -> set[FlowTuple]:
    return {one.expected for one in Kernel().expectations()}


def announce(kernel: Kernel) -> None:
    master = Flow(FTP, FTP.reversed(), status=6, timeout=600, tcp_state=3, helper="ftp")
    plan.insert(kernel, [master, web()]).run()
    with kernel.socket() as sock:
        expectations.create(sock, DATA)


@pytest.mark.parametrize("words", ["delete tcp", "flush --yes"])
def test_what_a_deleted_flow_expected_comes_back(run: Run, words: str) -> None:
    announce(Kernel())
    assert run(*words.split())[0] == 0
    assert announced() == set()
    code, _, err = run("undo")
    assert (code, "2 flows inserted, 1 expectation inserted" in err) == (0, True), err
    assert announced() == {DATA.expected}


def test_the_expectations_of_a_restore_go_with_its_undo(
    run: Run, tmp_path: Path
) -> None:
    announce(Kernel())
    path = tmp_path / "saved.jsonl"
    assert run("save", str(path))[0] == 0
    with Kernel().socket() as sock:
        expectations.flush(sock)
    code, _, err = run("restore", str(path))
    assert (code, "0 flows inserted, 1 expectation inserted" in err) == (0, True), err
    assert announced() == {DATA.expected}
    assert run("undo")[0] == 0
    assert announced() == set()
    assert len(Kernel().table()) == 2


def test_a_file_of_expectations_alone_is_restored(run: Run, tmp_path: Path) -> None:
    announce(Kernel())
    path = tmp_path / "saved.jsonl"
    lines = [json.dumps({"natscope": "save", "version": 1, "flows": 0})]
    assert run("save", str(path))[0] == 0
    lines += [line for line in path.read_text().splitlines() if "expectation" in line]
    path.write_text("\n".join(lines[:-1]))
    with Kernel().socket() as sock:
        expectations.flush(sock)
    code, _, err = run("restore", str(path))
    assert (code, "1 expectation inserted" in err) == (0, True), err
    code, _, err = run("restore", str(path))
    assert (code, "1 there already" in err) == (0, True), err


def test_a_master_that_is_missing_is_a_refusal(run: Run, tmp_path: Path) -> None:
    orphan = web(orig=FTP, reply=FTP.reversed(), master=DATA.expected)
    made = saved.flows(FlowTable.from_flows([web(), orphan]))
    path = tmp_path / "saved.jsonl"
    path.write_bytes(saved.header(time_ns=0, flows=2) + made)
    code, _, err = run("restore", str(path))
    assert (code, "its master is not in the table" in err) == (4, True), err


def test_the_reply_of_another_flow_is_no_flow_to_replace(run: Run) -> None:
    assert run("insert", *WORDS, "--mark", "5")[0] == 0
    before = flows()
    turned = ("tcp", "198.51.100.9:443", "to", "10.0.0.5:51000")
    for more in ((), ("--replace",)):
        code, _, err = run("insert", *turned, "--mark", "6", *more)
        assert (code, "another flow has one of its tuples" in err) == (3, True), err
    assert flows() == before


REASONS = {
    "update tcp --label 7": "no rule uses connlabels",
    "update tcp --helper ftp": "gets no other helper",
    "insert udp 10.0.0.5:1 to 10.0.0.6:2 --helper no-such": "no such helper",
}


@pytest.mark.parametrize("words", REASONS)
def test_a_refusal_tells_its_cause(run: Run, words: str) -> None:
    plan.insert(Kernel(), [web()]).run()
    code, _, err = run(*words.split())
    assert (code, REASONS[words] in err) == (3, True), err


def test_a_fixed_timeout_is_told_as_what_it_is(run: Run) -> None:
    plan.insert(Kernel(), [web()]).run()
    assert run("update", "tcp", "--status", "fixed_timeout")[0] == 0
    code, _, err = run("update", "tcp", "--timeout", "5")
    assert (code, "its timeout is fixed" in err) == (3, True), err


def test_a_translation_holds_whatever_the_status_said(run: Run) -> None:
    words = ("--snat", "203.0.113.7", "--status", "assured,seen_reply")
    assert run("insert", *WORDS, *words)[0] == 0
    (flow,) = Kernel().table("snat and assured")
    assert str(flow.reply.dst) == "203.0.113.7"


def test_a_change_is_told_before_standard_output_fails(run: Run) -> None:
    stock.insert_all()
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(1)
    os.dup2(full, 1)
    try:
        code, _, err = run("delete", "--json", "tcp")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(full)
    assert code == 4
    assert err.startswith("5 flows deleted; undo: natscope undo")
    assert "No space left on device" in err


def test_a_table_cut_off_is_restored_as_far_as_it_goes_and_said_so(
    run: Run, tmp_path: Path
) -> None:
    stock.insert_all()
    path = tmp_path / "saved.jsonl"
    assert run("save", str(path))[0] == 0
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    code, _, err = run("restore", str(path))
    assert (code, "cut off" in err) == (4, True)


def test_an_insert_that_is_broken_off_is_taken_back_as_far_as_it_got() -> None:
    class Stop(Exception):
        pass

    def stop(rows: int) -> None:
        raise Stop

    kernel = Kernel()
    plan.insert(kernel, [web()]).run()
    ends = [replace(WEB, sport=port) for port in range(51000, 51300)]
    planned = plan.insert(kernel, [web(orig=o, reply=o.reversed()) for o in ends])
    outcome = Outcome()
    with pytest.raises(Stop):
        planned.run(stop, outcome)
    made = kernel.count()[0] - 1
    assert 0 < made < 299
    (taken_back,) = undo.plan(kernel, undo.after(planned, outcome))
    assert taken_back.run().done == made
    assert [flow.orig for flow in kernel.table()] == [WEB]


def test_who_says_no_gets_no_expectation_either(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel()
    announce(kernel)
    ends = [replace(WEB, sport=port) for port in range(52000, 52101)]
    plan.insert(kernel, [web(orig=o, reply=o.reversed()) for o in ends]).run()
    path = tmp_path / "saved.jsonl"
    assert run("save", str(path))[0] == 0
    assert run("flush", "--yes", "--no-undo")[0] == 0
    monkeypatch.setattr(changing, "somebody_asks", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    code, _, err = run("restore", str(path))
    assert (code, "nothing was changed" in err) == (1, True)
    assert (kernel.count()[0], kernel.expectations()) == (0, [])


def test_a_flush_is_asked_about_where_somebody_can_answer(run: Run) -> None:
    stock.insert_all()
    terminal, other_end = os.openpty()
    words = [sys.executable, "-m", "natscope", "flush"]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=other_end,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(other_end)
    assert (done.returncode, b"needs --yes" in done.stderr) == (2, True)
    assert Kernel().count()[0] == 15
    assert "about 15 flows flushed" in run("flush", "--yes")[2]


def test_an_undo_file_can_be_a_pipe(run: Run, tmp_path: Path) -> None:
    stock.insert_all()
    before = {entry[:-1] for entry in flows()}
    pipe, kept = tmp_path / "pipe", tmp_path / "kept.jsonl"
    os.mkfifo(pipe)
    with kept.open("wb") as file:
        reader = subprocess.Popen(["cat", str(pipe)], stdout=file)
        assert run("delete", "tcp", "--undo-file", str(pipe))[0] == 0
        assert reader.wait(10) == 0
    assert pipe.is_fifo()
    assert run("undo", str(kept))[0] == 0
    assert {entry[:-1] for entry in flows()} == before


def test_a_listing_without_ids_is_changed_by_its_tuples() -> None:
    stock.insert_all()
    kernel = Kernel()
    planned = plan.update(kernel, "tcp", {"mark": 9})
    anonymous = replace(planned, table=planned.table.without("id"))
    assert anonymous.run().done == 5
    assert set(np.unique(kernel.table("tcp")["mark"]).tolist()) == {9}
