"""Files of cases: what they may say, and how they are refused."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import pytest

from natscope.codec.text import question
from natscope.codec.text.cases import parse
from natscope.errors import DocumentError
from natscope.model.cases import Box, Case, Endpoint, Expectation, Step

WEB = 'packet = "tcp 192.0.2.9 to 203.0.113.1:8080 in wan"\n'
GOOD = WEB + 'expect = "forwarded"\n'


def _cases(text: str) -> tuple[Case, ...]:
    return parse(f"[[case]]\n{text}").cases


def _expected(text: str) -> Expectation:
    (case,) = _cases(WEB + text)
    return case.expectation


@dataclass(frozen=True)
class Read:
    """Keys of a case, and what they mean."""

    id: str
    text: str
    meant: Expectation


HOST, NET = ip_network("10.0.0.3"), ip_network("10.0.0.0/24")
READ = [
    Read("outcome", 'expect = "stopped"', Expectation(expect="stopped")),
    Read("interface", 'out = "lan"', Expectation(out="lan")),
    Read(
        "address and port",
        'to = "10.0.0.3:80"',
        Expectation(dst=Endpoint("10.0.0.3:80", HOST, (80, 80))),
    ),
    Read(
        "network and range",
        'from = "10.0.0.0/24:1024-65535"',
        Expectation(src=Endpoint("10.0.0.0/24:1024-65535", NET, (1024, 65535))),
    ),
    Read(
        "any address", 'to = "*:80"', Expectation(dst=Endpoint("*:80", None, (80, 80)))
    ),
    Read(
        "any port", 'to = "10.0.0.3:*"', Expectation(dst=Endpoint("10.0.0.3:*", HOST))
    ),
    Read(
        "a port alone", 'to = ":80"', Expectation(dst=Endpoint(":80", None, (80, 80)))
    ),
    Read(
        "version 6",
        'to = "2001:db8::1"',
        Expectation(dst=Endpoint("2001:db8::1", ip_network("2001:db8::1"))),
    ),
    Read(
        "version 6 and port",
        'to = "[2001:db8::/64]:80"',
        Expectation(
            dst=Endpoint("[2001:db8::/64]:80", ip_network("2001:db8::/64"), (80, 80))
        ),
    ),
    Read("it is answered", "reply = true", Expectation(reply="accepted")),
    Read("it is not", "reply = false", Expectation(reply="stopped")),
    Read("the answer is dropped", 'reply = "dropped"', Expectation(reply="dropped")),
    Read("mark", "mark = 7", Expectation(mark=7)),
    Read("mark as text", 'ctmark = "0x10"', Expectation(ctmark=16)),
]


@pytest.mark.parametrize("case", READ, ids=lambda case: case.id)
def test_what_is_expected_is_read(case: Read) -> None:
    assert _expected(case.text) == case.meant


def test_a_packet_is_read_as_explain_reads_it() -> None:
    (case,) = _cases(GOOD)
    asked = question.parse("tcp 192.0.2.9 to 203.0.113.1:8080 in wan")
    assert case.steps == (Step(asked),)


def test_where_it_comes_in_may_be_left_to_the_routing_table() -> None:
    text = (
        'packet = "tcp 10.0.0.5 to 9.9.9.9:443{way}"\neach = { way = ["", " out"] }\n'
    )
    first, second = _cases(text + 'expect = "sent"')
    assert [first.steps[0].is_placed, second.steps[0].is_placed] == [False, True]
    (said,) = _cases(
        """packet = 'udp 10.0.0.5 to 9.9.9.9:53 payload "go out"'\nexpect = "sent"\n"""
    )
    assert not said.steps[0].is_placed


def test_each_is_every_combination_and_in_the_name() -> None:
    text = (
        'name = "web"\n'
        'packet = "tcp 192.0.2.9 to 203.0.113.{host}:{port} in wan"\n'
        'each = { host = [1, "2"], port = "80-81" }\nto = "10.0.0.{host}:{port}"\n'
    )
    found = _cases(text)
    assert [case.name for case in found] == [
        "web (host=1 port=80)",
        "web (host=1 port=81)",
        "web (host=2 port=80)",
        "web (host=2 port=81)",
    ]
    packet = found[3].steps[0].question
    assert packet is not None
    assert (packet.packet.dst, packet.packet.dport) == (ip_address("203.0.113.2"), 81)
    assert found[3].expectation.dst is not None
    assert found[3].expectation.dst.text == "10.0.0.2:81"


def test_a_name_that_tells_them_apart_is_kept() -> None:
    text = 'name = "port {p}"\npacket = "tcp 1.1.1.1 to 2.2.2.2:{p} in x"\n'
    found = _cases(text + 'each = { p = [1, 2] }\nexpect = "dropped"')
    assert [case.name for case in found] == ["port 1", "port 2"]


def test_without_a_name_the_packet_is_the_name() -> None:
    (case,) = _cases(GOOD)
    assert case.name == "tcp 192.0.2.9 to 203.0.113.1:8080 in wan: forwarded"


def test_a_case_after_another_begins_with_its_packets() -> None:
    text = f'[[case]]\nname = "a"\n{GOOD}reply = true\n'
    text += f'[[case]]\nname = "b"\nafter = "a"\n{GOOD}'
    first, second = parse(text).cases
    assert second.steps == (*first.steps, Step(None), *first.steps)


def test_a_reply_may_be_one_of_the_packets() -> None:
    text = 'packets = ["udp 10.0.0.5 to 9.9.9.9:53 in lan", "reply"]\nout = "lan"\n'
    (case,) = _cases(text)
    assert [step.question is None for step in case.steps] == [False, True]


def test_the_file_says_which_box_it_is_about() -> None:
    text = 'rules = "nftables.conf"\nip = ["addr.json", "route.json"]\n[[case]]\n'
    box = Box(rules="nftables.conf", ip=("addr.json", "route.json"))
    assert parse(text + GOOD).box == box


@dataclass(frozen=True)
class Refused:
    """A file, and why it is none."""

    id: str
    text: str
    error: str


CASE = "[[case]]\n"
NAMED = f'{CASE}name = "web"\n'
REFUSED = [
    Refused("empty", "", "document: there is no case: write [[case]]"),
    Refused("no case", 'box = "x"', "document: there is no case: write [[case]]"),
    Refused("no TOML", "[[case]", "document: Expected ']]'"),
    Refused("no table", "case = [1]", "case 1: a table was expected: [[case]]"),
    Refused("unknown key", "rulez = 1", "rulez: there is no such key; did you mean 'rules'?"),
    Refused("unknown key of a case", NAMED + "exepct = 1", "case 'web'.exepct: there is no such key; did you mean 'expect'?"),
    Refused("no packet", NAMED + 'expect = "dropped"', "case 'web': one of packet and packets was expected"),
    Refused("no list", NAMED + 'packets = "x"', "case 'web'.packets: a list of packets was expected"),
    Refused("no text", NAMED + "packet = 7", "case 'web'.packet: a packet in words was expected, not 7"),
    Refused("nothing expected", NAMED + WEB, "case 'web': nothing is expected"),
    Refused("a packet", NAMED + 'packet = "tcp 1.1.1.1 too 2.2.2.2"', "case 'web'.packet: 'too' is no word here"),
    Refused("a word", NAMED + WEB + 'expect = "forward"', "case 'web'.expect: 'forward' is none of: forwarded, delivered, sent, rejected, dropped, queued, answered, accepted, stopped; did you mean 'forwarded'?"),
    Refused("an address", NAMED + WEB + 'to = "10.0.0.300"', "case 'web'.to: an address was expected"),
    Refused("an empty address", NAMED + WEB + 'to = ""', "case 'web'.to: a text was expected, not ''"),
    Refused("host bits", NAMED + WEB + 'to = "10.0.0.3/24"', "case 'web'.to: an address was expected"),
    Refused("a port", NAMED + WEB + 'to = "10.0.0.3:80-70"', "case 'web'.to: a port is between 0 and 65535"),
    Refused("a mark", NAMED + WEB + "mark = -1", "case 'web'.mark: a number of 32 bits was expected, not -1"),
    Refused("a flag", NAMED + WEB + "mark = true", "case 'web'.mark: a number of 32 bits was expected, not True"),
    Refused("nothing to fill in", NAMED + 'packet = "tcp 1.1.1.1 to 2.2.2.2:{port}"', "case 'web': {port} is in no each"),
    Refused("an empty each", NAMED + GOOD + "each = { p = [] }", "case 'web'.each.p: a list or a range was expected"),
    Refused("no each", NAMED + GOOD + "each = 1", "case 'web'.each: a table of lists was expected"),
    Refused("each with each", NAMED + GOOD + 'each = { p = "1-65535", q = "1-65535" }', "case 'web'.each: makes 4294836225 cases; 1000000 are the most"),
    Refused("a range turned round", NAMED + GOOD + 'each = { p = "9-1" }', "case 'web'.each.p: a list or a range was expected"),
    Refused("two of a name", NAMED + GOOD + NAMED + GOOD, "case 'web': two cases have the name 'web'"),
    Refused("after nothing", NAMED + GOOD + 'after = "wbe"', "case 'web'.after: no case before it has the name 'wbe'"),
    Refused("a reply to nothing", NAMED + 'packets = ["reply"]\nexpect = "sent"', "case 'web'.packets: a reply needs a packet before it"),
    Refused("what is dropped leaves nowhere", NAMED + WEB + 'expect = "dropped"\nout = "lan"', "case 'web'.out: nothing leaves of a packet that is dropped"),
    Refused("what passes was not stopped", NAMED + GOOD + 'reason = "policy"', "case 'web'.reason: nothing stops a packet that is forwarded"),
    Refused("files", "ip = [1]\n" + CASE + GOOD, "ip: a list of files was expected"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_file_is_refused_with_the_place(case: Refused) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(case.text)
    assert str(caught.value).startswith(case.error)


def test_of_a_packet_the_word_is_pointed_at() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(CASE + 'packet = "tcp 1.1.1.1 too 2.2.2.2"')
    assert "\ntcp 1.1.1.1 too 2.2.2.2\n            ^^^" in str(caught.value)
