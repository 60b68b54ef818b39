"""Real traffic through the lab, one translation after the other.

Every example opens a flow and keeps it open; what the kernel makes of it is
read from its table, never assumed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from natscope.lab import network
from natscope.lab.build import Lab
from natscope.lab.network import BOX, WORLD
from natscope.sources.closing import Closing

PATIENCE_S = 5.0
"""Longest wait for a packet; it takes well under a millisecond."""
_ECHO, _ECHO6 = 8, 128
_V6_ONLY = ":"


@dataclass(frozen=True, slots=True)
class Flow:
    """The original tuple of a flow an example made, to find it by."""

    proto: str
    src: str
    dst: str
    sport: int | None = None
    dport: int | None = None
    icmp_id: int | None = None

    def filter(self) -> str:
        """The filter that finds exactly this flow."""
        words = [self.proto, f"src {self.src}", f"dst {self.dst}"]
        words += [f"src port {self.sport}"] if self.sport is not None else []
        words += [f"dst port {self.dport}"] if self.dport is not None else []
        words += [f"icmp-id {self.icmp_id}"] if self.icmp_id is not None else []
        return " and ".join(words)


@dataclass(frozen=True, slots=True)
class Example:
    """Something to see: what happens in a line, and the kind it should be."""

    name: str
    kind: str
    explanation: str
    make: Callable[[Traffic], Flow]


class Traffic(Closing):
    """Open sockets of a lab; closed together."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._open = ExitStack()

    def close(self) -> None:
        """Close every socket."""
        self._open.close()

    def socket(
        self, host: str, kind: int, *, v6: bool, proto: int = 0
    ) -> socket.socket:
        """A socket on a host, with a time limit."""
        with self.lab.inside(host):
            family = socket.AF_INET6 if v6 else socket.AF_INET
            made = self._open.enter_context(socket.socket(family, kind, proto))
        made.settimeout(PATIENCE_S)
        return made

    def tcp(
        self, client: str, to: tuple[str, int], server: str, at: tuple[str, int],
        source: str = "", *, close: bool = False,
    ) -> Flow:  # fmt: skip
        """Connect, ask and answer; leave it open, or close it properly."""
        v6 = _V6_ONLY in to[0]
        listener = self.socket(server, socket.SOCK_STREAM, v6=v6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(at)
        listener.listen()
        asking = self.socket(client, socket.SOCK_STREAM, v6=v6)
        if source:
            asking.bind((source, 0))
        asking.connect(to)
        answering = self._open.enter_context(listener.accept()[0])
        answering.settimeout(PATIENCE_S)
        asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answering.recv(100)
        answering.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1000)
        asking.recv(2000)
        listener.close()
        found = Flow("tcp", *_ends(asking, to))
        if close:
            asking.close()
            answering.recv(100)
            answering.close()
        return found

    def syn(self, client: str, to: tuple[str, int]) -> Flow:
        """A connection nobody answers."""
        asking = self.socket(client, socket.SOCK_STREAM, v6=False)
        asking.setblocking(False)
        asking.connect_ex(to)
        return Flow("tcp", *_ends(asking, to))

    def udp(
        self, client: str, to: tuple[str, int], server: str = "",
        at: tuple[str, int] = ("", 0), sport: int = 0, rounds: int = 1,
    ) -> Flow:  # fmt: skip
        """Datagrams there and back; without a server only there."""
        v6 = _V6_ONLY in to[0]
        asking = self.socket(client, socket.SOCK_DGRAM, v6=v6)
        asking.bind(("", sport))
        asking.connect(to)
        answering = None
        if server:
            answering = self.socket(server, socket.SOCK_DGRAM, v6=v6)
            answering.bind(at)
        for _ in range(rounds):
            asking.send(b"question")
            if answering is not None:
                _, peer = answering.recvfrom(100)
                answering.sendto(b"answer", peer)
                asking.recv(100)
        return Flow("udp", *_ends(asking, to))

    def ping(self, client: str, to: str, ident: int) -> Flow:
        """An echo request and its reply."""
        v6 = _V6_ONLY in to
        proto = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        raw = self.socket(client, socket.SOCK_RAW, v6=v6, proto=proto)
        raw.connect((to, 0))
        raw.send(_echo(_ECHO6 if v6 else _ECHO, ident))
        answer, at = b"", 0 if v6 else 20
        while answer[at : at + 1] != (b"\x81" if v6 else b"\0"):
            answer = raw.recv(2000)
        source = raw.getsockname()[0]
        return Flow("icmp6" if v6 else "icmp", source, to, icmp_id=ident)

    def gre(self, client: str, to: str) -> Flow:
        """One GRE packet (RFC 2784); NAT wants room for a PPTP header after it."""
        raw = self.socket(client, socket.SOCK_RAW, v6=False, proto=socket.IPPROTO_GRE)
        raw.connect((to, 0))
        raw.send(struct.pack(">HH", 0, 0x0800) + bytes(16))
        return Flow("gre", raw.getsockname()[0], to)


def _ends(asking: socket.socket, to: tuple[str, int]) -> tuple[str, str, int, int]:
    source, sport = asking.getsockname()[:2]
    return source, to[0], sport, to[1]


def _echo(kind: int, ident: int) -> bytes:
    """An ICMP echo request; the kernel itself fills in ICMPv6 checksums."""
    body = struct.pack(">BBHHH", kind, 0, 0, ident, 1) + b"natscope"
    total = sum(struct.unpack(f">{len(body) // 2}H", body))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return body[:2] + struct.pack(">H", checksum) + body[4:]


_SERVER, _SERVER6 = network.SERVER_V4, network.SERVER_V6

EXAMPLES = (
    Example(
        "masquerade",
        "s",
        "alice opens a web page; outside she is the box's own address",
        lambda t: t.tcp("alice", (_SERVER, 443), WORLD, (_SERVER, 443)),
    ),
    Example(
        "static source",
        "s",
        "carol has a public address to herself, by a static rule",
        lambda t: t.tcp("carol", (_SERVER, 443), WORLD, (_SERVER, 443)),
    ),
    Example(
        "udp",
        "s",
        "alice asks a name server and is answered",
        lambda t: t.udp(
            "alice", (network.SECOND_V4, 53), WORLD, (network.SECOND_V4, 53), rounds=2
        ),
    ),
    Example(
        "port forward",
        "d",
        "a visitor comes to port 8080 of the box; bob's web server answers",
        lambda t: t.tcp(
            WORLD, (network.PUBLIC_V4, 8080), "bob", ("", 80), network.VISITOR_V4
        ),
    ),
    Example(
        "hairpin",
        "h",
        "alice uses the public address from inside: both ends are translated",
        lambda t: t.tcp("alice", (network.PUBLIC_V4, 8080), "bob", ("", 80)),
    ),
    Example(
        "redirect",
        "r",
        "alice asks a time server outside; the box itself answers in its place",
        lambda t: t.udp("alice", (network.SECOND_V4, 123), BOX, ("", 123)),
    ),
    Example(
        "redirect to a port",
        "r",
        "alice connects to port 8888 of the box and reaches its port 2222",
        lambda t: t.tcp("alice", (network.LAN_V4, 8888), BOX, ("", 2222)),
    ),
    Example(
        "port only",
        "p",
        "the box's own SIP keeps its address, but gets another port",
        lambda t: t.udp(BOX, (_SERVER, 5060), WORLD, (_SERVER, 5060), sport=5060),
    ),
    Example(
        "ping",
        "s",
        "alice pings; an ICMP flow has an id in the place of a port",
        lambda t: t.ping("alice", _SERVER, 4711),
    ),
    Example(
        "gre",
        "s",
        "carol sends GRE, a protocol without ports; nobody answers",
        lambda t: t.gre("carol", network.BLACK_HOLE_V4),
    ),
    Example(
        "unanswered",
        "s",
        "alice connects to a host that does not answer: SYN_SENT",
        lambda t: t.syn("alice", (network.BLACK_HOLE_V4, 80)),
    ),
    Example(
        "closed",
        "s",
        "bob closed a connection: it waits in TIME_WAIT, its port still taken",
        lambda t: t.tcp("bob", (_SERVER, 443), WORLD, (_SERVER, 443), close=True),
    ),
    Example(
        "IPv6 masquerade",
        "s",
        "alice opens a page over IPv6, translated like IPv4",
        lambda t: t.tcp("alice", (_SERVER6, 443), WORLD, (_SERVER6, 443)),
    ),
    Example(
        "IPv6 port forward",
        "d",
        "a visitor comes over IPv6 to the same web server",
        lambda t: t.tcp(
            WORLD, (network.PUBLIC_V6, 8080), "bob", ("", 80), network.VISITOR_V6
        ),
    ),
    Example(
        "IPv6 ping",
        "s",
        "bob pings over IPv6",
        lambda t: t.ping("bob", _SERVER6, 99),
    ),
)
"""Every kind of translation, in the order the demo shows them."""


def happen(traffic: Traffic) -> Iterator[tuple[Example, Flow]]:
    """Make the examples happen, one by one."""
    for example in EXAMPLES:
        yield example, example.make(traffic)
