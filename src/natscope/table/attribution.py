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
    why: str | None = None
    """Of a stale one, what would be now; of others, why there is no rule."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Both, the destination's first."""
        return tuple(rule for rule in (self.dnat, self.snat) if rule is not None)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What made each row of a table: ``makings[of_row[n]]`` for row ``n``."""

    makings: tuple[Making, ...]
    of_row: NDArray[np.intp]


Attribute = Callable[[FlowTable], Attribution]
"""Asks what made the rows of a table."""
