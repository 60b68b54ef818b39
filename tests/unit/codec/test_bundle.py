"""The bundle file: what is written is read again, and nothing else is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import pytest

from bundles import BUNDLE
from natscope.codec.bundle import MOST_VALUES, decode, encode
from natscope.errors import DecodeError
from natscope.model.bundle import (
    Bundle,
    FlowColumns,
    Link,
    LinkAddress,
    Neighbour,
    Nexthop,
    Route,
    RoutingRule,
    Ruleset,
)
from unit.sourcetree import ROOT

Document = dict[str, object]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_bundle_is_read_as_it_was_written(compressed: bool) -> None:
    data = encode(BUNDLE, compressed=compressed)
    assert data.startswith(b"\x1f\x8b") is compressed
    assert decode(data) == BUNDLE
    assert encode(decode(data), compressed=compressed) == data


def test_an_almost_empty_bundle_is_one() -> None:
    bundle = Bundle(1)
    assert decode(encode(bundle)) == bundle
    assert json.loads(encode(bundle)) == {"format": "natscope.bundle/2", "made_ns": 1}


def test_flows_that_were_not_asked_for_are_not_flows_that_are_none() -> None:
    asked = replace(BUNDLE, flows=FlowColumns(0))
    assert decode(encode(asked)).flows == FlowColumns(0)
    assert decode(encode(replace(BUNDLE, flows=None))).flows is None


def test_a_part_and_a_line_of_rules_have_a_line_of_the_file_each() -> None:
    lines = encode(BUNDLE).decode().splitlines()
    routes = [line for line in lines if line.startswith('  {"dst"')]
    assert len(routes) == len(BUNDLE.routes) + len(BUNDLE.neighbours)
    assert '    "\\t\\tip saddr @bad drop comment \\"angry customer\\"",' in lines
    assert '  "net/ipv4/ip_forward": "1",' in lines


def _changed(**members: object) -> Callable[[Document], object]:
    return lambda document: document | members


def _link(**members: object) -> Callable[[Document], object]:
    link = {"name": "eth0", "index": 1, "up": True, "mtu": 1500}
    return _changed(links=[link | members])


def test_words_that_only_look_like_a_file_are_none() -> None:
    rules = """table ip include {
    chain include { tcp dport 80 accept comment "include 'a'; include " }
    }"""
    saved = '-A X -m comment --comment "a -M b" -j ACCEPT'
    made = (Ruleset("nft", rules), Ruleset("iptables-nft", saved))
    bundle = Bundle(1, rulesets=made)
    assert decode(encode(bundle)) == bundle


def _route(**members: object) -> Callable[[Document], object]:
    return _changed(routes=[{"dst": "10.0.0.0/8", "table": 254} | members])


def _rules(tool: str, text: str) -> Callable[[Document], object]:
    return _changed(rulesets=[{"tool": tool, "text": text}])


@dataclass(frozen=True)
class Wrong:
    id: str
    change: Callable[[Document], object]
    said: str


WRONGS = [
    Wrong("a list", lambda _: [], "document: needs an object, has []"),
    Wrong("no format", _changed(format=None), "format: needs"),
    Wrong(
        "another format", _changed(format="x/1"), 'format: needs "natscope.bundle/2"'
    ),
    Wrong("a later version", _changed(format="natscope.bundle/3"), "use a newer one"),
    Wrong("a time as text", _changed(made_ns="now"), "made_ns: needs a whole number"),
    Wrong("a truth as number", _changed(made_ns=True), "made_ns: needs a whole number"),
    Wrong("a number below zero", _changed(made_ns=-1), "made_ns: needs a whole number"),
    Wrong("a link without name", _changed(links=[{}]), "links.0.index: is missing"),
    Wrong(
        "a name with a line in it", _link(name="a\nb"), "links.0.name: needs the name"
    ),
    Wrong("a name with a blank", _link(name="a b"), "links.0.name: needs the name"),
    Wrong("a name that is a path", _link(name=".."), "links.0.name: needs the name"),
    Wrong("a name too long", _link(name="a" * 16), "links.0.name: needs the name"),
    Wrong("an empty name", _link(name=""), "links.0.name: needs the name"),
    Wrong("a kind of two words", _link(kind="a b"), "links.0.kind: needs a word"),
    Wrong(
        "a short MAC address", _link(mac="52:54"), "links.0.mac: needs a MAC address"
    ),
    Wrong(
        "a prefix longer than an address",
        _link(addresses=[{"local": "10.0.0.1", "prefix": 33}]),
        "links.0.addresses.0.prefix: needs a length",
    ),
    Wrong(
        "a peer of another family",
        _link(addresses=[{"local": "10.0.0.1", "prefix": 3, "peer": "::2"}]),
        "links.0.addresses.0.peer: needs an address of one family",
    ),
    Wrong(
        "a rule for addresses of another family",
        _changed(rules=[{"family": "inet", "priority": 1, "src": "::/8"}]),
        "rules.0.src: needs a prefix of inet",
    ),
    Wrong("no truth", _link(up=1), "links.0.up: needs true or false"),
    Wrong("host bits", _route(dst="10.0.0.1/8"), "routes.0.dst: needs a prefix"),
    Wrong("a number for a prefix", _route(dst=10), "routes.0.dst: needs a prefix"),
    Wrong("a scoped address", _route(via="fe80::1%a"), "routes.0.via: needs an IP"),
    Wrong(
        "a port alone",
        _changed(rules=[{"family": "inet", "priority": 1, "dport": [80]}]),
        "rules.0.dport: needs a list of 2",
    ),
    Wrong(
        "another family",
        _changed(rules=[{"family": "ipx", "priority": 1}]),
        "rules.0.family: needs inet or inet6",
    ),
    Wrong(
        "another tool",
        _changed(rulesets=[{"tool": "sh", "text": "rm"}]),
        "rulesets.0.tool: needs nft or",
    ),
    Wrong(
        "a file that is included",
        _rules("nft", 'table ip a {\n}; include "/etc/passwd"'),
        "rulesets.0.text: needs what nft saves",
    ),
    Wrong(
        "braces without end",
        _rules("nft", "table ip a " + "{" * 33),
        "rulesets.0.text: is nested too deeply",
    ),
    Wrong(
        "a file that is written",
        _rules("ipset", "create a hash:ip\nsave -file /etc/passwd"),
        "rulesets.0.text: needs what ipset saves",
    ),
    Wrong(
        "a program that is run",
        _rules("iptables-legacy", "*nat\n-A X -M /bin/x -j ACCEPT\nCOMMIT"),
        "rulesets.0.text: needs what iptables-legacy saves",
    ),
    Wrong(
        "a setting outside of net",
        _changed(sysctls={"kernel/core_pattern": "|x"}),
        "needs a path of net/",
    ),
    Wrong(
        "a setting by a detour",
        _changed(sysctls={"net/../kernel/core_pattern": "|x"}),
        "needs a path of net/",
    ),
    Wrong("half a letter", _changed(hostname="\ud800"), "hostname: needs text"),
]


def test_more_values_than_memory_can_hold_are_refused() -> None:
    bomb = b'{"missing": [' + b"[]," * MOST_VALUES + b"[]]}"
    with pytest.raises(DecodeError, match=r"^document: has more than \d+ values"):
        decode(gzip.compress(bomb, 1))


def test_what_follows_the_end_of_a_compressed_file_is_no_part_of_it() -> None:
    data = encode(BUNDLE, compressed=True)
    with pytest.raises(DecodeError, match="more after its end"):
        decode(data + data)


@pytest.mark.parametrize("case", WRONGS, ids=lambda case: case.id)
def test_what_is_wrong_is_said_with_its_place(case: Wrong) -> None:
    document = json.loads(encode(BUNDLE))
    with pytest.raises(DecodeError) as caught:
        decode(json.dumps(case.change(document)).encode())
    assert case.said in str(caught.value)


def test_members_of_a_later_minor_version_are_passed_over() -> None:
    document = json.loads(encode(BUNDLE))
    document["sockets"] = [{"port": 53}]
    document["links"][0]["speed"] = 1000
    assert decode(json.dumps(document).encode()) == BUNDLE


BYTES = {
    "nothing": b"",
    "no JSON": b"table ip nat {",
    "no text": b"\xff\xfe",
    "deeper than any bundle": b"[" * 100_000,
    "a number of very many digits": b'{"made_ns": ' + b"9" * 5000 + b"}",
    "half a compressed file": gzip.compress(encode(BUNDLE))[:-20],
    "no compressed file": b"\x1f\x8bxxxx",
}


@pytest.mark.parametrize("data", BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_bundle_are_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(DecodeError, match="document: "):
        decode(data)


RECORDS = (Bundle, Link, LinkAddress, Route, Nexthop, RoutingRule, Neighbour, Ruleset)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_member_is_documented(record: type[Bundle]) -> None:
    page = (ROOT / "docs" / "reference" / "bundle-format.md").read_text()
    missing = [one.name for one in fields(record) if f"`{one.name}`" not in page]
    assert missing == []
