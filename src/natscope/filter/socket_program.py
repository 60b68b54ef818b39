"""A filter as a program for the socket that listens to events.

What the program rejects never takes room in the socket's buffer and never wakes
its reader.  It sees one message, as ctnetlink_conntrack_event() makes it: a
netlink header, struct nfgenmsg, attributes.  First it notes where the attributes
it needs are; then it asks the conditions of ``settled`` one after the other.

A message that is none of ctnetlink's, or lacks what every event has, passes:
the reader is to judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import groupby
from operator import attrgetter, or_

from natscope import uapi
from natscope.filter import bpf
from natscope.filter.attributes import (
    ATTRIBUTES_AT,
    FAMILY_AT,
    FIELDS,
    SUBSYSTEM_AT,
    VALUE_AT,
    Field,
)
from natscope.filter.bpf import Assembly, Label
from natscope.filter.condition import (
    ALWAYS,
    All,
    Among,
    Condition,
    Differ,
    Family,
    No,
    Some,
    Within,
    regardless,
    terms_of,
)
from natscope.filter.settled import CHANGES, Change, bound
from natscope.filter.syntax import AddressBits, AddressSpan, Bits, Span, Tree

_PASS, _DROP = 0xFFFF_FFFF, 0
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_WORD = (1 << 32) - 1
_TEMPORARY, _CHANGES, _FIRST_FREE = range(3)  # slots of scratch memory


def socket_program(tree: Tree) -> bytes | None:
    """A filter as classic BPF (struct sock_filter, packed), for events.

    It lets through at least what is meant.  None if that would be everything,
    or the program longer than the kernel takes.
    """
    condition = bound(tree, wide=True)
    return None if condition == ALWAYS else _program(condition)


def is_exact(tree: Tree) -> bool:
    """Whether a filter speaks of nothing but what the program can decide."""
    return bound(tree, wide=True) == bound(tree, wide=False)


def _program(condition: Condition) -> bytes | None:
    # most events fail by their addresses already, at half the price
    rough = regardless(condition, wide=True)
    stages = [condition] if rough in (condition, ALWAYS) else [rough, condition]
    fields = {FIELDS[name] for stage in stages for name in _columns(stage)}
    if len(fields) + _FIRST_FREE > bpf.SCRATCH_SLOTS:
        return None
    return _Program().written(stages)


def _changes(condition: Condition) -> list[Change]:
    """What of the translation a condition asks for."""
    asked = 0
    for term in terms_of(condition):
        match term:
            case Among("changes", items):
                masks = (item.mask for item in items if isinstance(item, Bits))
                asked = reduce(or_, masks, asked)
    return [change for change in Change if change & asked]


def _columns(condition: Condition) -> Iterator[str]:
    """Every column of the message a condition asks for."""
    for term in terms_of(condition):
        match term:
            case Among("changes", _):
                continue
            case Among(column, _):
                yield column
            case Within(end, _):
                yield end
            case Differ(one, other):
                yield from (one, other)
    for change in _changes(condition):
        yield from _columns(CHANGES[change])


class _Program:
    """A program being written.

    Scratch memory holds where each field's attribute is, 0 where it is missing.
    """

    def __init__(self) -> None:
        self._code = Assembly()
        self._slots: dict[Field, int] = {}
        self._pass, self._drop = Label(), Label()

    def written(self, stages: list[Condition]) -> bytes | None:
        """The whole program; None if it is too long.

        Args:
            stages: conditions, all of which let a message pass.
        """
        code = self._code
        code.add(bpf.LOAD_BYTE, SUBSYSTEM_AT)
        self._unless(bpf.IF_EQUAL, uapi.NFNL_SUBSYS_CTNETLINK, self._pass)
        for stage in stages:
            self._note(_columns(stage))
            self._classify(_changes(stage))
            on = Label()
            self._test(stage, on, self._drop)
            code.place(on)
        code.goto(self._pass)
        code.place(self._drop)
        code.add(bpf.RETURN, _DROP)
        code.place(self._pass)
        code.add(bpf.RETURN, _PASS)
        return code.assemble()

    def _note(self, columns: Iterable[str]) -> None:
        """Note where the fields are that were not looked for before."""
        used = dict.fromkeys(FIELDS[column] for column in columns)
        fresh = [field for field in used if field not in self._slots]
        fresh.sort(key=attrgetter("parents"))
        for parents, fields in groupby(fresh, key=attrgetter("parents")):
            self._enter(parents)
            for field in fields:
                self._slots[field] = _FIRST_FREE + len(self._slots)
                self._find(field)

    def _enter(self, parents: tuple[int, ...]) -> None:
        """Put where to look for attributes into the temporary slot."""
        self._code.add(bpf.LOAD_IMMEDIATE, ATTRIBUTES_AT)
        for depth, parent in enumerate(parents):
            self._look(parent, nested=depth > 0)
            self._if(bpf.IF_EQUAL, 0, self._pass)
        self._code.add(bpf.STORE, _TEMPORARY)

    def _find(self, field: Field) -> None:
        """Put where a field's attribute is into its slot."""
        found = Label()
        for kind in field.types:
            self._code.add(bpf.LOAD_SLOT, _TEMPORARY)
            self._look(kind, nested=bool(field.parents))
            self._unless(bpf.IF_EQUAL, 0, found)
        if field.certain:
            self._code.goto(self._pass)
        self._code.place(found)
        self._code.add(bpf.STORE, self._slots[field])

    def _classify(self, changes: list[Change]) -> None:
        """Put what is translated into its slot, as far as is asked."""
        if not changes:
            return
        self._code.add(bpf.LOAD_IMMEDIATE, 0)
        self._code.add(bpf.STORE, _CHANGES)
        for change in changes:
            yes, no = Label(), Label()
            self._test(CHANGES[change], yes, no)
            self._code.place(yes)
            self._code.add(bpf.LOAD_SLOT, _CHANGES)
            self._code.add(bpf.OR, change)
            self._code.add(bpf.STORE, _CHANGES)
            self._code.place(no)

    def _look(self, kind: int, *, nested: bool) -> None:
        self._code.add(bpf.LOAD_X_IMMEDIATE, kind)
        self._code.add(*(bpf.FIND_NESTED if nested else bpf.FIND_ATTRIBUTE))

    def _if(self, code: int, k: int, yes: Label) -> None:
        on = Label()
        self._code.branch(code, k, yes=yes, no=on)
        self._code.place(on)

    def _unless(self, code: int, k: int, no: Label) -> None:
        on = Label()
        self._code.branch(code, k, yes=on, no=no)
        self._code.place(on)

    def _test(self, condition: Condition, yes: Label, no: Label) -> None:
        match condition:
            case Family(family):
                self._code.add(bpf.LOAD_BYTE, FAMILY_AT)
                self._code.branch(bpf.IF_EQUAL, family, yes=yes, no=no)
            case Within():
                self._within(condition, yes, no)
            case Among("changes", items):
                load = bpf.LOAD_SLOT, _CHANGES
                self._among(load, 1, items, yes, no)
            case Among(column, items):
                field = FIELDS[column]
                self._point(field, no)
                self._among(_of(field), field.size, items, yes, no)
            case Differ(one, other):
                self._differ(FIELDS[one], FIELDS[other], yes, no)
            case No(inner):
                self._test(inner, no, yes)
            case All(parts):
                for part in parts:
                    on = Label()
                    self._test(part, on, no)
                    self._code.place(on)
                self._code.goto(yes)
            case Some(parts):
                for part in parts:
                    on = Label()
                    self._test(part, yes, on)
                    self._code.place(on)
                self._code.goto(no)

    def _point(self, field: Field, missing: Label) -> None:
        """X becomes where a field's attribute is."""
        if field.certain:
            self._code.add(bpf.LOAD_X_SLOT, self._slots[field])
            return
        self._code.add(bpf.LOAD_SLOT, self._slots[field])
        self._if(bpf.IF_EQUAL, 0, missing)
        self._code.add(bpf.A_TO_X)

    def _load(self, field: Field, word: int = 0) -> None:
        """A becomes the field X points at, or one of its words."""
        self._code.add(*_of(field, word))

    def _among(
        self,
        load: tuple[int, int],
        size: int,
        items: tuple[Span | Bits, ...],
        yes: Label,
        no: Label,
    ) -> None:
        """Whether what an instruction loads is one of the items."""
        limit = (1 << 8 * size) - 1
        loaded = False
        for item in items:
            if not loaded:
                self._code.add(*load)
            loaded = isinstance(item, Span)
            if isinstance(item, Span):
                self._span(item, limit, yes)
            elif item.value <= limit:
                self._code.add(bpf.AND, item.mask & limit)
                self._if(bpf.IF_EQUAL, item.value, yes)
        self._code.goto(no)

    def _span(self, span: Span, limit: int, yes: Label) -> None:
        """Whether A lies in a span."""
        low = max(0, span.low or 0)
        high = limit if span.high is None else min(limit, span.high)
        if low > high:
            return
        if low == high:
            self._if(bpf.IF_EQUAL, low, yes)
            return
        on = Label()
        if low > 0:
            self._unless(bpf.IF_GREATER, low - 1, on)
        if high < limit:
            self._code.branch(bpf.IF_GREATER, high, yes=on, no=yes)
        else:
            self._code.goto(yes)
        self._code.place(on)

    def _within(self, condition: Within, yes: Label, no: Label) -> None:
        field = FIELDS[condition.end]
        self._code.add(bpf.LOAD_BYTE, FAMILY_AT)
        self._unless(bpf.IF_EQUAL, _FAMILY[condition.version], no)
        self._point(field, no)
        if condition.version == 4:
            items = tuple(map(_item, condition.addresses))
            self._among(_of(field), 4, items, yes, no)
            return
        for address in condition.addresses:
            on = Label()
            if isinstance(address, AddressSpan):
                self._between(field, _words(address.low), _words(address.high), yes, on)
            else:
                self._match(field, _words(address.value), _words(address.mask), yes, on)
            self._code.place(on)
        self._code.goto(no)

    def _match(
        self, field: Field, values: list[int], masks: list[int], yes: Label, no: Label
    ) -> None:
        """Whether an IPv6 address has these bits under the masks."""
        for word, (value, mask) in enumerate(zip(values, masks, strict=True)):
            if mask or value:
                self._load(field, word)
                self._code.add(bpf.AND, mask)
                self._unless(bpf.IF_EQUAL, value, no)
        self._code.goto(yes)

    def _between(
        self, field: Field, low: list[int], high: list[int], yes: Label, no: Label
    ) -> None:
        """Whether an IPv6 address lies between two, word by word from the first."""
        shared = 0
        while shared < len(low) and low[shared] == high[shared]:
            self._load(field, shared)
            self._unless(bpf.IF_EQUAL, low[shared], no)
            shared += 1
        if shared < len(low):
            self._edge(field, shared, low, least=True, no=no)
            self._edge(field, shared, high, least=False, no=no)
        self._code.goto(yes)

    def _edge(
        self, field: Field, first: int, end: list[int], *, least: bool, no: Label
    ) -> None:
        """Go on if the words from ``first`` are at least, or at most, these."""
        on = Label()
        extreme = 0 if least else _WORD
        for word in range(first, len(end)):
            if all(number == extreme for number in end[word:]):
                break  # whatever follows is within
            self._load(field, word)
            beyond, within = (no, on) if not least else (on, no)
            self._if(bpf.IF_GREATER, end[word], beyond)
            self._unless(bpf.IF_EQUAL, end[word], within)
        self._code.place(on)

    def _differ(self, one: Field, other: Field, yes: Label, no: Label) -> None:
        self._same(one, other, 0, missing=no, differs=yes)
        if one.size == 4:
            self._code.add(bpf.LOAD_BYTE, FAMILY_AT)
            self._unless(bpf.IF_EQUAL, uapi.AF_INET6, no)
            for word in (1, 2, 3):
                self._same(one, other, word, missing=no, differs=yes)
        self._code.goto(no)

    def _same(
        self, one: Field, other: Field, word: int, *, missing: Label, differs: Label
    ) -> None:
        """Go on if a word is the same in two fields."""
        self._point(one, missing)
        self._load(one, word)
        self._code.add(bpf.STORE, _TEMPORARY)
        self._point(other, missing)
        self._load(other, word)
        self._code.add(bpf.LOAD_X_SLOT, _TEMPORARY)
        self._unless(bpf.IF_EQUAL_X, 0, differs)


def _of(field: Field, word: int = 0) -> tuple[int, int]:
    """The instruction that loads a field X points at, or one of its words."""
    return bpf.LOAD_AT_X[field.size], VALUE_AT + 4 * word


def _item(address: AddressSpan | AddressBits) -> Span | Bits:
    """IPv4 addresses as the numbers they are."""
    if isinstance(address, AddressSpan):
        return Span(address.low, address.high)
    return Bits(address.value, address.mask)


def _words(number: int) -> list[int]:
    """An IPv6 address as words of 32 bits, the first one first."""
    return [number >> shift & _WORD for shift in (96, 64, 32, 0)]
