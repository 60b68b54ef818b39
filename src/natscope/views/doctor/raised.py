"""Findings over time: what is new, what changed, and what is no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from natscope.model.finding import Finding

CLEAR_AFTER = 2
"""Looks in a row without it, or with less of it, until a finding is cleared or
better: one at its threshold shall not flap."""
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
        self._calm: dict[Key, int] = {}
        """Looks in a row in which each was absent or less severe."""

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
            if before is not None and finding.severity < before.severity:
                if not self._has_calmed(key):
                    continue
                changes.append(Change("better", finding))
            elif before is None:
                changes.append(Change("raise", finding))
            elif finding.severity > before.severity:
                changes.append(Change("worse", finding))
            self._standing[key] = finding
            self._calm.pop(key, None)
        rules = set(asked)
        for key in [*self._standing]:
            if key not in now and key[0] in rules and self._has_calmed(key):
                del self._calm[key]
                changes.append(Change("clear", self._standing.pop(key)))
        return tuple(changes)

    def _has_calmed(self, key: Key) -> bool:
        self._calm[key] = self._calm.get(key, 0) + 1
        return self._calm[key] >= CLEAR_AFTER
