"""The command line of conntrack(8), judged by the stock tool.

Whatever the installed version, 1.4.7 to 1.4.9: a line is taken or refused
alike, in the same words, and means the same entries.  What is better here by
design is listed, and the stock tool must show it.
"""

from __future__ import annotations

import random
import subprocess
from contextlib import closing
from dataclasses import dataclass

import pytest

from kernel import stock
from natscope.cli.conntrack.grammar import ALLOWED, OPTIONS
from natscope.cli.conntrack.parse import parse
from natscope.cli.conntrack.protocols import find
from natscope.cli.conntrack.request import CommandLineError
from natscope.cli.conntrack.select import wanted
from natscope.cli.conntrack.usage import usage
from natscope.sources.kernel import Kernel
from natscope.sources.netns import Namespace
from seeds import fresh

pytestmark = pytest.mark.kernel

PREFIX = "(conntrack-tools): "
TRY = "Try `conntrack -h' or 'conntrack --help' for more information."
Verdict = tuple[int, list[str]]
"""The exit code of a usage error and what is said; 0 and warnings if taken."""


def theirs(words: list[str]) -> Verdict:
    """What the stock tool makes of a command line."""
    done = subprocess.run(
        ["conntrack", *words], capture_output=True, text=True, timeout=9
    )
    said = [line.partition(PREFIX)[2] or line for line in done.stderr.splitlines()]
    refused = done.returncode not in (0, 1) or any(map(_is_usage, said))
    # what the kernel says of a line that was understood is not judged here
    heard = [s for s in said if refused or s.startswith("WARNING")]
    heard = [s for s in heard if not s.startswith("NOTICE")]  # -E has begun
    return (done.returncode if refused else 0), heard


def _is_usage(message: str) -> bool:
    return message.startswith(("unexpected value", "cannot combine", "cannot use"))


def ours(words: list[str]) -> Verdict:
    """What natscope makes of it."""
    try:
        return 0, list(parse(words).warnings)
    except CommandLineError as error:
        tail = [TRY] if error.try_help else []
        return error.code, [*error.warnings, str(error), *tail]


ALIKE = """
-x
-xL
stray -xL
stray -L -xL
-L stray -xL
--nope
--zero=3
--
-L -- --nope
-
-s
--src
-L --m 1
-L --ma 1
-L --lab a
-L --reply- 1.1.1.1
-L --proto tcp
-L -L
-L -D
-L foo
-L c
-L expect
-L exp -f ipv6
-L dying
-L uncon
-F dying
-U expect
-A expect
-S unconfirmed
-h foo
-V foo
-V expect
-zL
-zL dying
-L expect -s 1.1.1.1
-L --tuple-src 1.1.1.1
-I expect -p tcp
-G
-G expect -s 1.1.1.1 -d 1.1.1.1 -p tcp
-G -p tcp --sport 5 -s 1.1.1.1 -d 2.2.2.2
-G -p tcp --reply-port-src 5 -s 1.1.1.1 -d 2.2.2.2
-G -p dccp --reply-port-src 5 -s 1.1.1.1 -d 2.2.2.2
-G -p gre --reply-key-dst 5 -r 1.1.1.1 -q 2.2.2.2
-G -p icmp -s 1.1.1.1 -d 2.2.2.2
-I -r 1.1.1.1 -p 89 -t 5
-I -s 1.1.1.0/24 -d 2.2.2.2 -p 89 -t 5
-I -s 1.1.1.1 -d 2.2.2.2 -p 89 -t 5 -n 3.3.3.0/24
-I -s 1.1.1.1 -d 2.2.2.2 -p 89 -t 5 -r 3.3.3.0/24
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 1 --dport 2 -t 5
-I -s 1.1.1.1 -d 2.2.2.2 -p sctp --sport 1 --dport 2 -t 5 --state CLOSED
-I -s 1.1.1.1 -d 2.2.2.2 -p dccp --sport 1 --dport 2 -t 5 --state OPEN --role x
-s 1.1.1.1
-L -p
-L -p 256
-L -p foo
-L -p 0x11 --sport 5
-L -p ipv6-icmp --icmpv6-type 3
-L --sport 5
-L -p tcp --tuple-port-src 3
-L -p sctp --orig-vtag 3
-L -p dccp --state FOO
-L -p tcp --state FOO
-L -p tcp --state established
-L -p tcp --state LISTEN
-L -s 1.1.1.1/33
-L -s 1.1.1.1/-1
-L -s 1.1.1.1/8x
-L -s ::1/129
-L -s foo
-L -s foo/8
-L -s 10.1
-L -s [::1]
-L -s 1.1.1.1 -d ::1
-L -f ipv5
-L -f ipv6 -s 1.1.1.1
-L --mask-src 255.0.0.0
-L --mask-src 255.0.0.0/8 -s 1.1.1.1
-L -s 1.1.1.1 --mask-src ffff::
-L -s 10.0.0.0/8 --mask-src 255.255.0.0
-L -n 1.1.1.1:80:80
-L -n [::1]:80:80
-L -n [::1]:65536
-L -n 1.1.1.1:
-L -n []
-L -n []:80
-L -n [::1
-L -n [::1]
-L -n foo:bar
-L -n foo:80
-L -n 1.1.1.1:80
-L -n -g
-L -j 1.1.1.1 -n
-L -n ::1 -s 1.1.1.1
-D --any-nat
-L -t 5
-L -z -s 1.1.1.1
-L -z -f ipv4
-L -z -n
-L -u foo
-L -u ASSURED,foo,bar
-L -u ASSURED,!
-L -u ,ASSURED
-L -u unreplied
-L -u as,exp,f,o,h
-E -e foo
-L -o foo
-L -o s
-L -o d,xml
-L -o x,ext,ti,i,k,u
-o save,id -L
-L -o save -o xml
-L -o save,userspace
-a 1.1.1.1 -L
-F -a
-C -s 1.1.1.1
-S -f ipv4
-F -p tcp
-E expect -p tcp
-D expect -s 1.1.1.1 -d 1.1.1.1 -p icmp --icmp-type 8
-U -b 5
-U --orig-zone 5
--dump --zero
--dele --proto udp --orig-port-d 53
"""
"""Command lines both tools take, or refuse with the same words."""


@pytest.mark.parametrize("line", ALIKE.strip().splitlines())
def test_a_command_line_is_judged_as_by_the_stock_tool(
    netns: Namespace, line: str
) -> None:
    assert ours(line.split()) == theirs(line.split())


@pytest.mark.parametrize(
    "words",
    [
        ["-L", ""],
        ["-L", "-u", ""],
        ["-L", "-n", ""],
        ["-L", "-s", ""],
        ["-L", "-p", ""],
    ],
)
def test_empty_words_are_judged_as_by_the_stock_tool(
    netns: Namespace, words: list[str]
) -> None:
    assert ours(words) == theirs(words)


@dataclass(frozen=True)
class Better:
    """A line judged differently by design.

    ``stock`` is what the installed tool says, where every version says the same.
    """

    id: str
    line: str
    ours: Verdict
    stock: Verdict | None = None


TAKEN: Verdict = (0, [])
SRC_NAT = "WARNING: ignoring SRC_NAT, use --src-nat instead"


def _illegal(name: str) -> Verdict:
    return 2, [f"Illegal option `--{name}' with this command", TRY]


def _wrong(message: str) -> Verdict:
    return 2, [message, TRY]


BETTER = [
    Better("an id is a filter of lists", "-L -i 5", TAKEN, _illegal("id")),
    Better(
        "an update can name a zone", "-U -w 5 -m 1", TAKEN, _illegal("zone")
    ),
    Better(
        "and so can a get",
        "-G -w 5 -s 1.1.1.1 -d 2.2.2.2 -p 89",
        TAKEN,
        _illegal("zone"),
    ),
    Better("counts as JSON", "-C -o json", TAKEN),
    Better(
        "a network in reply",
        "-L -r 1.1.1.0/24",
        TAKEN,
        _wrong("CIDR notation unavailable for `--reply-src'"),
    ),
    Better(
        "a network of a translation",
        "-D -n 1.1.1.0/24",
        TAKEN,
        _wrong("CIDR notation unavailable for `--src-nat'"),
    ),
    Better(
        "JSON", "-L -o json", TAKEN, _wrong("Bad parameter `json'")
    ),
    Better(
        "several states",
        "-L -p tcp --state CLOSE,LAST_ACK",
        TAKEN,
        _wrong("unknown TCP state `CLOSE,LAST_ACK'"),
    ),
    Better(
        "a port that is none is not port 0",
        "-D -p tcp --sport abc",
        _wrong("Invalid port `abc'"),
        TAKEN,
    ),
    Better(
        "a port too great is not another",
        "-D -p tcp --sport 65546",
        _wrong("Invalid port `65546'"),
        TAKEN,
    ),
    Better(
        "a timeout that is none is not 0",
        "-U -p 89 -t x",
        _wrong("Invalid timeout `x'"),
        TAKEN,
    ),
    Better(
        "a size that is none is not 0",
        "-L -b x",
        _wrong("Invalid buffer size `x'"),
        _illegal("buffer-size"),
    ),
    Better(
        "an ICMP type too great is not another",
        "-D -p icmp --icmp-type 264",
        _wrong("Invalid ICMP type `264'"),
        TAKEN,
    ),
    Better(
        "a GRE key too great is not another",
        "-D -p gre --srckey 0x10005",
        _wrong("Invalid key `0x10005'"),
        TAKEN,
    ),
    Better(
        "no prefix length is not 0: every address",
        "-D -s 1.1.1.1/",
        _wrong("Invalid netmask"),
        TAKEN,
    ),
    Better(
        "a family with more to it",
        "-L -f ipv4x",
        _wrong("`ipv4x' unsupported protocol"),
        TAKEN,
    ),
    Better(
        "no status bits are not every entry",
        "-D -u UNSET",
        (1, ["Operation failed: invalid parameters"]),
        TAKEN,
    ),
    Better(
        "nor are those that are ignored",
        "-D -u s",
        (1, [SRC_NAT, "Operation failed: invalid parameters"]),
        (0, [SRC_NAT]),
    ),
    Better(
        "an empty mask is not 0",
        "-L -m 5/",
        (1, ["unexpected value '5/' with -m option"]),
    ),
    Better(
        "the parsers of 1.4.9",
        "-L -w zz",
        (1, ["unexpected value 'zz' with -w option"]),
    ),
    Better("-L takes no table in its word, as in 1.4.9", "-Lo xml,id", TAKEN),
    Better(
        "nor swallows it", "-Lexpect", _wrong("Bad parameter `xpect'")
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", BETTER, ids=lambda case: case.id)
def test_a_command_line_is_judged_better_than_by_the_stock_tool(
    netns: Namespace, case: Better
) -> None:
    words = case.line.split()
    assert ours(words) == case.ours
    if case.stock is not None:
        assert theirs(words) == case.stock


def test_a_table_or_address_behind_an_equals_sign_is_not_ignored(
    netns: Namespace,
) -> None:
    """The stock tool's -D --src-nat=ADDRESS deletes whatever is translated."""
    stock.insert_all()
    everything = len(stock.conntrack("-L", "--src-nat"))
    assert len(stock.conntrack("-L", "--src-nat=192.0.2.250")) == everything > 0
    assert (
        parse(["-L", "--src-nat=192.0.2.250"]).snat
        == parse(["-L", "--src-nat", "192.0.2.250"]).snat
    )
    assert stock.conntrack("--dump=expect") != []
    assert parse(["--dump=expect"]).table == "expect"


VALUES = {
    "-s": ("1.1.1.1", "1.1.1.0/24", "::1", "1.1.1.1/33", "x"),
    "-d": ("1.1.1.1", "::/64", "2.2.2.2"),
    "-r": ("1.1.1.1", "::1", "x"),
    "-q": ("1.1.1.1", "2.2.2.2"),
    "-t": ("5", "100"),
    "-u": ("ASSURED", "seen", "!fix,EXPECTED", "UNREPLIED", "foo", "s,as"),
    "-z": ("",),
    "-e": ("NEW", "new,upd", "foo"),
    "--tuple-src": ("1.1.1.1", "::1"),
    "--tuple-dst": ("2.2.2.2",),
    "--mask-src": ("255.0.0.0", "ffff::", "255.0.0.0/8"),
    "--mask-dst": ("255.255.255.0",),
    "-a": ("1.1.1.1",),
    "-m": ("5", "0x5/0xff"),
    "-f": ("ipv4", "ipv6", "ip"),
    "-n": ("", "1.1.1.1", "1.1.1.1:80", "[::1]:80", "1.1.1.1:x"),
    "-g": ("", "2.2.2.2", "::1"),
    "-j": ("", "2.2.2.2:53"),
    "-o": ("xml", "id,ext", "save", "k,u", "foo", "d"),
    "-c": ("5",),
    "-b": ("1000",),
    "-w": ("0", "5"),
    "--orig-zone": ("0", "5"),
    "--reply-zone": ("6",),
    "--sport": ("1", "0"),
    "--dport": ("2",),
    "--reply-port-src": ("2",),
    "--reply-port-dst": ("1",),
    "--mask-port-src": ("0",),
    "--tuple-port-dst": ("80",),
    "--state": ("ESTABLISHED", "NONE", "OPEN", "FOO"),
    "--orig-vtag": ("5",),
    "--role": ("client", "S"),
    "--icmp-type": ("8",),
    "--icmp-code": ("0",),
    "--icmp-id": ("7",),
    "--icmpv6-type": ("128",),
    "--srckey": ("0x5",),
    "--reply-key-dst": ("7",),
    "--nope": ("",),
}
KNOWN = ("tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "gre")
PROTOCOLS = (*KNOWN, "89", "esp", "17", "foo", "300")
COMMANDS = (
    *("-L", "-I", "-A", "-U", "-D", "-G", "-E") * 3,
    "-F",
    "-C",
    "-S",
    "-V",
    "-h",
)
TABLES = (*[""] * 12, "expect", "exp", "dying", "unconfirmed", "x")
LEGAL_HERE = {
    "-L": {"id"},
    "-E": {"id"},
    "-U": {"zone"},
    "-G": {"zone", "output"},
    "-D": {"output"},
    "-C": {"output"},
    "-S": {"output"},
}
"""Options natscope takes with commands, or their tables, where stock does not."""
SEEDS = (1, 2, fresh())


def command_line(chance: random.Random) -> list[str]:
    """A command with options in any order: mostly legal ones, some of them wrong."""
    command, table = chance.choice(COMMANDS), chance.choice(TABLES)
    protocol = find(chance.choice(PROTOCOLS))
    pieces = [[command, table] if table else [command]]
    if protocol is not None and chance.random() < 0.7:
        pieces.append(["-p", protocol.name.replace("unknown", "89")])
    else:
        pieces += [["-p", chance.choice(PROTOCOLS)]] * chance.randrange(2)
    known = (*OPTIONS, *(protocol.options if protocol is not None else ()))
    code = command[1:] + "x" * table.startswith("exp")
    legality = {
        f"--{one.name}" if f"--{one.name}" in VALUES else f"-{one.letter}": (
            one.legality(code)
        )
        for one in known
    }
    likely = sorted(
        name for name, legal in legality.items() if legal and name in VALUES
    )
    several = chance.sample(likely, min(len(likely), chance.choice((0, 1, 1, 2, 3, 5))))
    if chance.random() < 0.7:
        several += [name for name in likely if legality[name] != ALLOWED]
    for option in several + chance.sample(sorted(VALUES), chance.random() < 0.2):
        value = VALUES[option][0]
        if chance.random() < 0.2:
            value = chance.choice(VALUES[option])
        pieces.append([option, value] if value else [option])
    if chance.random() < 0.1:
        pieces.append([chance.choice(("stray", "-D", "--", "-x"))])
    first = pieces[:2] if chance.random() < 0.8 else []
    rest = pieces[len(first) :]
    chance.shuffle(rest)
    return [word for piece in (*first, *rest) for word in piece]


def is_explained(words: list[str], here: Verdict, there: Verdict) -> bool:
    """Whether a difference is one of those by design."""
    said = there[1][-2] if len(there[1]) > 1 else ""
    more = [name for w in words for name in LEGAL_HERE.get(w, ())]
    if any(said == _illegal(name)[1][0] for name in more):
        return True
    # masks without an address match nothing there
    masked = any(line.startswith("Can't use --mask") for line in here[1])
    if masked and {"dying", "unconfirmed"} & set(words):
        return True
    if here[1][-1:] == ["Operation failed: invalid parameters"]:
        return True
    return there[0] == SEGFAULT


SEGFAULT = -11
"""What the stock tool says of ``-p sctp --state FOO``."""


@pytest.mark.parametrize("seed", SEEDS)
def test_random_command_lines_are_judged_as_by_the_stock_tool(
    netns: Namespace, seed: int
) -> None:
    chance = random.Random(seed)
    taken = refused = 0
    for _ in range(200):
        words = command_line(chance)
        here = ours(words)
        taken += here[0] == 0
        refused += here[0] != 0
        if here[0] == 0 and "-E" in words:
            continue  # it would not end
        there = theirs(words)
        if here != there and not is_explained(words, here, there):
            pytest.fail(f"seed {seed}: {words}\n ours {here}\nstock {there}")
    assert taken > 20
    assert refused > 20


HELPED = ("", *KNOWN, "89", "esp", "17", "2", "igmp", "200", "TCP", "ipv6-icmp")


@pytest.mark.parametrize("protocol", HELPED)
def test_the_usage_is_conntracks_own(netns: Namespace, protocol: str) -> None:
    words = ["-h", "-p", protocol] if protocol else ["-h"]
    shown = "\n".join([*stock.conntrack(*words), ""])
    version = shown.partition("Version ")[2].partition("\n")[0]
    text = usage(parse(words), "conntrack", version)
    if "--labelmap" not in shown:  # before 1.4.9
        text = "".join(one for one in text.splitlines(True) if "--labelmap" not in one)
        shown = shown.replace("Source addres from", "Source address from")
    assert text == shown


SAME_ENTRIES = """
-L
-L -f ipv6
-L -s 10.0.0.2
-L -s 10.0.0.0/30 -d 198.51.100.9
-L -s 10.9.0.2 --mask-src 255.0.0.255
-L -s fd00::/8
-L -d 2001:db8:: --mask-dst ffff:ffff::
-L -r 10.0.0.3
-L -q 203.0.113.7
-L -p tcp
-L -p 89
-L -p esp
-L -p udp --dport 53
-L -p tcp --sport 50000 --reply-port-dst 50000
-L -p sctp --dport 2
-L -p icmp --icmp-type 8 --icmp-id 77
-L -p icmpv6 --icmpv6-code 0
-L -p tcp --state TIME_WAIT
-L -p tcp --state LISTEN
-L -u ASSURED
-L -u UNREPLIED
-L -u !ASSURED
-L -m 5
-L -m 1/3
-L -m 0/1
-L -w 0
-L -w 3
-L -w 7
-L --orig-zone 0
-L --orig-zone 3
-L --reply-zone 0
-L --reply-zone 3
-L -p tcp -n
-L -p tcp -g
-L -p tcp -n -g
-L -p tcp -j
-L -p tcp -n 203.0.113.7
-L -p tcp -n 203.0.113.7:1024
-L -p tcp -n 203.0.113.7:50000
-L -g 10.0.0.3:80
-L -p udp -n
"""
"""Filters that mean the same to the stock tool, where it is right."""


def test_options_mean_the_entries_they_mean_to_the_stock_tool(
    netns: Namespace,
) -> None:
    stock.insert_all()
    with closing(Kernel()) as kernel:
        for line in SAME_ENTRIES.strip().splitlines():
            shown = stock.conntrack(*line.split(), "-o", "id")
            chosen = wanted(parse(line.split()), 0)
            found = {str(flow.id) for flow in kernel.flows(chosen)}
            assert found == {one.split("id=")[-1].split()[0] for one in shown}, line


def test_a_listing_and_a_deletion_mean_the_same_entries(netns: Namespace) -> None:
    for line in SAME_ENTRIES.strip().splitlines():
        words = line.split()
        if "-j" not in words:
            deleted = wanted(parse(["-D", *words[1:]]), 0)
            assert deleted.tree == wanted(parse(words), 0).tree
