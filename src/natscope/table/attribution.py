"""Which rule made each translation of a table, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from natscope.model.journey import Rule
from natscope.table.flowtable import FlowTable


class Origin(IntEnum):
    """What made a translation, as far as the rules of today tell."""

    RULE = 0
    """A rule of today makes it."""
    NONE = 1
    """No rule is needed for it."""
    STALE = 2
    """No rule of today makes it."""
    UNKNOWN = 3
    """It cannot be told; ``why`` says what was missing."""


UNTRANSLATED = "untranslated"


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An end of a flow that no rule of today makes what it is."""

    would: str | None = None
    """What they make of it: an address, with the port where that changes, or
    ``untranslated``; None: that was not asked."""


@dataclass(frozen=True, slots=True)
class Making:
    """What made a translation."""

    origin: Origin
    dnat: Rule | None = None
    """The rule that translated the destination."""
    snat: Rule | None = None
    """The rule that translated the source."""
    is_certain: bool = True
    """False: another rule could have given the same, or a rule decides by chance, by
    time, by a count, or by what no saved flow tells."""
    dst: Contradiction | None = None
    """Of a stale one, the destination, if that is stale."""
    src: Contradiction | None = None
    """The same of the source.  A stale one of neither would be dropped."""
    why: str | None = None
    """Of a stale one, what drops it; of others, why there is no rule, or a doubt."""
    by_shape: bool = False
    """The text of the rules alone tells it: the kernel was not asked."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Both, the destination's first."""
        return tuple(rule for rule in (self.dnat, self.snat) if rule is not None)

    @property
    def would(self) -> tuple[str, ...]:
        """What the stale ends would be today, where that is known."""
        ends = (end.would for end in (self.dst, self.src) if end is not None)
        return tuple(would for would in ends if would is not None)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What made each row of a table: ``makings[of_row[n]]`` for row ``n``."""

    makings: tuple[Making, ...]
    of_row: NDArray[np.intp]

    def take(self, rows: NDArray[np.intp]) -> Attribution:
        """The same of some rows."""
        return Attribution(self.makings, self.of_row[rows])

    def of(self, origin: Origin) -> NDArray[np.bool_]:
        """Which rows have an origin."""
        chosen = [making.origin is origin for making in self.makings]
        found: NDArray[np.bool_] = np.array([*chosen, False], np.bool_)[self.of_row]
        return found


Attribute = Callable[[FlowTable], Attribution]
"""Asks what made the rows of a table."""
