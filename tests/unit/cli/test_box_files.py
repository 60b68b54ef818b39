"""A box told in files: what is no such file is refused in words."""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.cli import boxes
from natscope.errors import NatscopeError


@dataclass(frozen=True)
class Garbage:
    """A file, and what is said of it."""

    id: str
    content: bytes
    said: str


GARBAGE = [
    Garbage("empty", b"", "Expecting value"),
    Garbage("no text", bytes(range(128, 256)), "Expecting value"),
    Garbage("an object", b'{"dst": "default"}', "a list of routes was expected"),
    Garbage("a list of lists", b'[[["dst"]]]', "a list of routes was expected"),
    Garbage("nested deep", b"[" * 100_000, "recursion"),
    Garbage("an odd link", b'[{"ifname": 7}]', "ifname"),
    Garbage("an odd route", b'[{"dst": []}]', "dst"),
]


def _options(**given: object) -> argparse.Namespace:
    empty = {"bundle": None, "ip": None, "netns": None, "rules": None}
    return argparse.Namespace(**(empty | given))


@pytest.mark.parametrize("case", GARBAGE, ids=lambda case: case.id)
def test_a_file_of_ip_that_is_none_is_named(case: Garbage, tmp_path: Path) -> None:
    path = tmp_path / "box.json"
    path.write_bytes(case.content)
    with pytest.raises(NatscopeError, match=case.said) as caught:
        boxes.bundle(_options(ip=[str(path)]))
    assert str(path) in str(caught.value)
    assert "ip -j -d addr" in str(caught.value.hint)


def test_a_bundle_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"format": "natscope.bundle/1", "made_ns": 1, "natscope": "0"})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert boxes.bundle(_options(bundle="-")).made_ns == 1


def test_rules_bring_what_they_include(tmp_path: Path) -> None:
    (tmp_path / "more.nft").write_text("table ip nat {}\n")
    (tmp_path / "main.nft").write_text('include "more.nft"\n')
    (tmp_path / "ip.json").write_text("[]")
    options = _options(ip=[str(tmp_path / "ip.json")], rules=str(tmp_path / "main.nft"))
    (found,) = boxes.bundle(options).rulesets
    assert "table ip nat" in found.text
