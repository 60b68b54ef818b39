"""Every rule of the doctor, and what they say of a snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from natscope.model.finding import Finding
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.rules import (
    addresses,
    alg,
    clashes,
    elsewhere,
    escaping,
    exhaustion,
    fill,
    flood,
    forwarding,
    forwards,
    hairpin,
    lifetimes,
    machine,
    mapping,
    races,
    refused,
    translation,
    watchers,
)
from natscope.views.doctor.snapshot import NotRead, Snapshot
from natscope.views.doctor.thresholds import DEFAULT, Thresholds

_PARTS = (
    *(
        addresses,
        alg,
        clashes,
        elsewhere,
        escaping,
        exhaustion,
        fill,
        flood,
        forwarding,
    ),
    *(forwards, hairpin, lifetimes, machine, mapping, races, refused, translation),
    watchers,
)
RULES: tuple[Rule, ...] = tuple(
    sorted((rule for part in _PARTS for rule in part.RULES), key=lambda rule: rule.id)
)
"""In the order of their numbers."""
BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}


@dataclass(frozen=True, slots=True)
class NotChecked:
    """A rule that could not be asked."""

    rule: str
    part: str
    """What of the snapshot was not read."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the rules say, the worst first."""

    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...] = ()
    checked: tuple[str, ...] = ()
    """The rules that were asked."""


def diagnose(
    snapshot: Snapshot,
    thresholds: Thresholds = DEFAULT,
    only: Collection[str] | None = None,
    *,
    rules: Iterable[Rule] = RULES,
) -> Diagnosis:
    """Ask the rules.

    Args:
        snapshot: the box.
        thresholds: from where on a number is trouble.
        only: the ids of the rules to ask; None: all.
        rules: those there are.
    """
    findings: list[Finding] = []
    not_checked: list[NotChecked] = []
    checked: list[str] = []
    for rule in rules:
        if only is not None and rule.id not in only:
            continue
        try:
            for part in rule.needs:
                getattr(snapshot, part)
            findings += rule.check(snapshot, thresholds)
        except NotRead as error:
            not_checked.append(NotChecked(rule.id, error.part))
        else:
            checked.append(rule.id)
    findings.sort(key=lambda found: (-found.severity, found.rule))
    return Diagnosis(tuple(findings), tuple(not_checked), tuple(checked))
