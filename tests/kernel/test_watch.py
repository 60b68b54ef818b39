"""``natscope watch``, as a user types it, against the real kernel."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel import crowd, stock
from kernel.ordinary import run_as_nobody
from natscope.sources import box
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.sources.sysctls import ALWAYS, AUTOMATIC, EVENTS

pytestmark = pytest.mark.kernel

WATCH = (sys.executable, "-m", "natscope", "watch")
DEADLINE_S = 5.0
INSERTED = len(stock.INSERTS)
MARK_5 = ("-U", "-p", "udp", "-s", "10.0.0.4", "-m", "5")
TRACKED = b"""
table ip t {
  chain c { type filter hook output priority 0; ct state new; }
}
"""
TIME = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d  ")


class Watcher:
    """A running watch, whose output is read as it comes."""

    def __init__(self, *words: str, stderr: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [*WATCH, *words], stdout=subprocess.PIPE, stderr=stderr, bufsize=0
        )
        self._read = b""
        self._narrated = b""

    def begun(self) -> None:
        """Wait until it says that it watches."""
        assert self.process.stderr is not None
        line = b""
        while not line.startswith(b"watching"):
            line = self.process.stderr.readline()
            assert line, f"it ended early: {self._narrated.decode()}"
            self._narrated += line

    def until(self, lines: int) -> list[str]:
        """Wait until so many whole lines are there."""
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while self._read.count(b"\n") < lines:
            ready, _, _ = select.select([fd], [], [], DEADLINE_S)
            data = os.read(fd, 1 << 16) if ready else b""
            assert data, f"no more output after {self._read.decode()!r}"
            self._read += data
        return self._read.decode().splitlines()

    def end(self, number: int = signal.SIGINT) -> tuple[int, list[str], str]:
        """Stop it: exit code, all lines, standard error."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> tuple[int, list[str], str]:
        """Wait for its own end."""
        out, told = self.process.communicate(timeout=DEADLINE_S)
        lines = (self._read + out).decode().splitlines()
        narrated = self._narrated + (told or b"")
        return self.process.returncode, lines, narrated.decode()


@contextmanager
def watching(*words: str, stderr: int = subprocess.PIPE) -> Iterator[Watcher]:
    """A watch that listens."""
    watcher = Watcher(*words, stderr=stderr)
    try:
        if stderr == subprocess.PIPE:
            watcher.begun()
        yield watcher
    finally:
        watcher.process.kill()
        watcher.process.wait()
        for pipe in (watcher.process.stdout, watcher.process.stderr):
            if pipe is not None:
                pipe.close()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def listeners() -> int:
    """How many netfilter sockets of this namespace are in a group."""
    table = Path("/proc/net/netlink").read_text().splitlines()[1:]
    rows = [line.split() for line in table]
    return sum(row[1] == "12" and int(row[3], 16) != 0 for row in rows)


def told(lines: list[str]) -> list[str]:
    """What happened, of lines of events: the column after the time."""
    rows = [line[14:36].rstrip() for line in lines if TIME.match(line)]
    return [re.sub(r"after \d+ms", "after MS", row) for row in rows]


def udp(packets: int) -> None:
    """Flows of real packets, one each, to ports nobody has."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["nft", "-f", "-"], input=TRACKED, check=True)
    for number in range(packets):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x" * 100, ("127.0.0.1", 4000 + number))


def test_what_happens_is_told_in_words(netns: Namespace) -> None:
    with watching("--utc") as watcher:
        stock.insert_all()
        stock.conntrack(*MARK_5)
        stock.conntrack("-D", "-p", "udp", "-s", "10.0.0.4")
        watcher.until(INSERTED + 2)
        code, lines, summary = watcher.end()
    assert code == 0
    assert told(lines) == ["opened"] * INSERTED + ["mark 5", "deleted after MS"]
    tails = [line[36:].split("  by ")[0].rstrip() for line in lines]
    forward = "10.0.0.3:80           <- 203.0.113.7:8080      <- 192.0.2.99:4242"
    assert f"  tcp    d   {forward}" in tails
    hairpin = "10.0.0.2:50003        -> 203.0.113.7:8080      -> 10.0.0.3:80"
    assert f"  tcp    h   {hairpin}" in tails
    assert tails[-1].endswith("198.51.100.53:53       0B down / 0B up")
    assert f"{INSERTED + 2} events in " in summary
    assert f"{INSERTED} new, 1 update, 1 destroy; 0 lost" in summary


def test_every_event_the_stock_tool_sees_is_shown(netns: Namespace) -> None:
    with watching("--ndjson") as watcher:
        theirs = subprocess.Popen(
            ["conntrack", "-E", "-o", "id"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: listeners() == 2)
            crowd.insert(crowd.flows(3, 60))
            there, _ = Kernel().count()
            subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
            watcher.until(2 * there)
        finally:
            theirs.terminate()
            wanted = theirs.communicate()[0].decode().splitlines()
        _, lines, _ = watcher.end()
    rows = [json.loads(line) for line in lines]
    names = {"[NEW]": "new", "[UPDATE]": "update", "[DESTROY]": "destroy"}
    expected = [
        (names[line.split()[0]], int(re.findall(r" id=(\d+)", line)[-1]))
        for line in wanted
    ]
    assert [(row["event"], row["id"]) for row in rows] == expected


def test_a_filter_and_a_choice_of_events_are_heeded(netns: Namespace) -> None:
    words = ("--events", "destroy", "udp", "and", "src", "10.0.0.2")
    with watching("--count", "1", *words) as watcher:
        stock.insert_all()
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        code, lines, _ = watcher.finish()
    assert code == 0
    assert told(lines) == ["deleted after MS"]
    assert "10.0.0.2:5353" in lines[0]


def test_a_finished_flow_is_one_line(netns: Namespace) -> None:
    for switch in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
        (stock.SYSCTLS / switch).write_text("1")
    (stock.SYSCTLS / "nf_conntrack_udp_timeout").write_text("1")
    with watching("--lifecycle", "--count", "2") as watcher:
        udp(2)
        # a dump takes what has expired out, long before garbage collection does
        until(lambda: len(Kernel().table()) == 0 and Kernel().count()[0] == 0)
        code, lines, summary = watcher.finish()
    assert code == 0
    assert len(lines) == 2
    for line in lines:
        assert re.match(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}   {1,6}(?:\d+ms|1s)  unanswered",
            line,
        )
        assert line.endswith("0B 0p down / 128B 1p up")
    assert "0 new, 0 update, 2 destroy" in summary


def test_a_loss_is_told_in_its_place_and_repaired(netns: Namespace) -> None:
    flows = crowd.flows(5, 400)
    with watching("--buffer", "8K") as watcher:
        watcher.process.send_signal(signal.SIGSTOP)
        crowd.insert(flows)
        watcher.process.send_signal(signal.SIGCONT)
        there, _ = Kernel().count()
        found = watcher.until(there + 2)
        code, lines, summary = watcher.end()
    assert code == 0
    assert len(told(found)) == there
    remarks = [line for line in lines if line.startswith("-- ")]
    (lost,) = re.findall(r"-- (\d+) events lost", remarks[0])
    assert remarks[1] == f"-- found by a dump: {lost} opened"
    assert told(lines).count("opened, repaired") == int(lost)
    assert f"{lost} lost" in summary


def test_losses_are_objects_and_rows_of_their_own(netns: Namespace) -> None:
    for form in ("--ndjson", "--csv"):
        with watching(form, "--buffer", "8K") as watcher:
            watcher.process.send_signal(signal.SIGSTOP)
            crowd.insert(crowd.flows(len(form), 400))
            watcher.process.send_signal(signal.SIGCONT)
            watcher.until(Kernel().count()[0] + 1)
            _, lines, _ = watcher.end()
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        if form == "--csv":
            rows = list(csv.DictReader(lines))
            lost = [int(row["loss"]) for row in rows if row["event"] == "loss"]
            repaired = [row for row in rows if row["repaired"] == "1"]
        else:
            objects = [json.loads(line) for line in lines]
            lost = [row["loss"] for row in objects if "loss" in row]
            repaired = [row for row in objects if row.get("repaired")]
        assert sum(lost) == len(repaired) > 0


def test_the_sysctl_is_set_for_the_time_and_put_back(netns: Namespace) -> None:
    (stock.SYSCTLS / EVENTS).write_text(str(AUTOMATIC))
    with watching("--ensure-events") as watcher:
        assert box.read_sysctl(EVENTS) == ALWAYS
        code, _, _ = watcher.end(signal.SIGTERM)
    assert code == 0
    assert box.read_sysctl(EVENTS) == AUTOMATIC


def test_a_reader_that_goes_away_ends_it_and_the_sysctl_is_put_back(
    netns: Namespace,
) -> None:
    (stock.SYSCTLS / EVENTS).write_text(str(AUTOMATIC))
    with watching("--ensure-events") as watcher:
        assert watcher.process.stdout is not None
        watcher.process.stdout.close()
        stock.insert_all()
        assert watcher.process.wait(DEADLINE_S) == 0
    assert box.read_sysctl(EVENTS) == AUTOMATIC


def test_a_time_without_an_event_ends_with_1(netns: Namespace) -> None:
    done = subprocess.run([*WATCH, "--for", "0.2"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"0 events in" in done.stderr


@pytest.mark.parametrize("form", ["--csv", "--tsv"])
def test_the_heading_stands_there_without_an_event(netns: Namespace, form: str) -> None:
    done = subprocess.run(
        [*WATCH, form, "--for", "0.1"], capture_output=True, check=False
    )
    assert done.returncode == 1
    (heading,) = done.stdout.decode().splitlines()
    assert re.split("[,\t]", heading)[:3] == ["time_ns", "event", "what"]


def test_a_refused_connection_is_told_as_one(netns: Namespace) -> None:
    udp(0)
    with watching("--count", "2", "tcp") as watcher:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 4000))
        code, lines, _ = watcher.finish()
    assert (code, told(lines)) == (0, ["opened", "refused after MS"])


def test_one_signal_ends_it_though_nobody_reads_on(netns: Namespace) -> None:
    with watching() as watcher:
        assert watcher.process.stdout is not None
        pipe = watcher.process.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
        crowd.insert(crowd.flows(3, 100))  # some 14 kB of lines
        until(lambda: waiting(pipe) > 0)
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.process.wait(DEADLINE_S) == 0
        assert waiting(pipe) <= 4096


def waiting(pipe: int) -> int:
    """How many octets stand in a pipe."""
    found = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


def test_a_terminal_that_knows_no_codes_gets_none(
    netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    mine, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [*WATCH, "--count", str(INSERTED)], stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            shown = b""
            while b"watching" not in shown:
                shown += os.read(mine, 4096)
            stock.insert_all()
            while b"0 lost\r\n" not in shown:
                shown += os.read(mine, 4096)
            assert process.wait(DEADLINE_S) == 0
    finally:
        os.close(mine)
    assert b"\x1b" not in shown
    assert re.search(rb"-- \d{4}-\d\d-\d\d\r\n", shown)


@pytest.mark.parametrize("words", ["watch", "record x", "export ndjson"])
def test_who_may_not_listen_is_told_what_is_needed(
    netns: Namespace, words: str
) -> None:
    done = run_as_nobody(sys.executable, "-m", "natscope", *words.split())
    assert done.returncode == 3
    assert "listening to events: CAP_NET_ADMIN is needed" in done.stderr
    assert "--ambient-caps +net_admin" in done.stderr


def test_a_terminal_gets_a_status_line_that_makes_way(netns: Namespace) -> None:
    mine, theirs = os.openpty()
    try:
        with watching(stderr=theirs) as watcher:
            os.close(theirs)
            shown = b""
            while b"watching" not in shown:
                shown += os.read(mine, 4096)
            stock.insert_all()
            watcher.until(INSERTED)
            while f"{INSERTED} shown".encode() not in shown:
                shown += os.read(mine, 4096)
            watcher.process.send_signal(signal.SIGINT)
            watcher.process.wait(DEADLINE_S)
            while b"destroy; 0 lost" not in shown:
                shown += os.read(mine, 4096)
    finally:
        os.close(mine)
    assert b"0 lost\x1b[K" in shown
    # the line was taken away before the summary was written
    assert re.search(rb"\r\x1b\[K15 events in", shown)


def test_events_alone_are_told_without_a_dump(netns: Namespace) -> None:
    with watching("--no-repair", "--json", "--count", "2") as watcher:
        stock.insert_all()
        code, lines, _ = watcher.finish()
    document = json.loads("\n".join(lines))
    assert code == 0
    assert document["schema"] == "natscope.event/1"
    assert [row["what"] for row in document["events"]] == ["opened", "opened"]


def test_a_recording_is_played(netns: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "gw.nsrec"
    record = [sys.executable, "-m", "natscope", "record", "-q", "--no-dump", str(path)]
    with subprocess.Popen([*record, "--count", str(INSERTED)]) as recorder:
        until(lambda: listeners() == 1)
        stock.insert_all()
        assert recorder.wait(DEADLINE_S) == 0
    done = subprocess.run(
        [*WATCH, str(path), "tcp"], capture_output=True, text=True, check=True
    )
    assert told(done.stdout.splitlines()) == ["opened"] * 5
    assert "by portid" in done.stdout
