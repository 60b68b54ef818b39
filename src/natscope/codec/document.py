"""Records to JSON and back, guided by the types of their fields.

What equals its default is left out: absent is not zero.  Members that are not
known are passed over, so that an older version reads a newer file.  Text of
several lines is a list of its lines, so that diff(1) works on the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as hints_of

from natscope.errors import DocumentError

Path = tuple[str, ...]
Reader = Callable[[object, Path], object]
Record = TypeVar("Record")

_INTEGER_END = 1 << 64
_PATTERNS = {
    # what dev_valid_name() of net/core/dev.c lets be a name
    "interface": (r"(?!\.{1,2}\Z)[^\s/:\0]{1,15}", "the name of an interface"),
    "word": (r"[\w.:-]{1,64}", "a word"),
    "mac": (r"[\da-f]{2}(:[\da-f]{2}){5}", "a MAC address"),
    "sysctl": (r"net(/(?!\.{1,2}(/|\Z))[^\s/\0]+)+", "a path of net/"),
}
_ADDRESSES = frozenset({IPv4Address, IPv6Address})
_NETWORKS = frozenset({IPv4Network, IPv6Network})


def to_json(value: object) -> object:
    """A record, or what may stand in one, as json.dumps() takes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_json(told)
            for field in fields(value)
            if (told := getattr(value, field.name)) != _default(field)
        }
    if isinstance(value, Mapping):
        return {key: to_json(told) for key, told in value.items()}
    if isinstance(value, tuple):
        return [to_json(told) for told in value]
    if isinstance(value, str):
        return value.split("\n") if "\n" in value else value
    if value is None or isinstance(value, int):
        return value
    return str(value)


def from_json(kind: type[Record], value: object, path: Path = ()) -> Record:
    """The record a JSON value tells of.

    Args:
        kind: the dataclass.
        value: as json.loads() gives it.
        path: where the value stands in its document.

    Raises:
        DocumentError: a member is missing or not what its type says.
    """
    hint: object = kind
    made = _reader(hint)(value, path)
    assert isinstance(made, kind)
    return made


def wrong(wanted: str, value: object, path: Path) -> DocumentError:
    """The error of a value that is something else."""
    told = repr(value)
    if len(told) > 60:
        told = f"{told[:60]}…"
    return DocumentError(f"needs {wanted}, has {told}", path=path)


def _default(field: Field[object]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@cache
def _reader(hint: object) -> Reader:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _pattern(inner[1])
    if origin is Literal:
        return _one_of(inner)
    if origin in (Union, UnionType):
        return _union(inner)
    if origin is tuple:
        return _tuple(inner)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_reader(inner[0]), _reader(inner[1]))
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint)
    return _SIMPLE[hint]


def _record(kind: type[object]) -> Reader:
    assert is_dataclass(kind)
    hints = hints_of(kind, include_extras=True)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = {field.name for field in fields(kind) if _default(field) is MISSING}

    def read(value: object, path: Path) -> object:
        if not isinstance(value, dict):
            raise wrong("an object", value, path)
        for name in sorted(needed - value.keys()):
            raise DocumentError("is missing", path=(*path, name))
        return kind(
            **{
                name: readers[name](told, (*path, name))
                for name, told in value.items()
                if name in readers
            }
        )

    return read


def _tuple(inner: tuple[object, ...]) -> Reader:
    readers = [_reader(hint) for hint in inner if hint is not ...]

    def read(value: object, path: Path) -> object:
        if not isinstance(value, list):
            raise wrong("a list", value, path)
        if inner[-1] is not ... and len(value) != len(readers):
            raise wrong(f"a list of {len(readers)}", value, path)
        each = readers * len(value) if inner[-1] is ... else readers
        places = enumerate(zip(each, value, strict=True))
        return tuple(reads(told, (*path, str(at))) for at, (reads, told) in places)

    return read


def _mapping(key: Reader, one: Reader) -> Reader:
    def read(value: object, path: Path) -> object:
        if not isinstance(value, dict):
            raise wrong("an object", value, path)
        return {
            key(name, (*path, name)): one(told, (*path, name))
            for name, told in value.items()
        }

    return read


def _union(inner: tuple[object, ...]) -> Reader:
    kinds = frozenset(inner) - {NoneType}
    if kinds == _ADDRESSES:
        reads = _addressed(ip_address, "an IP address")
    elif kinds == _NETWORKS:
        reads = _addressed(ip_network, "a prefix")
    else:
        (kind,) = kinds
        reads = _reader(kind)
    if NoneType not in inner:
        return reads
    return lambda value, path: None if value is None else reads(value, path)


def _addressed(parse: Callable[[str], object], wanted: str) -> Reader:
    def read(value: object, path: Path) -> object:
        # what ipaddress takes besides: integers, bytes and scoped addresses
        if not isinstance(value, str) or "%" in value:
            raise wrong(wanted, value, path)
        try:
            return parse(value)
        except ValueError:
            raise wrong(wanted, value, path) from None

    return read


def _pattern(name: str) -> Reader:
    expression, wanted = _PATTERNS[name]
    fits = re.compile(expression, re.ASCII).fullmatch

    def read(value: object, path: Path) -> object:
        if not isinstance(value, str) or not fits(value):
            raise wrong(wanted, value, path)
        return _text(value, path)

    return read


def _one_of(words: tuple[object, ...]) -> Reader:
    wanted = " or ".join(map(str, words))

    def read(value: object, path: Path) -> object:
        if value not in words:
            raise wrong(wanted, value, path)
        return value

    return read


def _text(value: object, path: Path) -> object:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise wrong("text, or a list of its lines", value, path)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong("text", value, path) from None
    return value


def _integer(value: object, path: Path) -> object:
    # bool is an int to Python
    if type(value) is not int or not 0 <= value < _INTEGER_END:
        raise wrong("a whole number, 0 to 2^64 - 1", value, path)
    return value


def _truth(value: object, path: Path) -> object:
    if not isinstance(value, bool):
        raise wrong("true or false", value, path)
    return value


_SIMPLE: Mapping[object, Reader] = {
    str: _text,
    int: _integer,
    bool: _truth,
    IPv4Address: _addressed(IPv4Address, "an IPv4 address"),
}
