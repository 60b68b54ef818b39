"""Conditions on what is settled of a flow: what a program can ask of an event.

Of the filter's syntax tree, what is left when its words are resolved: columns,
ends, values.  A column that is not told makes a condition false.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from natscope.filter.syntax import AddressBits, AddressSpan, Bits, Span


@dataclass(frozen=True, slots=True)
class Family:
    """The flow is of this address family."""

    family: int


@dataclass(frozen=True, slots=True)
class Within:
    """The address of an end is of this IP version and one of these."""

    end: str
    version: int
    addresses: tuple[AddressSpan | AddressBits, ...]


@dataclass(frozen=True, slots=True)
class Among:
    """A column is told and has one of the values; ``changes`` is derived."""

    column: str
    items: tuple[Span | Bits, ...]


@dataclass(frozen=True, slots=True)
class Differ:
    """Both columns are told and differ."""

    one: str
    other: str


@dataclass(frozen=True, slots=True)
class No:
    """The inner condition does not hold."""

    inner: Condition


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Family | Within | Among | Differ | No | All | Some

ALWAYS, NEVER = All(()), Some(())


def undecided(*, wide: bool) -> Condition:
    """What cannot be told: it holds in the widest reading alone."""
    return ALWAYS if wide else NEVER


def negated(inner: Condition) -> Condition:
    """The condition that does not hold where this one does."""
    match inner:
        case All(()):
            return NEVER
        case Some(()):
            return ALWAYS
        case No(twice):
            return twice
    return No(inner)


def all_of(parts: Iterable[Condition]) -> Condition:
    """The parts as one condition; those that always hold are left out."""
    flat: list[Condition] = []
    for part in parts:
        if part == NEVER:
            return NEVER
        flat.extend(part.parts if isinstance(part, All) else (part,))
    return flat[0] if len(flat) == 1 else All(tuple(dict.fromkeys(flat)))


def some_of(parts: Iterable[Condition]) -> Condition:
    """One of the parts as a condition; those that never hold are left out."""
    flat: list[Condition] = []
    for part in parts:
        if part == ALWAYS:
            return ALWAYS
        flat.extend(part.parts if isinstance(part, Some) else (part,))
    return flat[0] if len(flat) == 1 else Some(tuple(dict.fromkeys(flat)))


def terms_of(condition: Condition) -> Iterator[Condition]:
    """Every term of a condition, from left to right."""
    match condition:
        case No(inner):
            yield from terms_of(inner)
        case All(parts) | Some(parts):
            for part in parts:
                yield from terms_of(part)
        case _:
            yield condition


def regardless(condition: Condition, *, wide: bool) -> Condition:
    """A condition without its questions about ``changes``, which are dear."""
    match condition:
        case Among("changes", _):
            return undecided(wide=wide)
        case No(inner):
            return negated(regardless(inner, wide=not wide))
        case All(parts):
            return all_of(regardless(part, wide=wide) for part in parts)
        case Some(parts):
            return some_of(regardless(part, wide=wide) for part in parts)
        case _:
            return condition
