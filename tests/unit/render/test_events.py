"""Events written for people and for programs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC

import numpy as np
import pytest

from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.model.labelmap import LabelMap
from natscope.render import events as rows
from natscope.render.event_lines import EventLines
from natscope.render.records import JsonDocument, Separated
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views.lifecycle import Lifecycle, Told
from unit.table.flows import MASQUERADED, PING

NEW, UPDATE, DESTROY = EventKind
NOW = 1_795_265_192_358_607_493
HERE = Evidence()
FLOW = replace(MASQUERADED, netns=None, orig_packets=None, orig_bytes=None, labels=None)
GONE = replace(
    FLOW,
    orig_packets=3,
    orig_bytes=80_000,
    reply_packets=4,
    reply_bytes=1_200_000,
    timeout=None,
    tcp_state=7,
    start_ns=NOW - 192 * 10**9,
    stop_ns=NOW,
)
LINE = "12:46:32.358  {:<22}  tcp    s   10.0.0.5:40000        -> "
LINE += "203.0.113.7:40000     -> 192.0.2.1:443"


def told(*pairs: tuple[EventKind, object], **about: int | bool) -> Told:
    flows = [flow for _, flow in pairs]
    table = FlowTable.from_flows(flows) if flows else FlowTable.empty()  # type: ignore[arg-type]
    kinds = np.array([kind for kind, _ in pairs], np.uint8)
    port = np.full(len(pairs), about.pop("portid", 0), np.uint32)
    batch = Events(table, kinds, port, received_ns=NOW, **about)  # type: ignore[arg-type]
    return Lifecycle().tell(batch)


def shown(batch: Told, lines: EventLines | None = None) -> list[str]:
    return (lines or EventLines(UTC)).write(batch, HERE).decode().splitlines()


def test_a_line_tells_when_what_and_between_whom() -> None:
    batch = told((NEW, replace(FLOW, tcp_state=1)), (DESTROY, GONE), portid=7)
    assert shown(batch, EventLines(UTC, programs={7: "conntrack"})) == [
        "-- 2026-11-21",
        LINE.format("opened") + "          by conntrack",
        LINE.format("deleted after 3m12s")
        + "          1.2MB down / 80kB up  by conntrack",
    ]


def test_narrow_columns_fit_a_narrow_terminal() -> None:
    opened, replied = replace(FLOW, tcp_state=1), replace(FLOW, tcp_state=2)
    batch = told((NEW, opened), (UPDATE, replied), (NEW, PING))
    lines = shown(batch, EventLines(UTC, narrow=True, dated=False))
    ends = "10.0.0.5:40000 -> 203.0.113.7:40000 -> 192.0.2.1:443"
    assert lines[0] == f"12:46:32.358 opened        tcp s  {ends}"
    assert lines[1].startswith("12:46:32.358 ")
    assert max(map(len, lines)) <= 100


def test_the_day_is_told_at_once_or_when_another_one_begins() -> None:
    batch = told((NEW, FLOW))
    tomorrow = Events(
        batch.events.flows, batch.events.kinds, received_ns=NOW + 86_400 * 10**9
    )
    for dated, days in ((True, ["-- 2026-11-21"]), (False, [])):
        lines = EventLines(UTC, dated=dated)
        assert [line for line in shown(batch, lines) if line[0] == "-"] == days
        assert shown(batch, lines)[0].startswith("12:")
        assert shown(Lifecycle().tell(tomorrow), lines)[0] == "-- 2026-11-22"


def test_a_finished_flow_tells_its_beginning_and_its_packets() -> None:
    batch = told((NEW, FLOW), (DESTROY, GONE))
    (line,) = shown(batch, EventLines(UTC, lifecycle=True))
    assert line.startswith("2026-11-21 12:43:20.358   3m12s  closed      tcp")
    assert line.endswith("  1.2MB 4p down / 80kB 3p up")


def test_a_loss_and_a_repair_stand_where_they_belong() -> None:
    batch = told((NEW, FLOW), (NEW, PING), (DESTROY, FLOW), lost=312, repaired=True)
    lines = shown(batch)
    assert lines[1:3] == [
        "-- 312 events lost",
        "-- found by a dump: 2 opened, 1 gone",
    ]
    assert [line[14:36].rstrip() for line in lines[3:]] == [
        "opened, repaired",
        "opened, repaired",
        "gone, repaired",
    ]


def test_the_day_is_told_once() -> None:
    lines = EventLines(UTC)
    assert shown(told((NEW, PING)), lines)[0] == "-- 2026-11-21"
    assert len(shown(told((NEW, PING)), lines)) == 1
    assert shown(told(), EventLines(UTC)) == []


@pytest.mark.parametrize(
    ("bits", "text"),
    [(1, "label web"), (5, "label web,2"), (0, "label none")],
)
def test_labels_are_told_by_name_where_they_have_one(bits: int, text: str) -> None:
    batch = told((NEW, replace(FLOW, labels=2)), (UPDATE, replace(FLOW, labels=bits)))
    lines = EventLines(UTC, labels=LabelMap({0: "web"}))
    assert shown(batch, lines)[-1][14:36].rstrip() == text


def test_each_kind_of_event_has_its_colour_and_nothing_shifts() -> None:
    batch = told((NEW, FLOW), (UPDATE, replace(FLOW, mark=5)), (DESTROY, GONE))
    coloured = EventLines(UTC, colour=True).write(batch, HERE).decode()
    for code in ("32", "36", "33"):
        assert f"  \x1b[{code}m" in coloured
    bare = coloured
    for code in ("1", "0", "31", "32", "33", "36"):
        bare = bare.replace(f"\x1b[{code}m", "")
    assert bare.splitlines() == shown(batch)


def test_an_object_holds_the_event_and_the_flow() -> None:
    batch = told((NEW, FLOW), (UPDATE, replace(FLOW, mark=5)), (DESTROY, GONE))
    found = [json.loads(line) for line in rows.objects(batch, HERE).splitlines()]
    assert [row["event"] for row in found] == ["new", "update", "destroy"]
    assert [row["what"] for row in found] == ["picked up", "mark", "closed"]
    assert found[1]["mark"] == 5
    assert found[2]["duration_ns"] == 192 * 10**9
    assert found[2]["reply_bytes"] == 1_200_000
    assert found[0]["inside"] == {"address": "10.0.0.5", "port": 40_000}
    assert "duration_ns" not in found[0]


def test_counters_of_an_earlier_dump_are_not_told_as_those_of_an_event() -> None:
    counted = replace(GONE, stop_ns=None, tcp_state=3)
    for batch in (told((UPDATE, counted)), told((DESTROY, counted), repaired=True)):
        (row,) = map(json.loads, rows.objects(batch, HERE).splitlines())
        assert not {"orig_bytes", "reply_packets", "bytes"} & row.keys()


def test_a_loss_is_an_object_before_what_follows_it() -> None:
    lines = rows.objects(told((NEW, FLOW), lost=3), HERE).splitlines()
    assert json.loads(lines[0]) == {"loss": 3, "time_ns": NOW}
    assert rows.objects(told(lost=3), HERE).splitlines() == lines[:1]


def test_a_document_names_its_schema() -> None:
    writer = JsonDocument("events")
    batch = told((NEW, FLOW), (DESTROY, GONE))
    text = writer.write(rows.rows(batch, HERE)) + writer.end()
    document = json.loads(text)
    assert document["schema"] == "natscope.event/1"
    assert len(document["events"]) == 2


def test_rows_of_losses_have_the_columns_of_the_others() -> None:
    batch = told((NEW, FLOW), lost=3)
    writer = Separated()
    text = writer.write(rows.loss_row(batch.events, fixed=True))
    text += writer.write(rows.rows(batch, HERE, {}, fixed=True))
    loss, event = csv.DictReader(text.decode().splitlines())
    assert (loss["event"], loss["loss"], loss["proto"]) == ("loss", "3", "")
    assert (event["event"], event["loss"], event["proto"]) == ("new", "", "tcp")
