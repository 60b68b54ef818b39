"""Counters as files under /proc tell them, by one name each.

``Ip.ForwDatagrams`` and ``TcpExt.IPReversePathFilter`` (net/snmp, net/netstat),
``Ip6InNoRoutes`` (net/snmp6), ``softnet.dropped`` (net/softnet_stat), and the ticks
``cpu0.softirq`` and ``cpu0.total`` (stat); ``netlink.4711.dropped``, by port id, of
netfilter sockets (net/netlink); ``conntrack.insert_failed`` (net/stat/nf_conntrack).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from natscope import uapi

PAIRS = ("net/snmp", "net/netstat")
"""Files of line pairs: names, then numbers (snmp_seq_show_tcp_udp())."""
SNMP6, SOFTNET, STAT = "net/snmp6", "net/softnet_stat", "stat"
NETLINK, CONNTRACK = "net/netlink", "net/stat/nf_conntrack"
FILES = (*PAIRS, SNMP6, SOFTNET, NETLINK, STAT)
"""Those of a diagnosis, which asks conntrack itself (IPCTNL_MSG_CT_GET_STATS_CPU)."""
_SOFTNET = {"processed": 0, "dropped": 1, "squeezed": 2}
"""Columns of softnet_seq_show()."""
_CPU = re.compile(r"cpu\d+\Z")
_SOFTIRQ = 6
_TICKS = 8
"""Columns of show_stat(): the last is steal; guest ticks are in user's already."""
_ENTRIES = "entries"
_NETLINK_WORDS = 10
_NUMBER = re.compile(r"[0-9]{1,20}")
_HEX = re.compile(r"[0-9a-fA-F]{1,16}")


def counters(files: Mapping[str, str]) -> dict[str, int]:
    """Every counter of the files, by name.

    Args:
        files: text by path under /proc; those that are not known are passed over, and
            so is what is not as it should be.
    """
    found: dict[str, int] = {}
    for path in PAIRS:
        found.update(_pairs(files.get(path, "").splitlines()))
    found.update(_words(files.get(SNMP6, "")))
    found.update(_softnet(files.get(SOFTNET, "")))
    found.update(_cpus(files.get(STAT, "")))
    found.update(_dropped(files.get(NETLINK, "")))
    found.update(_conntrack(files.get(CONNTRACK, "")))
    return found


def netfilter_sockets(text: str) -> list[int]:
    """Port ids of the netfilter sockets of net/netlink that belong to a group."""
    return [int(words[2]) for words in _netfilter(text) if words[3].strip("0")]


def entries(text: str) -> int | None:
    """Entries of a table, from net/stat/nf_conntrack: the first column of any CPU."""
    names, _, rest = text.partition("\n")
    first = rest.split()[:1]
    if names.split()[:1] != [_ENTRIES] or not first or not _HEX.fullmatch(first[0]):
        return None
    return int(first[0], 16)


def _pairs(lines: list[str]) -> Iterator[tuple[str, int]]:
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group, *columns = names.split() or [""]
        for column, value in zip(columns, values.split()[1:], strict=False):
            if value.isdecimal():  # Tcp.MaxConn is -1
                yield f"{group.rstrip(':')}.{column}", int(value)


def _words(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if _NUMBER.fullmatch(value.strip()):
            yield name.strip(), int(value)


def _softnet(text: str) -> Iterator[tuple[str, int]]:
    lines = [line.split() for line in text.splitlines()]
    rows = [
        [int(word, 16) for word in words]
        for words in lines
        if len(words) >= len(_SOFTNET) and all(map(_HEX.fullmatch, words))
    ]
    if rows:
        for name, column in _SOFTNET.items():
            yield f"softnet.{name}", sum(row[column] for row in rows)


def _cpus(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, *ticks = line.split()[: _TICKS + 1] or [""]
        if not _CPU.match(name) or len(ticks) < _TICKS:
            continue
        if all(map(_NUMBER.fullmatch, ticks)):
            yield f"{name}.softirq", int(ticks[_SOFTIRQ])
            yield f"{name}.total", sum(map(int, ticks))


def _dropped(text: str) -> Iterator[tuple[str, int]]:
    """What did not fit the buffer of each netfilter socket (netlink_overrun())."""
    for words in _netfilter(text):
        if _NUMBER.fullmatch(words[8]):
            yield f"netlink.{words[2]}.dropped", int(words[8])


def _conntrack(text: str) -> Iterator[tuple[str, int]]:
    """The columns of ct_cpu_seq_show(), summed over the CPUs."""
    names, *lines = [line.split() for line in text.splitlines()] or [[]]
    rows = [
        [int(word, 16) for word in words]
        for words in lines
        if len(words) == len(names) and all(map(_HEX.fullmatch, words))
    ]
    for name, column in zip(names, zip(*rows, strict=True), strict=False):
        yield f"conntrack.{name}", sum(column)


def _netfilter(text: str) -> Iterator[list[str]]:
    """Lines of netlink_native_seq_show(): socket, protocol, port id, groups …"""
    for line in text.splitlines():
        words = line.split()
        if len(words) != _NETLINK_WORDS or words[1] != str(uapi.NETLINK_NETFILTER):
            continue
        if _NUMBER.fullmatch(words[2]):
            yield words
