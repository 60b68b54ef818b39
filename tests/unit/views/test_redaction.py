"""A redacted bundle hides who it is of, and nothing of what it does."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

from bundles import BUNDLE
from natscope.codec.bundle import encode
from natscope.views.redaction import redacted
from natscope.views.standins import StandIns

KEY = b"a key for tests"
HIDDEN = redacted(BUNDLE, KEY)


def _text(number: int) -> str:
    return HIDDEN.rulesets[number].text


def test_nothing_that_was_to_be_hidden_is_left() -> None:
    text = encode(HIDDEN).decode()
    public = r"203\.0\.|198\.51\.|2001:db8|52:54:00|5054:ff|gw1|angry|Smith"
    assert re.findall(public, text) == []
    assert HIDDEN.is_redacted


def test_what_is_private_or_no_address_stays() -> None:
    text = encode(HIDDEN).decode()
    for kept in ("10.0.0.0/24", "10.0.0.7:80", "127.0.0.1", "lan.7", "8080", "[3:180]"):
        assert kept in text
    assert HIDDEN.sysctls == BUNDLE.sysctls
    assert HIDDEN.counters == BUNDLE.counters


def test_an_address_has_the_same_stand_in_everywhere() -> None:
    address = HIDDEN.links[1].addresses[0].local
    assert f"ip daddr {address} tcp" in _text(0)
    assert f"--to-source {address}-{address + 1}" in _text(1)
    assert HIDDEN.neighbours[0].dst == HIDDEN.routes[0].via
    assert str(HIDDEN.links[1].mac) in _text(0)


def test_gateways_stay_in_their_networks_and_broadcasts_their_ends() -> None:
    address = HIDDEN.links[1].addresses[0]
    network = ip_network(f"{address.local}/{address.prefix}", strict=False)
    stand_ins = StandIns(KEY, [ip_network("203.0.112.0/20")])
    assert HIDDEN.routes[0].via in network
    assert stand_ins.address(ip_address("203.0.127.255")) == network.broadcast_address


def test_a_range_is_one_afterwards_and_as_long() -> None:
    found = re.search(r"([\d.]+)-([\d.]+) }", _text(0))
    assert found is not None
    first, last = ip_address(found[1]), ip_address(found[2])
    assert int(last) - int(first) == 6


def test_a_range_of_half_the_world_says_nothing_and_stays() -> None:
    wide = "ip saddr 1.0.0.0-9.255.255.255 drop"
    ruleset = replace(BUNDLE.rulesets[0], text=wide)
    assert redacted(replace(BUNDLE, rulesets=(ruleset,)), KEY).rulesets[0].text == wide


def test_a_link_local_address_is_made_of_the_new_mac_address() -> None:
    link = HIDDEN.links[1]
    assert link.mac is not None
    parts = bytes.fromhex(link.mac.replace(":", ""))
    made = bytes([parts[0] ^ 2]) + parts[1:3] + b"\xff\xfe" + parts[3:]
    assert link.addresses[2].local == ip_address(b"\xfe\x80" + bytes(6) + made)


def test_comments_of_iptables_and_of_nft_are_replaced_as_words() -> None:
    assert re.search(r'drop comment "[\da-f]{8}"\n', _text(0))
    assert re.search(r'-m comment --comment "[\da-f]{8}" -j SNAT', _text(1))


def test_another_key_gives_other_stand_ins() -> None:
    other = redacted(BUNDLE, b"another key")
    assert other.links[1].addresses[0].local != HIDDEN.links[1].addresses[0].local


def test_embedded_ipv4_addresses_are_hidden_as_what_they_are() -> None:
    stand_ins = StandIns(KEY)
    inner = int(stand_ins.address(ip_address("8.8.8.8")))
    mapped = stand_ins.address(ip_address("64:ff9b::808:808"))
    assert int(mapped) & 0xFFFF_FFFF == inner != 0x0808_0808
    assert mapped in ip_network("64:ff9b::/96")
