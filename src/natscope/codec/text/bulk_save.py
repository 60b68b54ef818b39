"""The fast path for ``-o save``: many lines at once, by the words they are made of.

It takes lines as conntrack(8) prints them: a command, then options with one
argument each, none twice, all that the protocol asks for and none it has not.
Whatever else getopt_long(3) would take is left to who reads line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.addresses import parse_colons
from natscope.codec.text.bulk import Bulk
from natscope.codec.text.save import TOLD
from natscope.codec.text.save_words import (
    ADD,
    ALLOWED,
    ANY,
    BITS_OF,
    COMMAND_WORDS,
    DST_NAT_BIT,
    ENDS,
    ICMP,
    INSERT,
    MOST_OF,
    NAMED,
    NEEDS,
    NUMBER_OF,
    OPTIONS,
    OWNER_OF,
    PROTOCOLS,
    SLOT,
    SLOT_OF,
    SLOTS,
    SRC_NAT_BIT,
    STATE_OF,
    STATES,
    STATUS_OF,
    STATUSES,
    UNKNOWN_BIT,
    VTAGS,
)
from natscope.codec.text.words import Index, Mask, Words
from natscope.table.columns import BIT, BY_NAME
from natscope.table.flowtable import FlowTable
from natscope.uapi import Status

BYTES_AT_ONCE = 1 << 21
"""Text read at once; what is made of it takes some twenty times as much."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """What the fast path made of a file of commands.

    Attributes:
        table: the flows they would make.  ``status`` holds what was said of it:
            the bits of ``-u`` where it was given, SRC_NAT for ``-n`` and
            DST_NAT for ``-g``; where none of them was, it is absent.
            ``status_mask`` is there with it: SRC_NAT and DST_NAT, and the bits
            ``-u`` can tell (``save.TOLD``) only where it was given.
        rows: the line of each flow, counted from 0.
        add: whether its command is ``-A``, which changes an entry that is
            there already; else it is ``-I``, which is refused then.
        rest: the lines that are left, blank ones among them.
    """

    table: FlowTable
    rows: Index
    add: Mask
    rest: list[int]


def save_table(text: bytes) -> Saved:
    """The ``-A`` and ``-I`` lines of a file of commands, as one table.

    Lines of ``-U`` and ``-D``, and of any shape conntrack(8) does not print,
    are left.
    """
    tables, rows, add = [FlowTable.empty()], [], []
    rest: list[int] = []
    first = 0
    for block in _blocks(text):
        lines = Lines(block)
        lines.good &= np.isin(lines.command, [*ADD, *INSERT])
        found = np.flatnonzero(lines.good)
        tables.append(lines.commands())
        rows.append(found + first)
        add.append(np.isin(lines.command[found], ADD))
        rest += (np.flatnonzero(~lines.good) + first).tolist()
        first += len(lines.good)
    if not first:
        return Saved(tables[0], np.zeros(0, np.intp), np.zeros(0, np.bool_), rest)
    table = FlowTable.concat([table for table in tables if len(table)])
    return Saved(table, np.concatenate(rows), np.concatenate(add), rest)


def parse(lines: Sequence[str]) -> Bulk:
    """The lines of a listing, whatever the command, as ``save.parse_line`` reads them.

    Args:
        lines: without newlines.
    """
    read = Lines("\n".join(lines).encode("utf-8", "replace"))
    if len(read) != len(lines):
        return Bulk(FlowTable.empty(), np.zeros(0, np.intp), list(range(len(lines))))
    rest = np.flatnonzero(~read.good).tolist()
    return Bulk(read.listed(), np.flatnonzero(read.good), rest)


def _blocks(text: bytes) -> Iterator[bytes]:
    """Whole lines, some at a time, without the last newline of each piece."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + BYTES_AT_ONCE)
        if end < 0:
            end = len(text) - text.endswith(b"\n")
        yield text[start:end]
        start = end + 1


class Lines:
    """Some lines; ``good`` are those that were understood."""

    def __init__(self, text: bytes) -> None:
        words = Words(text)
        self._words = words
        self.command = COMMAND_WORDS.find(words, words.first)
        counts = np.diff(words.first, append=len(words.line))
        self.good: Mask = (self.command >= 0) & (counts % 2 == 1)
        place = np.arange(len(words.line)) - words.first[words.line]
        options = np.flatnonzero(place & 1)
        options = options[self.good[words.line[options]]]
        code = OPTIONS.find(words, options)
        self._told = self._tell(options, code)
        known = code >= 0
        self._code, self._argument = code[known], options[known] + 1
        self._line = words.line[self._argument]
        self._slot = SLOT_OF[self._code]
        self._data: dict[str, Array] = {}
        self._protocols()
        self._addresses()
        self._numbers()
        self._states()
        self._status = self._statuses()

    def __len__(self) -> int:
        return len(self.good)

    def listed(self) -> FlowTable:
        """The good lines as a listing tells them: see ``save.parse_line``."""
        given = self._has("status")
        mask = np.full(len(self), TOLD, np.uint32)
        return self._table(self._status, mask, given)

    def commands(self) -> FlowTable:
        """The good lines as commands: see :class:`Saved`."""
        status, given = self._status.copy(), self._has("status")
        mask = np.where(given, np.uint32(TOLD), np.uint32(0))
        for bit, nat in (
            (SRC_NAT_BIT, Status.SRC_NAT),
            (DST_NAT_BIT, Status.DST_NAT),
        ):
            asked = self._told & np.uint64(bit) != 0
            status |= np.where(asked, np.uint32(nat), np.uint32(0))
            mask |= np.uint32(nat)
            given = given | asked
        return self._table(status, mask, given)

    def _tell(self, options: Index, code: Index) -> NDArray[np.uint64]:
        """What each line tells, as bits; a line that tells a thing twice is bad."""
        bits = np.zeros(len(self._words.line), np.uint64)
        bits[options] = BITS_OF[code]
        told: NDArray[np.uint64] = np.bitwise_or.reduceat(bits, self._words.first)
        self.good &= told & np.uint64(UNKNOWN_BIT) == 0
        # a bit added to itself is another one
        self.good &= told == np.add.reduceat(bits, self._words.first)
        return told

    def _has(self, name: str) -> Mask:
        has: Mask = self._told & np.uint64(1 << SLOT[name]) != 0
        return has

    def _of(self, name: str) -> tuple[Index, Index]:
        """The words that tell one thing, and their lines."""
        here = np.flatnonzero(self._slot == SLOT[name])
        return self._argument[here], self._line[here]

    def _spoil(self, lines: Index, sound: Mask) -> None:
        if not sound.all():
            self.good[lines[~sound]] = False

    def _put(self, name: str, lines: Index, values: Array, sound: Mask) -> None:
        self._spoil(lines, sound)
        dtype = BY_NAME[name].dtype
        if len(lines) == len(self) and (lines == np.arange(len(self))).all():
            self._data[name] = values.astype(dtype)
            return
        self._data[name] = np.zeros((len(self), *values.shape[1:]), dtype)
        self._data[name][lines] = values

    def _protocols(self) -> None:
        """The protocols; options before theirs, or of another, are bad."""
        words, lines = self._of("proto")
        code = PROTOCOLS.find(self._words, words)
        numbers, sound = self._words.decimals(words)
        small = np.minimum(numbers, 255).astype(np.uint8)
        sound &= (numbers <= 255) & ~NAMED[small]
        proto = np.where(code >= 0, NUMBER_OF[code], small)
        self._put("proto", lines, proto, sound | (code >= 0))
        of_line = self._data["reply_proto"] = self._data["proto"]
        needs = NEEDS[of_line]
        self.good &= self._told & needs == needs
        at = np.zeros(len(self), np.intp)
        at[lines] = words
        owner = OWNER_OF[self._code]
        right = ALLOWED[of_line[self._line], owner]
        right &= (owner == ANY) | (self._argument > at[self._line])
        self._spoil(self._line, right)

    def _addresses(self) -> None:
        family = np.zeros((len(ENDS), len(self)), np.uint8)
        for end, name in enumerate(ENDS):
            words, lines = self._of(name)
            values, families = self._read_addresses(words)
            self._put(name, lines, values, families != 0)
            family[end, lines] = families
        self.good &= (family == family[0]).all(0)
        proto = self._data["proto"]
        self.good &= (proto != uapi.IPPROTO_ICMP) | (family[0] == uapi.AF_INET)
        self.good &= (proto != uapi.IPPROTO_ICMPV6) | (family[0] == uapi.AF_INET6)
        self._data["family"] = family[0]

    def _read_addresses(self, words: Index) -> tuple[Array, Array]:
        """Words and family of each address; family 0 is none."""
        quads, dotted = self._words.quads(words)
        values = np.stack([np.zeros_like(quads), quads], axis=1)
        families = np.where(dotted, uapi.AF_INET, 0).astype(np.uint8)
        rest = np.flatnonzero(~dotted)
        different, group = self._words.same(words[rest])
        halves, sound = (found[group] for found in self._words.hextets(different))
        values[rest] = halves
        families[rest[sound]] = uapi.AF_INET6
        rare = rest[~sound].tolist()
        texts = [self._words.text(int(words[at])).decode("latin-1") for at in rare]
        colons = {at: text for at, text in zip(rare, texts, strict=True) if ":" in text}
        if colons:
            places = list(colons)
            values[places], families[places] = parse_colons(list(colons.values()))
        return values, families

    def _numbers(self) -> None:
        most = MOST_OF[self._code]
        here = np.flatnonzero(most)
        values, sound = self._words.decimals(self._argument[here])
        sound &= values <= most[here]
        slot, lines = self._slot[here], self._line[here]
        for number in np.flatnonzero(np.bincount(slot)).tolist():
            some = np.flatnonzero(slot == number)
            self._put(SLOTS[number], lines[some], values[some], sound[some])
        for name in VTAGS:
            if name in self._data:
                self._data[name] = self._data[name].byteswap()
        if self._data.keys() >= set(ICMP):
            self._answers()

    def _answers(self) -> None:
        """The reply tuple of a query is not printed."""
        answer = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
        for row, pairs in enumerate((uapi.ICMP_REPLY_TYPE, uapi.ICMPV6_REPLY_TYPE)):
            answer[row, list(pairs)] = list(pairs.values())
        v6 = (self._data["proto"] == uapi.IPPROTO_ICMPV6).astype(np.intp)
        self._data["reply_icmp_type"] = answer[v6, self._data["orig_icmp_type"]]
        for name in ("icmp_code", "icmp_id"):
            self._data[f"reply_{name}"] = self._data[f"orig_{name}"]

    def _states(self) -> None:
        words, lines = self._of("state")
        code = STATES.find(self._words, words)
        proto = self._data["proto"][lines]
        for number, (column, codes) in STATE_OF.items():
            some = proto == number
            values = np.where(code[some] >= 0, codes[code[some]], -1)
            if len(values):
                self._put(column, lines[some], np.maximum(values, 0), values >= 0)

    def _statuses(self) -> NDArray[np.uint32]:
        words, lines = self._of("status")
        code = STATUSES.find(self._words, words)
        self._spoil(lines, code >= 0)
        status = np.zeros(len(self), np.uint32)
        status[lines] = STATUS_OF[code]
        return status

    def _table(self, status: Array, mask: Array, given: Mask) -> FlowTable:
        """The good lines."""
        present = np.zeros(len(self), np.uint64)
        has = {name: self._has(name) for name in self._data if name in SLOT}
        has |= {"status": given, "status_mask": given}
        proto = self._data["proto"]
        for number, (column, _) in STATE_OF.items():
            has[column] = proto == number
        for name in ICMP:
            has[name.replace("orig", "reply")] = self._has(name)
        data = {**self._data, "status": status, "status_mask": mask}
        for name in data.keys() & BIT.keys():
            present |= has[name].astype(np.uint64) << np.uint64(BIT[name])
        keep = self.good
        return FlowTable({n: column[keep] for n, column in data.items()}, present[keep])
