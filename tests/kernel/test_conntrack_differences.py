"""Where natscope conntrack differs from the stock tool on purpose.

Each test shows both: what docs/conntrack-differences.md says of each.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kernel import oracle, stock
from kernel.collectors import loopback_up
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace, new_namespace

pytestmark = [pytest.mark.kernel]

Tool = Callable[..., oracle.Said]


def left(tool: Tool, *words: str) -> tuple[oracle.Said, int]:
    """What a tool says, and how many entries it leaves of the usual ones."""
    with new_namespace("differ") as namespace, namespace.enter():
        stock.insert_all()
        return tool(*words), Kernel().count()[0]


@dataclass(frozen=True)
class Case:
    """A command line, how many of the 15 usual entries each tool leaves."""

    words: str
    stock: int
    ours: int

    @property
    def id(self) -> str:
        return self.words


TCP_WHOLE = "-p tcp -s 10.0.0.2 -d 198.51.100.9 --sport 50000 --dport 443"
UDP_WHOLE = "-p udp -s 10.0.0.4 -d 198.51.100.53 --sport 5353 --dport 53"
LEFT = [
    Case("-D -u UNREPLIED", stock=0, ours=6),
    Case("-F -f ipv6", stock=0, ours=12),
    Case("-D -n 2001:db8:f::1234", stock=14, ours=15),
    Case("-D -p gre --srckey 0x99", stock=14, ours=15),
    Case("-D -p tcp --sport 50000:50001", stock=13, ours=12),
    Case("-D -p tcp --sport 50000,50003", stock=13, ours=12),
    Case("-D -p tcp --dport 66000", stock=15, ours=15),
    Case("-D -p tcp --dport 443x", stock=12, ours=15),
    # refused, so nothing is deleted; ours deletes what has one of the states
    Case(f"-D {TCP_WHOLE} --state LISTEN,CLOSE", stock=15, ours=15),
    Case(f"-D {TCP_WHOLE} --state ESTABLISHED,CLOSE", stock=15, ours=14),
]


@pytest.mark.parametrize("case", LEFT, ids=lambda case: case.id)
def test_only_what_was_meant_is_deleted(case: Case) -> None:
    assert left(oracle.stock, *case.words.split())[1] == case.stock
    assert left(oracle.ours, *case.words.split())[1] == case.ours


def test_what_is_no_port_is_refused(netns: Namespace) -> None:
    for text in ("443x", "66000", "", "-1"):
        said = oracle.ours("-L", "-p", "tcp", "--dport", text)
        assert (said.code, said.stdout) == (2, b""), text
        assert b"Invalid port" in said.stderr
        assert oracle.stock("-L", "-p", "tcp", "--dport", text).code == 0


def test_a_directory_is_no_file_of_commands(netns: Namespace) -> None:
    assert oracle.stock("-R", "/etc").code == 0
    assert oracle.ours("-R", "/etc").code == 2


def test_two_status_options_hold_both(netns: Namespace) -> None:
    stock.insert_all()
    words = ("-L", "-u", "ASSURED", "-u", "SEEN_REPLY")
    assert oracle.stock(*words).stdout == b""
    found = oracle.ours(*words).stdout.splitlines()
    both = {f.id for f in Kernel().table("assured and replied")}
    assert len(found) == len(both) > 0


def test_an_icmp_type_beyond_255_is_refused(netns: Namespace) -> None:
    words = ("-L", "-p", "icmp", "--icmp-type", "300")
    assert oracle.stock(*words).code == 0
    assert oracle.ours(*words).code == 2


@pytest.mark.parametrize("words", ["-L -jn", "-L -nj", "-L -ng", "-C -o xml"])
def test_letters_and_formats_are_taken_as_they_are_there(
    netns: Namespace, words: str
) -> None:
    """No difference: letters after -n, -g, -j are dropped, -C has no format."""
    stock.insert_all()
    theirs, ours = oracle.stock(*words.split()), oracle.ours(*words.split())
    assert (ours.code, sorted(ours.stdout.splitlines())) == (
        theirs.code,
        sorted(theirs.stdout.splitlines()),
    )


def test_a_secmark_nobody_has_matches_nothing(netns: Namespace) -> None:
    stock.insert_all()
    assert len(oracle.stock("-L", "-c", "5").stdout.splitlines()) == 15
    assert oracle.ours("-L", "-c", "5").stdout == b""


def test_a_ping_is_listed_as_translated_when_it_is(netns: Namespace) -> None:
    stock.conntrack(
        *[
            "-I",
            "-p",
            "icmp",
            "-s",
            "10.0.0.2",
            "-d",
            "10.0.0.3",
            "--icmp-type",
            "8",
            "--icmp-code",
            "0",
            "-t",
            "60",
            "-n",
            "192.0.2.1",
        ]
    )
    assert b"icmp" in oracle.stock("-L", "-g").stdout  # the source is translated
    assert oracle.ours("-L", "-g").stdout == b""
    assert b"icmp" in oracle.ours("-L", "-n").stdout


REPLIES = (
    "-p udp -r 198.51.100.53 -q 10.0.0.4 --reply-port-src 53 --reply-port-dst 5353",
    "-p tcp -r 198.51.100.9 -q 203.0.113.7 --reply-port-src 443 --reply-port-dst 50000",
    "-p icmp -r 198.51.100.9 -q 203.0.113.7 --icmp-type 8 --icmp-code 0 --icmp-id 77",
)


@pytest.mark.parametrize("words", REPLIES)
def test_an_entry_is_got_by_its_reply_tuple(netns: Namespace, words: str) -> None:
    """The stock tool asks with half an original tuple: EINVAL."""
    stock.insert_all()
    theirs, ours = (tool("-G", *words.split()) for tool in (oracle.stock, oracle.ours))
    assert (theirs.code, theirs.stdout) == (1, b"")
    assert b"Operation failed: invalid parameters" in theirs.stderr
    (shown,) = ours.stdout.splitlines()
    listed = oracle.stock("-L", *words.split()).stdout.splitlines()
    # while it is got it is in use once more
    assert [shown.replace(b" use=2", b" use=1")] == listed


def test_a_reply_tuple_that_no_entry_has_is_not_there(netns: Namespace) -> None:
    words = REPLIES[0].split()
    assert b"invalid parameters" in oracle.stock("-G", *words).stderr
    said = oracle.ours("-G", *words)
    assert (said.code, b"such conntrack doesn't exist" in said.stderr) == (1, True)


ALIKE = [
    *(f"-G {UDP_WHOLE} {REPLIES[0][7:]}", f"-G {TCP_WHOLE} {REPLIES[1][7:]}"),
    *(f"-G {UDP_WHOLE} -r 1.1.1.1", f"-G {UDP_WHOLE} -r 198.51.100.53 -q 10.0.0.4"),
    *(f"-G {TCP_WHOLE} --state ESTABLISHED", f"-G {TCP_WHOLE} --state LISTEN"),
    f"-G {UDP_WHOLE} -r 1.1.1.1 -q 2.2.2.2 --reply-port-src 1 --reply-port-dst 2",
    *(f"-D {UDP_WHOLE} -r 1.1.1.1", f"-D {REPLIES[0]}"),
    *("-L -p udp -o", "-L -o -p udp", "-L -p udp -o id -o extended", "-L -p udp -oid"),
    *("-L -p udp -o id,", "-L -p udp -o userspace", "-L -p udp -o ID"),
    *("-L -z", "-L -z -f ipv4", "-L -z -f ipv6", "-L -z -o id,extended"),
    *("-L -z -p udp", "-L -z -o xml -p udp -s 10.0.0.2", "-L -o -z", "-L -z -m 5"),
    *("-L dying -z", "-L expect -z", "-S -o xml", "-S -o id", "-S expect -o xml"),
    *("-C -o xml", "-S -p udp", "-S -z"),
]
"""Not different: entries that must fulfil more than a tuple, formats, zeroing."""


@pytest.mark.parametrize("words", ALIKE)
def test_lookups_formats_and_zeroing_are_the_stock_tools(words: str) -> None:
    told = []
    for tool in (oracle.stock, oracle.ours):
        with new_namespace("differ") as namespace, namespace.enter():
            stock.insert_all()
            said = tool(*words.split()).any_order()
            ids = oracle.ID.sub(rb"\1N", said.stdout)
            lines = sorted(ids.splitlines())
            told.append((lines, said.stderr, said.code, Kernel().count()[0]))
    assert told[0] == told[1]


def test_zeroing_takes_the_counters_with_it(netns: Namespace) -> None:
    loopback_up()
    (stock.SYSCTLS / "nf_conntrack_acct").write_text("1")
    chain = "add table ip t; add chain ip t c { type filter hook output priority 0; }"
    subprocess.run(["nft", f"{chain}; add rule ip t c ct state new"], check=True)
    for tool in (oracle.stock, oracle.ours):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"counted", ("127.0.0.1", 9))
        shown = tool("-L", "-z").stdout
        assert re.search(rb"udp .* packets=[1-9]", shown)
        assert not re.search(rb"packets=[1-9]", oracle.stock("-L").stdout)


def test_statistics_are_no_json(netns: Namespace) -> None:
    theirs, ours = oracle.stock("-S", "-o", "json"), oracle.ours("-S", "-o", "json")
    assert (theirs.code, theirs.stdout) == (ours.code, ours.stdout) == (2, b"")
    assert b"Illegal option `--output'" in ours.stderr
    assert b"Bad parameter `json'" in theirs.stderr


SCTP_WHOLE = "-p sctp -s 10.0.0.2 -d 198.51.100.9 --sport 1 --dport 2"


def test_verification_tags_are_compared(netns: Namespace) -> None:
    stock.insert_all()
    for tag, code in (("11", 0), ("12", 1)):
        words = ("-G", *SCTP_WHOLE.split(), "--orig-vtag", tag)
        assert oracle.stock(*words).code == 0
        assert oracle.ours(*words).code == code


def test_verification_tags_are_set_as_the_stock_tool_sets_them(
    netns: Namespace,
) -> None:
    stock.insert_all()
    tags = "--state COOKIE_WAIT --orig-vtag 33 --reply-vtag 44"
    for tool in (oracle.stock, oracle.ours):
        tool("-U", *SCTP_WHOLE.split(), *tags.split())
        (line,) = stock.conntrack("-L", "-p", "sctp", "-o", "save")
        assert tags in line
        undone = "--state ESTABLISHED --orig-vtag 11 --reply-vtag 22"
        oracle.stock("-U", *SCTP_WHOLE.split(), *undone.split())


def test_of_two_mistakes_the_label_is_the_later(netns: Namespace) -> None:
    theirs, ours = (
        tool("-L", "-z", "-l", "nobodys") for tool in (oracle.stock, oracle.ours)
    )
    assert (theirs.code, ours.code) == (2, 2)
    assert b"unknown label" in theirs.stderr
    assert b"Can't use -z with filtering parameters" in ours.stderr


def test_every_zone_is_reached(netns: Namespace) -> None:
    stock.insert_all()
    key = [
        "-p",
        "udp",
        "-s",
        "10.0.0.2",
        "-d",
        "198.51.100.53",
        "--sport",
        "5353",
        "--dport",
        "53",
    ]
    assert oracle.stock("-G", *key).code == 1
    assert b"zone=7" in oracle.ours("-G", *key).stdout
    assert b"zone=7" in oracle.ours("-G", *key, "-w", "7").stdout
    assert oracle.ours("-G", *key, "-w", "8").code == 1
    assert oracle.stock("-U", *key, "-m", "9").stdout == b""
    assert b"mark=9" in oracle.ours("-U", *key, "-m", "9").stdout
    assert b"mark=9" in oracle.ours("-L", "-w", "7").stdout


def test_a_full_tuple_is_deleted_in_every_zone(netns: Namespace) -> None:
    key = "-p udp -s 10.0.0.2 -d 198.51.100.53 --sport 1 --dport 53"
    for zone in ("0", "3", "9"):
        stock.conntrack("-I", *key.split(), "-t", "60", "-w", zone)
    said = oracle.ours("-D", *key.split(), "-w", "3")
    assert said.stdout.count(b"zone=3") == len(said.stdout.splitlines()) == 1
    said = oracle.ours("-D", *key.split())
    assert len(said.stdout.splitlines()) == 2
    assert Kernel().count()[0] == 0


def test_an_update_leaves_window_tracking_alone(netns: Namespace) -> None:
    insert = "-I -p tcp -s 10.0.0.2 -d 10.0.0.3 --sport 1 --dport 2 -t 60"
    stock.conntrack(*insert.split(), "--state", "SYN_SENT")
    (before,) = Kernel().table()["tcp_flags_orig"].tolist()
    plain = next(iter(Kernel().table()))
    with Kernel().socket() as sock:
        from natscope.actions import changes
        from natscope.table.flowtable import FlowTable

        table = FlowTable.from_flows([plain]).with_column(
            "tcp_flags_orig", Kernel().table()["tcp_flags_orig"] * 0 + 0x00FF
        )
        changes.set_columns(sock, table, ("tcp_flags_orig",))
    (cleared,) = Kernel().table()["tcp_flags_orig"].tolist()
    assert (before, cleared) == (0x0A00, 0)
    oracle.ours("-U", "-p", "tcp", "-f", "ipv4", "-m", "5")
    assert Kernel().table()["tcp_flags_orig"].tolist() == [0]
    oracle.stock("-U", "-p", "tcp", "-f", "ipv4", "-m", "6")
    assert Kernel().table()["tcp_flags_orig"].tolist() == [0x0A00]


def test_an_update_of_a_large_table_gets_through(netns: Namespace) -> None:
    from bench.fill import fill

    fill(3000)
    said = oracle.ours("-U", "-m", "77")
    assert said.code == 0
    assert b"3000 flow entries have been updated." in said.stderr
    assert set(Kernel().table()["mark"].tolist()) == {77}


def test_networks_are_taken_everywhere(netns: Namespace) -> None:
    stock.insert_all()
    for option, count in (("-q", 6), ("-n", 6)):
        words = ("-L", option, "203.0.113.0/24")
        assert oracle.stock(*words).code == 2
        assert len(oracle.ours(*words).stdout.splitlines()) == count


def test_an_empty_document_is_a_document(netns: Namespace) -> None:
    assert oracle.stock("-L", "-o", "xml").stdout == b""
    assert ET.fromstring(oracle.ours("-L", "-o", "xml").stdout).tag == "conntrack"


@pytest.mark.parametrize("command", ["-G", "-D", "-U"])
def test_xml_is_well_formed(command: str) -> None:
    key = [
        "-p",
        "tcp",
        "-s",
        "10.0.0.2",
        "-d",
        "198.51.100.9",
        "--sport",
        "50000",
        "--dport",
        "443",
        "-o",
        "xml",
    ]
    mark = ["-m", "4"] if command == "-U" else []
    said, _ = left(oracle.stock, command, *key, *mark)
    assert (b"<?xml" in said.stdout) != (b"</conntrack>" in said.stdout) or (
        b"<conntrack>" not in said.stdout
    )
    said, _ = left(oracle.ours, command, *key, *mark)
    assert len(ET.fromstring(said.stdout).findall("flow")) == 1


def test_an_sctp_state_has_its_own_name(netns: Namespace) -> None:
    stock.insert_all()
    words = ("-L", "-p", "sctp", "-o", "xml")
    assert b"<state>FIN_WAIT<" in oracle.stock(*words).stdout
    assert b"<state>ESTABLISHED<" in oracle.ours(*words).stdout


def test_json_is_the_document_of_list(netns: Namespace) -> None:
    stock.insert_all()
    told = json.loads(oracle.ours("-L", "-o", "json").stdout)
    assert (told["schema"], len(told["flows"])) == ("natscope.list/1", 15)
    key = [
        "-p",
        "tcp",
        "-s",
        "10.0.0.2",
        "-d",
        "198.51.100.9",
        "--sport",
        "50000",
        "--dport",
        "443",
    ]
    told = json.loads(oracle.ours("-G", *key, "-o", "json").stdout)
    assert told["flows"][0]["orig_sport"] == 50000
    assert json.loads(oracle.ours("-L", "-w", "99", "-o", "json").stdout)["flows"] == []


LOADED = """\
# a comment, then a blank line

-A -t 100 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2
-I -t 100 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 1 --dport 2
-I -t 100 -s 10.0.0.1 -d 10.0.0.2 -p udp --sport 3 --dport 4 -m 5
-U -s 10.0.0.1 -p udp --sport 3 -m 6
-D -p udp --sport 77
-D -s 10.0.0.1 -p udp --sport 1
"""


def test_a_refused_line_of_a_file_is_named_and_the_rest_is_done(
    netns: Namespace, tmp_path: Path
) -> None:
    path = tmp_path / "commands"
    path.write_text(LOADED)
    said = oracle.stock("-R", str(path))
    assert (said.code, Kernel().count()[0]) == (1, 1)
    oracle.stock("-F")
    said = oracle.ours("-R", str(path))
    assert said.code == 1
    assert b"Such conntrack exists, try -U to update (line 4)" in said.stderr
    assert [(f.orig.sport, f.mark) for f in Kernel().table()] == [(3, 6)]
    assert len(said.stdout.splitlines()) == 2  # the updated, the deleted


_ENDS = "-s 10.0.0.1 -d 1.1.1.1 -r 1.1.1.1 -q 10.0.0.1 -p udp --sport 1 --dport 2"
_WHOLE = f"{_ENDS} --reply-port-src 2 --reply-port-dst 1"


@pytest.mark.parametrize("ends", [_WHOLE, _ENDS.replace("-r 1.1.1.1 -q 10.0.0.1 ", "")])
def test_lines_of_a_file_act_in_their_order(
    netns: Namespace, tmp_path: Path, ends: str
) -> None:
    path = tmp_path / "commands"
    lines = [f"-A {ends} -t 100", f"-A {ends} -t 400 -u ASSURED", f"-I {ends} -t 900"]
    path.write_text("\n".join(lines) + "\n")
    said = oracle.ours("-R", str(path))
    assert said.code == 1
    assert b"Such conntrack exists, try -U to update (line 3)" in said.stderr
    (flow,) = Kernel().table("assured")
    assert 390 <= (flow.timeout or 0) <= 400


def test_an_entry_whose_reply_has_the_tuple_is_not_changed(netns: Namespace) -> None:
    udp = "-p udp --sport {} --dport {} -t 100 -m {}"
    stock.conntrack("-I", *f"-s 10.0.0.1 -d 1.1.1.1 {udp.format(1, 2, 5)}".split())
    turned = f"-A -s 1.1.1.1 -d 10.0.0.1 {udp.format(2, 1, 6)}".split()
    assert oracle.stock(*turned).stderr.startswith(b"conntrack v1.4")
    said = oracle.ours(*turned)
    assert (said.code, b"File exists" in said.stderr) == (1, True)
    assert [flow.mark for flow in Kernel().table()] == [5]


def test_a_closed_standard_input_is_a_file_that_cannot_be_read(
    netns: Namespace,
) -> None:
    words = [*oracle.OURS, "-R", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *words], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"Failed to open file /dev/stdin for reading" in done.stderr


def test_a_line_that_is_no_command_stops_all(netns: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "commands"
    path.write_text(LOADED + "-A -s nonsense\n")
    assert oracle.stock("-R", str(path)).code == 2
    said = oracle.ours("-R", str(path))
    assert said.code == 2
    assert b"Invalid IP address `nonsense'" in said.stderr
    assert b"line 9" in said.stderr
    assert Kernel().count()[0] == 0


def test_a_saved_table_is_loaded_as_the_stock_tool_loads_it(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    tables = []
    with new_namespace("differ") as namespace, namespace.enter():
        stock.insert_all()
        lines = [
            one for one in stock.conntrack("-L", "-o", "save") if "sctp" not in one
        ]
        path.write_text("\n".join(lines) + "\n")
    for tool in (oracle.stock, oracle.ours):
        with new_namespace("differ") as namespace, namespace.enter():
            said = tool("-R", str(path))
            assert (said.code, said.stderr) == (0, b"")
            tables.append(oracle.stock("-L", "-o", "extended").any_order())
    theirs, ours = ({*table.stdout.splitlines()} for table in tables)
    # of a port forward the stock tool forgets the port
    (lost,), (kept,) = theirs - ours, ours - theirs
    assert b"dport=8080 src=10.0.0.3 dst=10.0.0.1 sport=8080" in lost
    assert b"dport=8080 src=10.0.0.3 dst=10.0.0.1 sport=80 " in kept


def test_a_full_disk_is_an_error(netns: Namespace) -> None:
    stock.insert_all()
    for command, code in ((("conntrack",), 0), (oracle.OURS, 1)):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*command, "-L"], stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert done.returncode == code


def test_events_are_the_stock_tools(netns: Namespace) -> None:
    told = {}
    for name, command in (("stock", ("conntrack",)), ("ours", oracle.OURS)):
        environment = os.environ | {
            "NATSCOPE_CONNTRACK_VERSION": oracle.stock_version()
        }
        with subprocess.Popen(
            [*command, "-E", "-o", "id"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        ) as following:
            _wait_until_it_listens(following.pid)
            _make_events()
            assert following.stdout is not None
            lines = [following.stdout.readline() for _ in range(3)]
            lines = [line.partition(b" portid=")[0] for line in lines]
            following.send_signal(signal.SIGTERM)
            _, err = following.communicate()
        # the stock tool counts an event when it has printed it: the last may be missing
        shown = re.sub(rb"\b2(?= flow events)", b"3", err) if name == "stock" else err
        told[name] = [_masked(line) for line in lines], shown, following.returncode
    assert told["ours"] == told["stock"]


def _masked(line: bytes) -> bytes:
    """Without clocks, and without the id, which is another namespace's."""
    return re.sub(rb"(id=)\d+|(?<=17 )\d+", rb"\1N", line)


def _make_events() -> None:
    key = [
        "-p",
        "udp",
        "-s",
        "10.0.0.2",
        "-d",
        "10.0.0.3",
        "--sport",
        "1",
        "--dport",
        "53",
    ]
    stock.conntrack("-I", *key, "-t", "60")
    stock.conntrack("-U", *key, "-f", "ipv4", "-m", "5")
    stock.conntrack("-D", *key)


def _wait_until_it_listens(pid: int) -> None:
    """Until a netfilter socket of the process has groups in /proc/net/netlink."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        rows = Path("/proc/net/netlink").read_text().splitlines()[1:]
        words = [row.split() for row in rows]
        if any(w[1] == "12" and int(w[3], 16) for w in words):
            return
    pytest.fail(f"process {pid} does not listen")


def test_the_buffer_of_events_is_that_of_the_event_socket(netns: Namespace) -> None:
    """The stock tool sets it on the socket it does not listen with."""
    with subprocess.Popen(
        [*oracle.OURS, "-E", "-b", "1000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as following:
        _wait_until_it_listens(following.pid)
        following.send_signal(signal.SIGINT)
        _, err = following.communicate()
    assert b"buffer size has been set to 2000000 bytes" in err
    assert following.returncode == 0
