"""What conntrack 1.4.7 and kernel 6.18 printed of one table, in every format."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from natscope import uapi
from natscope.codec.text.listing import Reader, parse_listing
from natscope.model.flow import Flow

LISTINGS = Path(__file__).parents[2] / "data" / "listings"
FLOWS = 37
WHOLE = ("plain", "extended", "id", "ktimestamp", "proc", "save")


def flows_of(name: str) -> list[Flow]:
    (path,) = LISTINGS.glob(f"{name}.*")
    tables = parse_listing(path.read_text().split("\n"), zone=UTC)
    return [flow for table in tables for flow in table]


def tuples(name: str) -> Counter[str]:
    """The tuples of each flow; DCCP has no ports here, and stock prints zeros."""
    shown: Counter[str] = Counter()
    for flow in flows_of(name):
        ends = [flow.orig, flow.reply]
        if flow.proto == uapi.IPPROTO_DCCP:
            ends = [replace(end, sport=None, dport=None) for end in ends]
        shown[repr(ends)] += 1
    return shown


def states(name: str) -> Counter[tuple[int, int | None, int | None]]:
    return Counter((f.proto, f.tcp_state, f.sctp_state) for f in flows_of(name))


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_holds_the_same_tuples(name: str) -> None:
    assert tuples(name) == tuples("plain")
    assert sum(tuples(name).values()) == FLOWS


@pytest.mark.parametrize("name", [*WHOLE, "xml"])
def test_every_format_tells_the_same_states(name: str) -> None:
    assert states(name) == states("plain")
    assert {state for _, state, _ in states(name) if state is not None} == set(
        range(10)
    )


@pytest.mark.parametrize("name", [*WHOLE, "xml"])
def test_every_format_tells_the_same_replies(name: str) -> None:
    bit = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED
    told = Counter((f.status or 0) & bit for f in flows_of(name))
    assert told == {0: FLOWS - 6, bit: 5, int(uapi.Status.SEEN_REPLY): 1}
    assert all(flow.knows_status(bit) for flow in flows_of(name))


def test_xml_and_text_agree_on_ids_and_times() -> None:
    ids = sorted(flow.id or 0 for flow in flows_of("id"))
    assert ids == sorted(flow.id or 0 for flow in flows_of("xml"))
    seconds = [(flow.start_ns or 0) // 10**9 for flow in flows_of("xml")]
    assert sorted(seconds) == sorted(
        (flow.start_ns or 0) // 10**9 for flow in flows_of("ktimestamp")
    )


def test_zones_are_those_of_the_flow_and_of_one_direction() -> None:
    for name in ("plain", "proc", "save", "xml"):
        flows = flows_of(name)
        assert sum(flow.zone == 7 for flow in flows) == 1
        assert sum(flow.orig.zone == 3 for flow in flows) == 1
        assert sum(flow.reply.zone == 4 for flow in flows) == 1


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("plain", "conntrack -L"),
        ("proc", "conntrack -L -o extended, or /proc/net/nf_conntrack"),
        ("save", "conntrack -L -o save"),
        ("xml", "conntrack -L -o xml"),
        ("events", "conntrack -E"),
        ("events-timestamp", "conntrack -E"),
        ("events-save", "conntrack -E -o save"),
        ("events-xml", "conntrack -E -o xml"),
        ("deleted", "conntrack -L -o xml"),
    ],
)
def test_the_format_is_recognised(name: str, format: str) -> None:
    (path,) = LISTINGS.glob(f"{name}.*")
    problems: list[Exception] = []
    reader = Reader(name, problems.append)
    assert sum(map(len, reader.tables(path.read_text().split("\n")))) > 0
    assert (reader.format, problems) == (format, [])


@pytest.mark.parametrize("name", ["events", "events-timestamp", "events-xml"])
def test_events_are_one_flow_a_line(name: str) -> None:
    flows = flows_of(name)
    assert [flow.mark for flow in flows] == [5, 9, 9]
    assert {flow.reply.dport for flow in flows} == {53375}
    born = [1795243291] * 3 if name != "events" else [0] * 3
    assert [(flow.event_ns or 0) // 10**9 for flow in flows] == born
