"""Command lines of conntrack(8): what they ask for, and how they are refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from natscope.cli.conntrack import grammar, legality, protocols
from natscope.cli.conntrack.parse import parse, parse_line
from natscope.cli.conntrack.request import (
    EVENT_DESTROY,
    EVENT_NEW,
    CommandLineError,
    Request,
)
from natscope.uapi import AF_INET, AF_INET6, AF_UNSPEC, Status
from unit.sourcetree import ROOT

A, B = bytes((10, 0, 0, 5)), bytes((192, 0, 2, 1))
U32 = 0xFFFF_FFFF
MADE = "-s 10.0.0.5 -d 192.0.2.1 -p tcp --sport 1 --dport 2 --state NONE -t 9"
EXPECTED = (
    "-s 10.0.0.5 -d 192.0.2.1 -p tcp --sport 1 --dport 2 -t 9 "
    "--tuple-src 10.0.0.5 --tuple-dst 192.0.2.1 --mask-src 255.0.0.0 "
    "--mask-dst 255.255.255.255 --tuple-port-src 0 --tuple-port-dst 80 "
    "--mask-port-src 0 --mask-port-dst 65535"
)


@dataclass(frozen=True)
class Case:
    id: str
    line: str
    told: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("nothing", "", {"command": "", "family": AF_INET}),
    Case("a command", "-L", {"command": "list", "table": "conntrack"}),
    Case("both families", "-D", {"family": AF_UNSPEC}),
    Case("a family", "-L -f ipv6", {"family": AF_INET6}),
    Case("the family of an address", "-L -s ::1", {"family": AF_INET6}),
    Case("a table", "-L exp", {"table": "expect", "family": AF_INET}),
    Case("no letter of a table", "-L -z", {"table": "conntrack", "zero": True}),
    Case("a table behind =", "--dump=dying", {"table": "dying"}),
    Case("a table in the word", "-Cexpect", {"command": "count", "table": "expect"}),
    Case("an option after -L in one word", "-Lo xml", {"output": {"xml"}}),
    Case("a version has no table", "-V expect", {"table": "conntrack"}),
    Case("counting by the name of the man page", "--count", {"command": "count"}),
    Case("addresses", "-L -s 10.0.0.5", {"cells": {"orig_src": A}}),
    Case(
        "a network",
        "-L -s 10.0.0.5/24",
        {
            "cells": {},
            "networks": {"orig_src": (bytes((10, 0, 0, 0)), b"\xff\xff\xff\0")},
        },
    ),
    Case(
        "a mask with holes",
        "-L -d 10.1.2.3 --mask-dst 255.0.0.255",
        {"networks": {"orig_dst": (bytes((10, 0, 0, 3)), b"\xff\0\0\xff")}},
    ),
    Case("a network of one", "-L -s 10.0.0.5/32", {"cells": {"orig_src": A}}),
    Case(
        "a network in reply",
        "-D -q 10.0.0.5/8",
        {"networks": {"reply_dst": (bytes((10, 0, 0, 0)), b"\xff\0\0\0")}},
    ),
    Case("a protocol", "-L -p TCP", {"cells": {"proto": 6}, "protocol": "tcp"}),
    Case("a port", "-L -p tcp --sp 5", {"cells": {"proto": 6, "orig_sport": 5}}),
    Case(
        "ports",
        "-D -p udp --orig-port-dst 53,1000:2000",
        {"cells": {"proto": 17}, "spans": {"orig_dport": ((53, 53), (1000, 2000))}},
    ),
    Case("the last port counts", "-L -p tcp --sport 5,6 --sport 7", {"spans": {}}),
    Case(
        "GRE keys",
        "-L -p gre --srckey 0x77 --reply-key-dst 8",
        {"cells": {"proto": 47, "orig_sport": 0x77, "reply_dport": 8}},
    ),
    Case(
        "ICMP",
        "-L -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
        {
            "cells": {
                **{"proto": 1, "orig_icmp_type": 8},
                **{"orig_icmp_code": 0, "orig_icmp_id": 77},
            }
        },
    ),
    Case(
        "a state",
        "-L -p tcp --state LISTEN",
        {"states": ("SYN_SENT2",), "cells": {"proto": 6, "tcp_state": 9}},
    ),
    Case(
        "several states",
        "-D -p sctp --state CLOSED,HEARTBEAT_SENT",
        {"states": ("CLOSED", "HEARTBEAT_SENT"), "cells": {"proto": 132}},
    ),
    Case(
        "a role",
        "-I -s 10.0.0.5 -d 192.0.2.1 -p dccp --sport 1 --dport 2 -t 9 "
        "--state OPEN --role S",
        {
            "cells": {
                **{"orig_src": A, "orig_dst": B, "proto": 33, "timeout": 9},
                **{"orig_sport": 1, "orig_dport": 2, "dccp_state": 4, "dccp_role": 1},
            }
        },
    ),
    Case(
        "a status",
        "-L -u ASSURED,!exp,UNREPLIED",
        {
            "status_set": Status.ASSURED,
            "status_clear": Status.EXPECTED | Status.SEEN_REPLY,
        },
    ),
    Case("a mark", "-L -m 0x5/0xf", {"mark": (5, 15)}),
    Case("a mark without mask", "-L -m 5", {"mark": (5, U32)}),
    Case(
        "zones and the like",
        "-L -w 5 --orig-zone 6 --reply-zone 0 -i 7 -c 8",
        {
            "cells": {
                **{"zone": 5, "orig_zone": 6, "reply_zone": 0},
                **{"id": 7, "secmark": 8},
            }
        },
    ),
    Case("any translation", "-L -n", {"snat": (None, None, None)}),
    Case("a translation", "-L --src-nat 10.0.0.5", {"snat": (A, None, None)}),
    Case("a translation in the word", "-Lg10.0.0.5", {"dnat": (A, None, None)}),
    Case(
        "a translation's port",
        "-L -g 10.0.0.5:80",
        {"dnat": (A, None, ((80, 80),))},
    ),
    Case(
        "a translation's network and ports",
        "-L -j 10.0.0.5/8:80,90-99",
        {
            "any_nat": (
                bytes((10, 0, 0, 0)),
                b"\xff\0\0\0",
                ((80, 80), (90, 99)),
            )
        },
    ),
    Case(
        "a translation of IPv6",
        "-L -n [::1]:80",
        {"snat": (bytes(15) + b"\1", None, ((80, 80),)), "family": AF_INET6},
    ),
    Case("labels", "-L -l a,b -l c", {"labels": ("a", "b", "c")}),
    Case("labels to add", "-U --label-add a", {"label_add": ("a",)}),
    Case("labels to take away", "-U --label-del a", {"label_del": ("a",)}),
    Case("all labels", "-U --label-del", {"label_del": ()}),
    Case("a label map", "-L --labelmap f", {"labelmap": "f"}),
    Case("formats", "-L -o ex,i -o k", {"output": {"extended", "id", "ktimestamp"}}),
    Case("no format for userspace", "-L -o save,userspace"),
    Case("JSON with times", "-L -o json,timestamp", {"output": {"json", "timestamp"}}),
    Case("JSON of numbers", "-C -o json", {"output": {"json"}}),
    Case("all events", "-E", {"event_mask": None}),
    Case("events", "-E -e n,DESTROY", {"event_mask": EVENT_NEW | EVENT_DESTROY}),
    Case("a buffer", "-E -b 1000", {"buffer_size": 1000}),
    Case(
        "an expectation",
        f"-I expect {EXPECTED}",
        {
            "expected": {
                **{"family": AF_INET, "proto": 6, "orig_src": A, "orig_dst": B},
                **{"orig_sport": 0, "orig_dport": 80},
            },
            "mask": {
                **{"family": AF_INET, "proto": 6, "orig_src": b"\xff\0\0\0"},
                **{"orig_dst": b"\xff" * 4, "orig_sport": 0, "orig_dport": 65535},
            },
        },
    ),
    Case("an option nobody needs", "-L -a 1", {"given": frozenset()}),
    Case("a zone to get from", f"-G -w 5 {MADE[:-5]}"),
    Case("a zone to update in", "-U -w 5 -m 1"),
    Case("an id to list", "-L -i 5"),
    Case("what was given", "-L -s 10.0.0.0/8", {"given": {"src", "mask-src"}}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_command_line_says_what_is_asked_for(case: Case) -> None:
    request = parse(case.line.split())
    assert {name: getattr(request, name) for name in case.told} == case.told


@dataclass(frozen=True)
class Refused:
    id: str
    line: str
    says: str
    code: int = 2


OTHER = "with any other output type, use -o"
REFUSED = [
    Refused("two commands", "-L -D", "Invalid commands combination"),
    Refused("no table", "-L foo", "unknown type `foo'"),
    Refused("-L takes no table in its word", "-Lexpect", "Bad parameter `xpect'"),
    Refused(
        "a table that can only be listed",
        "-F dying",
        "Can't do that command with tables `dying' and `unconfirmed'",
    ),
    Refused("no such change", "-U expect", "Can't do --update on expectations"),
    Refused("an option", "-F -s ::1", "Illegal option `--src' with this command"),
    Refused("no command", "-p tcp", "Illegal option `--protonum' with this command"),
    Refused(
        "an option that lacks",
        "-G -s ::1 -d ::1",
        "You need to supply the `--protonum' option for this command",
    ),
    Refused(
        "one of a pair",
        "-I -q ::1 -p 89 -t 5",
        "you have to specify `--reply-src' and `--reply-dst'",
    ),
    Refused(
        "none of a pair",
        "-G -s ::1 -d ::1 -p tcp",
        "you have to specify `--sport' and `--dport'",
    ),
    Refused(
        "one port in reply, as conntrack calls them",
        "-G -s ::1 -d ::1 -p tcp --reply-port-src 5",
        "you have to specify `--reply-src-port' and `--reply-dst-port'",
    ),
    Refused(
        "one port of DCCP in reply, as conntrack spells it",
        "-G -s ::1 -d ::1 -p dccp --reply-port-src 5",
        "you have to specify `--reply-port-src' and `--report-port-dst'",
    ),
    Refused("an argument", "-L -p", "option `-p' requires an argument"),
    Refused("a port before its protocol", "-L --sport 5", "unknown option `--sport'"),
    Refused("an ambiguous option", "-L --reply 1", "unknown option `--reply'"),
    Refused("no address", "-L -s foo/8", "Invalid IP address `foo/8'"),
    Refused("no prefix", "-L -s 1.1.1.1/", "Invalid netmask"),
    Refused("a prefix too long", "-L -r 1.1.1.1/33", "Invalid netmask"),
    Refused(
        "a network where one address is made",
        f"-I {MADE} -n 1.1.1.0/24",
        "CIDR notation unavailable for `--src-nat'",
    ),
    Refused(
        "a network for a mask",
        "-L -s 1.1.1.1 --mask-src 1.1.1.1/8",
        "CIDR notation unavailable for `--mask-src'",
    ),
    Refused("two families", "-L -s 1.1.1.1 -d ::1", "mismatched address family"),
    Refused("no family", "-L -f ipv5", "`ipv5' unsupported protocol"),
    Refused("no protocol", "-L -p 256", "`256' unsupported protocol"),
    Refused(
        "a mask of nothing",
        "-D --mask-dst 255.0.0.0",
        "Can't use --mask-dst without --dst",
    ),
    Refused("no port", "-L -p tcp --sport abc", "Invalid port `abc'"),
    Refused("a port too great", "-D -p udp --dport 65546", "Invalid port `65546'"),
    Refused(
        "ports where one is made",
        f"-I {MADE} --dport 10,11",
        "Invalid port `10,11'",
    ),
    Refused(
        "ports where one is expected",
        f"-I expect {EXPECTED} --mask-port-dst 1-2",
        "Invalid port `1-2'",
    ),
    Refused("no key", "-L -p gre --srckey 0x10000", "Invalid key `0x10000'"),
    Refused("no ICMP type", "-L -p icmp --icmp-type 256", "Invalid ICMP type `256'"),
    Refused("no ICMP id", "-L -p icmp --icmp-id x", "Invalid ICMP id `x'"),
    Refused("no timeout", "-U -t 5s", "Invalid timeout `5s'"),
    Refused("no size", "-E -b 32M", "Invalid buffer size `32M'"),
    Refused("no state", "-L -p tcp --state new", "unknown TCP state `new'"),
    Refused(
        "no state of several",
        "-L -p tcp --state CLOSE,LISTENING",
        "unknown TCP state `LISTENING'",
    ),
    Refused(
        "several states to set",
        "-U -p tcp --state CLOSE,NONE",
        "unknown TCP state `CLOSE,NONE'",
    ),
    Refused("no state of DCCP", "-L -p dccp --state X", "Unknown DCCP state `X'"),
    Refused("LISTEN is TCP's", "-L -p sctp --state LISTEN", "unknown SCTP state `LISTEN'"),
    Refused("no port after a colon", "-L -n 1.1.1.1:", "No port specified after `:'"),
    Refused("two ports", "-L -n [::1]:80:80", "Invalid port `80:80'"),
    Refused("two colons", "-L -n 1.1.1.1:1:1", "Invalid IP address `1.1.1.1:1:1'"),
    Refused("brackets without port", "-L -n [::1]", "Invalid IP address `[::1]'"),
    Refused("an open bracket", "-L -n [::1", "No closing ']' around IPv6 address"),
    Refused("nothing in brackets", "-L -n []:5", "No IPv6 address specified"),
    Refused(
        "any and a certain translation",
        "-L -j -n",
        "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'",
    ),
    Refused("no mark", "-L -m zzz", "unexpected value 'zzz' with -m option", 1),
    Refused("no zone", "-L -w 65536", "unexpected value '65536' with -w option", 1),
    Refused(
        "no zone of a direction",
        "-L --orig-zone x",
        "unexpected value 'x' with -( option",
        1,
    ),
    Refused("no status", "-L -u ASSURED,foo,bar", "Bad parameter `foo,bar'"),
    Refused("no status bits", "-D -u UNSET", "Operation failed: invalid parameters", 1),
    Refused("no event", "-E -e NEW,!UPDATES", "Bad parameter `!UPDATES'"),
    Refused("save and more", "-L -o save,id", f"cannot combine save output {OTHER} save only", 1),
    Refused("JSON and XML", "-L -o xml -o js", f"cannot combine json output {OTHER} json only", 1),
    Refused(
        "labels added and taken away",
        "-U --label-add a --label-del",
        "cannot use --label-add and --label-del at the same time",
        1,
    ),
    Refused(
        "two label maps",
        "-L --labelmap a --labelmap b",
        "option `--labelmap' can only be specified once",
    ),
    Refused("zero and filter", "-L -z -w 5", "Can't use -z with filtering parameters"),
    Refused(
        "an option of a protocol before the last",
        "-L -p tcp -p udp --state NONE",
        "Illegal option `--state' with this command",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_command_line_is_refused_in_conntracks_words(case: Refused) -> None:
    with pytest.raises(CommandLineError) as refusal:
        parse(case.line.split())
    error = refusal.value
    assert (str(error), error.code, error.try_help) == (
        case.says,
        case.code,
        case.code == 2,
    )


def test_warnings_are_kept_for_a_request_and_for_an_error() -> None:
    warnings = (
        "WARNING: ignoring SRC_NAT, use --src-nat instead",
        "WARNING: ignoring -a, deprecated option.",
    )
    assert parse(["-L", "-o", "s", "-a", "1"]).warnings == warnings
    with pytest.raises(CommandLineError) as refusal:
        parse(["-L", "-o", "s", "-a", "1", "-x"])
    assert refusal.value.warnings == warnings


def test_the_program_is_blamed_by_the_name_it_was_called() -> None:
    with pytest.raises(CommandLineError, match="unknown option `/sbin/conntrack'"):
        parse(["-xL"], "/sbin/conntrack")


SUITE = """
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; OK
-I -s 1.1.1.1 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 20 --dport 20 ; BAD
-A -r 2.2.2.2 -q 1.1.1.1 -p tcp --reply-port-src 11 --reply-port-dst 21 --state LISTEN -u SEEN_REPLY -t 50 ; OK
-I -s 2001:DB8::1.1.1.1 -d 2001:DB8::2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; OK
-I -s 2001:DB8::1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 50 ; BAD
-I -t 29 -u SEEN_REPLY -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 1226 ; OK
-I -t 10 -s 0.0.0.0 -d 224.0.0.22 -r 224.0.0.22 -q 0.0.0.0 -p 2 ; OK
-I -t 10 -s 0.0.0.0 -d 224.0.0.22 -r 224.0.0.22 -q 0.0.0.0 -p 200 ; OK
-I -t 10 -s 1.1.1.1 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p 256 ; BAD
-I -t 10 -s 0.0.0.0 -d 224.0.0.22 -r 224.0.0.22 -q 0.0.0.0 -p -10 ; BAD
-I -t 10 -s 0.0.0.0 -d 224.0.0.22 -r 224.0.0.22 -q 0.0.0.0 -p 20foo ; BAD
-U -t 11 -s 0.0.0.0 -d 224.0.0.22 -r 224.0.0.22 -q 0.0.0.0 -p 200 ; OK
-D -s 1.1.1.0 --mask-src 255.255.255.0 -d 2.2.2.0 --mask-dst 255.255.255.0 ; OK
-D -s 1.1.1.0/24 -d 2.2.2.0/24 ; OK
-D -s ::1 -d 2.2.2.2 ; BAD
conntrack -L -s 1.1.1.1 ; OK
conntrack -L -p tcp --state LISTEN ; OK
conntrack -L --mark 0/0xffffffff ; OK
conntrack -L -s abcd:abcd:abcd:: --mask-src ffff:ffff:ffff:: ; OK
conntrack -L --mask-src ffff:ffff:ffff:: --mask-dst 255.0.0.0 ; BAD
-L --dst-nat ; OK
-L --any-nat 3.3.3.3:80 ; OK
-L --dst-nat 1.1.1.1: ; BAD
-L --dst-nat 1.1.1.1:: ; BAD
-L --dst-nat 1.1.1.1:80:80 ; BAD
-L --dst-nat 1.1.1.1:65536 ; BAD
-L --src-nat --dst-nat --any-nat ; BAD
-L --any-nat [2001:DB8::3.3.3.3]:80 ; OK
-L --dst-nat [2001:DB8::1.1.1.1]:: ; BAD
-L --dst-nat [2001:DB8::1.1.1.1]:80:80 ; BAD
-I -s 1.1.1.1 -d 2.2.2.2 --dst-nat 2001:DB8::3.3.3.3 -p tcp --sport 10 --dport 20 --state LISTEN -t 50 ; BAD
-I -s 2001:DB8::1.1.1.1 -d 2001:DB8::2.2.2.2 --dst-nat [2001:DB8::3.3.3.3] -p tcp --sport 10 --dport 20 --state LISTEN -t 50 ; BAD
-I -s [2001:DB8::1.1.1.1] -d 2001:DB8::2.2.2.2 -p tcp --sport 10 --dport 20 --state LISTEN -t 50 ; BAD
-D --orig-zone 2 ; OK
-U -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --mark 0/0xffff0000 ; OK
-U -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 -u FIXED_TIMEOUT ; OK
-D -w 10 -o save -f ipv4 ; OK
"""
"""Lines in the form of conntrack-tools' own tests, where parsing decides."""


@pytest.mark.parametrize("line", SUITE.strip().splitlines())
def test_what_conntracks_own_tests_accept_is_accepted(line: str) -> None:
    words, _, verdict = line.partition(";")
    try:
        parse(words.split())
        found = "OK"
    except CommandLineError:
        found = "BAD"
    assert found == verdict.strip()


FILES = [
    (f"-A {MADE}", None),
    (f"-I {MADE}", None),
    ("-D -s 1.1.1.1", None),
    ("-U -m 5", None),
    ("-F", None),
    ("-L", "-L"),
    ("-L dying", "-L"),
    ("-C", "-C"),
    ("-L expect", "-L expect"),
    ("-F expect", "-F expect"),
    (f"-I expect {EXPECTED}", "-C expect"),
    ("stray", "unknown"),
]


@pytest.mark.parametrize(("line", "named"), FILES)
def test_a_file_holds_changes_alone(line: str, named: str | None) -> None:
    request = parse_line(f"{line}\n")
    assert request is not None
    if named is None:
        legality.check_file(request)
        return
    with pytest.raises(CommandLineError) as refusal:
        legality.check_file(request)
    assert str(refusal.value) == f"Cannot use command `{named}' with --load-file"
    assert refusal.value.code == 2


@pytest.mark.parametrize("line", ["", "\n", "# -F\n", "  \t\n"])
def test_blank_lines_and_comments_ask_for_nothing(line: str) -> None:
    assert parse_line(line) is None


def test_every_option_can_be_written_and_is_described() -> None:
    named = [one for one in grammar.OPTIONS if one.letter in grammar.LETTERS]
    assert len(named) == len(grammar.OPTIONS) == len(grammar.BY_LETTER)
    of_protocols = [one for each in protocols.PROTOCOLS for one in each.options]
    commands = {one.letter for one in grammar.COMMANDS}
    for option in (*grammar.OPTIONS, *of_protocols):
        assert option.help
        assert bool(option.metavar) == (option.takes != 0)
        words = f"{option.may} {option.must} {option.pair}".split()
        assert len(words) == len(set(words)), option.name
        assert {word.removesuffix("x") for word in words} <= commands


def test_a_request_has_the_fields_it_describes() -> None:
    request = Request()
    for name in Request.__slots__:
        assert hasattr(request, name)


def test_a_command_line_is_read_without_heavy_modules() -> None:
    """-G, -I and -D of one entry must not cost much more than Python itself."""
    heavy = (
        *("dataclasses", "enum", "typing", "re", "collections", "functools"),
        *("contextlib", "ipaddress", "argparse", "numpy", "json", "socket"),
    )
    body = (
        "import sys\n"
        "from natscope.cli.conntrack.parse import parse\n"
        "from natscope.cli.conntrack import tuples, usage\n"
        f"tuples.full_tuple(parse({MADE.split()[:10]!r} + ['-G']))\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    # -S -E: what the site puts there is not ours
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", body],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "src",
    )
    assert done.stdout == "[]\n"
