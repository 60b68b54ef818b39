"""Findings over time: what is new, what changed, and what is no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from natscope.model.finding import Finding

CLEAR_AFTER = 2
"""Looks in a row without it until a finding is cleared: one that comes and goes at
its threshold shall not flap."""
Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell."""

    what: Literal["raise", "worse", "better", "clear"]
    finding: Finding
    """As it was seen last."""


class Raised:
    """The findings that stand, look after look."""

    def __init__(self) -> None:
        self._standing: dict[Key, Finding] = {}
        self._absent: dict[Key, int] = {}

    @property
    def standing(self) -> tuple[Finding, ...]:
        """What is raised and not cleared."""
        return tuple(self._standing.values())

    def look(
        self, findings: Iterable[Finding], asked: Iterable[str]
    ) -> tuple[Change, ...]:
        """What one look changes.

        Args:
            findings: what was found.
            asked: the rules that could be asked: of others nothing is cleared.
        """
        now = {finding.key: finding for finding in findings}
        changes = []
        for key, finding in now.items():
            before = self._standing.get(key)
            if before is None:
                changes.append(Change("raise", finding))
            elif finding.severity != before.severity:
                is_worse = finding.severity > before.severity
                changes.append(Change("worse" if is_worse else "better", finding))
            self._standing[key] = finding
            self._absent.pop(key, None)
        rules = set(asked)
        for key in [*self._standing]:
            if key in now or key[0] not in rules:
                continue
            self._absent[key] = self._absent.get(key, 0) + 1
            if self._absent[key] >= CLEAR_AFTER:
                del self._absent[key]
                changes.append(Change("clear", self._standing.pop(key)))
        return tuple(changes)
