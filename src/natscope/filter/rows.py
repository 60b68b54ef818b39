"""What the terms of a filter ask of a table, each made once and only if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.filter.syntax import Beside
from natscope.filter.vocabulary import CHANGED, PORTLESS, SENDS_REQUESTS, Word
from natscope.model.evidence import Evidence
from natscope.model.nat import ROLES, End
from natscope.table import age
from natscope.table.flowtable import FlowTable
from natscope.table.nat import Translations, translations

Mask: TypeAlias = NDArray[np.bool_]
Known: TypeAlias = tuple[NDArray[Any], Mask]
"""Values of all rows, and where they are known."""

_COLUMN = {
    End.ORIG_SRC: "orig_src",
    End.ORIG_DST: "orig_dst",
    End.REPLY_SRC: "reply_src",
    End.REPLY_DST: "reply_dst",
}
_PORT = {"src": "sport", "dst": "dport"}


class Rows:
    """A table and its evidence, during one evaluation of a filter."""

    def __init__(self, table: FlowTable, evidence: Evidence) -> None:
        self.table = table
        self.evidence = evidence

    def __len__(self) -> int:
        return len(self.table)

    def none(self) -> Mask:
        """No row."""
        return np.zeros(len(self.table), np.bool_)

    @cached_property
    def nat(self) -> Translations:
        """Kind and cast of every row."""
        return translations(self.table, self.evidence)

    @cached_property
    def _roles(self) -> list[int]:
        """The roles that occur at all."""
        used = np.bincount(self.nat.role, minlength=len(ROLES))
        return [role for role, count in enumerate(used.tolist()) if count]

    def at_part(self, part: str, test: Callable[[str], Mask]) -> Mask:
        """Rows whose ``inside``, ``public``, ... end passes a test.

        Args:
            part: the part.
            test: the rows that pass, for the end of this column name.
        """
        cast = [getattr(role, part) for role in ROLES]
        ends = {cast[role] for role in self._roles}
        if len(ends) == 1 and End.NONE not in ends:
            return test(_COLUMN[ends.pop()])
        found = self.none()
        for end in ends - {End.NONE}:
            plays = np.array([played == end for played in cast])
            found |= plays[self.nat.role] & test(_COLUMN[end])
        return found

    def address(self, end: str) -> Known:
        """The address words of an end."""
        return self.table[end], self.table.has(end)

    def beside(self, end: str, what: Beside) -> Known:
        """The port, ICMP id or GRE key of an end, where the protocol has it."""
        if what is Beside.ICMP_ID:
            name = SENDS_REQUESTS.get(end, "orig_icmp_id")
            known = self.table.has(name)
            return self.table[name], known & (end in SENDS_REQUESTS)
        side, _, which = end.partition("_")
        name = f"{side}_{_PORT[which]}"
        known = self.table.has(name)
        proto = self.table["master_proto" if side == "master" else "proto"]
        if what is Beside.GRE_KEY:
            known &= proto == uapi.IPPROTO_GRE
        else:
            for number in PORTLESS:
                known &= proto != number
        return self.table[name], known

    def numbers(self, word: Word) -> Iterator[Known]:
        """The columns of a quantity, or what it is derived from."""
        derived = _DERIVED.get(word.word)
        if derived is not None:
            yield derived(self)
            return
        for name in word.columns:
            known = self.table.has(name)
            if word.protocols:
                known = known & np.isin(self.table["proto"], word.protocols)
            yield self.table[name], known

    def changed(self, part: str) -> Mask:
        """Rows whose src, dst, sport or dport is another in reply."""
        table = self.table
        if part in ("src", "dst"):
            turned = "reply_dst" if part == "src" else "reply_src"
            other: Mask = (table[f"orig_{part}"] != table[turned]).any(axis=1)
            return other
        found = self.none()
        for mine, turned in CHANGED[part]:
            both = table.has(mine) & table.has(turned)
            found |= both & (table[mine] != table[turned])
        return found

    def both_ways(self, what: str) -> Known:
        """The sum of both directions, where both are told."""
        one, other = self.table[f"orig_{what}"], self.table[f"reply_{what}"]
        total = one + other
        total[total < one] = np.iinfo(np.uint64).max
        known = self.table.has(f"orig_{what}") & self.table.has(f"reply_{what}")
        return total, known

    def zone(self) -> Known:
        """The zone, whichever directions it is of: nf_ct_zone()->id."""
        found = np.zeros(len(self), np.uint16)
        for name in ("reply_zone", "orig_zone", "zone"):
            if name in self.table.columns:
                found = np.where(self.table.has(name), self.table[name], found)
        return found, np.ones(len(self), np.bool_)


_DERIVED: dict[str, Callable[[Rows], Known]] = {
    "age": lambda rows: age.age_s(rows.table, rows.evidence),
    "idle": lambda rows: age.idle_s(rows.table, rows.evidence),
    "bytes": lambda rows: rows.both_ways("bytes"),
    "packets": lambda rows: rows.both_ways("packets"),
    "zone": Rows.zone,
}
