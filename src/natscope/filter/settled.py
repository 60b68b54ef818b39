"""What of a filter a flow's every event tells, and tells alike.

The tuples, the zone and the NAT bits of the status are settled when a flow is
confirmed; ctnetlink_conntrack_event() sends them with NEW, UPDATE and DESTROY.
(nf_nat_setup_info() leaves confirmed entries alone, and IPS_UNCHANGEABLE_MASK
keeps those bits from ctnetlink.)  Everything else may change or be missing:
terms of it are undecided, and so are kinds and parts of a translation where the
box's own addresses have a say.

``bound`` gives a condition on what is settled: the widest reading of a filter
lets through every event that may be meant, the narrowest only those that surely
are.  Where both are equal, the condition is the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntFlag

from natscope import uapi
from natscope.filter.attributes import FIELDS
from natscope.filter.condition import (
    ALWAYS,
    NEVER,
    Among,
    Condition,
    Differ,
    Family,
    No,
    Within,
    all_of,
    negated,
    some_of,
    undecided,
)
from natscope.filter.syntax import (
    And,
    Beside,
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
    Status,
    Translated,
    Tree,
    Where,
)
from natscope.filter.vocabulary import (
    BY_NAME,
    CHANGED,
    PARTS,
    PORTLESS,
    SENDS_REQUESTS,
    TUPLE_ENDS,
    key,
)
from natscope.model.nat import (
    DIVERTED,
    INWARD,
    OUTWARD,
    ROLES,
    TURNED,
    TWICE,
    UNTRANSLATED,
    End,
    Kind,
)

SETTLED_STATUS = uapi.Status.SRC_NAT | uapi.Status.DST_NAT
_FAMILIES = (uapi.AF_INET, uapi.AF_INET6)


def bound(tree: Tree, *, wide: bool) -> Condition:
    """The widest or the narrowest reading of a filter.

    Args:
        tree: the filter.
        wide: undecided terms hold; else they do not.
    """
    match tree:
        case And(parts):
            return all_of(bound(part, wide=wide) for part in parts)
        case Or(parts):
            return some_of(bound(part, wide=wide) for part in parts)
        case Not(inner):
            return negated(bound(inner, wide=not wide))
        case Hosts(where, spots):
            return _anywhere(where, lambda end: _at(end, spots), wide=wide)
        case Ports(where, spans):
            return _anywhere(where, lambda end: _port(end, spans), wide=wide)
        case Number("family", items):
            known = (f for f in _FAMILIES if any(f in item for item in items))
            return some_of(map(Family, known))
        case Number("zone", items):
            return _zone(items)
        case Number(name, items):
            return _number(name, items, wide=wide)
        case Status(items):
            return some_of(_status(bits, wide=wide) for bits in items)
        case Kinds(kinds):
            return _kinds(kinds, wide=wide)
        case Translated(source):
            either = (_SNAT, _SPAT) if source else (_DNAT, _DPAT)
            return Among("changes", tuple(Bits(bit, bit) for bit in either))
        case Changed(part):
            return _changed(part)
        case _:
            return undecided(wide=wide)


_PORT = {end: end.replace("src", "sport").replace("dst", "dport") for end in TUPLE_ENDS}
_PORTLESS = Among("proto", tuple(Span(number, number) for number in PORTLESS))
_GRE = Among("proto", (Span(uapi.IPPROTO_GRE, uapi.IPPROTO_GRE),))


def _at(end: str, spots: tuple[Spot, ...]) -> Condition:
    """One of the spots at an end."""
    plain = [spot.address for spot in spots if spot.number is None]
    found: list[Condition] = []
    for version in (4, 6):
        here = tuple(address for address in plain if address.version == version)
        if here:
            found.append(Within(end, version, here))
    for spot in spots:
        if spot.number is not None:
            address = Within(end, spot.address.version, (spot.address,))
            found.append(all_of((address, _beside(end, spot.beside, spot.number))))
    return some_of(found)


def _beside(end: str, what: Beside, number: Span) -> Condition:
    match what:
        case Beside.PORT:
            return _port(end, (number,))
        case Beside.GRE_KEY:
            return all_of((_GRE, Among(_PORT[end], (number,))))
        case Beside.ICMP_ID:
            if end not in SENDS_REQUESTS:
                return NEVER
            return Among(SENDS_REQUESTS[end], (number,))


def _port(end: str, spans: tuple[Span, ...]) -> Condition:
    return all_of((Among(_PORT[end], spans), No(_PORTLESS)))


def _anywhere(
    where: Where, test: Callable[[str], Condition], *, wide: bool
) -> Condition:
    if not where.qualifiers:
        return some_of(map(test, TUPLE_ENDS))
    found = [_qualified(name, test, wide=wide) for name in where.qualifiers]
    return all_of(found) if where.every else some_of(found)


def _qualified(
    qualifier: str, test: Callable[[str], Condition], *, wide: bool
) -> Condition:
    if qualifier in PARTS:
        return _part(qualifier, test, wide=wide)
    ends = BY_NAME[key(qualifier)].ends
    if not set(ends) <= set(TUPLE_ENDS):
        return undecided(wide=wide)  # only some events name the master
    return some_of(map(test, ends))


def _number(name: str, items: tuple[Span | Bits, ...], *, wide: bool) -> Condition:
    word = BY_NAME[key(name)]
    if not word.columns or not FIELDS.keys() >= set(word.columns):
        return undecided(wide=wide)
    found = some_of(Among(column, items) for column in word.columns)
    if word.protocols:
        spans = tuple(Span(number, number) for number in word.protocols)
        found = all_of((Among("proto", spans), found))
    return found


def _zone(items: tuple[Span | Bits, ...]) -> Condition:
    """The zone of both directions or of one; 0 where none is told."""
    found: Condition = ALWAYS if any(0 in item for item in items) else NEVER
    for column in ("reply_zone", "orig_zone", "zone"):
        told = Among(column, (Span(None, None),))
        found = some_of((Among(column, items), all_of((No(told), found))))
    return found


def _status(bits: Bits, *, wide: bool) -> Condition:
    if bits.mask & ~SETTLED_STATUS == 0:
        return Among("status", (bits,))
    if wide and bits.mask & SETTLED_STATUS:
        part = Bits(bits.value & SETTLED_STATUS, bits.mask & SETTLED_STATUS)
        return Among("status", (part,))
    return undecided(wide=wide)


def _changed(part: str) -> Condition:
    if part in ("src", "dst"):
        return Differ(f"orig_{part}", "reply_dst" if part == "src" else "reply_src")
    return some_of(Differ(mine, turned) for mine, turned in CHANGED[part])


def _translated(part: str, bit: int) -> Condition:
    """A part is changed, and the kernel translates as far as is told."""
    return all_of((_changed(part), No(Among("status", (Bits(0, bit),)))))


class Change(IntFlag):
    """What is translated, as snat, dnat, spat and dpat of ``table.nat``."""

    SRC = 1
    DST = 2
    SPORT = 4
    DPORT = 8


CHANGES = {
    Change.SRC: _translated("src", uapi.Status.SRC_NAT),
    Change.DST: _translated("dst", uapi.Status.DST_NAT),
    Change.SPORT: _translated("sport", uapi.Status.SRC_NAT),
    Change.DPORT: _translated("dport", uapi.Status.DST_NAT),
}
"""When each bit of the derived column ``changes`` is set."""
_SNAT, _DNAT, _SPAT, _DPAT = Change
_ALL_CHANGES = sum(Change)


@dataclass(frozen=True, slots=True)
class Area:
    """Flows that are changed alike.

    ``kinds`` and ``roles`` (of model.nat.ROLES) are what they can be; where there
    are several, the addresses of the box and of the flow decide.
    """

    changes: tuple[Bits, ...]
    kinds: frozenset[Kind]
    roles: tuple[int, ...]


def _area(kinds: set[Kind], roles: tuple[int, ...], *changes: tuple[int, int]) -> Area:
    """``changes`` are pairs: the bits that are set, and those that are not."""
    bits = tuple(Bits(on, on | off) for on, off in changes)
    return Area(bits, frozenset(kinds), roles)


AREAS = (
    _area({Kind.NONE}, (UNTRANSLATED,), (0, _ALL_CHANGES)),
    _area({Kind.SOURCE}, (OUTWARD,), (_SNAT, _DNAT | _DPAT)),
    _area({Kind.PORT}, (OUTWARD,), (_SPAT, _SNAT | _DNAT | _DPAT)),
    _area({Kind.DESTINATION, Kind.REDIRECT}, (INWARD, DIVERTED), (_DNAT, _SNAT)),
    _area({Kind.PORT, Kind.REDIRECT}, (INWARD, DIVERTED), (_DPAT, _SNAT | _DNAT)),
    _area(
        {Kind.BOTH, Kind.HAIRPIN},
        (TWICE, TURNED, INWARD),
        (_SNAT | _DNAT, 0),
        (_SNAT | _DPAT, 0),
    ),
)
"""Every flow is in one of these; ``table.nat.translations`` tells it the same."""

_END = {
    End.ORIG_SRC: "orig_src",
    End.ORIG_DST: "orig_dst",
    End.REPLY_SRC: "reply_src",
    End.REPLY_DST: "reply_dst",
}


def _kinds(kinds: tuple[Kind, ...], *, wide: bool) -> Condition:
    wanted = frozenset(kinds)
    found = (
        bits
        for area in AREAS
        if (wanted & area.kinds if wide else wanted >= area.kinds)
        for bits in area.changes
    )
    return _among("changes", found)


def _part(part: str, test: Callable[[str], Condition], *, wide: bool) -> Condition:
    """A test at the end that plays a part, at one of the possible or all of them."""
    areas: dict[Condition, list[Bits]] = {}
    for area in AREAS:
        ends = dict.fromkeys(getattr(ROLES[role], part) for role in area.roles)
        tests = [NEVER if end is End.NONE else test(_END[end]) for end in ends]
        passed = some_of(tests) if wide else all_of(tests)
        areas.setdefault(passed, []).extend(area.changes)
    return some_of(
        all_of((passed, _among("changes", on))) for passed, on in areas.items()
    )


def _among(column: str, items: Iterable[Span | Bits]) -> Condition:
    wanted = tuple(items)
    return Among(column, wanted) if wanted else NEVER
