"""Texts a diagnosis is read from: counters, sockets, thresholds, rules."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from natscope.codec.text import counters, natsure, sockets, thresholds
from natscope.errors import DocumentError
from natscope.model.journey import Rule
from natscope.model.measured import Listener
from natscope.views.doctor.thresholds import Thresholds

SNMP = "Ip: Forwarding ForwDatagrams\nIp: 2 15\nTcp: MaxConn InSegs\nTcp: -1 9\n"
STAT = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 4 5 6 7 8 9 9\nctxt 5\n"


def test_each_counter_has_one_name() -> None:
    files = {
        "net/snmp": SNMP,
        "net/snmp6": "Ip6InReceives   \t\t11\n",
        "net/softnet_stat": "0a 01 02 0\n01 01 00 0\n",
        "stat": STAT,
        "net/stat/nf_conntrack": "entries  drop\n0000001f 0a\n0000001f 01\n",
    }
    assert counters.counters(files) == {
        "Ip.Forwarding": 2,
        "Ip.ForwDatagrams": 15,
        "Tcp.InSegs": 9,
        "Ip6InReceives": 11,
        "softnet.processed": 11,
        "softnet.dropped": 2,
        "softnet.squeezed": 2,
        "cpu0.softirq": 7,
        "cpu0.total": 36,
        "conntrack.entries": 62,
        "conntrack.drop": 11,
    }


def test_files_that_are_not_there_tell_nothing() -> None:
    assert counters.counters({}) == {}


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("entries  clashres\n0000001f 0\n0000001f 0\n", 31),
        ("", None),
        ("other\n1", None),
    ],
)
def test_the_entries_of_a_table_are_any_cpus_first_number(
    text: str, entries: int | None
) -> None:
    assert counters.entries(text) == entries


little = pytest.mark.skipif(sys.byteorder == "big", reason="the texts are of x86")
TCP = [
    "   0: 0100007F:1F90 00000000:0000 0A 0 0 0",
    "   1: 0101A8C0:0016 00000000:0000 0A 0 0 0",
    "   2: 0101A8C0:0016 0201A8C0:A000 01 0 0 0",
    "   3: 00000000:0050 00000000:0000 0A 0 0 0",
]
UDP6 = [
    "   0: 00000000000000000000000000000000:0035 0:0 07 0 0 0",
    "   1: B80D01200000000000000000 01000000:0035 0:0 01 0".replace(
        " 01000000:", "01000000:"
    ),
]


@little
def test_of_tcp_what_listens_is_read_as_far_as_it_goes() -> None:
    assert list(sockets.listeners("net/tcp", TCP)) == [
        Listener("tcp", ip_address("127.0.0.1"), 8080),
        Listener("tcp", ip_address("192.168.1.1"), 22),
    ]


@little
def test_of_udp_what_is_not_connected_waits_for_strangers() -> None:
    assert list(sockets.listeners("net/udp6", UDP6)) == [
        Listener("udp", ip_address("::"), 53)
    ]


def test_thresholds_of_a_file_stand_in_for_the_usual() -> None:
    found = thresholds.parse("table_warning = 0.5\nraces = 7\n", Thresholds)
    assert (found.table_warning, found.races) == (0.5, 7)
    assert found.table_high == Thresholds().table_high


def test_what_is_no_share_may_be_above_one() -> None:
    found = thresholds.parse("load_warning = 6.5\nports_high = 1\n", Thresholds)
    assert (found.load_warning, found.ports_high) == (6.5, 1)


@dataclass(frozen=True)
class Wrong:
    id: str
    text: str
    said: str


WRONG = [
    Wrong("no TOML", "table_warning =", "is no TOML"),
    Wrong("no such name", "table_waning = 1", "did you mean table_warning"),
    Wrong("a text", 'table_warning = "1"', "needs a number"),
    Wrong("below zero", "table_warning = -1", "needs a number from 0 to"),
    Wrong("true", "table_warning = true", "needs a number"),
    Wrong("half a flow", "races = 1.5", "needs a whole number"),
    Wrong("no flow", "races = 0", "needs a whole number from 1 on"),
    Wrong("more flows than there can be", "races = 1" + "0" * 99, "needs a number"),
    Wrong("more digits than there are", "races = " + "9" * 5000, "is no TOML"),
    Wrong("lists in lists", "races = " + "[" * 5000, "nested too deeply"),
    Wrong("per cent", "table_warning = 60", "share of 1, has 60"),
    Wrong("more than all", "ports_high = 1.01", "share of 1, has 1.01"),
    Wrong("not a number", "table_warning = nan", "needs a number from 0 to"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_wrong_thresholds_are_refused(case: Wrong) -> None:
    with pytest.raises(DocumentError, match=case.said):
        thresholds.parse(case.text, Thresholds)


@dataclass(frozen=True)
class Sure:
    id: str
    text: str
    is_known: bool
    iif: str | None = None


SURE = [
    Sure("masquerade", 'oifname "wan" masquerade', True),
    Sure(
        "a port forward",
        'iifname "wan" ip daddr 192.0.2.1 tcp dport 80 counter dnat to 10.0.0.2',
        True,
        "wan",
    ),
    Sure("a comment", 'udp dport { 53, 5353 } redirect to :53 comment "snat"', True),
    Sure("a set", "ip saddr @lan masquerade", False),
    Sure("a mark", "meta mark 1 masquerade", False),
    Sure("not an address", "ip saddr != 10.0.0.0/8 masquerade", False),
    Sure("by chance", "numgen random mod 2 0 dnat to 10.0.0.2", False),
    Sure("a wildcard", 'oifname "ppp*" masquerade', False),
    Sure("no translation", "tcp dport 80 accept", False),
    Sure("not what never is forwarded", 'oifname != "lo" masquerade', True),
    Sure("not an interface", 'oifname != "wan" masquerade', False),
    Sure("a port by its name", "tcp dport smtp redirect to :25", False),
    Sure(
        "iptables",
        "-A POSTROUTING -s 10.0.0.0/24 -o wan -m comment --comment lan -j MASQUERADE",
        True,
    ),
    Sure(
        "iptables, a forward",
        "-A PREROUTING -i wan -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2",
        True,
        "wan",
    ),
    Sure(
        "iptables, not an address",
        "-A POSTROUTING ! -d 10.0.0.0/8 -j MASQUERADE",
        False,
    ),
    Sure(
        "iptables, not what never is forwarded",
        "-A POSTROUTING ! -o lo -j MASQUERADE",
        True,
    ),
    Sure(
        "iptables, a match",
        "-A PREROUTING -m mark --mark 1 -j DNAT --to 10.0.0.2",
        False,
    ),
]


@pytest.mark.parametrize("case", SURE, ids=lambda case: case.id)
def test_a_rule_is_sure_where_every_word_is_understood(case: Sure) -> None:
    found = natsure.taken(Rule("ip", "nat", "chain", case.text))
    assert (found is not None) is case.is_known
    if found is not None:
        assert found.iif == case.iif


@dataclass(frozen=True)
class Led:
    id: str
    text: str
    to: natsure.Leads | None


LED = [
    Led("jump", 'iifname "wan" counter jump dstnat_wan', natsure.Leads("dstnat_wan", False)),
    Led("goto", 'goto next comment "jump there"', natsure.Leads("next", True)),
    Led("iptables, -j", "-A PREROUTING -i wan -j zone_wan", natsure.Leads("zone_wan", False)),
    Led("iptables, -g", "-A PREROUTING -g next", natsure.Leads("next", True)),
    Led("several", "ip daddr vmap { 10.0.0.1 : jump a, 10.0.0.2 : jump b }", None),
    Led("one of several", "ip daddr vmap { 10.0.0.1 : jump a }", None),
    Led("a target with options", "-A PREROUTING -j MARK --set-mark 1", None),
    Led("a comment", 'accept comment "jump a"', None),
    Led("a verdict", "accept", None),
]  # fmt: skip


@pytest.mark.parametrize("case", LED, ids=lambda case: case.id)
def test_a_rule_leads_to_one_chain(case: Led) -> None:
    assert natsure.leads(Rule("ip", "nat", "chain", case.text)) == case.to
