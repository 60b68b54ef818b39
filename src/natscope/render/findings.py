"""What the doctor found: for people, and as one JSON document."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from natscope.codec.encode import cells_of
from natscope.codec.text.printable import printable
from natscope.model.evidence import Evidence
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.render.conntrack.line import line
from natscope.render.conntrack.style import Style as LineStyle
from natscope.render.text import TextTable
from natscope.render.tuples import tuple_object
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.box import Box, Uplink
from natscope.views.doctor.diagnosis import BY_ID, Diagnosis
from natscope.views.doctor.rule import Rule
from natscope.views.fields import Reading, fields
from natscope.views.listing import Page
from natscope.views.shares import percent

SCHEMA = "natscope.doctor/1"
PAGES = "docs/reference/findings"
_WIDTH = 88
_FLOW_FIELDS = ("proto", "inside", "public", "outside", "target", "state")
_SPARE_FIELDS = ("age", "bytes")
"""Shown of a flow where there is room, as ``natscope list`` shows them."""
_INDENT = 4
_NS_PER_S = 1_000_000_000
_LABEL = 10
_RESET = "\x1b[0m"
_COLOURS: Mapping[Severity, str] = {
    Severity.INFO: "\x1b[36m",
    Severity.WARNING: "\x1b[33m",
    Severity.HIGH: "\x1b[31m",
    Severity.CRITICAL: "\x1b[1;31m",
}
_PARTS: Mapping[str, str] = {
    **dict.fromkeys(
        ("rose", "counters_rose", "hits_rose", "nics_rose"), "two readings"
    ),
    "stats": "conntrack's counters",
    "counters": "the counters of /proc",
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


def page(rule: Rule) -> str:
    """Where a rule is explained."""
    return f"{PAGES}/{rule.id}-{rule.slug}.md"


def text(
    found: Finding, box: Box, *, colour: bool = False, width: int | None = None
) -> str:
    """A finding for people.

    Args:
        found: of the box.
        box: it was found on.
        colour: for a terminal.
        width: characters of its lines; None: there is no end to them.
    """
    severity = found.severity.word.upper()
    lines = [_painted(f"{severity:<9} {found.rule}  {found.headline}", found, colour)]
    lines += _labelled("evidence", "\n".join(_evidence(found.facts)))
    lines += _listed(found.flows, box.evidence, width)
    lines += _labelled("why", found.why)
    for remedy in found.remedies:
        lines += _remedy("mend", remedy)
    lines += _labelled("verify", found.verify)
    if found.rule in BY_ID:
        lines += _labelled("more", f"natscope help {found.rule}")
    return "".join(f"{one}\n" for one in lines)


def heading(box: Box) -> str:
    """What the box is, in a line."""
    told = "; ".join(_parts(box))
    return printable(f"{box.name}: {told}" if told else box.name) + "\n"


def _parts(box: Box) -> Iterator[str]:
    if box.uplinks is not None:
        named = ", ".join(map(_uplink, box.uplinks))
        word = "uplink" if len(box.uplinks) == 1 else "uplinks"
        yield f"{word} {named}" if named else "no default route"
    if box.nat_rules is not None:
        yield _count(box.nat_rules, "NAT rule")
    if box.flows is not None:
        yield f"{_count(box.flows, 'flow')}, {box.translated} translated"
    if box.entries is not None and box.limit:
        yield f"table {percent(box.entries / box.limit)} of {box.limit}"


def _uplink(uplink: Uplink) -> str:
    """With two addresses: privacy extensions make many."""
    return " ".join([uplink.name, *uplink.addresses[:2]])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def summary(diagnosis: Diagnosis) -> str:
    """The last line: how many, and what could not be checked."""
    counts = [
        f"{number} {severity.word}"
        for severity in reversed(Severity)
        if (number := sum(one.severity is severity for one in diagnosis.findings))
    ]
    rules = _count(len(diagnosis.checked), "rule")
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
        "box": box_object(box),
        "natscope": box.natscope,
        "interval_s": box.interval_s,
        "findings": [as_object(one, box) for one in diagnosis.findings],
        "checked": list(diagnosis.checked),
        "not_checked": [
            {"rule": one.rule, "needs": one.part} for one in diagnosis.not_checked
        ],
    }


def box_object(box: Box) -> dict[str, Any]:
    """A box for programs; what was not read is left out."""
    uplinks = None if box.uplinks is None else [asdict(one) for one in box.uplinks]
    known = {
        "name": box.name,
        "uplinks": uplinks,
        "nat_rules": box.nat_rules,
        "flows": box.flows,
        "translated": box.translated,
        "entries": box.entries,
        "limit": box.limit,
    }
    return {name: value for name, value in known.items() if value is not None}


def as_object(found: Finding, box: Box) -> dict[str, Any]:
    """A finding for programs."""
    made: dict[str, Any] = {
        "rule": found.rule,
        "severity": found.severity.word,
        "headline": found.headline,
        "about": found.about,
        "facts": facts(found),
        "flows": [_flow(flow, box.evidence) for flow in found.flows],
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


def facts(found: Finding) -> list[dict[str, Any]]:
    """What was read, for programs."""
    return [
        {"name": fact.name, "value": fact.value, "unit": fact.unit}
        for fact in found.facts
    ]


def _flow(flow: Flow, evidence: Evidence) -> dict[str, Any]:
    return {
        "line": flow_line(flow, evidence),
        "id": flow.id,
        "orig": tuple_object(flow.orig),
        "reply": tuple_object(flow.reply),
    }


def flow_line(flow: Flow, evidence: Evidence) -> str:
    """As conntrack(8) prints it; without a clock it has no age."""
    cells = cells_of(flow)
    if evidence.now_ns is None:
        cells.pop("start_ns", None)
        return line(cells, LineStyle()).decode().rstrip()
    style = LineStyle(now_s=evidence.now_ns // _NS_PER_S)
    return line(cells, style).decode().rstrip()


def _listed(
    flows: tuple[Flow, ...], evidence: Evidence, width: int | None
) -> list[str]:
    """Flows as ``natscope list`` shows them, without what no flow has."""
    if not flows:
        return []
    reading = Reading(FlowTable.from_flows(flows), evidence)
    found = [
        (field, values)
        for field in fields([*_FLOW_FIELDS, *_SPARE_FIELDS])
        if (values := field.values(reading)).valid.any()
        if field.name != "target" or _is_beside(reading)
    ]
    while True:
        named = tuple(field for field, _ in found)
        page = Page(named, tuple(values for _, values in found), len(flows))
        shown = TextTable().write(page).decode().splitlines()
        lines = [f"{'':<{_INDENT}}{one}" for one in shown]
        is_wide = width is not None and max(map(len, lines)) > width
        if not is_wide or found[-1][0].name not in _SPARE_FIELDS:
            return lines
        found.pop()


def _is_beside(reading: Reading) -> bool:
    """Whether a target is another host than the inside one, as in a hairpin."""
    target, inside = reading.part("target"), reading.part("inside")
    differs = (target.words != inside.words).any(axis=1) | (target.port != inside.port)
    return bool((differs & target.valid).any())


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
        parts.setdefault(needed(one.part), []).append(one.rule)
    told = "; ".join(f"{', '.join(ids)} (needs {part})" for part, ids in parts.items())
    return f"; not checked: {told}" if told else ""


def needed(part: str) -> str:
    """What of a snapshot a rule could not do without, in words."""
    return _PARTS.get(part, part)


def _painted(words: str, found: Finding, colour: bool) -> str:
    return f"{_COLOURS[found.severity]}{words}{_RESET}" if colour else words
