"""Expectations as the JSON objects a saved table holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from ipaddress import IPv6Address, ip_address
from typing import Any

from natscope.codec.text.cells import Unreadable
from natscope.model.expectation import Expectation
from natscope.model.tuples import Address, FlowTuple

_SIDES = ("expected", "mask", "master", "nat")
_NUMBERS = {
    "timeout": 0xFFFF_FFFF,
    "zone": 0xFFFF,
    "flags": 0xFFFF_FFFF,
    "class": 0xFFFF_FFFF,
    "id": 0xFFFF_FFFF,
    "nat_dir": 0xFFFF_FFFF,
}
_TEXTS = ("helper", "fn")
_SOUND = re.compile(r"[^\ud800-\udfff]*")
_TUPLE_NUMBERS = {
    "proto": 0xFF,
    "sport": 0xFFFF,
    "dport": 0xFFFF,
    "icmp_type": 0xFF,
    "icmp_code": 0xFF,
    "icmp_id": 0xFFFF,
    "zone": 0xFFFF,
}


def to_json(one: Expectation) -> dict[str, Any]:
    """What is known of an expectation, tuples as objects of their own."""
    told: dict[str, Any] = {}
    for field in fields(Expectation):
        value = getattr(one, field.name)
        if isinstance(value, FlowTuple):
            told[field.name] = _tuple_to_json(value)
        elif value is not None:
            told[field.name.rstrip("_")] = value
    return told


def _tuple_to_json(one: FlowTuple) -> dict[str, Any]:
    told = {name: getattr(one, name) for name in one.__slots__}
    told |= {"src": str(one.src), "dst": str(one.dst)}
    return {name: value for name, value in told.items() if value is not None}


def from_json(told: Mapping[str, Any]) -> Expectation:
    """The expectation an object tells.

    Raises:
        Unreadable: something is missing, unknown, or not what it should be.
    """
    known = {*_SIDES, *_NUMBERS, *_TEXTS}
    unknown = sorted(set(told) - known)
    if unknown:
        msg = f"{unknown[0]!r} is nothing an expectation has"
        raise Unreadable(msg)
    read: dict[str, Any] = {s: _tuple(s, told[s]) for s in _SIDES if s in told}
    for side in _SIDES[:3]:
        if side not in read:
            msg = f"{side} is missing: an expectation has three tuples"
            raise Unreadable(msg)
    read |= {n: _number(n, told[n], m) for n, m in _NUMBERS.items() if n in told}
    read |= {name: _text(name, told[name]) for name in _TEXTS if name in told}
    if "class" in read:
        read["class_"] = read.pop("class")
    one = Expectation(**read)
    if not one.is_of_one_family():
        msg = "IPv4 and IPv6 in one expectation"
        raise Unreadable(msg)
    return one


def _tuple(side: str, told: object) -> FlowTuple:
    if not isinstance(told, Mapping):
        msg = f"{side} is no object"
        raise Unreadable(msg)
    unknown = sorted(set(told) - {"src", "dst", *_TUPLE_NUMBERS})
    if unknown or not {"src", "dst", "proto"} <= set(told):
        msg = f"{side} has no {unknown[0]!r}" if unknown else f"{side} is not whole"
        raise Unreadable(msg)
    ends = [_address(f"{side}.{end}", told[end]) for end in ("src", "dst")]
    numbers = {
        name: _number(f"{side}.{name}", told[name], most)
        for name, most in _TUPLE_NUMBERS.items()
        if name in told
    }
    return FlowTuple(ends[0], ends[1], **numbers)


def _address(name: str, value: object) -> Address:
    try:
        found = ip_address(_text(name, value))
    except ValueError as error:
        msg = f"{name} {value!r} is no address"
        raise Unreadable(msg) from error
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        msg = f"{name} {value!r} has a scope, which no tuple has"
        raise Unreadable(msg)
    return found


def _number(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        msg = f"{name} {value!r} is no number from 0 to {most}"
        raise Unreadable(msg)
    return value


def _text(name: str, value: object) -> str:
    # JSON can hold halves of surrogate pairs, which no encoding has
    if isinstance(value, str) and "\0" not in value and _SOUND.fullmatch(value):
        return value
    msg = f"{name} {value!r} is no text"
    raise Unreadable(msg)
