"""What a doctor says of a box: what is wrong, the proof, and the mend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from natscope.model.flow import Flow

MOST_FLOWS = 5
"""Flows a finding shows at most."""


class Severity(IntEnum):
    """How soon somebody should look."""

    INFO = 0
    """Good to know; nothing is harmed."""
    WARNING = 1
    """It will harm, or harms a little."""
    HIGH = 2
    """It harms some now."""
    CRITICAL = 3
    """It harms many now."""

    @property
    def word(self) -> str:
        """As it is written, and asked for."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was read, not concluded."""

    name: str
    value: int | float | str
    unit: str = ""
    """%, entries, ports, packets …; of text none."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """A command that mends."""

    command: str
    """For a shell, as root."""
    about: str = ""
    """What it does, and what it costs."""
    sysctl: tuple[str, str] | None = None
    """Of a setting: its name, as sysctl(8) writes it, and its value.  ``--fix`` can
    make it lasting, and take it back."""
    is_pattern: bool = False
    """For a person: words in capitals are to be filled in first, or it looks, or is
    no command.  ``--fix`` does not run it."""
    is_destructive: bool = False
    """Something is lost: flows are cut, rules go."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: str
    """The id of the rule that found it: R03."""
    severity: Severity
    headline: str
    """One line: what is wrong, with the number that says so."""
    facts: tuple[Fact, ...] = ()
    flows: tuple[Flow, ...] = ()
    """Examples, at most MOST_FLOWS."""
    why: str = ""
    """How it comes about, in a few sentences."""
    remedies: tuple[Remedy, ...] = ()
    """The best first."""
    verify: str = ""
    """The command that shows it is mended, or how to see it."""
    about: str | None = None
    """What of the box it is about: an address, a rule, an interface.  A rule finds
    the same thing again under the same ``about``: so a watch knows raise from clear."""

    @property
    def key(self) -> tuple[str, str | None]:
        """What makes two findings of different moments the same."""
        return self.rule, self.about
