"""Findings as SARIF 2.1.0, which build servers and ticket systems read.

It is what code scanners give: it asks for a file and a line, and the box stands for the
file.  GitHub tells alerts apart by ``primaryLocationLineHash``, and the uploads of
several boxes by ``automationDetails``.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from natscope.model.finding import Finding, Severity
from natscope.render.findings import facts, flow_line, needed, page
from natscope.views.doctor.box import Box
from natscope.views.doctor.diagnosis import RULES, Diagnosis

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Mapping[Severity, str] = {
    Severity.INFO: "note",
    Severity.WARNING: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
_RANKS: Mapping[Severity, float] = {
    Severity.INFO: 10.0,
    Severity.WARNING: 40.0,
    Severity.HIGH: 70.0,
    Severity.CRITICAL: 95.0,
}
"""SARIF's rank: 0 to 100."""
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~/")


def log(diagnosis: Diagnosis, box: Box) -> dict[str, Any]:
    """All of it as a SARIF log of one run."""
    places = {rule.id: place for place, rule in enumerate(RULES)}
    driver = {
        "name": "natscope doctor",
        "version": box.natscope,
        "rules": [
            {
                "id": rule.id,
                "name": rule.slug,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": f"{rule.title}. Source: {rule.source}"},
                "help": {"text": f"natscope help {rule.id}, or {page(rule)}"},
            }
            for rule in RULES
        ],
    }
    results = [_result(one, box, places) for one in diagnosis.findings]
    told = [
        {
            "level": "note",
            "message": {"text": f"not checked: needs {needed(one.part)}"},
            "descriptor": {"id": one.rule},
        }
        for one in diagnosis.not_checked
    ]
    invocation = {
        "executionSuccessful": True,
        "toolExecutionNotifications": told,
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"natscope doctor/{box.name}/"},
        "invocations": [invocation],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(found: Finding, box: Box, places: Mapping[str, int]) -> dict[str, Any]:
    about = box.name if found.about is None else f"{box.name}/{found.about}"
    mend = "".join(f"\n{one.command}" for one in found.remedies)
    fingerprint = f"{found.rule}/{about}"
    place = {
        "artifactLocation": {"uri": _uri(box.name)},
        "region": {"startLine": 1},
    }
    result: dict[str, Any] = {
        "ruleId": found.rule,
        "level": _LEVELS[found.severity],
        "rank": _RANKS[found.severity],
        "message": {"text": f"{found.headline}\n{found.why}{mend}"},
        "locations": [
            {
                "physicalLocation": place,
                "logicalLocations": [{"fullyQualifiedName": about}],
            }
        ],
        "partialFingerprints": {
            "natscope/1": fingerprint,
            "primaryLocationLineHash": f"{sha256(fingerprint.encode()).hexdigest()}:1",
        },
        "properties": {
            "facts": facts(found),
            "flows": [flow_line(flow, box.evidence) for flow in found.flows],
        },
    }
    if found.rule in places:
        result["ruleIndex"] = places[found.rule]
    return result


def _uri(name: str) -> str:
    """A name as a relative URI (RFC 3986 §2.3)."""
    return "".join(
        chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}"
        for byte in name.encode()
    )
