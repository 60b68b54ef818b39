"""A box with a line to nowhere, whose public ports run out as the test wants it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from natscope import uapi
from natscope.codec.checksum import internet_checksum
from natscope.sources import tools
from natscope.sources.bundle import collect
from natscope.sources.kernel import Kernel
from natscope.views.counters import totals
from natscope.views.pools import PortUse
from natscope.views.portranges import ranges_of
from natscope.views.ports import port_use

PUBLIC, SERVER, OTHER = "203.0.113.7", "198.51.100.9", "198.51.100.10"
INSIDE = ("10.0.0.2", "10.0.0.3")
INSIDE_V6, SERVER_V6 = "fd00::2", "2001:db8:9::9"
LINKS = f"""\
link set lo up
link add wan type veth peer name nowhere
link set nowhere up
link set wan arp off up
addr add {INSIDE[0]}/24 dev wan
addr add {INSIDE[1]}/24 dev wan
addr add {PUBLIC}/32 dev wan
addr add {INSIDE_V6}/64 dev wan nodad
route add default dev wan
route add ::/0 dev wan
"""
RULES = """table %s nat {
    %s
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        %s
    }
    chain zones {
        type filter hook output priority raw; policy accept;
        %s
    }
}
"""


@contextmanager
def box(
    *rules: str, family: str = "ip", raw: str = "", more: str = ""
) -> Iterator[ExitStack]:
    """This namespace as a box with a line to nowhere; holds what is opened."""
    tools.run(["ip", "-batch", "-"], stdin=LINKS)
    load(*rules, family=family, raw=raw, more=more)
    with ExitStack() as opened:
        yield opened


def load(*rules: str, family: str = "ip", raw: str = "", more: str = "") -> None:
    """Give it rules, instead of those it has.

    Args:
        rules: that translate.
        family: of their table.
        raw: a rule that meets packets before they are tracked.
        more: what else the table has.
    """
    text = RULES % (family, more, "\n        ".join(rules), raw)
    tools.run(["nft", "-f", "-"], stdin=f"flush ruleset\n{text}")


def send(
    opened: ExitStack, inside: str = INSIDE[0], to: str = SERVER, sport: int = 0
) -> bool:
    """A datagram from a port of its own; whether the kernel let it out."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    sock = opened.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    sock.bind((inside, sport))
    try:
        sock.sendto(b"x", (to, 53))
    except PermissionError:
        return False
    return True


def connect(opened: ExitStack, inside: str, to: str = SERVER) -> bool:
    """A SYN nobody answers; whether the kernel let it out."""
    before = dropped()
    sock = opened.enter_context(socket.socket())
    sock.setblocking(False)
    sock.bind((inside, 0))
    sock.connect_ex((to, 80))  # TCP does not say: it will try again
    return dropped() == before


def datagram(
    opened: ExitStack, proto: int, payload: bytes, inside: str = INSIDE[0]
) -> bool:
    """Any protocol's packet; whether the kernel let it out."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
    opened.enter_context(sock).bind((inside, 0))
    try:
        sock.sendto(payload, (SERVER, 0))
    except PermissionError:
        return False
    return True


def ping(opened: ExitStack, ident: int) -> bool:
    """An echo request with this id."""
    head = struct.pack("!BBHHH", 8, 0, 0, ident, 1)
    checked = struct.pack("!BBHHH", 8, 0, internet_checksum(head), ident, 1)
    return datagram(opened, uapi.IPPROTO_ICMP, checked)


def use() -> PortUse:
    found = collect()
    with Kernel() as kernel:
        return port_use(kernel.table(), ranges_of(found), evicts=True)


def dropped() -> tuple[int, int]:
    with Kernel() as kernel:
        found = totals({cpu.cpu: cpu.counters for cpu in kernel.cpu_stats()})
    return found["drop"], found["insert_failed"]
