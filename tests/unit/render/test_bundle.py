"""The summary of a bundle."""

from __future__ import annotations

import json
from dataclasses import replace

from bundles import BUNDLE
from natscope.model.bundle import Bundle
from natscope.render.bundle import summary_json, summary_text

TEXT = """\
made        2026-09-21 14:13:20 UTC by natscope 0.1.0
host        gw1.example.net, Linux 6.1.0-28-amd64
link        lo up 127.0.0.1/8
link        wan up 203.0.113.5/20 2001:db8::5/64 fe80::5054:ff:fe12:3456/64
link        lan.7 up vlan 10.0.0.1/24
routes      3 in main, 1 in 100
ip rules    3
neighbours  1
settings    2, IPv4 forwarding on
rules       3 of nft, 1 of iptables-nft
flows       1
missing     neighbours: not asked
"""


def test_a_summary_says_what_a_bundle_holds() -> None:
    assert summary_text(BUNDLE) == TEXT


def test_programs_get_the_same_as_one_object() -> None:
    told = json.loads(summary_json(BUNDLE))
    assert told["routes"] == {"main": 3, "100": 1}
    assert told["rules"] == {"nft": 3, "iptables-nft": 1}
    assert told["forwarding"] == {"ipv4": True}
    assert told["links"][1]["addresses"][0] == "203.0.113.5/20"


def test_what_is_not_known_is_said_to_be_so() -> None:
    lines = summary_text(Bundle(0)).splitlines()
    assert lines[:2] == ["made        1970-01-01 00:00:00 UTC", "host        not known"]
    assert "rules       none" in lines


def test_a_strangers_bundle_cannot_command_a_terminal() -> None:
    bundle = replace(BUNDLE, hostname="\x1b[2Jgw", missing=("a\rb\nc",))
    shown = summary_text(bundle)
    assert [one for one in shown if not one.isprintable()] == ["\n"] * shown.count("\n")
    assert r"host        \x1b[2Jgw" in shown
