"""The packed columns of a bundle: whole, or refused with their place."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bundles import BUNDLE
from natscope.codec import flowcolumns
from natscope.codec.bundle import decode, encode
from natscope.errors import DecodeError

V4, V6, TOO_LONG = bytes([2]), bytes([10]), bytes(12) + b"\1\0\0\0"


def _column(**members: Any) -> Callable[[dict[str, Any]], None]:
    def change(flows: dict[str, Any]) -> None:
        at = [one["name"] for one in flows["columns"]].index(members["name"])
        flows["columns"][at] |= members

    return change


def _packed(data: bytes) -> str:
    return b64encode(zlib.compress(data)).decode()


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(flows: dict[str, Any]) -> None:
        flows["columns"] = [one for one in flows["columns"] if one["name"] != name]

    return change


def _text(**members: Any) -> Callable[[dict[str, Any]], None]:
    helper = {"name": "helper", "data": _packed(b"sip")} | members
    return lambda flows: flows["columns"].append(helper)


@dataclass(frozen=True)
class Wrong:
    id: str
    change: Callable[[dict[str, Any]], object]
    said: str


WRONGS = [
    Wrong("no base64", _column(name="proto", data="?"), "columns.1.data: cannot be"),
    Wrong("no zlib", _column(name="proto", data="AAAA"), "columns.1.data: cannot be"),
    Wrong("too short", _column(name="proto", data=_packed(b"")), "is not of 1 bytes"),
    Wrong("too long", _column(name="proto", data=_packed(b"ab")), "is not of 1 bytes"),
    Wrong("cut off", _column(name="proto", data=_packed(V4)[:-8]), "columns.1.data:"),
    Wrong("other rows", _column(name="mark", rows=_packed(b"abc")), "rows: is not of"),
    Wrong("a column too few", _without("orig_src"), "has no column orig_src"),
    Wrong("more than fits", lambda f: f.update(count=1 << 40), "is of more than"),
    Wrong("text of no width", _text(), "width: needs a width"),
    Wrong("text without end", _text(width=1 << 40), "width: needs a width"),
    Wrong("another family", _column(name="family", data=_packed(b"\3")), "family"),
    Wrong(
        "a long address", _column(name="orig_src", data=_packed(TOO_LONG)), "orig_src"
    ),
]


@pytest.mark.parametrize("case", WRONGS, ids=lambda case: case.id)
def test_columns_that_are_wrong_are_refused_with_their_place(case: Wrong) -> None:
    document = json.loads(encode(BUNDLE))
    case.change(document["flows"])
    bundle = decode(json.dumps(document).encode())
    assert bundle.flows is not None
    with pytest.raises(DecodeError, match=r"^flows\.columns") as caught:
        flowcolumns.unpack(bundle.flows)
    assert case.said in str(caught.value)


def test_a_column_of_a_newer_version_is_passed_over() -> None:
    document = json.loads(encode(BUNDLE))
    document["flows"]["columns"].append({"name": "flavour", "data": "?"})
    flows = decode(json.dumps(document).encode()).flows
    assert flows is not None
    assert BUNDLE.flows is not None
    assert list(flowcolumns.unpack(flows)) == list(flowcolumns.unpack(BUNDLE.flows))


def test_version_1_had_lines_of_text() -> None:
    line = (
        "udp 17 29 src=10.0.0.7 dst=198.51.100.9 sport=5000 dport=53 "
        "src=198.51.100.9 dst=203.0.113.5 sport=53 dport=5000 mark=0 use=1"
    )
    document = json.loads(encode(BUNDLE)) | {"format": "natscope.bundle/1"}
    read = decode(json.dumps(document | {"flows": [line]}).encode())
    assert read == replace(BUNDLE, flows=read.flows)
    assert read.flows == BUNDLE.flows


def test_a_line_of_version_1_that_cannot_be_read_has_its_place() -> None:
    document = json.loads(encode(BUNDLE)) | {"flows": ["", "udp 17 29 src=nowhere"]}
    with pytest.raises(DecodeError, match=r"^flows\.1: "):
        decode(json.dumps(document).encode())
    with pytest.raises(DecodeError, match=r"^flows\.0: needs a line"):
        decode(json.dumps(document | {"flows": [7]}).encode())
