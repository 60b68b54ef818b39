"""A filter over one record, for events as they come.

Says of a flow what ``mask`` says of its row; a property test holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from natscope import uapi
from natscope.filter.patterns import says
from natscope.filter.syntax import (
    AddressBits,
    AddressSpan,
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
    State,
    Status,
    Text,
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
    STATES,
    TUPLE_ENDS,
    Word,
    key,
)
from natscope.model import age
from natscope.model.evidence import Evidence
from natscope.model.flow import Flow
from natscope.model.nat import End, Ends, Kind, classify
from natscope.model.tuples import Address, FlowTuple

_END = {
    "orig_src": End.ORIG_SRC,
    "orig_dst": End.ORIG_DST,
    "reply_src": End.REPLY_SRC,
    "reply_dst": End.REPLY_DST,
}
_COLUMN = {end: name for name, end in _END.items()}
_MOST = (1 << 64) - 1


def matches(tree: Tree, flow: Flow, evidence: Evidence) -> bool:
    """Whether a filter matches a flow."""
    return _evaluate(tree, _Row(flow, evidence))


class _Row:
    """A flow and its evidence, during one evaluation of a filter."""

    def __init__(self, flow: Flow, evidence: Evidence) -> None:
        self.flow = flow
        self.evidence = evidence

    @cached_property
    def nat(self) -> tuple[Kind, Ends]:
        return classify(self.flow, self.evidence)

    def ends(self, qualifier: str) -> tuple[str, ...]:
        """The columns of the ends a qualifier names."""
        if qualifier in PARTS:
            end: End = getattr(self.nat[1], qualifier)
            return (_COLUMN[end],) if end else ()
        return BY_NAME[key(qualifier)].ends

    def side(self, end: str) -> tuple[FlowTuple | None, str]:
        """The tuple an end is of, and src or dst."""
        side, _, which = end.partition("_")
        one: FlowTuple | None = getattr(self.flow, side)
        return one, which

    def address(self, end: str) -> Address | None:
        one, which = self.side(end)
        return None if one is None else one.src if which == "src" else one.dst

    def beside(self, end: str, what: Beside) -> int | None:
        """The port, ICMP id or GRE key of an end, where the protocol has it."""
        one, which = self.side(end)
        if one is None:
            return None
        if what is Beside.ICMP_ID:
            return one.icmp_id if end in SENDS_REQUESTS else None
        if what is Beside.GRE_KEY:
            has = one.proto == uapi.IPPROTO_GRE
        else:
            has = one.proto not in PORTLESS
        number = one.sport if which == "src" else one.dport
        return number if has else None

    def numbers(self, word: Word) -> Iterator[int | None]:
        """The fields of a quantity, or what it is derived from."""
        derived = _DERIVED.get(word.word)
        if derived is not None:
            yield derived(self)
        elif not word.protocols or self.flow.proto in word.protocols:
            for column in word.columns:
                yield _cell(self.flow, column)


def _evaluate(tree: Tree, row: _Row) -> bool:
    match tree:
        case And(parts):
            return all(_evaluate(part, row) for part in parts)
        case Or(parts):
            return any(_evaluate(part, row) for part in parts)
        case Not(inner):
            return not _evaluate(inner, row)
        case Hosts(where, spots):
            return _anywhere(where, row, lambda end: _at(end, spots, row))
        case Ports(where, spans):
            return _anywhere(where, row, lambda end: _is_port(end, spans, row))
        case Number(name, items):
            word = BY_NAME[key(name)]
            return any(_among(number, items) for number in row.numbers(word))
        case _:
            return _named(tree, row)


def _named(
    term: Status | State | Kinds | Translated | Changed | Text, row: _Row
) -> bool:
    match term:
        case Status(items):
            return any(_has_status(row.flow, bits) for bits in items)
        case State(names):
            return _in_state(row.flow, names)
        case Kinds(kinds):
            return row.nat[0] in kinds
        case Translated(source):
            return _source_translated(row.flow) if source else _to_translated(row.flow)
        case Changed(part):
            return _changed(row.flow, part)
        case Text(word):
            (column,) = BY_NAME[key(word)].columns
            text: str | None = getattr(row.flow, column)
            return text is not None and says(term, text)


def _anywhere(where: Where, row: _Row, test: Callable[[str], bool]) -> bool:
    if not where.qualifiers:
        return any(map(test, TUPLE_ENDS))
    found = (any(map(test, row.ends(name))) for name in where.qualifiers)
    return all(found) if where.every else any(found)


def _at(end: str, spots: tuple[Spot, ...], row: _Row) -> bool:
    address = row.address(end)
    return address is not None and any(
        _in_addresses(address, spot.address)
        and (
            spot.number is None or _among(row.beside(end, spot.beside), (spot.number,))
        )
        for spot in spots
    )


def _in_addresses(address: Address, span: AddressSpan | AddressBits) -> bool:
    if address.version != span.version:
        return False
    if isinstance(span, AddressBits):
        return int(address) & span.mask == span.value
    return span.low <= int(address) <= span.high


def _is_port(end: str, spans: tuple[Span, ...], row: _Row) -> bool:
    return _among(row.beside(end, Beside.PORT), spans)


def _among(number: int | None, items: tuple[Span | Bits, ...]) -> bool:
    return number is not None and any(number in item for item in items)


def _cell(flow: Flow, column: str) -> int | None:
    """A numeric column of a record."""
    found: int | None
    if column in _PLAIN:
        found = getattr(flow, column)
        return found
    side, _, field = column.partition("_")
    one: FlowTuple | None = getattr(flow, side)
    found = None if one is None else getattr(one, field)
    return found


_PLAIN = frozenset({*Flow.__dataclass_fields__, "family", "proto"})


def _has_status(flow: Flow, bits: Bits) -> bool:
    told = _MOST if flow.status_mask is None else flow.status_mask
    if flow.status is None or told & bits.mask != bits.mask:
        return False
    return flow.status in bits


def _in_state(flow: Flow, names: tuple[str, ...]) -> bool:
    for column, states in STATES:
        value: int | None = getattr(flow, column)
        if value is not None and value < len(states) and states[value] in names:
            return True
    return False


def _may(flow: Flow, bit: int) -> bool:
    """Whether the kernel translates here, or the source does not tell."""
    return not flow.knows_status(bit) or bool((flow.status or 0) & bit)


def _source_translated(flow: Flow) -> bool:
    orig, reply = flow.orig, flow.reply
    return _may(flow, uapi.Status.SRC_NAT) and (
        reply.dst != orig.src
        or _differ(orig.sport, reply.dport)
        or _differ(orig.icmp_id, reply.icmp_id)
    )


def _to_translated(flow: Flow) -> bool:
    orig, reply = flow.orig, flow.reply
    return _may(flow, uapi.Status.DST_NAT) and (
        reply.src != orig.dst or _differ(orig.dport, reply.sport)
    )


def _changed(flow: Flow, part: str) -> bool:
    if part == "src":
        return flow.orig.src != flow.reply.dst
    if part == "dst":
        return flow.orig.dst != flow.reply.src
    pairs = CHANGED[part]
    return any(_differ(_cell(flow, one), _cell(flow, other)) for one, other in pairs)


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


def _both_ways(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one + other, _MOST)


def _zone(flow: Flow) -> int:
    """nf_ct_zone()->id: of both directions or of one; none told is zone 0."""
    for zone in (flow.zone, flow.orig.zone, flow.reply.zone):
        if zone is not None:
            return zone
    return 0


_DERIVED: dict[str, Callable[[_Row], int | None]] = {
    "age": lambda row: age.age_s(row.flow, row.evidence),
    "idle": lambda row: age.idle_s(row.flow, row.evidence),
    "bytes": lambda row: _both_ways(row.flow.orig_bytes, row.flow.reply_bytes),
    "packets": lambda row: _both_ways(row.flow.orig_packets, row.flow.reply_packets),
    "zone": lambda row: _zone(row.flow),
}
