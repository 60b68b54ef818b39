"""Saved tables, line by line: what is read, and what is wrong with a bad line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from natscope.codec.text import listing
from natscope.codec.text.listing import Reader, parse_listing
from natscope.errors import ParseError
from natscope.model.flow import Flow, Unknown
from natscope.render import saved
from natscope.table.flowtable import FlowTable

HEADER = '{"natscope":"save","version":1,"time_ns":1795228478000000000,"netns":"edge"}'
FLOW: dict[str, object] = {
    **{"family": 2, "proto": 6, "reply_proto": 6},
    **{"orig_src": "10.1.0.2", "orig_dst": "198.51.100.2"},
    **{"orig_sport": 40080, "orig_dport": 80},
    **{"reply_src": "198.51.100.2", "reply_dst": "198.51.100.1"},
    **{"reply_sport": 80, "reply_dport": 40080},
    **{"status": 0x19E, "timeout": 431968, "mark": 42, "tcp_state": 3},
}
LINE = json.dumps(FLOW)


def read(*lines: str) -> tuple[list[Flow], list[ParseError], Reader]:
    problems: list[ParseError] = []
    reader = Reader("saved", problems.append)
    return [f for table in reader.tables(lines) for f in table], problems, reader


def end(flows: int, expectations: int = 0) -> str:
    return saved.end(flows=flows, expectations=expectations).decode()


def line(**more: object) -> str:
    """The flow with some keys more, or none where None."""
    changed = FLOW | more
    return json.dumps({key: v for key, v in changed.items() if v is not None})


def test_a_saved_table_names_itself_and_tells_its_flows() -> None:
    flows, problems, reader = read(HEADER, LINE, end(1))
    assert problems == []
    assert reader.format == listing.SAVED
    assert reader.header is not None
    assert (reader.header.netns, reader.header.flows) == ("edge", None)
    assert reader.header.time_ns == 1795228478 * 10**9
    (flow,) = flows
    assert (str(flow.orig.src), flow.reply.dport, flow.mark) == ("10.1.0.2", 40080, 42)
    assert (flow.status, flow.status_mask, flow.zone) == (0x19E, None, None)


def test_what_a_listing_prints_as_json_lines_is_read_without_what_it_derives() -> None:
    end = {"address": "10.1.0.2", "port": 40080}
    derived = {"inside": end, "kind": "s", "state": "ESTABLISHED", "age": 7, "bytes": 9}
    flows, problems, reader = read(line(family="ipv4", proto="tcp", **derived))
    assert (problems, reader.format) == ([], listing.JSON_LINES)
    assert flows == read(LINE)[0]
    assert read(line(proto="89"))[0][0].proto == 89


def test_labels_texts_and_unknown_attributes_are_kept() -> None:
    extra = [["CTA_99", "00ff"], ["CTA_99.1", ""]]
    flows, problems, _ = read(line(labels="0x1" + "0" * 31, helper="ftp", extra=extra))
    assert problems == []
    assert (flows[0].labels, flows[0].helper) == (1 << 124, "ftp")
    unknown = (Unknown("CTA_99", b"\0\xff"), Unknown("CTA_99.1", b""))
    assert flows[0].extra == unknown


def test_an_unknown_key_is_a_problem_and_the_rest_of_the_flow_is_kept() -> None:
    flows, problems, _ = read(HEADER, line(colour="red", shape=1), LINE, end(2))
    assert len(flows) == 2
    assert flows[0] == flows[1]
    assert [(p.line, p.reason) for p in problems] == [
        (2, "unknown key 'colour'"),
        (2, "unknown key 'shape'"),
    ]


def test_strict_reading_stops_at_an_unknown_key() -> None:
    with pytest.raises(ParseError, match="line 2: unknown key 'colour'"):
        list(parse_listing([HEADER, line(colour="red")]))


def test_expectations_are_handed_on_with_their_lines() -> None:
    found: list[tuple[Mapping[str, Any], int]] = []
    reader = Reader(
        "saved",
        lambda error: pytest.fail(str(error)),
        expectation=lambda told, number: found.append((told, number)),
    )
    text = saved.expectation({"helper": "ftp", "timeout": 300}).decode()
    assert sum(map(len, reader.tables([HEADER, LINE, text, LINE, end(2, 1)]))) == 2
    assert found == [({"helper": "ftp", "timeout": 300}, 3)]
    assert read(HEADER, text, end(0, 1))[1] == []


def test_the_header_survives_with_all_it_says() -> None:
    undo = {"action": "update", "columns": ["mark"]}
    made = saved.header(time_ns=7, netns="edge", flows=1, undo=undo).decode()
    _, problems, reader = read(made, LINE)
    assert problems == []
    assert reader.header is not None
    assert (reader.header.time_ns, reader.header.flows) == (7, 1)
    assert reader.header.undo == undo
    assert json.loads(saved.header(time_ns=7))["netns"] is None


def test_a_file_cut_off_is_a_problem_at_its_last_line() -> None:
    header = saved.header(time_ns=7, flows=3).decode()
    flows, problems, _ = read(header, LINE, LINE)
    assert len(flows) == 2
    assert [(p.line, p.reason) for p in problems] == [
        (3, "cut off: 2 of 3 flows are here")
    ]
    _, problems, _ = read(header, LINE, header, LINE, LINE, LINE)
    assert [p.line for p in problems] == [3]


@dataclass(frozen=True)
class Ending:
    id: str
    lines: tuple[str, ...]
    problems: tuple[tuple[int, str], ...] = ()


ENDINGS = [
    Ending("whole", (HEADER, LINE, end(1))),
    Ending("empty", (HEADER, end(0))),
    Ending("no end", (HEADER, LINE), ((2, "cut off: the last line is missing"),)),
    Ending(
        "cut in the middle of several",
        (HEADER, LINE, HEADER, LINE, end(1)),
        ((3, "cut off: the last line is missing"),),
    ),
    Ending("a flow lost", (HEADER, LINE, end(2)), ((3, "1 of 2 flows are here"),)),
    Ending(
        "an expectation lost",
        (HEADER, LINE, end(1, 2)),
        ((3, "0 of 2 expectations are here"),),
    ),
]


@pytest.mark.parametrize("case", ENDINGS, ids=lambda case: case.id)
def test_the_last_line_tells_whether_a_table_is_whole(case: Ending) -> None:
    problems = read(*case.lines)[1]
    assert tuple((p.line, p.reason) for p in problems) == case.problems


def test_an_end_that_tells_nothing_is_a_problem() -> None:
    (problem,) = read(HEADER, LINE, '{"natscope":"end"}')[1]
    assert problem.reason == "flows null is no whole number"


def test_a_table_of_a_later_version_is_not_guessed_at() -> None:
    flows, problems, _ = read(HEADER.replace(":1,", ":2,"), LINE, LINE)
    assert flows == []
    assert [problem.line for problem in problems] == [1]
    assert "saved in version 2" in problems[0].reason


def test_objects_may_stand_among_other_lines() -> None:
    plain = (
        "udp      17 29 src=10.0.0.2 dst=1.1.1.1 sport=1 dport=2 "
        "src=1.1.1.1 dst=10.0.0.2 sport=2 dport=1 mark=0 use=1"
    )
    flows, problems, reader = read(plain, LINE, "# a remark", "", plain)
    assert ([flow.proto for flow in flows], problems) == ([17, 6, 17], [])
    assert reader.format == listing.PLAIN


@dataclass(frozen=True)
class Bad:
    id: str
    line: str
    reason: str


BAD = [
    Bad("half an object", LINE[:40], "no JSON"),
    Bad("two objects", LINE + LINE, "no JSON: Extra data"),
    Bad("a key told twice", LINE[:-1] + ', "mark": 1}', "told twice"),
    Bad("a number too large", line(mark=1 << 32), "mark 4294967296 is not from 0"),
    Bad("a number too small", line(timeout=-1), "timeout -1"),
    Bad("an offset too small", line(seqadj_orig_before=-(1 << 31) - 1), "seqadj_orig"),
    Bad("a fraction", line(mark=1.5), "mark 1.5 is no whole number"),
    Bad("a truth", line(mark=True), "mark true is no whole number"),
    Bad("a number as text", line(mark="42"), 'mark "42" is no whole number'),
    Bad("null", LINE.replace("42", "null"), "mark null is no whole number"),
    Bad("more digits than Python reads", line(mark=7).replace("7", "7" * 9000), "JSON"),
    Bad("brackets without end", '{"a":' + "[" * 100_000, "no JSON"),
    Bad("no address", line(orig_src="10.1.0.256"), "'10.1.0.256' is no address"),
    Bad("an address as number", line(orig_src=1), "orig_src 1 is no text"),
    Bad("two families", line(reply_dst="::1"), "IPv4 and IPv6"),
    Bad("a master of another family", line(master_src="::1"), "IPv4 and IPv6"),
    Bad("a family that is not its own", line(family=10), "IPv4 and IPv6"),
    Bad("a family that is none", line(family=3), "family 3 is neither"),
    Bad("half a tuple", line(reply_dst=None), "reply_dst is missing"),
    Bad("no protocol", line(proto=None), "proto is missing"),
    Bad("a protocol that is none", line(proto="tpc"), "proto 'tpc' is no number"),
    Bad("labels as number", line(labels=1), "labels 1 is no text"),
    Bad("labels too wide", line(labels="0x" + "f" * 33), "0x and up to 32 digits"),
    Bad("text with a NUL", line(helper="f\0p"), "NUL"),
    Bad("half a character", line(helper="\ud800"), "no Unicode"),
    Bad("extra that is no list", line(extra={"a": "00"}), "extra is not a list"),
    Bad("extra of single texts", line(extra=["a"]), "extra is not a list"),
    Bad("extra that is no hex", line(extra=[["a", "0g"]]), "extra is not a list"),
    Bad("another tool's header", '{"natscope":"stats","version":1}', "no saved table"),
    Bad("an expectation that is none", '{"expectation":1}', "expectation is no object"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_a_bad_object_is_reported_by_number_and_the_rest_is_read(case: Bad) -> None:
    flows, problems, _ = read(LINE, case.line)
    assert len(flows) == 1
    assert [problem.line for problem in problems] == [2]
    assert case.reason in problems[0].reason


def test_absent_values_are_left_out_and_zero_is_not() -> None:
    rows: list[dict[str, object]] = [{"mark": 0, "helper": "sip"}, {"timeout": 0}]
    always: dict[str, object] = {
        **{"family": 2, "proto": 17, "reply_proto": 17, "orig_src": 1, "orig_dst": 2},
        **{"reply_src": 2, "reply_dst": 1},
    }
    table = FlowTable.from_cells([always | row for row in rows])
    first, second = map(json.loads, saved.flows(table).splitlines())
    assert first.keys() - second.keys() == {"mark", "helper"}
    assert (first["mark"], second["timeout"], first["orig_dst"]) == (0, 0, "0.0.0.2")


def test_many_chunks_are_written_in_the_order_of_the_table() -> None:
    n = 2 * saved.ROWS_AT_ONCE + 1
    (one,) = parse_listing([LINE])
    many = one.take(np.zeros(n, np.intp)).with_column("mark", np.arange(n, dtype="u4"))
    marks = [json.loads(each)["mark"] for each in saved.flows(many).splitlines()]
    assert marks == list(range(n))


@dataclass(frozen=True)
class Damaged:
    """A line of a saved table that is none, and what is said of it."""

    id: str
    line: str
    reason: str


DAMAGED = [
    Damaged("garbage", "garbage", "no JSON: Expecting value"),
    Damaged("a list", "[1,2]", "no JSON object"),
    Damaged("a text", '"x"', "no JSON object"),
    Damaged("null", "null", "no JSON object"),
    Damaged("too many digits", '{"proto":' + 5000 * "7" + "}", "5000 digits"),
    Damaged("no finite number", line(proto=float("inf")), "proto Infinity is no"),
    Damaged("a truth", line(proto=True), "proto true is no whole number"),
]


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case.id)
def test_a_damaged_line_of_a_saved_table_is_told_of_as_one(case: Damaged) -> None:
    flows, problems, _ = read(HEADER, LINE, case.line, end(len([LINE])))
    assert len(flows) == 1
    assert case.reason in problems[0].reason
    assert problems[0].line == 3


def test_flows_after_a_header_of_another_version_are_not_taken() -> None:
    other = HEADER.replace('"version":1', '"version":2')
    compact = saved.flows(FlowTable.from_flows(read(LINE)[0])).decode().strip()
    flows, problems, _ = read(HEADER, compact, end(1), other, compact, HEADER, compact)
    assert len(flows) == 2
    assert [problem.line for problem in problems] == [4, 7]
