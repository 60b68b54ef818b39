"""What the doctor found: for people, as one JSON document, and as SARIF.

SARIF 2.1.0 is what code scanners give: build servers and ticket systems read it.  They
ask for a file and a line: the box stands for the file.  GitHub tells alerts apart by
``primaryLocationLineHash``, and the uploads of several boxes by ``automationDetails``.
"""

from __future__ import annotations

import string
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from natscope.codec.encode import cells_of
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.render.conntrack.line import line
from natscope.render.conntrack.style import Style as LineStyle
from natscope.render.tuples import tuple_object
from natscope.views.doctor.diagnosis import BY_ID, RULES, Diagnosis
from natscope.views.doctor.rule import Rule

SCHEMA = "natscope.doctor/1"
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
PAGES = "docs/reference/findings"
_WIDTH = 88
_LABEL = 10
_RESET = "\x1b[0m"
_COLOURS: Mapping[Severity, str] = {
    Severity.INFO: "\x1b[36m",
    Severity.WARNING: "\x1b[33m",
    Severity.HIGH: "\x1b[31m",
    Severity.CRITICAL: "\x1b[1;31m",
}
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
_PARTS: Mapping[str, str] = {
    **dict.fromkeys(
        ("rose", "counters_rose", "hits_rose", "nics_rose"), "two readings"
    ),
    "ruleset": "the rules",
    "flows": "the flows",
    "count": "the entry count",
    "limit": "nf_conntrack_max",
    "buckets": "nf_conntrack_buckets",
    "links": "the addresses",
    "routes": "the routes",
    "listeners": "listening sockets",
    "namespaces": "the other namespaces",
    "nics": "statistics of interfaces",
}
"""What of a snapshot was not read, in words; of others the name is one."""


@dataclass(frozen=True, slots=True)
class Box:
    """Whom a diagnosis is about, for the heading."""

    name: str
    natscope: str
    interval_s: float | None
    """Between the two readings; None: there was one."""


def page(rule: Rule) -> str:
    """Where a rule is explained."""
    return f"{PAGES}/{rule.id}-{rule.slug}.md"


def text(found: Finding, *, colour: bool = False) -> str:
    """A finding for people."""
    severity = found.severity.word.upper()
    lines = [_painted(f"{severity:<9} {found.rule}  {found.headline}", found, colour)]
    lines += _labelled("evidence", "\n".join(_evidence(found.facts)))
    for flow in found.flows:
        lines.append(f"{'':<{_LABEL + 2}}{_line(flow)}")
    lines += _labelled("why", found.why)
    for remedy in found.remedies:
        lines += _remedy("mend", remedy)
    lines += _labelled("verify", found.verify)
    if found.rule in BY_ID:
        lines += _labelled("more", f"natscope help {found.rule}")
    return "".join(f"{one}\n" for one in lines)


def summary(diagnosis: Diagnosis) -> str:
    """The last line: how many, and what could not be checked."""
    counts = [
        f"{number} {severity.word}"
        for severity in reversed(Severity)
        if (number := sum(one.severity is severity for one in diagnosis.findings))
    ]
    asked = len(diagnosis.checked)
    rules = "1 rule" if asked == 1 else f"{asked} rules"
    if counts:
        told = f"{', '.join(counts)}; {rules} checked"
    else:
        told = f"nothing found; {rules} checked"
    return told + _not_checked(diagnosis) + "\n"


def change(what: str, found: Finding, moment: str, *, colour: bool = False) -> str:
    """A line of a watch: what was raised, and what is no more."""
    words = f"{moment}  {what:<5}  {found.severity.word:<8}  {found.rule}  "
    return _painted(words + found.headline, found, colour and what != "clear") + "\n"


def document(diagnosis: Diagnosis, box: Box) -> dict[str, Any]:
    """All of it as one object: natscope.doctor/1."""
    return {
        "schema": SCHEMA,
        "box": box.name,
        "natscope": box.natscope,
        "interval_s": box.interval_s,
        "findings": [as_object(one) for one in diagnosis.findings],
        "checked": list(diagnosis.checked),
        "not_checked": [
            {"rule": one.rule, "needs": one.part} for one in diagnosis.not_checked
        ],
    }


def sarif(diagnosis: Diagnosis, box: Box) -> dict[str, Any]:
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
            "message": {"text": f"not checked: needs {_needed(one.part)}"},
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
    return {"$schema": SARIF, "version": "2.1.0", "runs": [run]}


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
            "facts": _facts(found),
            "flows": [_line(flow) for flow in found.flows],
        },
    }
    if found.rule in places:
        result["ruleIndex"] = places[found.rule]
    return result


def as_object(found: Finding) -> dict[str, Any]:
    """A finding for programs."""
    made: dict[str, Any] = {
        "rule": found.rule,
        "severity": found.severity.word,
        "headline": found.headline,
        "about": found.about,
        "facts": _facts(found),
        "flows": [_flow(flow) for flow in found.flows],
        "why": found.why,
        "remedies": [
            {
                "command": one.command,
                "about": one.about,
                "sysctl": None if one.sysctl is None else list(one.sysctl),
                "pattern": one.is_pattern,
                "destructive": one.is_destructive,
            }
            for one in found.remedies
        ],
        "verify": found.verify,
    }
    if found.rule in BY_ID:
        made["page"] = page(BY_ID[found.rule])
    return made


def _uri(name: str) -> str:
    """A name as a relative URI (RFC 3986 §2.3)."""
    return "".join(
        chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}"
        for byte in name.encode()
    )


def _facts(found: Finding) -> list[dict[str, Any]]:
    return [
        {"name": fact.name, "value": fact.value, "unit": fact.unit}
        for fact in found.facts
    ]


def _flow(flow: Flow) -> dict[str, Any]:
    return {
        "line": _line(flow),
        "id": flow.id,
        "orig": tuple_object(flow.orig),
        "reply": tuple_object(flow.reply),
    }


def _line(flow: Flow) -> str:
    return line(cells_of(flow), LineStyle()).decode().rstrip()


def _fact(fact: Fact) -> str:
    value = fact.value
    if isinstance(value, float):
        value = f"{value:.3g}" if value < 100 else f"{value:.0f}"
    unit = "" if not fact.unit else f" {fact.unit}"
    return f"{fact.name} {value}{unit}"


def _evidence(facts: tuple[Fact, ...]) -> Iterator[str]:
    """What was read: numbers in a line, each text of several words on its own."""
    texts = [one for one in facts if " " in str(one.value)]
    if len(texts) < len(facts):
        yield ", ".join(_fact(one) for one in facts if one not in texts)
    for one in texts:
        yield f"{one.name}: {one.value}"


def _labelled(label: str, words: str) -> Iterator[str]:
    if not words:
        return
    lines = [
        part
        for whole in words.splitlines()
        for part in textwrap.wrap(
            whole,
            _WIDTH - _LABEL - 2,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    for number, one in enumerate(lines):
        yield f"  {label if number == 0 else '':<{_LABEL}}{one}"


def _remedy(label: str, remedy: Remedy) -> Iterator[str]:
    # a command is one line, to be copied
    for number, one in enumerate(remedy.command.splitlines()):
        yield f"  {label if number == 0 else '':<{_LABEL}}{one}"
    about = remedy.about
    if remedy.is_destructive:
        about = f"{about} (something is lost: read first)".strip()
    yield from (f"  {one}" for one in _labelled("", about))


def _not_checked(diagnosis: Diagnosis) -> str:
    parts: dict[str, list[str]] = {}
    for one in diagnosis.not_checked:
        parts.setdefault(_needed(one.part), []).append(one.rule)
    told = "; ".join(f"{', '.join(ids)} (needs {part})" for part, ids in parts.items())
    return f"; not checked: {told}" if told else ""


def _needed(part: str) -> str:
    return _PARTS.get(part, part)


def _painted(words: str, found: Finding, colour: bool) -> str:
    return f"{_COLOURS[found.severity]}{words}{_RESET}" if colour else words
