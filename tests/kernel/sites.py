"""Boxes with the rulesets of well-known programs, and traffic through them.

The links are those of ``kernel.topology``.  Behind all of them is one namespace without
any address, where packets are put on the wire, taken off it, and answered.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from conftest import unavailable
from kernel.topology import HOST, WIRES, links, mac_of, other_ends
from natscope.codec import packets
from natscope.codec.text import question
from natscope.errors import DecodeError, NamespaceError
from natscope.model.finding import Finding
from natscope.model.packet import Packet
from natscope.rehearse.attribution.attributor import attribute
from natscope.rehearse.attribution.shapes import by_shape
from natscope.rehearse.twin import Twin
from natscope.sources import tools
from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.snapshot import collect
from natscope.uapi import TcpFlag
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import DEFAULT, Thresholds

RULESETS = Path(__file__).parents[1] / "rulesets"
LOADERS = {
    ".nft": "nft",
    ".rules": "iptables-nft-restore",
    ".rules6": "ip6tables-nft-restore",
}
ROUTES = """route add default via 203.0.113.254 dev eth0
route add ::/0 via 2001:db8::ffe dev eth0
"""
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
}
UNBRIDGED = (
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
ETHER = {4: b"\x08\x00", 6: b"\x86\xdd"}
SOL_PACKET, IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 3
PATIENCE_S = 2.0


class Site:
    """A box, and all hosts around it."""

    def __init__(self, box: Namespace, world: Namespace, stack: ExitStack) -> None:
        self.box = box
        with world.enter():
            _set({"net/ipv6/conf/default/disable_ipv6": "1"})
        with box.enter():
            _set(SETTINGS)
            _set({path: "0" for path in UNBRIDGED if Path("/proc/sys", path).exists()})
            tools.run(["ip", "-batch", "-"], stdin="\n".join(links(world)))
            tools.run(["ip", "-batch", "-"], stdin=ROUTES)
            for wire in WIRES:
                if wire.kind == "bridge":
                    words = f"fdb add {HOST} dev {wire.name}.p master static"
                    tools.run(["bridge", *words.split()])
        with world.enter():
            tools.run(["ip", "-batch", "-"], stdin="\n".join(other_ends()))
            self._wire = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
            )
        stack.callback(self._wire.close)
        self._wire.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
        self._wire.setblocking(False)

    def run(self, *words: str, stdin: str = "") -> str:
        """Run a program on the box."""
        with self.box.enter():
            return tools.run(list(words), stdin=stdin)

    def setting(self, path: str, value: str) -> None:
        """A sysctl of the box."""
        with self.box.enter():
            _set({path: value})

    def rules(self, text: str, loader: str = "nft") -> None:
        """A ruleset in place of all others."""
        self.run("nft", "flush", "ruleset")
        self.add(text, loader)

    def add(self, text: str, loader: str = "nft") -> None:
        """A ruleset beside those that are there."""
        if loader == "nft":
            self.run("nft", "-f", "-", stdin=text)
        else:
            self.run(loader, "-n", stdin=text)

    def send(self, words: str) -> None:
        """Put a packet on its wire: ``udp A:1 to B:2 in eth0``; nobody answers."""
        asked = question.parse(words)
        assert asked.iif is not None
        self._put(asked.packet, asked.iif)

    def talk(self, words: str) -> Packet:
        """A packet that is answered; as it left the box.

        TCP is opened with three segments.  What leaves is answered, translated or not.
        """
        asked = question.parse(words)
        opening, iif = asked.packet, asked.iif
        assert iif is not None
        _ = list(self._taken())
        self._put(opening, iif)
        out, there = self._next()
        self._put(_answer(there), out)
        back, _answered = self._next()
        assert back == iif
        if opening.tcp_flags is not None:
            seq = (opening.seq or 0) + 1
            ack = replace(
                opening, tcp_flags=TcpFlag.ACK, seq=seq, ack=5001, tcp_options=b""
            )
            self._put(ack, iif)
        return there

    def snapshot(
        self, meanwhile: Callable[[], object] = lambda: None, *, deep: bool = False
    ) -> Snapshot:
        """The box, before and after some traffic."""
        with self.box.enter():
            found = Snapshot.of(*collect(interval_s=1.0, wait=lambda _: meanwhile()))
        assert found.table is not None
        if not deep:
            made = by_shape(found.table, found.nat_rules, found.bundle)
            return replace(found, made=made)
        with Twin(found.bundle) as twin:
            return replace(found, made=attribute(found.table, twin), is_exact=True)

    def findings(
        self,
        meanwhile: Callable[[], object] = lambda: None,
        *,
        deep: bool = False,
        only: str | None = None,
        thresholds: Thresholds = DEFAULT,
    ) -> tuple[Finding, ...]:
        """What the rules find, with traffic between the two readings."""
        found = self.snapshot(meanwhile, deep=deep)
        diagnosis = diagnose(found, thresholds, None if only is None else [only])
        assert diagnosis.not_checked == ()
        return diagnosis.findings

    def _put(self, packet: Packet, iif: str) -> None:
        macs = bytes.fromhex((mac_of(iif) + HOST).replace(":", ""))
        data = macs + ETHER[packet.src.version] + packets.encode(packet)
        self._wire.sendto(data, (iif, 0))

    def _next(self) -> tuple[str, Packet]:
        """The next packet that leaves the box, and by which interface."""
        while True:
            ready, _, _ = select.select([self._wire], [], [], PATIENCE_S)
            assert ready, "no packet left the box"
            for name, packet in self._taken():
                return name, packet

    def _taken(self) -> Iterator[tuple[str, Packet]]:
        ends = {wire.name for wire in WIRES}
        with suppress(BlockingIOError):
            while True:
                data, where = self._wire.recvfrom(1 << 16)
                if where[0] in ends and data[12:14] in ETHER.values():
                    with suppress(DecodeError):
                        packet = packets.decode(data[14:])
                        if packet.proto in (6, 17):  # the box itself says some more
                            yield where[0], packet


def ruleset(name: str, loader: str | None = None) -> tuple[str, str]:
    """One of tests/rulesets, and the program that loads it."""
    path = RULESETS / name
    return path.read_text(), loader or LOADERS[path.suffix]


def _answer(packet: Packet) -> Packet:
    answer = replace(
        packet,
        src=packet.dst,
        dst=packet.src,
        sport=packet.dport,
        dport=packet.sport,
        ttl=64,
    )
    if packet.tcp_flags is None:
        return answer
    flags = TcpFlag.SYN | TcpFlag.ACK
    return replace(answer, tcp_flags=flags, seq=5000, ack=(packet.seq or 0) + 1)


def _set(values: dict[str, str]) -> None:
    for path, value in values.items():
        Path("/proc/sys", path).write_text(value)


@contextmanager
def site() -> Iterator[Site]:
    """A box without a rule, for the length of the body."""
    with ExitStack() as stack:
        try:
            box, world = (stack.enter_context(new_namespace(name)) for name in "bw")
        except NamespaceError as error:
            unavailable(f"no private namespace: {error}")
            raise
        yield Site(box, world, stack)
