"""The language of questions: what its words mean, and how it refuses the others."""

from __future__ import annotations

import doctest
import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import permutations

import pytest

from natscope.codec.packets import text
from natscope.codec.text.question import parse, says_way, unparse
from natscope.codec.text.question_words import WORDS
from natscope.errors import FilterError
from natscope.model.packet import Packet, Question
from natscope.uapi import TcpFlag
from unit.sourcetree import ROOT

A, B, R = (ip_address(text) for text in ("10.0.0.5", "93.184.216.34", "192.0.2.1"))
A6, B6 = ip_address("fd00::5"), ip_address("2001:db8::1")
TCP = Packet(A, B, 6, 51000, 443, tcp_flags=TcpFlag.SYN, seq=0, ack=0, window=64240)
ECHO = Packet(A, B, 1, icmp_type=8, icmp_code=0, icmp_id=1, icmp_seq=1)
ECHO6 = Packet(A6, B6, 58, icmp_type=128, icmp_code=0, icmp_id=1, icmp_seq=1)
UDP = Packet(A, B, 17, 40000, 53)
GRE = Packet(A, B, 47, gre_flags=0, gre_protocol=0x0800, payload=bytes(20))


@dataclass(frozen=True)
class Case:
    """A question, and what it asks; ``short`` where it is written otherwise again."""

    asked: str
    question: Question
    short: str | None = None

    @property
    def id(self) -> str:
        return self.asked


_ENDS = "10.0.0.5:51000 to 93.184.216.34:443"
_UNREACHABLE = Packet(R, A, 1, icmp_type=3, icmp_code=4, icmp_rest=1400, quoted=TCP)
CASES = [
    Case(f"tcp {_ENDS} in eth0", Question(TCP, "eth0")),
    Case(
        f"tcp {_ENDS} in eth0 flags syn mark 7 ttl 63",
        Question(replace(TCP, ttl=63), "eth0", 7),
        f"tcp {_ENDS} ttl 63 in eth0 mark 7",
    ),
    Case(f"tcp {_ENDS}", Question(TCP), f"tcp {_ENDS} out"),
    Case(
        f"tcp {_ENDS} flags syn/ack seq 5 ack 6 window 100 out",
        Question(replace(TCP, tcp_flags=0x12, seq=5, ack=6, window=100)),
    ),
    Case(
        f"tcp {_ENDS} flags FIN,ACK out",
        Question(replace(TCP, tcp_flags=0x11)),
        f"tcp {_ENDS} flags fin/ack out",
    ),
    Case(
        f"tcp {_ENDS} SYN/ACK",
        Question(replace(TCP, tcp_flags=0x12)),
        f"tcp {_ENDS} flags syn/ack out",
    ),
    Case(
        f"ack tcp {_ENDS}",
        Question(replace(TCP, tcp_flags=TcpFlag.ACK)),
        f"tcp {_ENDS} flags ack out",
    ),
    Case(
        f"tcp {_ENDS} flags none badsum out",
        Question(replace(TCP, tcp_flags=0, bad_checksum=True)),
    ),
    Case(
        "udp 10.0.0.5 > 93.184.216.34:dns",
        Question(UDP),
        "udp 10.0.0.5:40000 to 93.184.216.34:53 out",
    ),
    Case(
        "udp [fd00::5]:1 to [2001:db8::1]:2 in wan tos 0xb8 mac 02:00:00:00:00:01",
        Question(Packet(A6, B6, 17, 1, 2, tos=0xB8), "wan", mac="02:00:00:00:00:01"),
        "udp [fd00::5]:1 to [2001:db8::1]:2 tos 184 in wan mac 02:00:00:00:00:01",
    ),
    Case(
        'udp 10.0.0.5:40000 to 93.184.216.34:53 payload "two words" out',
        Question(replace(UDP, payload=b"two words")),
    ),
    Case(
        "udp 10.0.0.5:40000 to 93.184.216.34:53 payload 0x00ff out",
        Question(replace(UDP, payload=b"\0\xff")),
    ),
    Case(
        "ping 10.0.0.5 to 93.184.216.34 id 7 seq 9 out",
        Question(replace(ECHO, icmp_id=7, icmp_seq=9)),
        "icmp 10.0.0.5 to 93.184.216.34 seq 9 id 7 out",
    ),
    Case(
        "ping fd00::5 to 2001:db8::1",
        Question(ECHO6),
        "icmpv6 fd00::5 to 2001:db8::1 out",
    ),
    Case(
        "icmp6 fd00::5 to 2001:db8::1 echo-reply out",
        Question(replace(ECHO6, icmp_type=129)),
        "icmpv6 fd00::5 to 2001:db8::1 type echo-reply out",
    ),
    Case(
        "icmp 192.0.2.1 to 10.0.0.5 type destination-unreachable code 4 mtu 1400 "
        f"in eth1 about tcp {_ENDS}",
        Question(_UNREACHABLE, "eth1"),
    ),
    Case(
        "sctp 10.0.0.5:1 to 93.184.216.34:2 chunk cookie_ack vtag 9 out",
        parse("vtag 9 sctp 10.0.0.5:1 to 93.184.216.34:2 chunk cookie-ack"),
    ),
    Case("gre 10.0.0.5 to 93.184.216.34 out", Question(GRE)),
    Case(
        "gre 10.0.0.5 to 93.184.216.34 key 0 out",
        Question(replace(GRE, gre_flags=0x2000, gre_key=0)),
    ),
    Case(
        "esp 10.0.0.5 to 93.184.216.34 seq 3 spi 4096 out",
        Question(Packet(A, B, 50, spi=4096, seq=3)),
    ),
    Case(
        "proto 94 from 10.0.0.5 to 93.184.216.34",
        Question(Packet(A, B, 94)),
        "94 10.0.0.5 to 93.184.216.34 out",  # ipip is 4
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_question_means_its_packet(case: Case) -> None:
    assert parse(case.asked) == case.question


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_question_is_written_as_it_is_read(case: Case) -> None:
    assert unparse(case.question) == (case.short or case.asked)
    assert parse(unparse(case.question)) == case.question


def test_an_sctp_question_opens_an_association() -> None:
    packet = parse("sctp 10.0.0.5 to 93.184.216.34:36412").packet
    assert (packet.vtag, packet.chunks[0].type) == (0, 1)
    assert packet.chunks[0].body[:4] == b"\0\0\0\1"


@pytest.mark.parametrize(
    ("asked", "says"),
    [("in eth0", True), ("out", True), ("", False), ("payload in", False)],
)
def test_whether_the_way_is_said(asked: str, says: bool) -> None:
    assert says_way(f"tcp {_ENDS} {asked}") == says


def test_the_order_of_the_parts_is_nothing() -> None:
    parts = ("tcp", _ENDS, "in eth0", "flags ack", "ttl 9")
    asked = {parse(" ".join(order)) for order in permutations(parts)}
    assert asked == {Question(replace(TCP, tcp_flags=TcpFlag.ACK, ttl=9), "eth0")}


def test_words_a_shell_has_split_keep_their_spaces() -> None:
    words = ["udp", "10.0.0.5", "to", "93.184.216.34:53", "payload", 'say "hi"']
    assert parse(words).packet.payload == b'say "hi"'


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_line_of_a_packet_is_a_question(case: Case) -> None:
    line = text(case.question.packet)
    assert parse(line).packet.tuple == case.question.packet.tuple


@dataclass(frozen=True)
class Refused:
    """A question that is none: which word, and why."""

    asked: str
    word: str
    reason: str
    hint: str = ""

    @property
    def id(self) -> str:
        return self.asked or "nothing"


REFUSED = [
    Refused("", "", "an address to come from was expected", "write tcp"),
    Refused("tcp 10.0.0.5", "", "an address to go to was expected"),
    Refused("tcp 10.0.0.5 to", "", "an address was expected after 'to'"),
    Refused("10.0.0.5 to 1.1.1.1:1", "10.0.0.5", "a protocol was expected"),
    Refused("tpc 10.0.0.5 to 1.1.1.1:1", "tpc", "no word", "did you mean 'tcp'?"),
    Refused("tcp 10.0.0.5 to 1.1.1.1", "1.1.1.1", "a port to go to", "1.1.1.1:443"),
    Refused("udp ::1 to ::2", "::2", "a port to go to", "[::2]:443"),
    Refused(
        "tcp ::1 to ::2:443", "::2:443", "a port to go to", "[::2]:443, or [::2:443]"
    ),
    Refused("tcp 10.0.0.5 to ::1", "::1", "of two IP versions"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:99999", "1.1.1.1:99999", "'99999' is no port"),
    Refused("tcp 10.0.0.5: to 1.1.1.1:9", "10.0.0.5:", "'' is no port"),
    Refused(
        "tcp a.example to 1.1.1.1:9", "a.example", "no IP address", "not looked up"
    ),
    Refused("tcp fe80::1%eth0 to [::1]:9", "fe80::1%eth0", "no IP address"),
    Refused("tcp [::1 to [::1]:9", "[::1", "no address"),
    Refused("icmp 10.0.0.5:7 to 1.1.1.1", "10.0.0.5:7", "icmp has no ports"),
    Refused(
        "udp 10.0.0.5 to 1.1.1.1:9 flags ack", "flags", "udp has no flags", "of tcp"
    ),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 flags foo", "foo", "no TCP flag", "syn"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 ttl 256", "256", "too great", "255"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 ttl x", "x", "no number"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 ttl", "", "a value was expected after 'ttl'"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 ttl 1 ttl 2", "ttl", "'ttl' is said twice"),
    Refused("tcp udp 10.0.0.5 to 1.1.1.1:9", "udp", "one protocol"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 2.2.2.2", "2.2.2.2", "two addresses"),
    Refused("tcp to 1.1.1.1:9", "to", "before the second address"),
    Refused("tcp 1.1.1.1:9 from 2.2.2.2", "from", "before the first address"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 in eth0 out", "in", "not the box's own"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 in a/b", "a/b", "no interface"),
    Refused("tcp 10.0.0.5 to 1.1.1.1:9 mac 02", "02", "no MAC address"),
    Refused("icmp 10.0.0.5 to 1.1.1.1 type eco", "eco", "no ICMP type"),
    Refused("ping 10.0.0.5 to 1.1.1.1 mtu 9", "mtu", "only an ICMP error"),
    Refused("icmp 10.0.0.5 to 1.1.1.1 type 3 id 9", "id", "has no id"),
    Refused("icmp 10.0.0.5 to 1.1.1.1 type 11 mtu 9", "mtu", "tells no MTU"),
    Refused("icmp 10.0.0.5 to 1.1.1.1 packet-too-big", "packet-too-big", "no type"),
    Refused("icmpv6 10.0.0.5 to 1.1.1.1", "10.0.0.5", "over IPv6 alone", "icmp"),
    Refused("ah ::1 to ::2", "::1", "extension header", "behind it"),
    Refused(
        "ping 1.1.1.1 to 2.2.2.2 about tcp 2.2.2.2:1 to 3.3.3.3:2", "about", "error"
    ),
    Refused(
        "udp 1.1.1.1 to 2.2.2.2:3 about tcp 2.2.2.2:1 to 3.3.3.3:2", "about", "error"
    ),
    Refused("icmp 1.1.1.1 to 2.2.2.2 type 3 about in eth0", "in", "quoted"),
    Refused(
        "icmp 1.1.1.1 to 2.2.2.2 type 9 about udp 2.2.2.2 to 3.3.3.3:2",
        "about",
        "only an ICMP error",
    ),
    Refused(
        "icmp 1.1.1.1 to 2.2.2.2 type 3 payload a about udp 2.2.2.2 to 3.3.3.3:2",
        "payload",
        "is the payload",
    ),
    Refused("tcp ping 1.1.1.1 to 2.2.2.2", "ping", "one protocol"),
    Refused("sctp 1.1.1.1 to 2.2.2.2:3 chunk bar", "bar", "no SCTP chunk", "init"),
    Refused("udp 1.1.1.1 to 2.2.2.2:3 payload 0xabc", "0xabc", "not hexadecimal"),
    Refused('udp 1.1.1.1 to 2.2.2.2:3 payload "a', '"', "not closed"),
    Refused("300 1.1.1.1 to 2.2.2.2", "300", "too great"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_a_question_that_is_none_is_refused_at_its_word(case: Refused) -> None:
    with pytest.raises(FilterError) as caught:
        parse(case.asked)
    error = caught.value
    assert case.reason in error.reason
    assert error.text[error.start : error.end] == case.word
    assert case.hint in (error.hint or "")


PAGE = (ROOT / "docs" / "reference" / "packets.md").read_text()
_EXAMPLES = re.findall(r"^\| `([^`]+ to [^`]+)` \|", PAGE, re.MULTILINE)


def test_the_page_has_every_word() -> None:
    rows = "".join(re.findall(r"^\| `.*? \||^`.*$", PAGE, re.MULTILINE))
    said = set(re.findall(r"`(\w+) [A-Z0-9]", rows))
    assert said >= WORDS.keys()


@pytest.mark.parametrize("example", _EXAMPLES)
def test_an_example_of_the_page_is_a_question(example: str) -> None:
    asked = parse(example)
    assert parse(unparse(asked)) == asked


def test_the_page_has_examples() -> None:
    assert len(_EXAMPLES) >= 10


def test_what_the_page_shows_of_python_is_so() -> None:
    shown = "".join(re.findall(r"```pycon\n(.*?)```", PAGE, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(shown, {}, "packets.md", None, 0)
    assert doctest.DocTestRunner().run(test) == doctest.TestResults(0, 9)
