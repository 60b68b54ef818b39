"""Strings of rules are out of the way, and what is beside them stays."""

from __future__ import annotations

from natscope.codec.text.strings import emptied, masked

RULE = 'oifname "wan" masquerade comment "not dnat to 10.0.0.3"'


def test_nothing_is_left_in_strings() -> None:
    assert emptied(RULE) == 'oifname "" masquerade comment ""'


def test_what_is_beside_them_stands_where_it_stood() -> None:
    found = masked(RULE)
    assert len(found) == len(RULE)
    assert found.index("masquerade") == RULE.index("masquerade")
    assert "dnat" not in found
