"""The commands that change the table, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernel import crowd, stock
from natscope.cli import main
from natscope.render import saved
from natscope.sources.kernel import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("netns")]

Run = Callable[..., tuple[int, str, str]]


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


def flows(filter: str = "") -> set[object]:
    """The entries that are there, by their tuples and what can be set."""
    return {
        (f.orig, f.reply, f.zone, f.mark, f.status, f.tcp_state, f.helper)
        for f in Kernel().table(filter)
    }


def test_a_dry_run_shows_the_plan_and_changes_nothing(run: Run) -> None:
    stock.insert_all()
    before = flows()
    code, out, err = run("delete", "--dry-run", "tcp", "and", "dst", "port", "443")
    assert code == 0
    assert "10.0.0.2:50000" in out
    assert "would delete 3 flows; nothing was done" in err
    assert flows() == before


def test_what_is_deleted_comes_back(run: Run) -> None:
    stock.insert_all()
    before = flows()
    code, _, err = run("delete", "tcp or icmp or gre")
    assert code == 0
    assert "undo: natscope undo" in err
    assert flows("tcp or icmp or gre") == set()
    assert flows() < before
    code, _, err = run("undo")
    assert code == 0, err
    assert flows() == before
    code, _, err = run("undo")
    assert code == 1
    assert "nothing to undo" in err


def test_an_update_comes_back(run: Run) -> None:
    stock.insert_all()
    before = flows()
    code, _, err = run("update", "tcp", "--mark", "0x10/0xff", "--timeout", "5m")
    assert code == 0, err
    assert flows() != before
    assert {f.mark for f in Kernel().table("tcp")} == {0x10}
    assert run("undo")[0] == 0
    assert flows() == before


def test_an_insert_comes_back(run: Run) -> None:
    words = ("tcp", "10.0.0.5:51000", "to", "198.51.100.9:443")
    code, _, err = run("insert", *words, "--snat", "203.0.113.7", "--mark", "7")
    assert code == 0, err
    (flow,) = Kernel().table("snat")
    assert str(flow.reply.dst) == "203.0.113.7"
    assert flow.mark == 7
    code, _, err = run("insert", *words, "--snat", "203.0.113.7")
    assert (code, "there already" in err) == (0, True)
    assert len(Kernel().table()) == 1
    assert run("undo")[0] == 0
    assert flows() == set()


@pytest.mark.parametrize("more", [(), ("--replace",)], ids=["insert", "replace"])
@pytest.mark.parametrize("other", ["", "--snat 203.0.113.8", "--snat 203.0.113.7:9"])
def test_what_is_there_but_translated_otherwise_is_another_flow(
    run: Run, other: str, more: tuple[str, ...]
) -> None:
    words = ("tcp", "10.0.0.5:51000", "to", "198.51.100.9:443")
    assert run("insert", *words, "--snat", "203.0.113.7")[0] == 0
    before = flows()
    code, _, err = run("insert", *words, *other.split(), "--mark", "7", *more)
    assert (code, "translated otherwise" in err) == (3, True)
    assert flows() == before


INSERTS = {
    "tcp 10.0.0.5:1 to 198.51.100.9:2": "tcp",
    "udp [fd00::1]:1 to [2001:db8::1]:53 --snat 2001:db8:ffff::1": "udp and ip6 and snat",
    "udp 192.0.2.9:4242 to 203.0.113.7:53 --dnat 10.0.0.3:5353": "udp and dnat",
    "icmp 10.0.0.5 to 198.51.100.9 --id 77 --zone 9": "icmp and icmp-id 77 and zone 9",
    "gre 10.0.0.5 to 198.51.100.9 --key 0x11,0x77": "gre and gre-key 0x77",
    "89 10.0.0.5 to 198.51.100.9 --timeout 1h": "proto 89",
    "tcp 10.0.0.5:1 to 10.0.0.6:21 --helper ftp --status assured": "assured and helper ftp",
}  # fmt: skip


@pytest.mark.parametrize("words", INSERTS)
def test_every_kind_of_flow_can_be_inserted(run: Run, words: str) -> None:
    code, _, err = run("insert", *words.split())
    assert code == 0, err
    assert len(Kernel().table(INSERTS[words])) == 1


WRONG = {
    "delete": "needs a filter",
    "update tcp": "nothing to set",
    "update --mark 5": "needs a filter",
    "update tcp --mark five": "is no number",
    "update tcp --state OPEN": "no TCP state",
    "update tcp --status dying": "cannot be set",
    "insert tcp 10.0.0.5 to 10.0.0.6": "needs ports",
    "insert tcp 10.0.0.5:1 to fd00::1": "needs ports",
    "insert tcp 10.0.0.5:1 to [fd00::1]:1": "IPv4 and IPv6",
    "insert foo 10.0.0.5 to 10.0.0.6": "no protocol",
    "insert icmp 10.0.0.5:1 to 10.0.0.6": "icmp has no ports",
    "insert icmpv6 10.0.0.5 to 10.0.0.6": "goes over IPv6",
    "insert icmp fd00::5 to fd00::6": "goes over IPv4",
    "insert icmp 10.0.0.5 to 10.0.0.6 --id 7 --snat 10.0.0.7:9": "icmp has no ports",
    "insert 89 10.0.0.5 to 10.0.0.6 --snat 10.0.0.7:9": "has no ports",
    "insert gre 10.0.0.5:1 to 10.0.0.6:2": "gre has no ports",
    "insert udp 10.0.0.5:1 to 10.0.0.6:2 --id 7": "--id is not for udp",
    "insert udp 10.0.0.5:1 to 10.0.0.6:2 --key 1,2": "--key is not for udp",
    "insert tcp 10.0.0.5:-0 to 10.0.0.6:1": "is no ADDRESS",
    "insert tcp 10.0.0.5:+5 to 10.0.0.6:1": "is no ADDRESS",
    "insert tcp 10.0.0.5:1_0 to 10.0.0.6:1": "is no ADDRESS",
    "insert tcp [fd00::1]5 to [fd00::2]:1": "is no ADDRESS",
    "update tcp --mark 0x100/0xff": "outside its mask",
    "update tcp --timeout 4000000000": "is more than",
    "update tcp --helper x\udcff": "no name of a helper",
    "update tcp --helper much-too-long-a-name": "no name of a helper",
    "insert tcp 10.0.0.5:99999 to 10.0.0.6:1": "port 99999",
    "flush": "needs --yes",
    "delete port": "",
}


@pytest.mark.parametrize("words", WRONG, ids=ascii)
def test_what_cannot_be_meant_is_refused(run: Run, words: str) -> None:
    stock.insert_all()
    before = flows()
    code, out, err = run(*words.split())
    assert (code, out) == (2, "")
    assert WRONG[words] in err
    assert flows() == before


def test_nothing_matched_is_told_by_the_exit_code(run: Run) -> None:
    assert run("delete", "tcp")[0] == 1
    assert run("flush", "--yes")[0] == 1
    assert run("update", "tcp", "--mark", "1")[0] == 1


def test_a_flush_asks_by_name_and_comes_back(run: Run) -> None:
    stock.insert_all()
    before, of_ip6 = flows(), flows("ip6")
    assert run("flush", "--yes", "ip6")[0] == 0
    assert flows() == before - of_ip6
    assert run("flush", "--yes")[0] == 0
    assert flows() == set()
    assert run("undo")[0] == 0
    assert run("undo")[0] == 0
    assert flows() == before


def test_the_outcome_is_there_for_programs(run: Run) -> None:
    stock.insert_all()
    code, out, _ = run("delete", "udp", "--json")
    told = json.loads(out)
    assert (code, told["action"], told["planned"]) == (0, "delete", told["done"])
    assert (told["vanished"], told["refused"]) == (0, [])
    assert Path(told["undo"]).exists()
    code, out, _ = run("delete", "tcp", "--json", "--dry-run")
    assert json.loads(out)["dry_run"] is True


def test_what_is_saved_is_restored(run: Run, tmp_path: Path) -> None:
    crowd.insert(crowd.flows(11, 200))
    before = flows()
    path = tmp_path / "saved.jsonl"
    code, _, err = run("save", str(path))
    assert (code, f"saved {len(before)} flows" in err) == (0, True), err
    run("flush", "--yes", "--no-undo")
    code, _, err = run("restore", str(path))
    assert code == 0, err
    assert flows() == before
    code, _, err = run("restore", str(path))
    assert code == 0
    assert f"{len(before)} there already" in err
    assert flows() == before


def test_a_file_of_conntracks_is_restored(run: Run, tmp_path: Path) -> None:
    stock.insert_all()
    lines = stock.conntrack("-L", "-o", "save")
    path = tmp_path / "saved"
    path.write_text("\n".join([*lines, "-A nonsense", ""]))
    before = {(f.orig, f.reply, f.zone) for f in Kernel().table("not sctp")}
    run("flush", "--yes", "--no-undo")
    code, _, err = run("restore", str(path))
    assert code == 4
    assert f"line {len(lines) + 1}" in err
    assert {(f.orig, f.reply, f.zone) for f in Kernel().table("not sctp")} == before


def test_a_refused_flow_is_named_and_the_rest_is_done(run: Run, tmp_path: Path) -> None:
    stock.insert_all()
    table = Kernel().table("tcp or udp")
    first = np.arange(len(table)) == 0
    helper = table.with_column("helper", np.full(len(table), b"no-such"), first)
    path = tmp_path / "saved.jsonl"
    path.write_bytes(saved.header(time_ns=0, flows=len(helper)) + saved.flows(helper))
    run("flush", "--yes", "--no-undo")
    code, _, err = run("restore", str(path))
    assert code == 4
    assert "1 refused" in err
    assert len(Kernel().table()) == len(table) - 1


def test_a_table_that_cannot_be_saved_is_told_by_its_file(
    run: Run, tmp_path: Path
) -> None:
    place = tmp_path / "none" / "flows.jsonl"
    code, out, err = run("save", str(place))
    assert (code, out) == (3, "")
    assert err == f"natscope: {place}: No such file or directory\n"


def test_an_undo_file_that_cannot_be_written_stops_the_change(run: Run) -> None:
    stock.insert_all()
    before = flows()
    code, _, err = run("delete", "tcp", "--undo-file", "/proc/nowhere/x")
    assert code == 3
    assert "nothing was changed" in err
    assert flows() == before
