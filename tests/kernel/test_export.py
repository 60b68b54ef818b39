"""``natscope export`` against independent readers: nfcapd, tshark, conntrack -E."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from conftest import unavailable
from ipfix_reader import Reader, Record, numbers
from kernel import stock
from kernel.collectors import PATIENCE_S, TcpServer, loopback_up
from kernel.test_commands import NATSCOPE
from natscope.errors import NamespaceError
from natscope.lab.build import Lab, built
from natscope.lab.traffic import EXAMPLES, Traffic
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from natscope.table.flowtable import FlowTable

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

NFCAPD_PORT = 9995
NAT_KEYS = ("src4_xlt_ip", "src_xlt_port", "dst4_xlt_ip", "dst_xlt_port")
Ends = tuple[str, ...]


@dataclass(frozen=True)
class Heard:
    """What became of the lab's traffic, from every side."""

    ipfix: Reader
    """What a TCP collector got."""
    nfdump: list[dict[str, Any]]
    """What nfcapd stored of the same, over UDP."""
    ended: list[str]
    """The lines of ``conntrack -E -e DESTROY``."""
    table: FlowTable
    """The flows just before their end."""
    notes: str
    """What the export said."""


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def _listeners() -> int:
    """Netlink sockets that listen to conntrack events here."""
    lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
    return sum(int(line.split()[3], 16) & 7 != 0 for line in lines)


def _udp_bound() -> bool:
    sockets = Path("/proc/thread-self/net/udp").read_text()
    return f":{NFCAPD_PORT:04X} " in sockets


@dataclass
class Programs:
    """Programs on the box that are ended in order."""

    stack: ExitStack

    def start(self, *words: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.stack.callback(_ended, program)
        return program

    def export(self, *words: str) -> subprocess.Popen[str]:
        """An export that listens by now."""
        program = self.start(*NATSCOPE, "export", *words)
        while line := _line(program):
            if line == "natscope: listening\n":
                return program
        pytest.fail(f"export {words} did not begin")


def _line(program: subprocess.Popen[str]) -> str:
    """What a program says, up to the end of a line.

    Not a byte more: communicate() knows nothing of what a file object has read.
    """
    assert program.stderr is not None
    told = b""
    while not told.endswith(b"\n") and (one := os.read(program.stderr.fileno(), 1)):
        told += one
    return told.decode()


def _ended(program: subprocess.Popen[str]) -> None:
    if program.poll() is None:
        program.kill()
    program.communicate()


def _stopped(program: subprocess.Popen[str]) -> tuple[str, str]:
    program.send_signal(signal.SIGTERM)
    out, complaints = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 0, complaints
    return out, complaints


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    if shutil.which("nfcapd") is None:
        unavailable("nfcapd (Debian package nfdump) is not installed")
    directory = tmp_path_factory.mktemp("nfcapd")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(built())
        except NamespaceError as error:
            unavailable(f"no private namespaces: {error}")
            raise
        traffic = stack.enter_context(Traffic(lab))
        yield _exported(lab, traffic, Programs(stack), directory)


def _exported(lab: Lab, traffic: Traffic, programs: Programs, store: Path) -> Heard:
    with lab.inside("box"):
        (stock.SYSCTLS / "nf_conntrack_events").write_text("1")
        server = TcpServer()
        nfcapd = programs.start(
            "nfcapd", "-b", "127.0.0.1", "-p", str(NFCAPD_PORT), "-w", str(store)
        )
        _until(_udp_bound, "nfcapd")
        to = ("ipfix", "--to")
        udp = programs.export(*to, f"127.0.0.1:{NFCAPD_PORT}", "--udp")
        tcp = programs.export(*to, f"127.0.0.1:{server.port}", "--domain", "7")
        conntrack = programs.start("conntrack", "-E", "-e", "DESTROY")
        server.accept()
        _until(lambda: _listeners() == 3, "three listeners")
    for example in EXAMPLES:
        example.make(traffic)
    with lab.inside("box"):
        stock.insert_all()
        table = Kernel().table()
        stock.conntrack("-F")
        for program in (udp, tcp):
            _, notes = _stopped(program)
        reader = Reader()
        reader.stream(server.read_all())
        _, counted = _stopped_by_interrupt(conntrack)
        server.close()
        _stopped(nfcapd)
    return Heard(reader, _nfdump(store), counted, table, notes)


def _stopped_by_interrupt(program: subprocess.Popen[str]) -> tuple[str, list[str]]:
    program.send_signal(signal.SIGINT)
    out, complaints = program.communicate(timeout=PATIENCE_S)
    return complaints, out.splitlines()


def _nfdump(store: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["nfdump", "-R", str(store), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    stored: list[dict[str, Any]] = json.loads(done.stdout)
    return stored


def _pairs(line: str) -> dict[str, list[str]]:
    """``src=… dst=…`` of both directions of a line of conntrack."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"([a-z]+)=(\S+)", line):
        found.setdefault(name, []).append(value)
    return found


def _ports_of(line: str) -> bool:
    return " udp " in line or " tcp " in line


def _told_by_conntrack(heard: Heard, *, v6: bool) -> dict[Ends, list[str]]:
    """Packets and bytes both ways of every TCP and UDP flow, by its two tuples."""
    found = {}
    for line in heard.ended:
        words = _pairs(line)
        if not _ports_of(line) or (":" in words["src"][0]) != v6:
            continue
        there = [words[name][0] for name in ("src", "sport", "dst", "dport")]
        turned = [words[name][1] for name in ("dst", "dport", "src", "sport")]
        found[(*there, *turned)] = [*words["packets"], *words["bytes"]]
    return found


NAT44_DELETED = "5"


def test_nfcapd_knows_inside_public_and_outside_of_every_session(heard: Heard) -> None:
    told = {
        (
            *(str(row[key]) for key in ("src4_addr", "src_port")),
            *(str(row[key]) for key in ("dst4_addr", "dst_port")),
            *(str(row[key]) for key in NAT_KEYS),
        ): [
            str(row[key])
            for key in ("in_packets", "out_packets", "in_bytes", "out_bytes")
        ]
        for row in heard.nfdump
        if row["nat_event_id"] == NAT44_DELETED
        and row["proto"] in (6, 17)
        and "src4_addr" in row
    }
    expected = {
        ends: counted
        for ends, counted in _told_by_conntrack(heard, v6=False).items()
        if ends[:4] != ends[4:]
    }
    assert told == expected
    assert len(told) >= 10


def test_nfcapd_has_every_session_twice_and_the_times_of_the_kernel(
    heard: Heard,
) -> None:
    events = [row["nat_event_id"] for row in heard.nfdump]
    assert events.count("4") == events.count("5") > 0
    started = {
        (str(flow.orig.src), flow.orig.sport): (flow.start_ns or 0) // 10**6
        for flow in heard.table
        if flow.orig.sport is not None
    }
    ended = [row for row in heard.nfdump if row["nat_event_id"] == NAT44_DELETED]
    timed = [row for row in ended if "src4_addr" in row and row["proto"] in (6, 17)]
    assert timed
    for row in timed:
        moment = started[row["src4_addr"], row["src_port"]]
        assert row["first"] == _iso(moment)
        assert row["last"] >= row["first"]


def _iso(milliseconds: int) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}"


def _address(record: Record, *elements: int) -> str:
    return next(
        str(ip_address(record[0, element]))
        for element in elements
        if (0, element) in record
    )


def _ends(record: Record) -> Ends:
    """Both tuples of an IPFIX record of a session."""
    ports = numbers(record)
    return (
        *(_address(record, 8, 27), str(ports[0, 7])),
        *(_address(record, 12, 28), str(ports[0, 11])),
        *(_address(record, 225, 281), str(ports[0, 227])),
        *(_address(record, 226, 282), str(ports[0, 228])),
    )


def _with_ports(heard: Heard, event: int) -> list[Record]:
    return [
        record
        for _, record in heard.ipfix.records
        if (0, 11) in record
        and numbers(record).get((0, 230)) == event
        and numbers(record)[0, 4] in (6, 17)
    ]


def test_over_tcp_both_families_are_what_conntrack_told(heard: Heard) -> None:
    counted = ((0, 2), (29305, 2), (0, 1), (29305, 1))
    told = {
        _ends(record): [str(numbers(record)[key]) for key in counted]
        for record in _with_ports(heard, 5)
    }
    expected = _told_by_conntrack(heard, v6=False) | _told_by_conntrack(heard, v6=True)
    translated = {ends: row for ends, row in expected.items() if ends[:4] != ends[4:]}
    assert told == translated
    assert {_ends(record) for record in _with_ports(heard, 4)} == told.keys()
    assert any(":" in ends[0] for ends in told)


def test_flows_without_a_translation_ping_and_zones_are_told_too(heard: Heard) -> None:
    records = [numbers(record) for _, record in heard.ipfix.records]
    assert {record.get((0, 233)) for record in records} == {None, 1, 2}
    assert {record[0, 7] for record in records if record.get((0, 32)) == 8 << 8} == {
        4711,
        77,
    }
    assert 7 in {record[0, 234] for record in records}
    assert heard.ipfix.domains == {7}


def test_a_ping_has_the_ids_of_both_directions_at_its_beginning_and_its_end(
    heard: Heard,
) -> None:
    records = [numbers(record) for _, record in heard.ipfix.records]
    translated = {
        (flow.orig.icmp_id, flow.reply.icmp_id)
        for flow in heard.table
        if flow.orig.proto == 1 and flow.orig.src != flow.reply.dst
    }
    assert translated
    for event in (4, 5):
        told = {
            (record[0, 7], record[0, 227])
            for record in records
            if (0, 32) in record and record.get((0, 230)) == event
        }
        assert told == translated


def test_the_statistics_say_that_nothing_is_missing(heard: Heard) -> None:
    last = numbers(heard.ipfix.options[-1])
    assert (last[0, 166], last[0, 164]) == (0, 0)
    assert last[0, 42] == len(heard.ipfix.records)
    assert re.search(r"(\d+) sent to .*, 0 events lost", heard.notes)


def test_tshark_reads_every_message_without_complaint(
    heard: Heard, tmp_path: Path
) -> None:
    if shutil.which("tshark") is None:
        unavailable("tshark is not installed")
    capture = tmp_path / "ipfix.pcap"
    capture.write_bytes(_pcap(heard.ipfix.messages))
    fields = "cflow.nat_event cflow.srcaddrv6 cflow.post_nat_source_ipv6_address"
    done = subprocess.run(
        ["tshark", "-r", str(capture), "-T", "fields", "-E", "occurrence=a"]
        + [word for name in fields.split() for word in ("-e", name)]
        + ["-e", "_ws.malformed", "-e", "_ws.expert"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    events = [event for row in rows for event in row[0].split(",") if event]
    told = [numbers(record).get((0, 230)) for _, record in heard.ipfix.records]
    assert sorted(events) == sorted(str(event) for event in told if event)
    assert any("fd00:77::2" in row[1] and "2001:db8:113::1" in row[2] for row in rows)
    assert not any("".join(row[3:]) for row in rows)


def _pcap(messages: list[bytes]) -> bytes:
    """The messages as datagrams to the port of IPFIX, LINKTYPE_IPV4."""
    found = [struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 228)]
    for message in messages:
        udp = struct.pack("!HHHH", 4739, 4739, 8 + len(message), 0) + message
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
        packet = head + bytes([192, 0, 2, 1]) + bytes([192, 0, 2, 2]) + udp
        found += [struct.pack("=IIII", 0, 0, len(packet), len(packet)), packet]
    return b"".join(found)


@pytest.fixture
def quiet(netns: Namespace) -> Namespace:
    """A namespace whose flows all tell of themselves."""
    loopback_up()
    (stock.SYSCTLS / "nf_conntrack_events").write_text("1")
    return netns


def _lines(*words: str) -> list[str]:
    """What an export printed of all flows put in, and flushed."""
    with ExitStack() as stack:
        export = Programs(stack).export(*words)
        stock.insert_all()
        stock.conntrack("-F")
        out, _ = _stopped(export)
    return out.splitlines()


def test_ndjson_has_an_object_for_every_event(quiet: Namespace) -> None:
    objects = [json.loads(line) for line in _lines("ndjson")]
    events = [one["event"] for one in objects]
    assert events.count("new") == events.count("destroy") == len(stock.INSERTS)
    nat = [one for one in objects if "public" in one]
    assert {one["public"]["address"] for one in nat} >= {"203.0.113.7"}


def test_ndjson_is_appended_to_a_file(quiet: Namespace, tmp_path: Path) -> None:
    log = tmp_path / "nat.ndjson"
    log.write_text('{"old": 1}\n')
    assert _lines("ndjson", "--to", str(log), "udp") == []
    objects = [json.loads(line) for line in log.read_text().splitlines()]
    assert objects[0] == {"old": 1}
    assert {one["proto"] for one in objects[1:]} == {"udp"}


def test_syslog_names_both_tuples_of_nat_sessions(quiet: Namespace) -> None:
    lines = _lines("syslog", "dst port 8080")
    assert len(lines) == 4
    (forward, *_) = [line for line in lines if 'ISADDR="192.0.2.99"' in line]
    assert " NAT " in forward
    assert " SADD [nsess " in forward
    assert 'IDADDR="203.0.113.7" IDPORT="8080"' in forward
    assert 'XDADDR="10.0.0.3" XDPORT="80"' in forward


def test_syslog_lines_may_hold_objects(quiet: Namespace) -> None:
    lines = _lines("syslog", "--cee", "icmp")
    told = [json.loads(line.partition(" @cee: ")[2]) for line in lines]
    assert [one["event"] for one in told] == ["new", "destroy"]


def test_syslog_over_tcp_counts_octets(quiet: Namespace) -> None:
    server = TcpServer()
    assert _lines("syslog", "--tcp", "--to", f"127.0.0.1:{server.port}", "icmp") == []
    server.accept()
    text = server.read_all().decode()
    length, _, rest = text.partition(" ")
    assert rest[: int(length)].startswith("<134>1 ")
    assert rest[int(length) :].partition(" ")[2].startswith("<134>1 ")
    server.close()


def test_syslog_goes_in_datagrams(quiet: Namespace) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE_S)
        port = receiver.getsockname()[1]
        assert _lines("syslog", "--to", f"127.0.0.1:{port}", "icmp") == []
        lines = [receiver.recv(2000).decode() for _ in range(2)]
    assert [line.split()[5] for line in lines] == ["SADD", "SDEL"]


def test_a_collector_that_is_away_gets_nothing_and_the_summary_says_so(
    quiet: Namespace,
) -> None:
    with ExitStack() as stack:
        to = ("--to", "127.0.0.1:9", "--count", "15")
        export = Programs(stack).export("ipfix", *to)
        stock.insert_all()
        _, notes = export.communicate(timeout=2 * PATIENCE_S)
    assert "127.0.0.1:9: Connection refused" in notes
    assert "0 sent to 127.0.0.1:9, 15 could not be sent, 0 events lost" in notes


def test_the_ends_that_were_lost_are_exported_after_a_dump(quiet: Namespace) -> None:
    flows = stock.insert_all()
    server = TcpServer()
    with ExitStack() as stack:
        to = ("--to", f"127.0.0.1:{server.port}", "--buffer", "4096")
        export = Programs(stack).export("ipfix", *to)
        export.send_signal(signal.SIGSTOP)
        stock.conntrack("-F")
        export.send_signal(signal.SIGCONT)
        _, notes = _stopped(export)
    server.accept()
    reader = Reader()
    reader.stream(server.read_all())
    server.close()
    ended = [numbers(record) for _, record in reader.records]
    of_loopback = int(ip_address("127.0.0.1"))
    assert sum(record.get((0, 8)) != of_loopback for record in ended) == flows
    told = [numbers(record)[0, 164] for record in reader.options]
    assert told[-1] > 0
    assert f" {told[-1]} events lost" in notes
