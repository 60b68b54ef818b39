"""The NAT view of crafted tables, as text and for programs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from natscope.errors import UnknownColumn
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render.records import JsonDocument, JsonLines, Separated
from natscope.render.text import TextTable
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status
from natscope.views.listing import Page, listing
from natscope.views.query import BINDING_FIELDS, IOS_FIELDS, Query

BOX = Evidence(
    now_ns=2_000 * 10**9,
    timeouts={"tcp_timeout_established": 432_000, "udp_timeout": 30},
    addresses=(ip_interface("10.0.0.1/24"), ip_interface("203.0.113.7/24")),
)
NAT = Status.CONFIRMED | Status.SRC_NAT | Status.DST_NAT
SEEN = Status.SEEN_REPLY | Status.ASSURED


def one(text: str, proto: int = 6) -> FlowTuple:
    """A tuple from ``src:sport>dst:dport``."""
    ends = [end.rpartition(":") for end in text.split(">")]
    (src, _, sport), (dst, _, dport) = ends
    return FlowTuple(ip_address(src), ip_address(dst), proto, int(sport), int(dport))


def flow(orig: str, reply: str, proto: int = 6, **rest: object) -> Flow:
    made = Flow(one(orig, proto), one(reply, proto), status=int(NAT | SEEN))
    return replace(made, **rest)  # type: ignore[arg-type]


WEB = flow(
    "10.0.0.2:50000>198.51.100.9:443",
    "198.51.100.9:443>203.0.113.7:50000",
    tcp_state=3,
    timeout=431_940,
    start_ns=1_880 * 10**9,
    orig_bytes=1_000,
    orig_packets=5,
    reply_bytes=1_200_000,
    reply_packets=900,
)
FORWARD = flow(
    "192.0.2.99:4242>203.0.113.7:8080", "10.0.0.3:80>192.0.2.99:4242", tcp_state=7
)
HAIRPIN = flow(
    "10.0.0.2:50003>203.0.113.7:8080", "10.0.0.3:80>10.0.0.1:50003", tcp_state=3
)
REDIRECT = flow("10.0.0.2:999>10.0.0.1:8888", "10.0.0.1:22>10.0.0.2:999", tcp_state=3)
PORT_ONLY = flow("10.0.0.2:53>198.51.100.53:53", "198.51.100.53:53>10.0.0.2:1024", 17)
PLAIN = flow("10.0.0.2:1>198.51.100.9:2", "198.51.100.9:2>10.0.0.2:1", 17)
SIX = flow(
    "fd00::2:50000>2001:db8::9:443", "2001:db8::9:443>2001:db8:f::7:50000", tcp_state=1
)
PING = Flow(
    FlowTuple(ip_address("10.0.0.2"), ip_address("192.0.2.1"), 1, None, None, 8, 0, 77),
    FlowTuple(ip_address("192.0.2.1"), ip_address("203.0.113.7"), 1, None, None, 0, 0, 78),
    status=int(NAT),
    zone=5,
)  # fmt: skip
ALL = [WEB, FORWARD, HAIRPIN, REDIRECT, PORT_ONLY, PLAIN, SIX, PING]


def pages(flows: list[Flow], query: Query, evidence: Evidence = BOX) -> list[Page]:
    return list(listing([(FlowTable.from_flows(flows), evidence)], query))


def text(flows: list[Flow], **query: object) -> list[list[str]]:
    """The words of every line, heading first."""
    writer = TextTable()
    found = pages(flows, Query(**query))  # type: ignore[arg-type]
    out = b"".join(writer.write(page) for page in found)
    return [line.split() for line in out.decode().splitlines()]


def test_each_kind_shows_its_inside_public_outside_and_target() -> None:
    query = {"columns": ("inside", "public", "outside", "target", "kind")}
    assert text(ALL, **query)[1:] == [
        ["10.0.0.2:50000", "203.0.113.7:50000", "198.51.100.9:443", "-", "s"],
        ["10.0.0.3:80", "203.0.113.7:8080", "192.0.2.99:4242", "10.0.0.3:80", "d"],
        ["10.0.0.2:50003", "203.0.113.7:8080", "-", "10.0.0.3:80", "h"],
        ["10.0.0.1:22", "10.0.0.1:8888", "10.0.0.2:999", "10.0.0.1:22", "r"],
        ["10.0.0.2:53", "10.0.0.2:1024", "198.51.100.53:53", "-", "p"],
        ["[fd00::2]:50000", "[2001:db8:f::7]:50000", "[2001:db8::9]:443", "-", "s"],
        ["10.0.0.2:id=77", "203.0.113.7:id=78", "192.0.2.1", "-", "s"],
    ]


def test_flows_without_nat_are_listed_on_request() -> None:
    assert len(text([PLAIN])) == 1
    assert text([PLAIN], untranslated=True)[1][:4] == [
        "udp", "10.0.0.2:1", "-", "198.51.100.9:2",
    ]  # fmt: skip


def test_columns_appear_when_the_source_can_fill_them() -> None:
    assert text([FORWARD])[0] == [
        "PROTO",
        "INSIDE",
        "PUBLIC",
        "OUTSIDE",
        "TARGET",
        "NAT",
        "STATE",
    ]
    heading, line = text([WEB])
    assert heading == [
        "PROTO",
        "INSIDE",
        "PUBLIC",
        "OUTSIDE",
        "NAT",
        "STATE",
        "AGE",
        "IDLE",
        "BYTES",
    ]
    assert line[-3:] == ["2m00s", "1m00s", "1.2M"]
    assert "ZONE" in text([PING])[0]


def test_a_column_grows_with_a_wider_value_of_a_later_piece() -> None:
    writer = TextTable()
    tables = [(FlowTable.from_flows([one]), BOX) for one in (WEB, SIX)]
    query = Query(columns=("inside", "kind"))
    out = b"".join(writer.write(page) for page in listing(tables, query))
    assert out.decode().splitlines() == [
        "INSIDE          NAT",
        "10.0.0.2:50000  s",
        "[fd00::2]:50000  s",
    ]


def test_sorting_is_by_value_not_by_text_and_absent_comes_last() -> None:
    small = replace(WEB, orig_bytes=9, reply_bytes=0)
    rows = text([WEB, FORWARD, small], columns=("bytes",), sort=("bytes",))[1:]
    assert rows == [["9"], ["1.2M"], ["-"]]
    rows = text([small, FORWARD, WEB], columns=("bytes",), sort=("-bytes",))
    assert rows[1:] == [["1.2M"], ["9"], ["-"]]


def test_addresses_sort_as_numbers_with_ipv4_first() -> None:
    nine, ten = replace(WEB, orig=one("9.0.0.2:5>1.1.1.1:5")), WEB
    rows = text([SIX, ten, nine], columns=("inside",), sort=("inside",))[1:]
    assert rows == [["9.0.0.2:5"], ["10.0.0.2:50000"], ["[fd00::2]:50000"]]


def test_a_limit_counts_lines_and_ends_the_reading() -> None:
    def endless() -> object:
        yield FlowTable.from_flows([WEB]), BOX
        yield FlowTable.from_flows([SIX]), BOX
        pytest.fail("read on after the limit")

    found = list(listing(endless(), Query(limit=1)))  # type: ignore[arg-type]
    assert sum(page.rows for page in found) == 1


def test_groups_count_flows_and_bytes_the_most_first() -> None:
    lines = text([WEB, WEB, FORWARD], group=("kind",))
    assert lines == [
        ["NAT", "FLOWS", "BYTES", "PKTS"],
        ["s", "2", "2.4M", "1810"],
        ["d", "1", "-", "-"],
    ]


def test_a_part_of_a_sum_is_not_shown_as_the_sum() -> None:
    assert text([WEB, SIX], group=("kind",))[1] == ["s", "2", "-", "-"]


def test_a_column_that_a_later_piece_fills_gets_a_heading_of_its_own() -> None:
    zoned = replace(SIX, zone=7)
    pieces = [(FlowTable.from_flows([one]), BOX) for one in (WEB, PLAIN, zoned)]
    writer = TextTable()
    out = b"".join(writer.write(page) for page in listing(pieces, Query()))
    headings = [x.split() for x in out.decode().splitlines() if x.startswith("PROTO")]
    assert ["ZONE" in heading for heading in headings] == [False, True]
    objects = JsonLines()
    pages = listing(pieces, Query(everything=True))
    rows = [json.loads(x) for page in pages for x in objects.write(page).splitlines()]
    assert [row.get("zone") for row in rows] == [None, 7]


def test_each_column_is_sorted_its_own_way() -> None:
    flows = [PORT_ONLY, FORWARD, WEB, HAIRPIN]
    rows = text(flows, columns=("proto", "kind"), sort=("proto", "-kind"))[1:]
    assert rows == [["tcp", "s"], ["tcp", "h"], ["tcp", "d"], ["udp", "p"]]


def test_what_leaves_for_the_world_keeps_its_inside_though_diverted() -> None:
    diverted = flow("10.0.0.5:999>8.8.8.8:53", "10.0.0.2:53>10.0.0.5:999", 17)
    columns = ("inside", "public", "outside", "target", "kind")
    assert text([diverted], columns=columns)[1] == [
        *("10.0.0.5:999", "-", "8.8.8.8:53", "10.0.0.2:53", "d")
    ]


def test_a_text_cannot_command_the_terminal() -> None:
    shown = text([replace(WEB, helper="\x1b[31mred")], columns=("helper",))[1]
    assert shown == ["\\x1b[31mred"]


def test_flows_are_counted_by_host_without_its_ports() -> None:
    lines = text([WEB, HAIRPIN, FORWARD], group=("inside_address",))
    assert [line[:2] for line in lines[1:]] == [["10.0.0.2", "2"], ["10.0.0.3", "1"]]


def test_bindings_are_inside_to_public_with_their_flows() -> None:
    other = replace(
        WEB,
        orig=one("10.0.0.2:50000>198.51.100.10:443"),
        reply=one("198.51.100.10:443>203.0.113.7:50000"),
    )
    line = text([WEB, other], group=BINDING_FIELDS)[1]
    assert line[:5] == ["tcp", "10.0.0.2:50000", "203.0.113.7:50000", "s", "2"]


def test_the_ios_layout_names_local_and_global_ends() -> None:
    lines = text([WEB, FORWARD, HAIRPIN], columns=IOS_FIELDS)[1:]
    assert lines == [
        [
            "tcp",
            "203.0.113.7:50000",
            "10.0.0.2:50000",
            "198.51.100.9:443",
            "198.51.100.9:443",
        ],
        [
            "tcp",
            "203.0.113.7:8080",
            "10.0.0.3:80",
            "192.0.2.99:4242",
            "192.0.2.99:4242",
        ],
        ["tcp", "10.0.0.1:50003", "10.0.0.2:50003", "203.0.113.7:8080", "10.0.0.3:80"],
    ]


def test_an_unknown_column_names_the_nearest() -> None:
    with pytest.raises(UnknownColumn) as caught:
        pages([WEB], Query(columns=("insde",)))
    assert "inside" in (caught.value.hint or "")


def test_json_holds_what_is_known_and_nothing_else() -> None:
    found = pages(ALL, Query(everything=True))
    writer = JsonLines()
    rows = [json.loads(x) for p in found for x in writer.write(p).splitlines()]
    web, ping = rows[0], rows[-1]
    assert web["inside"] == {"address": "10.0.0.2", "port": 50000}
    assert (web["bytes"], web["age"], web["idle"]) == (1_201_000, 120, 60)
    assert web["flags"].split(",")[:2] == ["SEEN_REPLY", "ASSURED"]
    assert ping["public"] == {"address": "203.0.113.7", "id": 78}
    assert ping["zone"] == 5
    assert "bytes" not in ping
    assert "zone" not in web


def test_a_json_document_is_one_whether_full_or_empty() -> None:
    for flows in ([], [WEB], [WEB, SIX]):
        writer = JsonDocument()
        out = b"".join(writer.write(page) for page in pages(flows, Query()))
        document = json.loads(out + writer.end())
        assert document["schema"] == "natscope.list/1"
        assert len(document["flows"]) == len(flows)


def test_text_of_any_kind_is_quoted_for_json_and_csv() -> None:
    nasty = replace(WEB, helper='a"b,c\n\\', secctx="naïve")
    query = Query(columns=("helper", "secctx", "mark"))
    (page,) = pages([nasty], query)
    assert json.loads(JsonLines().write(page)) == {
        "helper": 'a"b,c\n\\',
        "secctx": "naïve",
    }
    rows = list(csv.reader(io.StringIO(Separated().write(page).decode())))
    assert rows == [["helper", "secctx", "mark"], ['a"b,c\n\\', "naïve", ""]]


def test_csv_and_text_agree_cell_for_cell() -> None:
    query = Query(columns=("proto", "inside", "public", "kind", "state"))
    (page,) = pages(ALL, query)
    rows = list(csv.reader(io.StringIO(Separated().write(page).decode())))
    shown = TextTable(heading=False).write(page).decode().splitlines()
    assert [line.split() for line in shown] == [
        [cell or "-" for cell in row] for row in rows[1:]
    ]


def test_colour_changes_no_width() -> None:
    (page,) = pages(ALL, Query())
    plain = TextTable().write(page)
    coloured = TextTable(colour=True).write(page)
    import re

    stripped = re.sub(rb"\x1b\[\d+m", b"", coloured)
    assert stripped == plain
    assert coloured != plain
