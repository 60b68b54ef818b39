"""The command line of ``natscope export``."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest

from natscope.cli import main


@dataclass(frozen=True)
class Mistake:
    id: str
    words: str
    said: str


MISTAKES = [
    Mistake("nowhere", "ipfix", "needs --to"),
    Mistake("no port", "ipfix --to collector", "HOST:PORT was needed"),
    Mistake("a bare IPv6 address", "ipfix --to ::1:4739", "in brackets"),
    Mistake("port 0", "ipfix --to a:0", "no such port"),
    Mistake("ipfix alone", "ndjson --domain 5", "--domain is of ipfix alone"),
    Mistake("syslog alone", "ndjson --cee", "--cee is of syslog alone"),
    Mistake("a domain too large", "ipfix --to a:1 --domain 4294967296", "--domain"),
    Mistake("a small MTU", "ipfix --to a:1 --mtu 100", "--mtu takes"),
    Mistake("no size", "ipfix --to a:1 --queue much", "--queue"),
    Mistake("no time", "ipfix --to a:1 --template-every soon", "soon"),
    Mistake("both", "ipfix --to a:1 --bindings --sessions-only", "choose one"),
    Mistake("a file over UDP", "ndjson --udp", "to a file"),
]


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.id)
def test_a_mistake_is_answered_with_what_was_needed(
    case: Mistake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert main(["export", *case.words.split()]) == 2
    assert case.said in capsys.readouterr().err
