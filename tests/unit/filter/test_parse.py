"""The words of a filter: what they mean, and what is said of those that are none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.errors import FilterError
from natscope.filter import is_word, parse
from natscope.filter.reference import EXAMPLES
from natscope.filter.syntax import EVERYTHING
from natscope.filter.vocabulary import WORDS, Takes


@dataclass(frozen=True)
class Same:
    id: str
    text: str
    normal: str


SAME = [
    Same("C's operators", "tcp && !assured || udp", "(tcp and not assured) or udp"),
    Same("side by side is and", "tcp assured", "tcp and assured"),
    Same("side by side binds first", "udp or tcp assured", "udp or (tcp and assured)"),
    Same("not takes one word", "not tcp assured", "not tcp and assured"),
    Same(
        "a protocol and its port are one",
        "not tcp dst port 443",
        "not (tcp and dst port 443)",
    ),
    Same(
        "inner ands are flattened",
        "tcp and (assured and nat)",
        "tcp and assured and nat",
    ),
    Same("and before or", "tcp and assured or udp", "(tcp and assured) or udp"),
    Same("an address alone", "10.0.0.5", "host 10.0.0.5"),
    Same("a protocol and an address", "tcp 10.0.0.5", "tcp and host 10.0.0.5"),
    Same(
        "a value under the last words",
        "src 10.0.0.1 or 10.0.0.2",
        "src 10.0.0.1 or src 10.0.0.2",
    ),
    Same("a port under the last words", "port 80 or 443", "port 80 or port 443"),
    Same("blanks around commas", "port 80 , 443", "port 80,443"),
    Same("both ends", "src or dst host 10.0.0.1", "src or dst 10.0.0.1"),
    Same("the kernel's name for src", "orig-src 10.0.0.1", "src 10.0.0.1"),
    Same("underscores", "REPLY_SRC 10.0.0.1", "reply-src 10.0.0.1"),
    Same(
        "a network in short",
        "net 10 or net 192.168",
        "host 10.0.0.0/8 or host 192.168.0.0/16",
    ),
    Same("a network by its mask", "net 10.0.0.0/255.0.0.0", "host 10.0.0.0/8"),
    Same("a range of addresses", "host 10.0.0.1-10.0.0.9", "host 10.0.0.1-10.0.0.9"),
    Same("a range that is a network", "host 10.0.0.0-10.0.0.255", "host 10.0.0.0/24"),
    Same("service names", "dst port https,domain", "dst port 443,53"),
    Same("portrange", "src portrange 6000-6008", "src port 6000-6008"),
    Same("a port compared", "port > 1024", "port 1025-65535"),
    Same("address and port", "public [2001:db8::1]:https", "public [2001:db8::1]:443"),
    Same(
        "an ICMP id as listed", "public 203.0.113.7:id=77", "public 203.0.113.7:id=77"
    ),
    Same("a GRE key as listed", "inside [::1]:key=0x77", "inside [::1]:key=119"),
    Same("protocols", "proto 47,tcp,icmp6,200", "proto gre,tcp,icmpv6,200"),
    Same("one protocol", "proto 6", "tcp"),
    Same("family", "family inet6", "ip6"),
    Same("states", "state Established,TIME-WAIT", "state established,time_wait"),
    Same("TCP's old LISTEN", "state listen", "state syn_sent2"),
    Same(
        "a bit among states",
        "state established,unreplied",
        "state established or unreplied",
    ),
    Same("status by number", "status 0x8/0x8", "confirmed"),
    Same("all status bits", "status 0x18e", "status 0x18e"),
    Same("kinds", "kind S,sd,-", "kind s,sd,-"),
    Same("every kind is nat", "kind s,d,h,r,p,sd", "nat"),
    Same("a mask without holes", "src 10.0.0.5/0xFFFFFF00", "src 10.0.0.0/24"),
    Same("a mask with holes", "src 10.9.0.5/0xff0000ff", "src 10.0.0.5/0xff0000ff"),
    Same("a mark with mask", "mark 0x1/0xff,5-7", "mark 0x1/0xff,5-7"),
    Same("labels", "label 5,127", "label 5,127"),
    Same("labels by name", "label 5,eth0", "label 5 or label eth0"),
    Same("one label as a number", "labels 0x20/0x20", "label 5"),
    Same(
        "an ICMP type by name",
        "icmp-type echo-request",
        "(icmp and icmp-type 8) or (icmpv6 and icmp-type 128)",
    ),
    Same("times", "age > 1h30m", "age >= 5401"),
    Same("half hours", "timeout <= 1.5h", "timeout <= 5400"),
    Same("a range of times", "idle 5m-1h", "idle 300-3600"),
    Same("decimal sizes", "bytes>10MB", "bytes >= 10000001"),
    Same("binary sizes", "bytes < 1KiB", "bytes <= 1023"),
    Same("bits per second", "rate > 1Mbit", "rate >= 125001"),
    Same("bytes per second", "rate >= 1MiB/s", "rate >= 1048576"),
    Same("less than a byte per second", "rate > 1bit", "rate >= 1"),
    Same("thousands", "packets 10k-20k", "packets 10000-20000"),
    Same("any column", "tcp-wscale-orig 7", "tcp_wscale_orig 7"),
    Same("a signed column", "seqadj_orig_before -5--3", "seqadj_orig_before -5--3"),
    Same("text in quotes", 'netns "customer a",edge*', 'netns "customer a",edge*'),
    Same("a word as text", 'helper "and"', 'helper "and"'),
]


@pytest.mark.parametrize("case", SAME, ids=lambda case: case.id)
def test_a_filter_has_a_normal_form(case: Same) -> None:
    assert case.normal == str(parse(case.text))
    assert parse(case.normal) == parse(case.text)


@pytest.mark.parametrize("text", ["", "  \t", []])
def test_nothing_said_is_every_flow(text: str | list[str]) -> None:
    assert parse(text).tree == EVERYTHING
    assert str(parse(text)) == ""


def test_words_of_a_command_line_are_joined() -> None:
    words = ["tcp", "dst", "port", "443"]
    assert parse(words) == parse("tcp dst port 443")
    assert parse(words).text == "tcp dst port 443"


@dataclass(frozen=True)
class Wrong:
    id: str
    text: str
    at: str
    """The offending word, or "" for the end of the text."""
    hint: str
    reason: str = ""


WRONG = [
    Wrong("misspelt", "tcp and hairpn", "hairpn", "did you mean 'hairpin'?"),
    Wrong("misspelt state", "state tcp_x,establised", "tcp_x", ""),
    Wrong("near state", "state establised", "establised", "'established'"),
    Wrong("a state alone", "established", "established", "state established"),
    Wrong("a service alone", "https", "https", "port https"),
    Wrong("another tool's word", "dport 443", "dport", "dst port"),
    Wrong("a number alone", "443", "443", "port 443"),
    Wrong("a port for an address", "tcp dst 443", "443", "dst port 443"),
    Wrong("no address", "host example.net", "example.net", "names are not looked up"),
    Wrong("the wrong element", "host 10.0.0.1,10.0.0.256", "10.0.0.256", "write"),
    Wrong("an empty range", "host 10.0.0.9-10.0.0.1", "10.0.0.9-10.0.0.1", "write"),
    Wrong("mixed families", "host 10.0.0.9-::1", "10.0.0.9-::1", "one family"),
    Wrong("an interface", "host fe80::1%eth0", "fe80::1%eth0", "%"),
    Wrong("no port", "port 65536", "65536", "65535"),
    Wrong("iptables' range", "port 80:90", "80:90", "80-90"),
    Wrong("no service", "port htps", "htps", "https"),
    Wrong("nothing after a word", "tcp and src", "", "", "an address"),
    Wrong("nothing after and", "tcp and", "", "", "a filter word"),
    Wrong("no amount", "bytes >", "", "", "a size"),
    Wrong("open parenthesis", "tcp and (udp", "(", "", "not closed"),
    Wrong("closing parenthesis", "tcp)", ")", "", "unexpected"),
    Wrong("or, then and", "tcp or udp and assured", "and", "parentheses"),
    Wrong("two values", "host 10.0.0.1 10.0.0.2", "10.0.0.2", "comma"),
    Wrong("an unclear value", "dst port 443 or 10.0.0.2", "10.0.0.2", "host, src"),
    Wrong(
        "a mask beyond the family",
        "src 1.2.3.4/0x100000000",
        "1.2.3.4/0x100000000",
        "IPv4",
    ),
    Wrong("a value beyond its mask", "mark 0x100/0xff", "0x100/0xff", "mask"),
    Wrong("too great", "zone 65536", "65536", "65535"),
    Wrong("no unit", "age > 5y", "5y", "1h30m"),
    Wrong("a bare unit for bits", "rate > 1Mb", "1Mb", "Mbit"),
    Wrong("not whole", "rate = 1bit", "1bit", "> or <"),
    Wrong("never true", "bytes < 0", "0", "the least is 0"),
    Wrong("a list compared", "bytes > 5,6", "5,6", "or"),
    Wrong("no !=", "mark != 5", "!", "not mark 5"),
    Wrong("one ampersand", "tcp & udp", "&", "&&"),
    Wrong("an open quotation", 'helper "ftp', '"', "closed"),
    Wrong("an unknown protocol", "proto tpc", "tpc", "tcp"),
    Wrong("an unknown kind", "kind x", "x", "s d h r p sd"),
    Wrong("an unknown bit", "status asured", "asured", "assured"),
    Wrong("an unknown type", "icmp-type echo-requst", "echo-requst", "echo-request"),
    Wrong("ends joined both ways", "src or dst and inside ::1", "and", "", "either"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.id)
def test_an_error_points_at_the_word_and_helps(case: Wrong) -> None:
    with pytest.raises(FilterError) as caught:
        parse(case.text)
    error = caught.value
    assert case.reason in error.reason
    assert case.at == case.text[error.start : error.end]
    assert case.hint in (error.hint or "")


def test_the_pointer_stands_under_the_word() -> None:
    with pytest.raises(FilterError) as caught:
        parse("tcp and hairpn")
    assert caught.value.pointer() == "tcp and hairpn\n        ^^^^^^"


@pytest.mark.parametrize("text", [text for text, _ in EXAMPLES])
def test_every_example_of_the_help_is_a_filter(text: str) -> None:
    assert parse(str(parse(text))) == parse(text)


_SAMPLE = {
    Takes.NOTHING: "",
    Takes.HOST: "10.0.0.5",
    Takes.PORT: "443",
    Takes.WHERE: "10.0.0.5",
    Takes.COUNT: "5",
    Takes.BITS: "5",
    Takes.DURATION: "5m",
    Takes.SIZE: "5kB",
    Takes.RATE: "5kbit",
    Takes.TEXT: "ftp",
    Takes.PROTOCOL: "tcp",
    Takes.FAMILY: "ipv4",
    Takes.STATE: "established",
    Takes.STATUS: "assured",
    Takes.KIND: "s",
    Takes.ICMP_TYPE: "8",
    Takes.LABEL: "5",
}


@pytest.mark.parametrize(
    "spelling", [s for word in WORDS for s in (word.word, *word.aliases)]
)
def test_every_spelling_of_every_word_is_understood(spelling: str) -> None:
    (word,) = [w for w in WORDS if spelling in (w.word, *w.aliases)]
    found = parse(f"{spelling} {_SAMPLE[word.takes]}")
    assert found.tree != EVERYTHING
    assert is_word(spelling)


@pytest.mark.parametrize("text", ["not", "(", "!", "10.0.0.5", "::1", "TCP"])
def test_what_begins_a_filter_is_no_file_name(text: str) -> None:
    assert is_word(text)


@pytest.mark.parametrize("text", ["saved", "conntrack", "backup2"])
def test_other_words_may_be_file_names(text: str) -> None:
    assert not is_word(text)
