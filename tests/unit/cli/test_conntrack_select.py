"""Which flows the options of conntrack(8) mean, and which entry a tuple names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from natscope import uapi
from natscope.cli.conntrack.parse import parse
from natscope.cli.conntrack.select import settings, wanted
from natscope.cli.conntrack.tuples import full_tuple, is_entry
from natscope.filter import parse as parse_filter
from natscope.model.evidence import Evidence
from natscope.table.flowtable import FlowTable
from natscope.uapi import AF_INET, Status
from unit.model.translated import flow, ping

Cells = dict[str, Any]

SDONE = int(Status.SRC_NAT | Status.SRC_NAT_DONE | Status.DST_NAT_DONE)
DDONE = int(Status.DST_NAT | Status.SRC_NAT_DONE | Status.DST_NAT_DONE)
SEEN, ASSURED = int(Status.SEEN_REPLY), int(Status.ASSURED)

PLAIN = replace(
    flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 10.0.0.5 40000", SEEN),
    tcp_state=3,
    mark=5,
    labels=0b110,
    id=77,
    timeout=9,
)
SNAT = flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 40000", SDONE)
SPAT = flow("10.0.0.5 40000 192.0.2.1 443", "192.0.2.1 443 203.0.113.7 1024", SDONE)
DNAT = flow("192.0.2.9 4242 203.0.113.7 8080", "10.0.0.80 80 192.0.2.9 4242", DDONE)
UNEQUAL = flow("10.0.0.5 1 192.0.2.1 2", "192.0.2.1 2 203.0.113.7 1", ASSURED | SEEN)
SNAT6 = flow("fd00::5 1 2001:db8::1 2", "2001:db8::1 2 fd00::7 1", SDONE, "udp")
PING = replace(ping("10.0.0.5 192.0.2.1 77", "192.0.2.1 10.0.0.5 77", SDONE), zone=5)
_KEYS = flow("10.0.0.5 17 192.0.2.1 119", "192.0.2.1 119 10.0.0.5 17", 0, "gre")
GRE = replace(_KEYS, orig=replace(_KEYS.orig, zone=3))
FLOWS = {
    "plain": PLAIN,
    "snat": SNAT,
    "spat": SPAT,
    "dnat": DNAT,
    "unequal": UNEQUAL,
    "snat6": SNAT6,
    "ping": PING,
    "gre": GRE,
}


def meant(line: str, labels: int = 0) -> set[str]:
    """Flows a command line means; columns, records and the written form agree."""
    chosen = wanted(parse(line.split()), labels)
    evidence = Evidence()
    mask = chosen.mask(FlowTable.from_flows(FLOWS.values()), evidence).tolist()
    assert mask == [chosen.matches(one, evidence) for one in FLOWS.values()]
    assert parse_filter(str(chosen)).tree == chosen.tree
    return {name for name, found in zip(FLOWS, mask, strict=True) if found}


@dataclass(frozen=True)
class Case:
    line: str
    meant: str
    labels: int = 0


CASES = [
    Case("-L", "plain snat spat dnat unequal snat6 ping gre"),
    Case("-L -f ipv6", "snat6"),
    Case("-L -s 10.0.0.5", "plain snat spat unequal ping gre"),
    Case("-L -s 10.0.0.0/24 -d 192.0.2.1", "plain snat spat unequal ping gre"),
    Case("-L -d 203.0.113.7", "dnat"),
    Case("-L -r 10.0.0.80", "dnat"),
    Case("-L -q 203.0.113.0/29", "snat spat unequal"),
    Case("-L -q ::/0", "snat6"),
    Case("-L -s 9.0.0.5 --mask-src 0.255.0.255", "plain snat spat unequal ping gre"),
    Case("-L -s fd00::1:5 --mask-src ffff::ffff", "snat6"),
    Case("-L -p udp", "snat6"),
    Case("-L -p tcp --dport 2,8080", "dnat unequal"),
    Case("-L -p tcp --dport 443:8080", "plain snat spat dnat"),
    Case("-L -p tcp --reply-port-dst 1024", "spat"),
    Case("-L -p gre --srckey 0x11 --reply-key-src 0x77", "gre"),
    Case("-D -p gre --srckey 0x12", ""),
    Case("-L -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77", "ping"),
    Case("-L -p icmp --icmp-type 0", ""),
    Case("-L -p tcp --state ESTABLISHED", "plain"),
    Case("-L -p tcp --state CLOSE,ESTABLISHED", "plain"),
    Case("-L -p tcp --state CLOSE", ""),
    Case("-L -u SEEN_REPLY", "plain unequal"),
    Case("-D -u UNREPLIED", "snat spat dnat snat6 ping gre"),
    Case("-L -u SEEN_REPLY,!ASSURED", "plain"),
    Case("-L -u ASSURED,!ASSURED", ""),
    Case("-L -m 5", "plain"),
    Case("-L -m 1/3", "plain"),
    Case("-L -m 0/2", "plain"),
    Case("-L -m 0", ""),
    Case("-L -m 5/4", ""),
    Case("-L -w 5", "ping"),
    Case("-L -w 3", ""),
    Case("-L -w 0", "plain snat spat dnat unequal snat6 gre"),
    Case("-L --orig-zone 3", "gre"),
    Case("-L --orig-zone 0", "plain snat spat dnat unequal snat6 ping"),
    Case("-L --reply-zone 3", ""),
    Case("-L -l a,b", "plain", labels=0b110),
    Case("-L -l a,b", "", labels=0b1100),
    Case("-D -i 77", "plain"),
    Case("-L -c 5", ""),
    Case("-D -t 9", "plain"),
    Case("-L -n", "snat spat snat6"),
    Case("-L -g", "dnat"),
    Case("-L -n 203.0.113.7", "snat spat"),
    Case("-L -n 203.0.113.0/24:1000-2000", "spat"),
    Case("-L -n 203.0.113.7:1024", "spat"),
    Case("-L -n 203.0.113.7:40000", ""),
    Case("-L -n fd00::7", "snat6"),
    Case("-L -n fd00::8", ""),
    Case("-L -g 10.0.0.80:80", "dnat"),
    Case("-L -g 10.0.0.80:81", ""),
    Case("-L -j", "snat spat dnat snat6"),
    Case("-L -j 10.0.0.80", "dnat"),
    Case("-L -n -g", ""),
    Case("-U -m 6", "plain snat spat dnat unequal snat6 ping gre"),
    Case("-U -p tcp --state CLOSE -t 5 -u ASSURED -d 203.0.113.7", "dnat"),
    Case("-E -p tcp -m 5", "plain"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line} {case.labels}")
def test_options_mean_these_flows(case: Case) -> None:
    assert meant(case.line, case.labels) == set(case.meant.split())


def test_a_translation_is_believed_where_the_status_is_not_told() -> None:
    untold = replace(UNEQUAL, status=None)
    chosen = wanted(parse(["-E", "-n"]), 0)
    assert chosen.matches(untold, Evidence())


def test_an_update_sets_what_a_listing_would_look_for() -> None:
    line = "-U -p tcp --state CLOSE -t 5 -u ASSURED,SEEN -m 7 --sport 1"
    assert settings(parse(line.split())) == {
        "timeout": 5,
        "tcp_state": uapi.TCP_STATES.index("CLOSE"),
        "status": ASSURED | SEEN,
    }
    assert settings(parse(["-U", "-m", "7"])) == {}


A, B = bytes((10, 0, 0, 5)), bytes((192, 0, 2, 1))
ENDS = "-s 10.0.0.5 -d 192.0.2.1"


@dataclass(frozen=True)
class Named:
    line: str
    key: Cells | None


BASE: Cells = {"family": AF_INET, "orig_src": A, "orig_dst": B}
TCP: Cells = {**BASE, "proto": 6, "reply_proto": 6, "orig_sport": 1, "orig_dport": 2}
NAMED = [
    Named(f"-G {ENDS} -p tcp --sport 1 --dport 2", TCP),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -w 7 -o id", {**TCP, "zone": 7}),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -f ipv4", TCP),
    Named(
        "-D -r 192.0.2.1 -q 10.0.0.5 -p udp --reply-port-src 2 --reply-port-dst 1",
        {
            **{"family": AF_INET, "proto": 17, "reply_proto": 17},
            **{"reply_src": B, "reply_dst": A, "reply_sport": 2, "reply_dport": 1},
        },
    ),
    Named(
        f"-D {ENDS} -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7",
        {
            **BASE,
            **{"proto": 1, "reply_proto": 1},
            **{"orig_icmp_type": 8, "orig_icmp_code": 0, "orig_icmp_id": 7},
        },
    ),
    Named(
        "-D -r 192.0.2.1 -q 10.0.0.5 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7",
        {
            **{"family": AF_INET, "proto": 1, "reply_proto": 1},
            **{"reply_src": B, "reply_dst": A},
            **{"reply_icmp_type": 0, "reply_icmp_code": 0, "reply_icmp_id": 7},
        },
    ),
    Named(f"-D {ENDS} -p 89", {**BASE, "proto": 89, "reply_proto": 89}),
    Named(f"-G {ENDS} -p icmp --icmp-type 8 --icmp-code 0", None),
    Named(f"-D {ENDS} -p tcp --sport 1", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2,3", None),
    Named(f"-D {ENDS}/24 -p tcp --sport 1 --dport 2", None),
    Named(f"-D {ENDS} -r 192.0.2.1 -p tcp --sport 1 --dport 2", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -m 5", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -u ASSURED", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -i 5", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -l a", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -n", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 -t 5", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 --state CLOSE", None),
    Named(f"-D {ENDS} -p tcp --sport 1 --dport 2 --orig-zone 5", None),
    Named("-D -p tcp", None),
    Named("-D", None),
]


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.line)
def test_a_whole_tuple_names_an_entry(case: Named) -> None:
    assert full_tuple(parse(case.line.split())) == case.key


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"mark": 5}, True),
        ({"zone": 7}, False),
        ({"orig_src": B, "orig_dst": A}, False),
        ({"orig_sport": 2}, False),
    ],
)
def test_what_the_kernel_finds_may_be_another_entry(change: Cells, same: bool) -> None:
    assert is_entry(TCP, {**TCP, **change}) is same


def test_zone_0_is_the_zone_of_an_entry_without_one() -> None:
    assert is_entry({**TCP, "zone": 0}, TCP)
    assert not is_entry({**TCP, "zone": 5}, TCP)
    assert is_entry({**TCP, "zone": 5}, {**TCP, "zone": 5})
