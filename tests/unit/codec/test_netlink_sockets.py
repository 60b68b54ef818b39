"""Netfilter's sockets, from net/netlink as the kernel writes it."""

from __future__ import annotations

from natscope.codec.text.counters import NETLINK, counters, netfilter_sockets

TEXT = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000004e711134 0   0          00000000 0        0        0     2        0        4
00000000ba6798e4 12  812        00000005 212992   0        0     2        1234     471
00000000ba6798e5 12  4026531840 00000000 0        0        0     2        0        472
00000000ba6798e6 15  812        00000001 0        0        0     2        9        473
"""


def test_what_each_netfilter_socket_lost_is_a_counter() -> None:
    assert counters({NETLINK: TEXT}) == {
        "netlink.812.dropped": 1234,
        "netlink.4026531840.dropped": 0,
    }


def test_a_socket_that_belongs_to_a_group_listens() -> None:
    assert netfilter_sockets(TEXT) == [812]


def test_a_line_cut_short_is_passed_over() -> None:
    assert counters({NETLINK: TEXT[:200]}) == {}
