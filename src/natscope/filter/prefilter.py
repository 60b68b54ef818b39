"""What the kernel can leave out of a dump for a filter.

Always a superset of the truth, which ``mask`` applies to every message again.
Only parts that must all hold contribute.  Left to the mask, because of
ctnetlink_filter_match_tuple(): IPv6 addresses (inverted on 6.18), ports of
anything but TCP and UDP (not compared), and tuples without a family
(EOPNOTSUPP).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from natscope import uapi
from natscope.filter.syntax import (
    AddressSpan,
    And,
    Beside,
    Bits,
    Hosts,
    Not,
    Number,
    Ports,
    Span,
    Status,
    Tree,
    Where,
)
from natscope.model.prefilter import KernelFilter, KernelTuple

_ALL_BITS = (1 << 32) - 1
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_PORTS_COMPARED = (uapi.IPPROTO_TCP, uapi.IPPROTO_UDP)
_PLACE = {
    "src": ("orig", "src", "sport"),
    "dst": ("orig", "dst", "dport"),
    "reply-src": ("reply", "src", "sport"),
    "reply-dst": ("reply", "dst", "dport"),
}
"""Qualifiers the kernel knows: tuple, address and port."""


def kernel_filters(tree: Tree) -> tuple[KernelFilter, ...]:
    """Pre-filters that together let through what one would, and less besides.

    The kernel compares tuples only where a family is given; so a filter that
    needs it and leaves the family open is asked for each.
    """
    found = kernel_filter(tree)
    if found.family == uapi.AF_UNSPEC:
        each = tuple(kernel_filter(tree, one) for one in _FAMILY.values())
        if any((one.orig, one.reply) != (found.orig, found.reply) for one in each):
            return each
    return (found,)


def kernel_filter(tree: Tree, family: int | None = None) -> KernelFilter:
    """The pre-filter of a syntax tree, for flows of one family or of both."""
    parts = tree.parts if isinstance(tree, And) else (tree,)
    family = _one(_families(parts)) or family
    mark = _merged(_bits(parts, "mark"))
    status = _merged(_status_bits(parts))
    return KernelFilter(
        family=family or uapi.AF_UNSPEC,
        mark=mark.value if mark else None,
        mark_mask=mark.mask if mark else _ALL_BITS,
        status=status.value if status else None,
        status_mask=status.mask if status else 0,
        zone=_one(_single(parts, "zone")),
        **(_tuples(parts, family) if family else {}),
    )


def exact_kernel_filter(tree: Tree) -> KernelFilter | None:
    """The pre-filter where it means exactly what the tree does, else None.

    Every part must be one the kernel compares by itself, and no two may speak
    of the same thing.
    """
    parts = tree.parts if isinstance(tree, And) else (tree,)
    found = kernel_filter(tree)
    family = found.family or None
    proto = _one(_single(parts, "proto"))
    spoken: list[str] = []
    for part in parts:
        spoken += _spoken(part, family, proto)
    whole = "" not in spoken and len(spoken) == len(set(spoken))
    return found if whole else None


def _spoken(part: Tree, family: int | None, proto: int | None) -> list[str]:
    """What a part speaks of; an empty word if the kernel cannot tell it."""
    match part:
        case Number(("family" | "zone" | "mark") as name, (Span(low, high),)):
            return [name if low is not None and low == high else ""]
        case Number("proto", (Span(low, high),)) if family is not None:
            return ["proto" if low is not None and low == high else ""]
        case Number("mark", (Bits() as bits,)):
            return ["mark" if bits.mask else ""]
        case Status((bits,)):
            return [f"status {bits.mask:x}" if bits.mask else ""]
        case Hosts(Where((_,)), (_,)) | Ports(Where((_,)), (_,)) if family:
            told = [f"{s} {field}" for s, field, _ in _wanted((part,), family, proto)]
            both = isinstance(part, Hosts) and part.spots[0].number is not None
            return told if len(told) == 1 + both else [""]
    return [""]


def _one(numbers: Iterator[int]) -> int | None:
    """The first; a filter that wants another as well matches nothing anyway."""
    return next(numbers, None)


def _single(parts: tuple[Tree, ...], word: str) -> Iterator[int]:
    """Values a quantity must have."""
    for part in parts:
        match part:
            case Number(name, (Span(int(low), int(high)),)) if (
                name == word and low == high
            ):
                yield low


def _families(parts: tuple[Tree, ...]) -> Iterator[int]:
    yield from _single(parts, "family")
    for part in parts:
        if isinstance(part, Hosts):
            versions = {spot.address.version for spot in part.spots}
            if len(versions) == 1:
                yield _FAMILY[versions.pop()]


def _bits(parts: tuple[Tree, ...], word: str) -> Iterator[Bits]:
    for low in _single(parts, word):
        yield Bits(low, _ALL_BITS)
    for part in parts:
        match part:
            case Number(name, (Bits() as bits,)) if name == word and bits.mask:
                yield bits


def _status_bits(parts: tuple[Tree, ...]) -> Iterator[Bits]:
    """Status bits that must hold; a mask of 0 is EINVAL.

    The kernel always tells every bit, so that "not set" is exactly "clear".
    """
    for part in parts:
        match part:
            case Status((bits,)) if bits.mask:
                yield bits
            case Not(Status((bits,))) if bits.mask.bit_count() == 1:
                yield Bits(bits.value ^ bits.mask, bits.mask)


def _merged(wanted: Iterator[Bits]) -> Bits | None:
    """All of them as one; one that contradicts those before is left out."""
    found: Bits | None = None
    for bits in wanted:
        if found is None:
            found = bits
        elif (found.value ^ bits.value) & found.mask & bits.mask == 0:
            found = Bits(found.value | bits.value, found.mask | bits.mask)
    return found


def _tuples(parts: tuple[Tree, ...], family: int) -> dict[str, KernelTuple]:
    """Parts of both tuples, when the family is known."""
    proto = _one(_single(parts, "proto"))
    sides: dict[str, KernelTuple] = {"orig": KernelTuple(proto=proto)}
    sides["reply"] = KernelTuple()
    for side, field, number in _wanted(parts, family, proto):
        if getattr(sides[side], field) is None:
            sides[side] = replace(sides[side], **{field: number})
        if field in ("sport", "dport"):
            sides[side] = replace(sides[side], proto=proto)
    return sides


def _wanted(
    parts: tuple[Tree, ...], family: int, proto: int | None
) -> Iterator[tuple[str, str, int]]:
    """Side, field and value of every address and port the kernel can compare."""
    ports = proto in _PORTS_COMPARED
    for part in parts:
        if not isinstance(part, Hosts | Ports):
            continue
        for side, address, port in _places(part.where):
            match part:
                case Hosts(_, (spot,)):
                    span = spot.address
                    v4 = family == uapi.AF_INET and span.version == 4
                    if v4 and isinstance(span, AddressSpan) and span.low == span.high:
                        yield side, address, span.low
                    number = spot.number if spot.beside is Beside.PORT else None
                    if ports and number is not None and _exact(number):
                        yield side, port, number.low or 0
                case Ports(_, (span_,)) if ports and _exact(span_):
                    yield side, port, span_.low or 0


def _places(where: Where) -> list[tuple[str, str, str]]:
    """The ends at which a value must stand."""
    if len(where.qualifiers) > 1 and not where.every:
        return []
    return [_PLACE[name] for name in where.qualifiers if name in _PLACE]


def _exact(span: Span) -> bool:
    return span.low is not None and span.low == span.high
