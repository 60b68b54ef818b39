"""Classes of addresses and ports that no constant tells apart."""

from __future__ import annotations

from ipaddress import ip_address

import numpy as np
import pytest

from natscope import uapi
from natscope.table.classes import Classes

TEXT = """
table ip nat {
    ip saddr 10.0.0.0/8 tcp dport { 80, 8000-8099 } counter packets 55 bytes 66
    ip6 saddr fd00::/8 snat to [2001:db8::1]:443
    ip saddr 192.0.2.5-192.0.2.9 dnat to 10.1.2.3:22
    ether saddr 02:00:00:00:00:77
}
"""


def address(text: str) -> int:
    found = ip_address(text)
    family = uapi.AF_INET if found.version == 4 else uapi.AF_INET6
    words = np.array([[int(found) >> 64, int(found) & (1 << 64) - 1]], np.uint64)
    codes = Classes([TEXT]).addresses(np.array([family], np.uint8), words)
    return int(codes[0])


SAME = [
    ("10.0.0.1", "10.1.2.2"),
    ("11.0.0.0", "192.0.2.4"),
    ("fd00::1", "fdff::"),
    ("2001:db8::2", "2001:db9::"),
]
APART = [
    ("9.255.255.255", "10.0.0.0"),
    ("10.255.255.255", "11.0.0.0"),
    ("10.1.2.3", "10.1.2.2"),
    ("10.1.2.3", "10.1.2.4"),
    ("192.0.2.4", "192.0.2.5"),
    ("192.0.2.9", "192.0.2.10"),
    ("fcff:ffff::", "fd00::"),
    ("fdff::", "fe00::"),
    ("2001:db8::1", "2001:db8::2"),
    ("2001:db8::1", "2001:db8::"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_between_constants_addresses_are_of_one_class(one: str, other: str) -> None:
    assert address(one) == address(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_a_constant_tells_addresses_apart(one: str, other: str) -> None:
    assert address(one) != address(other)


def port(number: int) -> int:
    return int(Classes([TEXT]).numbers(np.array([number], np.uint16))[0])


def test_ports_are_told_apart_by_the_rules_and_not_by_their_counters() -> None:
    assert port(79) != port(80) != port(81)
    assert port(7999) != port(8000)
    assert port(8098) != port(8099) != port(8100)
    assert port(8001) == port(8050)
    assert port(55) == port(56) == port(66)


def test_without_constants_all_is_one_class() -> None:
    classes = Classes([])
    assert set(classes.numbers(np.arange(9, dtype=np.uint16)).tolist()) == {0}
