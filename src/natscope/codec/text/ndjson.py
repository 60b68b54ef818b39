"""Saved tables: one JSON object a line, as ``natscope save`` writes them.

The first line says what the file is, the last that it is whole, every other one
is a flow: the columns of ``table.columns`` the source told, under their names.
Addresses and labels are text, all else is a number or text.  What
``natscope list --ndjson`` writes are objects much like these, without a first and
a last line; what it derives is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from natscope import uapi
from natscope.codec.text.cells import Cells, Unreadable, address, number
from natscope.codec.text.lines import U8, U32, U64
from natscope.model.flow import Unknown
from natscope.table.columns import COLUMNS, Column

MAGIC = "natscope"
VERSION = 1
FAMILIES = {"ipv4": uapi.AF_INET, "ipv6": uapi.AF_INET6}
_DERIVED = frozenset(
    {
        *("kind", "state", "flags", "age", "idle", "bytes", "packets"),
        *("inside", "public", "outside", "target"),
        *("inside_address", "public_address", "outside_address", "target_address"),
        *("inside_local", "inside_global", "outside_local", "outside_global"),
    }
)
"""Keys of ``list --ndjson`` that are made of columns."""
_SIDES = ("orig", "reply", "master")
ENDS = tuple(f"{side}_{end}" for side in _SIDES for end in ("src", "dst"))
REQUIRED = ("proto", *ENDS[:4])
LONGEST_NUMBER = 40
"""Digits; 128 bits have 39."""
LONGEST_SHOWN = 60
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,32}")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a saved table.

    Attributes:
        version: of the format.
        time_ns: when the table was read, ns since 1970.
        netns: the network namespace it was read from, None for the own one.
        flows: how many follow, if that was known.  Without them there is a last
            line that tells.
        undo: what the file undoes, if it does; see ``render.saved.header``.
    """

    version: int
    time_ns: int | None = None
    netns: str | None = None
    flows: int | None = None
    undo: Mapping[str, Any] | None = None


Problem = Callable[[str, int], None]
"""Told what is wrong with a line, and its number."""
Expectation = Callable[[Mapping[str, Any], int], None]
"""Given the object of an expectation, and its line."""


def looks_like(line: str) -> bool:
    """Whether a line begins as these lines do."""
    return line.startswith("{")


class Objects:
    """Reads the lines of one file.

    Args:
        problem: told what is wrong; a key that is unknown, and what it holds,
            is passed over after that, the rest of its line is read.
        expectation: given the expectations; without it they are passed over.
    """

    def __init__(
        self, problem: Problem, expectation: Expectation | None = None
    ) -> None:
        self._problem = problem
        self._expectation = expectation
        self._foreign = False
        self._flows = self._expectations = 0
        self._unended: Header | None = None
        self.header: Header | None = None
        self.begun = False
        """A header was there, be it one that is not known."""

    def foreign(self, lines: Iterable[str]) -> bool:
        """Whether flows among these lines may be of a version that is not known."""
        return self._foreign or any(map(_is_foreign, lines))

    def count(self, flows: int) -> None:
        """Take note of flows that were read elsewhere, at this place of the file."""
        self._flows += flows

    def read(self, line: str, number: int) -> Cells | None:
        """The flow of a line, or None if it holds none.

        Raises:
            Unreadable: what is wrong with it.
        """
        found = decoded(line)
        if found.get(MAGIC) == "end":
            self._finish(found, number)
        elif MAGIC in found:
            self._begin(found, number)
        elif self._foreign:
            pass  # said once, at its header
        elif "expectation" in found:
            self._expectations += 1
            self._hand_on(found, number)
        else:
            self._flows += 1
            return flow(found, lambda reason: self._problem(reason, number))
        return None

    def end(self, number: int) -> None:
        """Report what is missing, where the file or the last of several ends."""
        if self._unended is None:
            return
        announced = self._unended.flows
        if announced is None:
            self._problem("cut off: the last line is missing", number)
        elif self._flows < announced:
            reason = f"cut off: {self._flows} of {announced} flows are here"
            self._problem(reason, number)

    def _begin(self, found: Mapping[str, Any], number: int) -> None:
        self.end(number)
        self.header, self._unended, self._foreign = None, None, True
        self.begun = True
        self._flows = self._expectations = 0
        self.header = self._unended = header(found)
        self._foreign = False

    def _finish(self, found: Mapping[str, Any], number: int) -> None:
        self._unended = None
        here = {"flows": self._flows, "expectations": self._expectations}
        for name, count in here.items():
            told = _whole(name, found.get(name), 0, U64)
            if told != count and not self._foreign:
                reason = f"{count} of {told} {name} are here"
                self._problem(reason, number)

    def _hand_on(self, found: Mapping[str, Any], number: int) -> None:
        told = found["expectation"]
        if not isinstance(told, dict):
            msg = "expectation is no object"
            raise Unreadable(msg)
        for key in found.keys() - {"expectation"}:
            self._problem(f"unknown key {key!r}", number)
        if self._expectation is not None:
            self._expectation(told, number)


def header(found: Mapping[str, Any]) -> Header:
    """The header an object is.

    Raises:
        Unreadable: it is none, or of a version this one does not know.
    """
    if found[MAGIC] != "save":
        msg = f"{_shown(found[MAGIC])} is no saved table"
        raise Unreadable(msg)
    version = _whole("version", found.get("version"), 0, U32)
    if version != VERSION:
        msg = f"saved in version {version}; this natscope reads version {VERSION}"
        raise Unreadable(msg)
    told = {
        name: _whole(name, found[name], 0, U64)
        for name in ("time_ns", "flows")
        if found.get(name) is not None
    }
    netns, undo = found.get("netns"), found.get("undo")
    if not isinstance(undo, dict | None):
        msg = "undo is no object"
        raise Unreadable(msg)
    netns = None if netns is None else _text("netns", netns)
    return Header(version, netns=netns, undo=undo, **told)


def header_of_line(line: str) -> Header:
    """The header a line is.

    Raises:
        Unreadable: it is none, or of a version this one does not know.
    """
    found = decoded(line)
    if MAGIC not in found:
        msg = "no header"
        raise Unreadable(msg)
    return header(found)


def _is_foreign(line: str) -> bool:
    if not (line.startswith("{") and (MAGIC in line or "\\" in line)):
        return False
    try:
        found = decoded(line)
    except Unreadable:
        return False
    try:
        if MAGIC in found and found[MAGIC] != "end":
            header(found)
    except Unreadable:
        return True
    return False


def flow(found: Mapping[str, Any], problem: Callable[[str], None]) -> Cells:
    """The cells of a flow's object, every value checked.

    Args:
        found: the object.
        problem: told of keys that are no column.

    Raises:
        Unreadable: what is wrong with it.
    """
    cells: Cells = {}
    for key, value in found.items():
        limits = LIMITS.get(key)
        if limits is not None and type(value) is int:
            if not limits[0] <= value <= limits[1]:
                _whole(key, value, *limits)
            cells[key] = value
        elif (read := READ.get(key)) is not None:
            cells[key] = read(key, value)
        elif key not in _DERIVED:
            problem(f"unknown key {key!r}")
    for name in REQUIRED:
        if name not in cells:
            msg = f"{name} is missing: a flow has a protocol and two tuples"
            raise Unreadable(msg)
    families = {cells[name][0] for name in ENDS if name in cells}
    families.add(cells.setdefault("family", min(families)))
    if len(families) > 1:
        msg = "IPv4 and IPv6 in one flow"
        raise Unreadable(msg)
    cells |= {name: cells[name][1] for name in ENDS if name in cells}
    cells.setdefault("reply_proto", cells["proto"])
    return cells


def decoded(line: str) -> dict[str, Any]:
    """The object of a line.

    Raises:
        Unreadable: it is none.
    """
    try:
        found = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        msg = f"no JSON: {error.msg[:100]} at column {error.colno}"
        raise Unreadable(msg) from error
    except RecursionError as error:
        msg = "no JSON: brackets within brackets without end"
        raise Unreadable(msg) from error
    if not isinstance(found, dict):
        msg = "no JSON object"
        raise Unreadable(msg)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key is told twice"
        raise Unreadable(msg)
    return found


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:  # what int() takes is limited, in its own words
        msg = f"no JSON natscope writes: a number has {len(digits)} digits"
        raise Unreadable(msg)
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_int=_integer)


def _shown(value: object) -> str:
    """A value as JSON writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _whole(key: str, value: object, least: int, most: int) -> int:
    if type(value) is not int:  # a bool is an int to isinstance
        msg = f"{key} {_shown(value)} is no whole number"
        raise Unreadable(msg)
    if not least <= value <= most:
        msg = f"{key} {value} is not from {least} to {most}"
        raise Unreadable(msg)
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{key} {_shown(value)} is no text"
        raise Unreadable(msg)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        msg = f"{key} {_shown(value)} is no Unicode"
        raise Unreadable(msg) from error
    if "\0" in value:
        msg = f"{key} {_shown(value)} has a NUL"
        raise Unreadable(msg)
    return value


def _end(key: str, value: object) -> tuple[int, int]:
    return address(_text(key, value))


def _labels(key: str, value: object) -> int:
    found = _HEXADECIMAL.fullmatch(_text(key, value))
    if found is None:
        msg = f"{key} {_shown(value)} is not 0x and up to 32 digits"
        raise Unreadable(msg)
    return int(found[0], 16)


def _family(key: str, value: object) -> int:
    family = FAMILIES.get(value, 0) if isinstance(value, str) else value
    if family not in FAMILIES.values() or not isinstance(family, int):
        msg = f"{key} {_shown(value)} is neither 2 (IPv4) nor 10 (IPv6)"
        raise Unreadable(msg)
    return family


def _protocol(key: str, value: object) -> int:
    if isinstance(value, str):
        value = uapi.PROTOCOL_NUMBERS.get(value, value)
    if isinstance(value, str):
        return number(value, U8, key)
    return _whole(key, value, 0, U8)


def _extra(key: str, value: object) -> tuple[Unknown, ...]:
    """Attributes without a column: pairs of path and payload in hexadecimal."""
    try:
        if not isinstance(value, list):
            raise TypeError
        pairs = [(_text(key, path), bytes.fromhex(data)) for path, data in value]
    except (TypeError, ValueError) as error:
        msg = f"{key} is not a list of [path, hexadecimal text]"
        raise Unreadable(msg) from error
    return tuple(Unknown(path, data) for path, data in pairs)


def _limits(column: Column) -> tuple[int, int]:
    """The least and the greatest number a column holds."""
    bits = 8 * int(column.dtype[1])
    if column.dtype[0] == "u":
        return 0, (1 << bits) - 1
    return -(1 << bits - 1), (1 << bits - 1) - 1


LIMITS = {
    column.name: _limits(column)
    for column in COLUMNS
    if column.dtype[0] in "iu" and column.width == 1 and column.name != "family"
}


def _reader(column: Column) -> Callable[[str, Any], Any]:
    """How a value is read, if it is no number within the limits."""
    special = {"labels": _labels, "extra": _extra, "family": _family}
    special |= {"proto": _protocol, "S": _text}
    if column.name in ENDS:
        return _end
    found = special.get(column.name) or special.get(column.dtype)
    return found or (lambda key, value: _whole(key, value, *LIMITS[key]))


READ = {column.name: _reader(column) for column in COLUMNS}
KNOWN = READ.keys() | _DERIVED
"""Keys that are not complained of."""
