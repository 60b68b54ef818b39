"""The twin's own counters: which rose tells why a packet went no further."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from natscope.rehearse.private import Private

_NET = "/proc/thread-self/net"
_PAIRS = ("snmp", "netstat")
"""Files of line pairs: names, then numbers."""
_CONNTRACK = "stat/nf_conntrack"
_LARGEST = 1 << 16


class Counters:
    """The counters that only rise for packets that are stopped."""

    def __init__(self, private: Private) -> None:
        self._files: dict[str, int] = {}
        for name in (*_PAIRS, "snmp6", _CONNTRACK):
            with suppress(OSError):  # no IPv6, or conntrack is not loaded
                self._files[name] = private.open(f"{_NET}/{name}")
        self.mark()

    def mark(self) -> None:
        """Remember how they are now."""
        self._marked = {name: self._lines(name) for name in self._files}

    def risen(self) -> dict[str, int]:
        """By how much counters rose since the mark.

        Named ``Ip.InAddrErrors``, ``TcpExt.IPReversePathFilter``,
        ``Ip6InNoRoutes``, ``conntrack.insert_failed``.
        """
        last = dict(_values(self._marked))
        self.mark()
        return {
            name: value - last.get(name, 0)
            for name, value in _values(self._marked)
            if value > last.get(name, 0)
        }

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._files.values():
            os.close(fd)

    def _lines(self, name: str) -> list[str]:
        text = b""
        while block := os.pread(self._files[name], _LARGEST, len(text)):
            text += block
        return text.decode().splitlines()


def _values(files: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    for name in _PAIRS:
        lines = files.get(name, [])
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, *columns = names.split()
            for column, value in zip(columns, values.split()[1:], strict=False):
                yield f"{group.rstrip(':')}.{column}", int(value)
    for line in files.get("snmp6", ()):
        column, value = line.split()
        yield column, int(value)
    names, *cpus = files.get(_CONNTRACK, [""])
    rows = [[int(word, 16) for word in cpu.split()] for cpu in cpus]
    for at, column in enumerate(names.split()):
        yield f"conntrack.{column}", sum(row[at] for row in rows if at < len(row))
