"""Findings as SARIF."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from natscope.model.evidence import Evidence
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.render import sarif
from natscope.views.doctor.box import Box
from natscope.views.doctor.diagnosis import Diagnosis, NotChecked
from unit.views.doctor.boxes import NOW_NS, snat

FOUND = Finding(
    "R03",
    Severity.HIGH,
    "95 of 100 ports",
    (Fact("ports held", 95),),
    (snat(17, 4000, 53, start_ns=NOW_NS - 7 * 10**9),),
    remedies=(Remedy("sysctl -w a.b=1", "sooner", sysctl=("a.b", "1")),),
    about="203.0.113.1",
)
DIAGNOSIS = Diagnosis(
    (FOUND,), (NotChecked("R04", "rose"), NotChecked("R06", "stats")), ("R03",)
)
BOX = Box("gw1", "1.2.3", Evidence(NOW_NS))


def test_sarif_has_what_its_schema_requires() -> None:
    made: dict[str, Any] = json.loads(json.dumps(sarif.log(DIAGNOSIS, BOX)))
    assert made["version"] == "2.1.0"
    (run,) = made["runs"]
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
    assert [one["message"]["text"] for one in told] == [
        "not checked: needs two readings",
        "not checked: needs conntrack's counters",
    ]


def _result(box: Box) -> dict[str, Any]:
    (result,) = sarif.log(DIAGNOSIS, box)["runs"][0]["results"]
    found: dict[str, Any] = result
    return found


def test_sarif_has_what_github_asks_for() -> None:
    """A file, a line, a hash that stays, and a category of the upload."""
    odd = Box("gw 1:a/qrouter-7", "1.2.3")
    (run,) = sarif.log(DIAGNOSIS, odd)["runs"]
    assert run["automationDetails"]["id"] == "natscope doctor/gw 1:a/qrouter-7/"
    for rule in run["tool"]["driver"]["rules"]:
        texts = (rule[one]["text"] for one in ("shortDescription", "fullDescription"))
        assert all(texts)
    place = _result(odd)["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "gw%201%3Aa/qrouter-7"
    assert place["region"]["startLine"] == 1


def test_sarif_tells_the_same_finding_of_another_box_apart() -> None:
    hashes = [
        _result(Box(name, version))["partialFingerprints"]
        for name, version in (("gw1", "1"), ("gw1", "2"), ("gw2", "1"))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0]["primaryLocationLineHash"].endswith(":1")


def test_sarif_keeps_facts_of_one_name() -> None:
    twice = replace(FOUND, facts=(Fact("rule", "a"), Fact("rule", "b")))
    made = sarif.log(Diagnosis((twice,)), BOX)
    (result,) = made["runs"][0]["results"]
    assert [one["value"] for one in result["properties"]["facts"]] == ["a", "b"]
    assert "src=10.0.0.2" in result["properties"]["flows"][0]
    assert "delta-time=7" in result["properties"]["flows"][0]
