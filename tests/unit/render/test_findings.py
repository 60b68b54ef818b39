"""Findings as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface

import pytest

from natscope.model.evidence import Evidence
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.render import findings
from natscope.uapi import Status
from natscope.views.doctor.box import Box, Uplink
from natscope.views.doctor.diagnosis import Diagnosis, NotChecked
from unit.views.doctor.boxes import NOW_NS, snat

FOUND = Finding(
    "R03",
    Severity.HIGH,
    "95 of 100 ports",
    (Fact("ports held", 95), Fact("share", 95.0, "%"), Fact("range", "1-100")),
    (snat(17, 4000, 53),),
    "Each flow needs a port. " * 6,
    (
        Remedy("sysctl -w a.b=1", "sooner", sysctl=("a.b", "1")),
        Remedy("natscope delete x", is_destructive=True),
        Remedy("nft replace TABLE", is_pattern=True),
    ),
    "natscope ports",
    "203.0.113.1",
)
DIAGNOSIS = Diagnosis(
    (FOUND,), (NotChecked("R04", "rose"), NotChecked("R06", "rose")), ("R03",)
)
BOX = Box("gw1", "1.2.3", Evidence(NOW_NS), 5.0)
TEXT = """\
HIGH      R03  95 of 100 ports
  evidence  ports held 95, share 95 %, range 1-100
    PROTO  INSIDE         PUBLIC            OUTSIDE          STATE
    udp    10.0.0.2:4000  203.0.113.1:4000  198.51.100.9:53  ASSURED
  why       Each flow needs a port. Each flow needs a port. Each flow needs a port. Each
            flow needs a port. Each flow needs a port. Each flow needs a port.
  mend      sysctl -w a.b=1
              sooner
  mend      natscope delete x
              (something is lost: read first)
  mend      nft replace TABLE
  verify    natscope ports
  more      natscope help R03
"""


def test_a_finding_in_words() -> None:
    assert findings.text(FOUND, BOX) == TEXT


BEGUN = snat(
    *(17, 4000, 53),
    start_ns=NOW_NS - 42 * 10**9,
    **dict.fromkeys(("orig_bytes", "reply_bytes", "orig_packets", "reply_packets"), 60),
)


@dataclass(frozen=True)
class Width:
    id: str
    width: int | None
    headings: str


WIDTHS = [
    Width("no end", None, "PROTO INSIDE PUBLIC OUTSIDE STATE AGE BYTES"),
    Width("just room for all", 80, "PROTO INSIDE PUBLIC OUTSIDE STATE AGE BYTES"),
    Width("no room for bytes", 79, "PROTO INSIDE PUBLIC OUTSIDE STATE AGE"),
    Width("no room for the age", 70, "PROTO INSIDE PUBLIC OUTSIDE STATE"),
    Width("no room at all", 20, "PROTO INSIDE PUBLIC OUTSIDE STATE"),
]


@pytest.mark.parametrize("case", WIDTHS, ids=lambda case: case.id)
def test_flows_are_shown_as_wide_as_there_is_room(case: Width) -> None:
    found = replace(FOUND, flows=(BEGUN,))
    lines = findings.text(found, BOX, width=case.width).splitlines()
    (heading,) = [line for line in lines if "INSIDE" in line]
    assert heading.split() == case.headings.split()


def dnat(source: str) -> Flow:
    ends = {word: ip_address(word) for word in (source, "203.0.113.1", "10.0.0.3")}
    back = source if source != "10.0.0.2" else "203.0.113.1"
    return Flow(
        FlowTuple(ends[source], ends["203.0.113.1"], 6, 4000, 8080),
        FlowTuple(ends["10.0.0.3"], ends[back], 6, 80, 4000),
        status=Status.DST_NAT | Status.SRC_NAT * (back != source),
    )


@pytest.mark.parametrize(("source", "is_told"), [("192.0.2.9", 0), ("10.0.0.2", 1)])
def test_a_target_is_told_beside_another_host_inside(
    source: str, is_told: bool
) -> None:
    """Of a forward the target is what is inside; of a hairpin it is not."""
    wan = ip_interface("203.0.113.1/24")
    box = replace(BOX, evidence=Evidence(NOW_NS, addresses=(wan,)))
    told = findings.text(replace(FOUND, flows=(dnat(source),)), box)
    assert ("TARGET" in told) == is_told
    assert "10.0.0.3:80" in told


def test_the_age_of_a_flow_is_that_at_the_reading() -> None:
    found = replace(FOUND, flows=(BEGUN,))
    assert " 42s " in findings.text(found, BOX)
    (flow,) = findings.as_object(found, BOX)["flows"]
    assert "delta-time=42" in flow["line"]


def test_without_a_clock_a_flow_has_no_age() -> None:
    found = replace(FOUND, flows=(BEGUN,))
    blind = replace(BOX, evidence=Evidence())
    assert "AGE" not in findings.text(found, blind)
    (flow,) = findings.as_object(found, blind)["flows"]
    assert "delta-time" not in flow["line"]


@dataclass(frozen=True)
class Heading:
    id: str
    box: Box
    said: str


WAN = Uplink("wan", ("203.0.113.1", "2001:db8::1", "2001:db8::2"))
HEADINGS = [
    Heading(
        "all that is known",
        replace(BOX, uplinks=(WAN,), nat_rules=2, flows=12, translated=10, entries=12,
                limit=1000),
        "gw1: uplink wan 203.0.113.1 2001:db8::1; 2 NAT rules; 12 flows, 10 "
        "translated; table 1.2 % of 1000",
    ),
    Heading(
        "two uplinks",
        replace(BOX, uplinks=(WAN, Uplink("wan2", ())), nat_rules=1, flows=1,
                translated=0),
        "gw1: uplinks wan 203.0.113.1 2001:db8::1, wan2; 1 NAT rule; 1 flow, 0 "
        "translated",
    ),
    Heading("none", replace(BOX, uplinks=()), "gw1: no default route"),
    Heading("nothing was read", BOX, "gw1"),
    Heading("a name to deceive", replace(BOX, name="gw\x1b[2J"), "gw\\x1b[2J"),
]  # fmt: skip


@pytest.mark.parametrize("case", HEADINGS, ids=lambda case: case.id)
def test_a_box_is_told_in_a_line(case: Heading) -> None:
    assert findings.heading(case.box) == case.said + "\n"


def test_colour_is_of_the_headline_alone() -> None:
    plain, painted = findings.text(FOUND, BOX), findings.text(FOUND, BOX, colour=True)
    assert painted.splitlines()[1:] == plain.splitlines()[1:]
    assert painted.splitlines()[0].endswith("\x1b[0m")


def test_the_last_line_says_what_was_not_checked() -> None:
    assert findings.summary(DIAGNOSIS) == (
        "1 high; 1 rule checked; not checked: R04, R06 (needs two readings)\n"
    )
    lacking = [NotChecked("R10", "flows"), NotChecked("R15", "rose")]
    lacking.append(NotChecked("R11", "hits_rose"))
    assert findings.summary(Diagnosis((), tuple(lacking), ())) == (
        "nothing found; 0 rules checked; not checked: R10 (needs the flows); "
        "R15, R11 (needs two readings)\n"
    )
    assert findings.summary(Diagnosis((), (), ("R01", "R02"))) == (
        "nothing found; 2 rules checked\n"
    )


def test_a_finding_for_programs() -> None:
    document = json.loads(json.dumps(findings.document(DIAGNOSIS, BOX)))
    assert document["schema"] == "natscope.doctor/1"
    assert document["box"] == {"name": "gw1"}
    assert document["not_checked"][0] == {"rule": "R04", "needs": "rose"}
    (found,) = document["findings"]
    assert found["severity"] == "high"
    assert found["facts"][0] == {"name": "ports held", "value": 95, "unit": ""}
    assert found["flows"][0]["reply"]["dst"] == "203.0.113.1"
    assert [one["pattern"] for one in found["remedies"]] == [False, False, True]
    assert found["page"].endswith("R03-snat-ports.md")


def test_a_change_is_a_line() -> None:
    assert findings.change("raise", FOUND, "12:00:00") == (
        "12:00:00  raise  high      R03  95 of 100 ports\n"
    )
