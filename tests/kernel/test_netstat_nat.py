"""``natscope netstat-nat`` beside the stock netstat-nat 1.4.10, on one table.

What 1.4.10 shows correctly is byte for byte the same, order included.  What is
different on purpose is a row of DIFFERENCES, and of docs/netstat-nat-differences.md.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.sources.netns import Namespace

pytestmark = pytest.mark.kernel

OURS = (sys.executable, "-m", "natscope", "netstat-nat")
STOCK = ("netstat-nat",)
PAGE = Path(__file__).parents[2] / "docs" / "netstat-nat-differences.md"
BOX = ("192.168.77.1/24", "198.51.100.1/24", "2001:db8::1/64")
SEEN = "-u SEEN_REPLY,ASSURED"
UP = f"--state ESTABLISHED {SEEN}"


def shown(
    program: tuple[str, ...], *words: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def insert(*flows: str) -> None:
    lines = "".join(f"-I -t 3600 {flow}\n" for flow in flows)
    subprocess.run(
        ["conntrack", "-R", "-"],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def box(netns: Namespace) -> Namespace:
    """A namespace with the addresses of BOX and an empty table."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in BOX:
        words = ["ip", "addr", "add", address, "dev", "lo"]
        subprocess.run([*words, *(["nodad"] if ":" in address else [])], check=True)
    return netns


def crowd(seed: int, size: int) -> list[str]:
    """Flows 1.4.10 shows correctly, of every class, with many equal keys."""
    pick = random.Random(seed)
    flows = []
    for n in range(size):
        inside, outside = f"192.168.77.{n % 7 + 2}", f"198.51.100.{pick.randint(8, 12)}"
        ports = f"--sport {20_000 + n} --dport {pick.choice((53, 80, 443))}"
        state = pick.choice(("ESTABLISHED", "SYN_SENT", "FIN_WAIT", "CLOSE", "NONE"))
        tcp = f"-p tcp --state {state} -u SEEN_REPLY"
        udp = f"-p udp {pick.choice((SEEN, ''))}"
        out, back = f"--src {inside} --dst {outside}", f"--src {outside}"
        alone = f"--src {inside} --dst 10.1.{n // 250}.{n % 250 + 1}"
        flows.append(
            pick.choice(
                (
                    f"{tcp} {out} {ports} -n 198.51.100.1",
                    f"{udp} {out} {ports} -n 198.51.100.1:{30_000 + n}",
                    f"{tcp} {back} --dst 192.168.77.3 {ports}",
                    f"{udp} {back} --dst 198.51.100.1 {ports}",
                    f"-p esp {alone} -n 198.51.100.1",
                    f"-p 99 {alone} -n 198.51.100.1",
                    f"-p icmp {out} --icmp-type 8 --icmp-code 0 --icmp-id {n} "
                    f"-n 198.51.100.1",
                )
            )
        )
    return flows


FORWARDS = [
    f"-p tcp --src 203.0.113.{n} --dst 198.51.100.1 --sport {4000 + n} --dport 8080 "
    f"-g 192.168.77.{3 + n % 2}:80 {UP}"
    for n in range(20, 28)
]
OPTIONS = (
    "-n", "-nN", "-nS", "-nD", "-nL", "-nR", "-nx", "-nNx", "-no", "-n -L -o -x",
    "-n -r src", "-n -r dst", "-n -r src-port", "-n -r dst-port", "-n -rstate",
    "-nS -r state", "-nD -r src-port", "-nL -r dst", "-nR -r src-port",
    "-n -p tcp", "-n -pudp", "-n -p icmp", "-n -p esp", "-n -p 99",
    "-n -s 192.168.77.3", "-n -d 198.51.100.9", "-n -s 192.168.77.2 -d 198.51.100.9",
    "-n -s localhost", "-LS -n", "-nLR", "-nRD", "-nNL", "", "-x", "-N", "-r dst-port",
)  # fmt: skip


def differs(options: str) -> bool:
    words = options.split()
    return shown(OURS, *words).stdout != written(shown(STOCK, *words))


def written(stock: subprocess.CompletedProcess[str]) -> str:
    """What 1.4.10 prints, without the line of blanks it now and then adds to -R
    (it reads memory it has not written)."""
    lines = stock.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if not line.isspace())


def test_what_1_4_10_shows_correctly_is_the_same_byte_for_byte(box: Namespace) -> None:
    insert(*crowd(seed=1, size=300))
    assert [options for options in OPTIONS if differs(options)] == []
    assert len(shown(STOCK, "-n").stdout.splitlines()) > 100


def test_forwards_are_the_same_but_for_the_public_port(box: Namespace) -> None:
    insert(*FORWARDS)
    same = [options for options in OPTIONS if "N" not in options]
    assert [options for options in same if differs(options)] == []
    assert len(shown(STOCK, "-nD").stdout.splitlines()) == len(FORWARDS) + 1


def test_an_empty_table_is_a_heading(box: Namespace) -> None:
    assert [options for options in OPTIONS[:12] if differs(options)] == []
    assert shown(STOCK, "-n").returncode == shown(OURS, "-n").returncode == 0


HOSTS = """\
127.0.0.1 localhost
192.168.77.2 inside.example.net
192.168.77.3 a-very-long-host-name-indeed-it-is.really-long-domain.example.net twin
192.168.77.4 123456789012345678901234567890 twin
198.51.100.9 far.example.net
198.51.100.1 box.example.net
"""


def with_file(path: str, text: str, tmp_path: Path) -> tuple[str, ...]:
    """A command before a command: ``path`` reads as ``text`` to it alone."""
    (tmp_path / "file").write_text(text)
    script = f'mount --bind {tmp_path}/file {path} && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


@pytest.mark.parametrize("words", ["", "-x", "-N", "-Nx", "-r dst", "-r src-port"])
def test_names_stand_and_are_cut_as_by_1_4_10(
    box: Namespace, tmp_path: Path, words: str
) -> None:
    ports = (("tcp", 443), ("tcp", 514), ("udp", 514), ("tcp", 6566), ("udp", 47_000))
    insert(
        *(
            f"-p {proto} --src 192.168.77.{host} --dst 198.51.100.9 --sport 443 "
            f"--dport {port} -n 198.51.100.1:{host * 1000} {SEEN} "
            + ("--state ESTABLISHED" if proto == "tcp" else "")
            for host in (2, 3, 4, 5)
            for proto, port in ports
        ),
        "-p icmp --src 192.168.77.3 --dst 198.51.100.9 --icmp-type 8 --icmp-code 0 "
        "--icmp-id 1 -n 198.51.100.1",
    )
    named = with_file("/etc/hosts", HOSTS, tmp_path)
    stock = shown((*named, *STOCK), *words.split())
    ours = shown((*named, *OURS), *words.split())
    assert ours.stdout == stock.stdout
    assert "a-very-long-host-name-in" in ours.stdout
    assert ":syslog" in ours.stdout


@dataclass(frozen=True)
class Difference:
    """``stock`` and ``ours`` are lines without heading and padding, or what is
    said instead of any; ``code`` and ``stock_code`` the exit codes."""

    id: str
    options: str
    stock: tuple[str, ...]
    ours: tuple[str, ...]
    flows: tuple[str, ...] = ()
    stock_code: int = 0
    code: int = 0


_WEB = f"-p tcp --src 192.168.77.2 --dst 198.51.100.9 --sport 40000 --dport 443 {UP}"
WEB = f"{_WEB} -n 198.51.100.1"
DNS = "-p udp --src 192.168.77.2 --dst 198.51.100.9 --sport 5353 --dport 53"
FROM_INSIDE = "-p tcp --src 192.168.77.2 --dst 198.51.100.1 --sport 40055 --dport 8080"
HAIRPIN = f"{FROM_INSIDE} -n 192.168.77.1 -g 192.168.77.2:80 {UP}"
FORWARD = (
    "-p tcp --src 198.51.100.9 --dst 198.51.100.1 --sport 41001 --dport 8080 "
    f"-g 192.168.77.2:80 {UP}"
)
REDIRECT = (
    "-p tcp --src 192.168.77.2 --dst 192.168.77.1 --sport 40056 --dport 8888 "
    f"-g 192.168.77.1:22 {UP}"
)
V6 = (
    "--src fd77::2 --dst 2001:db8:1::9 --sport 40013 --dport 443 "
    "-n 2001:db8::1 --state ESTABLISHED"
)
WEB_LINE = "tcp 192.168.77.2:40000 198.51.100.9:443 ESTABLISHED"
DNS_LINE = "udp 192.168.77.2:5353 198.51.100.9:53"
FORWARD_LINE = "tcp 198.51.100.9:41001 192.168.77.2:80 ESTABLISHED"


def tcp(state: str) -> tuple[str, ...]:
    return (WEB.replace("ESTABLISHED", state),)


DIFFERENCES = [
    Difference(
        "hairpin",
        "-n",
        (),
        ("tcp 192.168.77.2:40055 192.168.77.2:80 ESTABLISHED",),
        (HAIRPIN,),
    ),
    Difference(
        "hairpin from the public address",
        "-nS",
        (),
        ("tcp 192.168.77.2:40055 192.168.77.3:80 ESTABLISHED",),
        (f"{FROM_INSIDE} -n 198.51.100.1 -g 192.168.77.3:80 {UP}",),
    ),
    Difference(
        "redirect",
        "-n",
        (),
        ("tcp 192.168.77.2:40056 192.168.77.1:22 ESTABLISHED",),
        (REDIRECT,),
    ),
    Difference(
        "redirect is not local",
        "-nL",
        ("tcp 192.168.77.2:40056 192.168.77.1:8888 ESTABLISHED",),
        (),
        (REDIRECT,),
    ),
    Difference(
        "source port only",
        "-nN",
        (),
        (
            "tcp 192.168.77.2:40000 192.168.77.2:61000 198.51.100.9:443 "
            "ESTABLISHED",
        ),
        (f"{_WEB} -n 192.168.77.2:61000",),
    ),
    Difference(
        "public port of a forward",
        "-nN",
        ("tcp 198.51.100.9:41001 198.51.100.1:41001 192.168.77.2:80 ESTABLISHED",),
        ("tcp 198.51.100.9:41001 198.51.100.1:8080 192.168.77.2:80 ESTABLISHED",),
        (FORWARD,),
    ),
    Difference(
        "public address of a hairpin",
        "-nDN",
        ("tcp 192.168.77.2:40055 192.168.77.1:40055 192.168.77.3:80 ESTABLISHED",),
        ("tcp 192.168.77.2:40055 198.51.100.1:8080 192.168.77.3:80 ESTABLISHED",),
        (f"{FROM_INSIDE} -n 192.168.77.1 -g 192.168.77.3:80 {UP}",),
    ),
    Difference(
        "unequal tuples without NAT",
        "-n",
        ("tcp 192.168.77.2:1 198.51.100.9:2 ESTABLISHED",),
        (),
        (
            "-p tcp --src 192.168.77.2 --dst 198.51.100.9 --sport 1 --dport 2 "
            "-r 198.51.100.9 -q 198.51.100.1 --reply-port-src 2 --reply-port-dst 1 "
            f"{UP}",
        ),
    ),
    Difference(
        "CLOSE_WAIT",
        "-n",
        (WEB_LINE.replace("ESTABLISHED", "CLOSE"),),
        (WEB_LINE.replace("ESTABLISHED", "CLOSE_WAIT"),),
        tcp("CLOSE_WAIT"),
    ),
    Difference(
        "LAST_ACK",
        "-n",
        (WEB_LINE.replace("ESTABLISHED", "ASSURED"),),
        (WEB_LINE.replace("ESTABLISHED", "LAST_ACK"),),
        tcp("LAST_ACK"),
    ),
    Difference(
        "SYN_SENT2",
        "-n",
        (WEB_LINE.replace("ESTABLISHED", "SYN_SENT"),),
        (WEB_LINE.replace("ESTABLISHED", "SYN_SENT2"),),
        tcp("LISTEN"),
    ),
    Difference(
        "UDP seen both ways",
        "-n",
        (f"{DNS_LINE} UNREPLIED",),
        (DNS_LINE,),
        (f"{DNS} -n 198.51.100.1 -u SEEN_REPLY",),
    ),
    Difference(
        "IPv6",
        "-nN",
        ("tcp fd77:0000:0000::40013 2001:0db8:0000::40013 2001:0db8:0001::443 "
         "ESTABLISHED",),
        ("tcp [fd77::2]:40013 [2001:db8::1]:40013 [2001:db8:1::9]:443 ESTABLISHED",),
        (f"-p tcp {V6} {SEEN}",),
    ),
    Difference(
        "IPv6 of the box",
        "-nL",
        (),
        ("tcp [fd77::2]:1 [2001:db8::1]:22 ESTABLISHED",),
        (f"-p tcp --src fd77::2 --dst 2001:db8::1 --sport 1 --dport 22 {UP}",),
    ),
    Difference(
        "127.0.0.0/8 is the box",
        "-nL",
        (),
        ("tcp 127.0.0.5:1 127.0.0.53:53 ESTABLISHED",),
        (f"-p tcp --src 127.0.0.5 --dst 127.0.0.53 --sport 1 --dport 53 {UP}",),
    ),
    Difference(
        "ICMPv6",
        "-n",
        ("icmp fd77:0000:0000: 2001:0db8:0001:",),
        ("icmpv6 fd77::2 2001:db8:1::9",),
        ("-p icmpv6 --src fd77::2 --dst 2001:db8:1::9 --icmpv6-type 128 "
         "--icmpv6-code 0 --icmpv6-id 7 -n 2001:db8::1 -u SEEN_REPLY",),
    ),
    Difference(
        "SCTP",
        "-n",
        ("192.168.77.2 198.51.100.9 ESTABLISHED",),
        ("sctp 192.168.77.2:600 198.51.100.9:700 ESTABLISHED",),
        ("-p sctp --src 192.168.77.2 --dst 198.51.100.9 --sport 600 --dport 700 "
         f"--orig-vtag 1 --reply-vtag 2 -n 198.51.100.1 {UP}",),
    ),
    Difference(
        "GRE",
        "-n -p gre",
        (),
        ("gre 192.168.77.2 198.51.100.9",),
        ("-p gre --src 192.168.77.2 --dst 198.51.100.9 --srckey 1 --dstkey 2 "
         "-n 198.51.100.1 -u SEEN_REPLY",),
    ),
    Difference(
        "UDP-Lite",
        "-n",
        (f"{DNS_LINE} ASSURED",),
        (f"{DNS_LINE.replace('udp', 'udplite')} ASSURED",),
        (f"{DNS.replace('udp', 'udplite')} -n 198.51.100.1 {SEEN}",),
    ),
    Difference("-S and -D together", "-nSD", (), (WEB_LINE, FORWARD_LINE),
               (WEB, FORWARD)),
    Difference("-p in capitals", "-n -p TCP", (), (WEB_LINE,), (WEB,)),
    Difference("-p with a number", "-n -p 6", (), (WEB_LINE,), (WEB,)),
    Difference(
        "-p with a list", "-n -p udp,tcp", (f"{DNS_LINE} ASSURED",),
        (WEB_LINE, f"{DNS_LINE} ASSURED"),
        (WEB, f"{DNS} -n 198.51.100.1 {SEEN}"),
    ),
    Difference(
        "-p again adds", "-n -p udp -p tcp", (WEB_LINE,),
        (WEB_LINE, f"{DNS_LINE} ASSURED"), (WEB, f"{DNS} -n 198.51.100.1 {SEEN}"),
    ),
    Difference("-p unknown", "-n -p tcpx", (WEB_LINE,), ("no protocol 'tcpx'",),
               (WEB,), code=1),
    Difference("-r unknown", "-n -r bogus", (WEB_LINE,), ("cannot sort by 'bogus'",),
               (WEB,), code=1),
    Difference(
        "-s with a network", "-n -s 192.168.77.0/24",
        ("Unknown host: 192.168.77.0/24",), (WEB_LINE,), (WEB,), stock_code=255,
    ),
    Difference(
        "-d with a list", "-n -d 198.51.100.8,198.51.100.9",
        ("Unknown host: 198.51.100.8,198.51.100.9",), (WEB_LINE,), (WEB,),
        stock_code=255,
    ),
    Difference(
        "-s again adds", "-n -s 192.168.77.2 -s 192.168.77.9", (), (WEB_LINE,), (WEB,)
    ),
    Difference(
        "-s with IPv6", "-n -s fd77::2", ("Unknown host: fd77::2",),
        ("tcp [fd77::2]:40013 [2001:db8:1::9]:443 ESTABLISHED",),
        (f"-p tcp {V6} {SEEN}",), stock_code=255,
    ),
    Difference(
        "a file that is not there", "-n /nonexistent", (WEB_LINE,),
        ("/nonexistent",), (WEB,), code=1,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENCES, ids=lambda case: case.id)
def test_what_is_different_on_purpose(box: Namespace, case: Difference) -> None:
    insert(*case.flows)
    stock = shown(STOCK, "-o", *case.options.split())
    assert (said(stock), stock.returncode) == (case.stock, case.stock_code)
    ours = shown(OURS, "-o", *case.options.split())
    assert ours.returncode == case.code
    if case.code:
        assert case.ours[0] in ours.stderr
        assert ours.stdout == ""
    else:
        assert said(ours) == case.ours


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, ...]:
    return tuple(" ".join(line.split()) for line in done.stdout.splitlines())


ALONE = frozenset(
    {
        "OFFLOAD",
        "a saved listing",
        "a name of several hosts",
        "no procfs",
        "long protocol names",
        "help",
        "version",
        "unknown host",
        "order of equals",
    }
)
"""Differences with a test of their own, below or in the unit tests."""


def test_every_difference_is_on_the_page_and_nothing_else() -> None:
    _, _, rest = PAGE.read_text().partition("## What is different on purpose")
    tables, _, _ = rest.partition("## From netstat-nat-ng")
    listed = re.findall(r"^\| ([^|]+?) \|", tables, re.M)
    known = {case.id for case in DIFFERENCES} | ALONE
    assert sorted(name for name in listed if name != "what") == sorted(known)


PROC = (
    "unshare", "--mount", "sh", "-c",
    "mount -t tmpfs tmpfs /proc && mkdir /proc/net && "
    'cat > /proc/net/nf_conntrack && exec "$@"', "sh",
)  # fmt: skip
"""A command before a command: its /proc holds a conntrack table from stdin alone."""
OFFLOADED = (
    "ipv4     2 tcp      6 src=10.0.0.1 dst=10.9.9.9 sport=1 dport=2 "
    "src=10.9.9.9 dst=198.51.100.1 sport=2 dport=1 [OFFLOAD] mark=0 zone=0 use=3\n"
)


def test_a_protocol_name_is_not_cut(box: Namespace) -> None:
    insert("-p 4 --src 192.168.77.2 --dst 198.51.100.9 -n 198.51.100.1")
    stock, ours = shown(STOCK, "-no").stdout, shown(OURS, "-no").stdout
    assert re.match(r"ipenc\S*192[.]168[.]77[.]2 ", stock)
    assert ours.startswith("ipencap 192.168.77.2 ")


def test_an_offloaded_flow_has_its_state(box: Namespace) -> None:
    stock = shown((*PROC, *STOCK), "-no", stdin=OFFLOADED)
    ours = shown(OURS, "-no", "-", stdin=OFFLOADED)
    assert said(stock) == ("tcp 10.0.0.1:1 10.9.9.9:2",)
    assert said(ours) == ("tcp 10.0.0.1:1 10.9.9.9:2 OFFLOAD",)


def test_a_saved_listing_shows_what_the_live_table_shows(
    box: Namespace, tmp_path: Path
) -> None:
    insert(*crowd(seed=2, size=60), *FORWARDS, HAIRPIN, f"-p tcp {V6} {SEEN}")
    saved = Path("/proc/thread-self/net/nf_conntrack").read_text()
    (tmp_path / "saved").write_text(saved)
    for options in ("-nN", "-nL", "-nR"):
        live = shown(OURS, options).stdout
        assert shown(OURS, options, str(tmp_path / "saved")).stdout == live
        assert shown(OURS, "-", options, stdin=saved).stdout == live


def test_the_box_behind_a_saved_listing_can_be_told(box: Namespace) -> None:
    insert(f"-p tcp --src 10.0.0.2 --dst 10.0.0.1 --sport 1 --dport 22 {UP}")
    line = ("tcp 10.0.0.2:1 10.0.0.1:22 ESTABLISHED",)
    told = {"NETSTAT_NAT_LOCAL_ADDRS": "10.0.0.1, fd00::1"}
    assert said(shown(OURS, "-noL")) == ()
    assert said(shown(OURS, "-noL", **told)) == line
    assert said(shown(OURS, "-noR", **told)) == ()
    wrong = shown(OURS, "-noL", NETSTAT_NAT_LOCAL_ADDRS="here")
    assert (wrong.returncode, wrong.stdout) == (1, "")


def test_a_name_stands_for_all_its_addresses(box: Namespace, tmp_path: Path) -> None:
    insert(*(WEB.replace("77.2", f"77.{host}") for host in (3, 4, 5)))
    named = with_file("/etc/hosts", HOSTS, tmp_path)
    lines = [WEB_LINE.replace("77.2", f"77.{host}") for host in (3, 4)]
    assert said(shown((*named, *STOCK), "-no", "-s", "twin")) == tuple(lines[:1])
    assert said(shown((*named, *OURS), "-no", "-s", "twin")) == tuple(lines)


def test_procfs_is_not_needed(box: Namespace) -> None:
    insert(WEB)
    hidden = ("unshare", "--mount", "sh", "-c")
    script = 'mount -t tmpfs tmpfs /proc && exec "$@"'
    stock = shown((*hidden, script, "sh", *STOCK), "-no")
    ours = shown((*hidden, script, "sh", *OURS), "-no")
    assert stock.returncode == 1
    assert "Could not read info" in stock.stdout
    assert said(ours) == (WEB_LINE,)


def test_an_unknown_host_is_named_where_no_pipe_reads_it(box: Namespace) -> None:
    stock = shown(STOCK, "-s", "nosuch.invalid")
    ours = shown(OURS, "-s", "nosuch.invalid")
    assert stock.stdout == ours.stderr == "Unknown host: nosuch.invalid\n"
    assert ours.stdout == ""
    assert ours.returncode == stock.returncode == 255


def test_asking_for_help_is_no_failure(box: Namespace) -> None:
    for option in ("-h", "-?"):
        assert shown(STOCK, option).returncode == 1
        assert shown(OURS, option).returncode == 0
    bad = shown(OURS, "-z")
    assert (bad.stdout, bad.returncode) == ("", shown(STOCK, "-z").returncode)


def test_the_version_begins_as_that_of_1_4_10(box: Namespace) -> None:
    stock, ours = shown(STOCK, "-v").stdout, shown(OURS, "-nv").stdout
    assert stock == "Version 1.4.10\n"
    assert ours.startswith(stock.rstrip() + " (natscope ")


def test_another_namespace_is_listed_by_name_or_path(
    box: Namespace, netns: Namespace
) -> None:
    insert(WEB)
    home = f"/proc/{os.getpid()}/fd"
    assert netns.path.startswith(home)
    away = ("unshare", "--net", *OURS)
    assert said(shown(away, "-no")) == ()
    assert said(shown(away, "-no", "--netns", netns.path)) == (WEB_LINE,)


def test_without_the_capability_the_refusal_names_it(box: Namespace) -> None:
    bare = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
    done = shown((*bare, *OURS), "-n")
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr
