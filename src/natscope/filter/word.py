"""What is known of one word of the filter language."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from natscope.filter.syntax import Term


class Takes(Enum):
    """The kind of value that follows a word; the value says how help shows it."""

    NOTHING = ""
    HOST = "ADDRESS"
    PORT = "PORT"
    WHERE = "[TYPE] VALUE"
    COUNT = "N"
    BITS = "N[/MASK]"
    DURATION = "TIME"
    SIZE = "SIZE"
    RATE = "RATE"
    TEXT = "TEXT"
    PROTOCOL = "PROTOCOL"
    FAMILY = "FAMILY"
    STATE = "STATE"
    STATUS = "STATUS"
    KIND = "KIND"
    ICMP_TYPE = "TYPE"
    LABEL = "BIT|NAME"


@dataclass(frozen=True, slots=True)
class Word:
    """One word.

    A word that takes nothing has a ``term``; a qualifier has ``ends``; a
    quantity or text has ``columns``, any of which may match, or is derived (age,
    idle, bytes, ...).  ``needs`` is what :meth:`Filter.needs` tells.
    """

    word: str
    group: str
    meaning: str
    takes: Takes = Takes.NOTHING
    aliases: tuple[str, ...] = ()
    term: Term | None = None
    ends: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    limit: int | None = None
    """The greatest value the field can hold."""
    least: int = 0
    """The smallest."""
    protocols: tuple[int, ...] = ()
    """Protocols that have it; none: all do."""


WHERE, PORTS, PROTOCOL, TRANSLATION, STATE, STATUS, MARKS, AMOUNTS, COLUMN = GROUPS = (
    "Addresses: which end",
    "Kind of address value",
    "Protocol and family",
    "Translation",
    "State",
    "Status bits",
    "Marks, zones and names",
    "Time and traffic",
    "Any other column",
)


def key(word: str) -> str:
    """How words are looked up: dashes may stand for underscores, case is nothing."""
    return word.lower().replace("-", "_")
