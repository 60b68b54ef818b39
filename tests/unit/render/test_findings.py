"""Findings as text, as JSON, and as SARIF."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.render import findings
from natscope.render.findings import Box
from natscope.views.doctor.diagnosis import Diagnosis, NotChecked
from unit.views.doctor.boxes import snat

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
BOX = Box("gw1", "1.2.3", 5.0)
TEXT = """\
HIGH      R03  95 of 100 ports
  evidence  ports held 95, share 95 %, range 1-100
            udp      17 100 src=10.0.0.2 dst=198.51.100.9 sport=4000 dport=53 src=198.51.100.9 dst=203.0.113.1 sport=53 dport=4000 [ASSURED] mark=0 use=1
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
    told = findings.text(FOUND)
    assert [line.partition(" mark=")[0] for line in told.splitlines()] == [
        line.partition(" mark=")[0] for line in TEXT.splitlines()
    ]


def test_colour_is_of_the_headline_alone() -> None:
    plain, painted = findings.text(FOUND), findings.text(FOUND, colour=True)
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
    assert document["not_checked"][0] == {"rule": "R04", "needs": "rose"}
    (found,) = document["findings"]
    assert found["severity"] == "high"
    assert found["facts"][0] == {"name": "ports held", "value": 95, "unit": ""}
    assert found["flows"][0]["reply"]["dst"] == "203.0.113.1"
    assert [one["pattern"] for one in found["remedies"]] == [False, False, True]
    assert found["page"].endswith("R03-snat-ports.md")


def test_sarif_has_what_its_schema_requires() -> None:
    log: dict[str, Any] = json.loads(json.dumps(findings.sarif(DIAGNOSIS, BOX)))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("natscope doctor", "1.2.3")
    (result,) = run["results"]
    assert result["level"] == "error"
    assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "R03"
    assert 0 <= result["rank"] <= 100
    assert "sysctl -w a.b=1" in result["message"]["text"]
    place = result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
    assert place == "gw1/203.0.113.1"
    (invocation,) = run["invocations"]
    told = invocation["toolExecutionNotifications"]
    assert [one["descriptor"]["id"] for one in told] == ["R04", "R06"]
    assert told[0]["message"]["text"] == "not checked: needs two readings"


def _result(box: Box) -> dict[str, Any]:
    (result,) = findings.sarif(DIAGNOSIS, box)["runs"][0]["results"]
    found: dict[str, Any] = result
    return found


def test_sarif_has_what_github_asks_for() -> None:
    """A file, a line, a hash that stays, and a category of the upload."""
    odd = Box("gw 1:a/qrouter-7", "1.2.3", 5.0)
    (run,) = findings.sarif(DIAGNOSIS, odd)["runs"]
    assert run["automationDetails"]["id"] == "natscope doctor/gw 1:a/qrouter-7/"
    for rule in run["tool"]["driver"]["rules"]:
        texts = (rule[one]["text"] for one in ("shortDescription", "fullDescription"))
        assert all(texts)
    place = _result(odd)["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "gw%201%3Aa/qrouter-7"
    assert place["region"]["startLine"] == 1


def test_sarif_tells_the_same_finding_of_another_box_apart() -> None:
    hashes = [
        _result(Box(name, version, None))["partialFingerprints"]
        for name, version in (("gw1", "1"), ("gw1", "2"), ("gw2", "1"))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0]["primaryLocationLineHash"].endswith(":1")


def test_sarif_keeps_facts_of_one_name() -> None:
    twice = replace(FOUND, facts=(Fact("rule", "a"), Fact("rule", "b")))
    log = findings.sarif(Diagnosis((twice,)), BOX)
    (result,) = log["runs"][0]["results"]
    assert [one["value"] for one in result["properties"]["facts"]] == ["a", "b"]
    assert "src=10.0.0.2" in result["properties"]["flows"][0]


def test_a_change_is_a_line() -> None:
    assert findings.change("raise", FOUND, "12:00:00") == (
        "12:00:00  raise  high      R03  95 of 100 ports\n"
    )
