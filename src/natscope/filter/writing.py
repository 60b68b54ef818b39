"""A syntax tree as text: the normal form, which parses back to an equal tree."""

from __future__ import annotations

import re

from natscope import uapi
from natscope.filter.syntax import (
    And,
    Bits,
    Changed,
    Hosts,
    Kinds,
    Not,
    Number,
    Or,
    Ports,
    Span,
    Spot,
    State,
    Status,
    Term,
    Text,
    Translated,
    Tree,
    Where,
)
from natscope.filter.values import write_address
from natscope.filter.vocabulary import (
    BARE,
    BY_NAME,
    CONNECTIVES,
    FAMILY_NAMES,
    Takes,
)

_ALL_STATUS = (1 << 32) - 1


def write(tree: Tree) -> str:
    """The normal form of a filter."""
    match tree:
        case And(parts):
            return " and ".join(_inside(part) for part in parts)
        case Or(parts):
            return " or ".join(_inside(part) for part in parts)
        case Not(inner):
            return f"not {_inside(inner)}"
        case _:
            return BARE.get(tree) or _term(tree)


def _inside(tree: Tree) -> str:
    return f"({write(tree)})" if isinstance(tree, And | Or) else write(tree)


def _term(term: Term) -> str:
    match term:
        case Hosts(where, spots):
            return f"{_where(where) or 'host'} {','.join(map(_spot, spots))}"
        case Ports(where, spans):
            return f"{_where(where)} port {','.join(map(_span, spans))}".lstrip()
        case Number(word, items):
            return _number(word, items)
        case Status(items):
            return f"status {','.join(map(_status, items))}"
        case State(names):
            return f"state {','.join(names).lower()}"
        case Kinds(kinds):
            return f"kind {','.join(kind.letter for kind in kinds)}"
        case Translated(source):
            return "snat" if source else "dnat"
        case Changed(part):
            return f"changed-{part}"
        case Text(word, patterns):
            return f"{word} {','.join(map(_quoted, patterns))}"


def _where(where: Where) -> str:
    return (" and " if where.every else " or ").join(where.qualifiers)


def _spot(spot: Spot) -> str:
    address = write_address(spot.address)
    if spot.number is None:
        return address
    if spot.address.version == 6:
        address = f"[{address}]"
    return f"{address}:{spot.beside.value}{_span(spot.number)}"


def _span(span: Span) -> str:
    return f"{span.low}" if span.low == span.high else f"{span.low}-{span.high}"


def _number(word: str, items: tuple[Span | Bits, ...]) -> str:
    if word == "labels":
        bits = [_label(item) for item in items]
        if all(bit is not None for bit in bits):
            return f"label {','.join(map(str, bits))}"
    first = items[0]
    if isinstance(first, Span) and first.high is None:
        return f"{word} >= {first.low}"
    if isinstance(first, Span) and first.low is None:
        return f"{word} <= {first.high}"
    return f"{word} {','.join(_item(word, item) for item in items)}"


def _label(item: Span | Bits) -> int | None:
    """The bit number, when the item asks for one label."""
    if isinstance(item, Span) or item.value != item.mask or item.mask.bit_count() != 1:
        return None
    return item.mask.bit_length() - 1


def _item(word: str, item: Span | Bits) -> str:
    if isinstance(item, Bits):
        return f"{item.value:#x}/{item.mask:#x}"
    if item.low == item.high and item.low is not None:
        takes = BY_NAME[word.replace("-", "_")].takes
        if takes is Takes.FAMILY:
            return FAMILY_NAMES[item.low]
        name = uapi.protocol_name(item.low)
        if takes is Takes.PROTOCOL and uapi.PROTOCOL_NUMBERS.get(name) == item.low:
            return name
    return _span(item)


def _status(bits: Bits) -> str:
    if bits.mask == _ALL_STATUS:
        return f"{bits.value:#x}"
    return BARE.get(Status((bits,))) or f"{bits.value:#x}/{bits.mask:#x}"


def _quoted(pattern: str) -> str:
    plain = re.fullmatch(r'[^\s()!<>=&|,"]+', pattern)
    return pattern if plain and pattern.lower() not in CONNECTIVES else f'"{pattern}"'
