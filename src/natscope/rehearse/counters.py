"""The twin's own counters: which rose tells why a packet went no further."""

from __future__ import annotations

import os
from contextlib import suppress

from natscope.codec.text.counters import CONNTRACK, PAIRS, SNMP6, counters
from natscope.rehearse.private import Private

_PROC = "/proc/thread-self"
_LARGEST = 1 << 16


class Counters:
    """The counters that only rise for packets that are stopped."""

    def __init__(self, private: Private) -> None:
        self._files: dict[str, int] = {}
        for name in (*PAIRS, SNMP6, CONNTRACK):
            with suppress(OSError):  # no IPv6, or conntrack is not loaded
                self._files[name] = private.open(f"{_PROC}/{name}")
        self.mark()

    def mark(self) -> None:
        """Remember how they are now."""
        self._marked = {name: self._text(name) for name in self._files}

    def risen(self) -> dict[str, int]:
        """By how much counters rose since the mark.

        Named ``Ip.InAddrErrors``, ``TcpExt.IPReversePathFilter``,
        ``Ip6InNoRoutes``, ``conntrack.insert_failed``.
        """
        last = counters(self._marked)
        self.mark()
        return {
            name: value - last.get(name, 0)
            for name, value in counters(self._marked).items()
            if value > last.get(name, 0)
        }

    def close(self) -> None:
        """Let go of the files."""
        for fd in self._files.values():
            os.close(fd)

    def _text(self, name: str) -> str:
        text = b""
        while block := os.pread(self._files[name], _LARGEST, len(text)):
            text += block
        return text.decode()
