"""Host names and service names, resolved beside the listing.

Reverse look-ups run in threads, each address once, and nobody waits for them
longer than the time limit in all: what is not known by then stays a number.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

WORKERS = 16
LIMIT_S = 2.0
DNSMASQ_LEASES = Path("/var/lib/misc/dnsmasq.leases")


class Resolver:
    """Looks addresses up, remembering every answer."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = self._left_s = limit_s
        self._names: dict[str, str] = {}
        self._asked: set[str] = set()
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._arrived = threading.Condition()
        self._workers = 0

    def restart(self) -> None:
        """Grant the time limit anew, for a new listing."""
        self._left_s = self._limit_s

    def names(self, addresses: Iterable[str]) -> dict[str, str]:
        """The names known of these addresses, after at most the time left."""
        wanted = set(addresses)
        for address in wanted - self._asked:
            self._asked.add(address)
            self._wanted.put(address)
            self._employ()
        begun = time.monotonic()
        with self._arrived:
            while not wanted <= self._names.keys():
                left = self._left_s - (time.monotonic() - begun)
                if left <= 0 or not self._arrived.wait(left):
                    break
            known = {a: self._names[a] for a in wanted if self._names.get(a)}
        self._left_s = max(0.0, self._left_s - (time.monotonic() - begun))
        return known

    def _employ(self) -> None:
        if self._workers < WORKERS:
            self._workers += 1
            # a look-up cannot be cut short: let it end with the process
            threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            address = self._wanted.get()
            name = _look_up(address)
            with self._arrived:
                self._names[address] = name
                self._arrived.notify_all()


def _look_up(address: str) -> str:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except (OSError, UnicodeError):
        return ""


@cache
def service(port: int) -> str | None:
    """The service name of a port, getservbyport(3): TCP's, else UDP's."""
    for protocol in ("tcp", "udp"):
        try:
            return socket.getservbyport(port, protocol)
        except OSError:
            continue
    return None


def leases(path: Path = DNSMASQ_LEASES) -> dict[str, str]:
    """Host names this box leased addresses to, as dnsmasq(8) keeps them."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}  # no DHCP server here, or not for this user
    parts = (line.split() for line in lines)
    return {p[2]: p[3] for p in parts if len(p) >= 4 and p[3] != "*"}
