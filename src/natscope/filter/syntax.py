"""The syntax tree of a filter: what was asked, free of how it was typed.

Small frozen records that compare by value.  A field a flow does not have makes
a term false; ``Not`` of false is true.  Numbers are whole and in the unit of the
column (seconds, bytes, bytes per second): the parser has rounded comparisons
with fractions in the way that keeps their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from natscope.model.nat import Kind


@dataclass(frozen=True, slots=True)
class Span:
    """Whole numbers from ``low`` to ``high``, both included; None is no bound."""

    low: int | None
    high: int | None

    def __contains__(self, number: int) -> bool:
        return (self.low is None or number >= self.low) and (
            self.high is None or number <= self.high
        )


@dataclass(frozen=True, slots=True)
class Bits:
    """Numbers that have ``value`` in the bits of ``mask``."""

    value: int
    mask: int

    def __contains__(self, number: int) -> bool:
        return number & self.mask == self.value


@dataclass(frozen=True, slots=True)
class AddressSpan:
    """Addresses of one IP version as numbers, both ends included."""

    version: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AddressBits:
    """Addresses of one IP version that have ``value`` in the bits of ``mask``.

    Only where no AddressSpan says the same: a mask with holes.
    """

    version: int
    value: int
    mask: int


class Beside(Enum):
    """What the number beside an address is; the value is how it is written."""

    PORT = ""
    ICMP_ID = "id="
    GRE_KEY = "key="


@dataclass(frozen=True, slots=True)
class Spot:
    """Addresses, and what stands beside them: ``203.0.113.7:id=77``."""

    address: AddressSpan | AddressBits
    number: Span | None = None
    beside: Beside = Beside.PORT


@dataclass(frozen=True, slots=True)
class Where:
    """Which ends of a flow are looked at, by the qualifiers of the vocabulary.

    None means every address of both tuples.  ``every``: all of the qualifiers
    must hold, not just one.
    """

    qualifiers: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, slots=True)
class Hosts:
    """One of the addresses stands at one of the ends."""

    where: Where
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """One of the ports stands at one of the ends; never a GRE key or ICMP id."""

    where: Where
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A quantity of the vocabulary has one of the values."""

    word: str
    items: tuple[Span | Bits, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Status bits, as far as the source told them, have one of the values."""

    items: tuple[Bits, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The flow's TCP, SCTP or DCCP state has one of these kernel names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kinds:
    """The flow's translation is of one of these kinds."""

    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Translated:
    """The source, or else the destination, is translated: address or port."""

    source: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """One part of a tuple is another in reply, whatever the status bits say.

    ``part`` is src, dst, sport or dport of the original direction; an ICMP id
    is a source port here, a GRE key one of either end.
    """

    part: str


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the vocabulary equals one of the patterns; ``*`` is anything."""

    word: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Flows the inner filter does not match."""

    inner: Tree


@dataclass(frozen=True, slots=True)
class And:
    """Flows all parts match; without parts, every flow."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Flows one of the parts matches."""

    parts: tuple[Tree, ...]


Term: TypeAlias = (
    Hosts | Ports | Number | Status | State | Kinds | Translated | Changed | Text
)
Tree: TypeAlias = And | Or | Not | Term

EVERYTHING = And(())


def all_of(parts: list[Tree]) -> Tree:
    """The parts as one tree: nested Ands are flattened, one part is itself."""
    flat: list[Tree] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(parts: list[Tree]) -> Tree:
    """The parts as one tree: nested Ors are flattened, one part is itself."""
    flat: list[Tree] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Or) else (part,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def terms_of(tree: Tree) -> list[Term]:
    """Every term of a tree, from left to right."""
    match tree:
        case And(parts) | Or(parts):
            return [term for part in parts for term in terms_of(part)]
        case Not(inner):
            return terms_of(inner)
        case _:
            return [tree]
