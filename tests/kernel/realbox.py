"""A box of real interfaces, to hold a twin against: what it does with a packet.

Its links are what boxes have: bridges with ports, and plain interfaces.  Behind all of them is one namespace without any address, where packets
are put on the wire and taken off it; neighbours are permanent, so that nobody asks
for them.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from kernel.topology import HOST, ROUTES, WIRES, links, mac_of, other_ends
from natscope import uapi
from natscope.codec import encode, legacytrace, packets, request
from natscope.codec.nflog import LoggedPacket
from natscope.codec.scalar import decode_flow
from natscope.codec.traversal import Assembler
from natscope.errors import DecodeError, KernelError
from natscope.model.bundle import Bundle
from natscope.model.flow import Flow
from natscope.model.journey import Departure, Hook, Sightings, Visit
from natscope.model.packet import Packet, Question
from natscope.model.tuples import FlowTuple
from natscope.sources import tools
from natscope.sources.bundle import collect
from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.nlsocket import NetlinkSocket
from natscope.sources.rulesets import read_ruleset
from natscope.sources.tracing import PacketLog, Traces

ETHER = {4: b"\x08\x00", 6: b"\x86\xdd"}
PRIORITY = 0x77
"""SO_PRIORITY of what the box itself sends, for the trace."""
SOL_PACKET, IGNORE_OUTGOING, IPV6_HDRINCL, ETH_P_ALL = 263, 23, 36, 3
OWN_TYPES = frozenset({130, 131, 132, 133, 134, 135, 136, 137, 143})
"""MLD and neighbour discovery, redirects too: what a kernel says by itself."""
IGMP, FRAGMENT = 2, 44
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    # how many answers there are shall not hang on how many there were
    "net/ipv4/icmp_ratemask": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
UNBRIDGED = (
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
"""Without br_netfilter a bridge shows netfilter what is routed alone."""
WATCH = f"""table inet natscope_real {{
  chain prerouting {{
    type filter hook prerouting priority -500
    iif != "lo" meta nftrace set 1
  }}
  chain output {{
    type filter hook output priority -500
    meta priority 0:{PRIORITY:x} meta nftrace set 1
  }}
  chain prerouting_end {{ type filter hook prerouting priority 500; }}
  chain input_end {{ type filter hook input priority 500; }}
  chain forward_end {{ type filter hook forward priority 500; }}
  chain output_end {{ type filter hook output priority 500; }}
  chain postrouting_end {{ type filter hook postrouting priority 500; }}
  chain delivered {{ type filter hook input priority 2147483647; drop; }}
}}
"""
"""Sees packets pass; nobody listens on the box, and it shall not say so."""


class RealBox:
    """Owns the box's namespace and the one around it.

    Args:
        box: a fresh namespace.
        world: another one.
        loads: programs and what they read: the rulesets.
        setup: further lines for ip -batch, in the box.
        sysctls: further settings.
    """

    def __init__(
        self,
        box: Namespace,
        world: Namespace,
        loads: tuple[tuple[str, str], ...] = (),
        setup: str = "",
        sysctls: dict[str, str] | None = None,
    ) -> None:
        self._box, self._world = box, world
        is_zoned = any("zone set" in text for _, text in loads)
        self._zones = (None, 1, 2) if is_zoned else (None,)
        with world.enter():
            _set({"net/ipv6/conf/default/disable_ipv6": "1"})
        with box.enter():
            _set(SYSCTLS)
            _set({path: "0" for path in UNBRIDGED if Path("/proc/sys", path).exists()})
            tools.run(["ip", "-batch", "-"], stdin="\n".join(links(world)))
            tools.run(["ip", "-batch", "-"], stdin=ROUTES + setup)
            for wire in WIRES:
                if wire.kind == "bridge":
                    words = f"fdb add {HOST} dev {wire.name}.p master static"
                    tools.run(["bridge", *words.split()])
            _set(sysctls or {})
        with world.enter():
            tools.run(["ip", "-batch", "-"], stdin="\n".join(other_ends()))
        self.bundle = self._loaded(loads)
        self._open()

    def _loaded(self, loads: tuple[tuple[str, str], ...]) -> Bundle:
        """The bundle is the box's without what watches it here.

        What watches must be there before the rules: its last chain stands behind
        confirmation only if it was made before that (nf_hook_entries_grow).
        """
        with self._box.enter():
            _load(loads)
            bundle = collect()
            _unload(loads)
            tools.run(["nft", "-f", "-"], stdin=WATCH)
            _load(loads)
            self._listed = read_ruleset()
            self._names = dict(socket.if_nameindex())
        assert not bundle.missing, bundle.missing
        return bundle

    def _open(self) -> None:
        self._traces = Traces(self._box)
        self._log = PacketLog(self._box)
        for family in (uapi.AF_INET, uapi.AF_INET6):
            self._log.take_over(family)
        self._netlink = NetlinkSocket(namespace=self._box)
        with self._box.enter():
            _set({"net/netfilter/nf_conntrack_log_invalid": "255"})
            self._raw = {
                4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
                6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
            }
        self._raw[6].setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        for raw in self._raw.values():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, PRIORITY)
        self._raw[4].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with self._world.enter():
            self._wire = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
            )
        self._wire.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
        self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._wire.setblocking(False)

    def close(self) -> None:
        for one in (self._wire, *self._raw.values()):
            one.close()
        for opened in (self._traces, self._log, self._netlink):
            opened.close()

    def send(self, question: Question) -> Sightings:
        """Put a packet on a wire, or send it from the box; what was seen of it."""
        for rest in (self._taken, self._traces.read, self._log.read):
            rest()
        before = self.entries(question.packet.tuple)
        if question.iif is None:
            self._send(question)
        else:
            packet = question.packet
            macs = bytes.fromhex((mac_of(question.iif) + HOST).replace(":", ""))
            data = macs + ETHER[packet.src.version] + packets.encode(packet)
            with suppress(OSError):  # larger than the link
                self._wire.sendto(data, (question.iif, 0))
        logged = self._log.read()
        visits = self._visits(logged)
        departures = [
            replace(one, is_answer=_is_another(question.packet, one.packet))
            for one in self._taken(0.05 if _left(visits) else 0.0)
        ]
        if is_delivered(visits):
            told = [v.packet for v in visits if v.packet and v.packet.proto != FRAGMENT]
            departures.append(Departure(None, told[-1] if told else question.packet))
        ids = [v.tracked.id for v in visits if v.tracked is not None][-1:]
        # an UNTRACKED packet has an id of nobody, and no entry
        after = self.entries(question.packet.tuple)
        return Sightings(
            visits=tuple(v for v in visits if v.base.name != "delivered"),
            question=question,
            departures=tuple(departures),
            before=_chosen(before, ids),
            after=_chosen(after, ids),
            invalid=tuple(_invalid(logged, question.packet)),
        )

    def _send(self, question: Question) -> None:
        packet = question.packet
        raw = self._raw[packet.src.version]
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, question.mark)
        with suppress(OSError):
            raw.sendto(packets.encode(packet), (str(packet.dst), 0))

    def _visits(self, logged: list[LoggedPacket]) -> tuple[Visit, ...]:
        assembler = Assembler(self._listed, self._names.get)
        found: list[Visit] = []
        for message in self._traces.read():
            for visits in assembler.feed(message):
                found += visits
        for visits in assembler.flush():
            found += visits
        assert not self._traces.lost
        told = (legacytrace.visit(one, self._listed, self._names.get) for one in logged)
        legacy = [step for step in told if step is not None]
        return tuple(_in_order(found + legacy) if legacy else found)

    def _taken(self, wait_s: float = 0.0) -> Iterator[Departure]:
        if wait_s:
            select.select([self._wire], [], [], wait_s)
        ends = {wire.name for wire in WIRES} | {f"{wire.name}.b" for wire in WIRES}
        found = []
        with suppress(BlockingIOError):
            while True:
                data, where = self._wire.recvfrom(1 << 16)
                if where[0] in ends and data[12:14] in ETHER.values():
                    found.append((where[0], data[14:]))
        # what a bridge floods leaves the box once
        for name, data in dict.fromkeys(
            (one.removesuffix(".b"), d) for one, d in found
        ):
            with suppress(DecodeError):
                packet = packets.decode(data)
                is_own = packet.proto == 58 and packet.icmp_type in OWN_TYPES
                if not is_own and packet.proto != IGMP:
                    yield Departure(name, packet)

    def entries(self, key: FlowTuple) -> list[Flow]:
        """All entries of a tuple, of either direction."""
        found: dict[int | None, Flow] = {}
        for zone in self._zones:
            cells = encode.cells_of(Flow(key, key.reversed(), zone=zone))
            asked = request.get(cells, seq=self._netlink.next_seq())
            with suppress(KernelError):
                for message in self._netlink.ask(asked, "looking up a flow"):
                    flow = decode_flow(message)
                    found[flow.id] = flow
        return list(found.values())


def _invalid(logged: list[LoggedPacket], packet: Packet) -> Iterator[str]:
    for one in logged:
        if one.prefix.startswith("nf_ct_"):
            about = packets.decode(one.payload, cut=True)
            keys = [(p.dst, p.proto, p.tcp_flags) for p in (about, packet)]
            if keys[0] == keys[1]:
                yield one.prefix.strip()


def _in_order(found: list[Visit]) -> list[Visit]:
    """By hook and priority; to itself a box sends before it receives."""
    names = "INGRESS PREROUTING INPUT FORWARD POSTROUTING EGRESS"
    if any(visit.base.hook == Hook.OUTPUT for visit in found):
        names = "OUTPUT POSTROUTING EGRESS INGRESS PREROUTING INPUT"
    hooks = [Hook[name] for name in names.split()]
    return sorted(
        (visit for visit in found if visit.base.hook in hooks),
        key=lambda v: (hooks.index(v.base.hook or Hook.PREROUTING), v.base.priority),
    )


def is_delivered(visits: tuple[Visit, ...]) -> bool:
    return any(v.base.name == "delivered" for v in visits)


def _is_another(asked: Packet, packet: Packet) -> bool:
    """Whether the box made it itself; what it passes on stays what it is."""
    if packet.fragment is not None:
        return False
    return any(
        getattr(asked, name) != getattr(packet, name)
        for name in ("proto", "tcp_flags", "icmp_type")
    )


def _left(visits: tuple[Visit, ...]) -> bool:
    return any(v.base.hook == Hook.POSTROUTING for v in visits)


def _chosen(found: list[Flow], ids: list[int | None]) -> Flow | None:
    return next((one for one in found if not ids or one.id in ids), None)


def _load(loads: tuple[tuple[str, str], ...]) -> None:
    for program, text in loads:
        words = [program, "-f", "-"] if program == "nft" else [program]
        tools.run(words, stdin=text)


def _unload(loads: tuple[tuple[str, str], ...]) -> None:
    """Take the rulesets out, so that conntrack leaves its hooks."""
    tools.run(["nft", "flush", "ruleset"])
    for program, text in loads:
        if "legacy" in program:
            lines = [one for one in text.splitlines(True) if not one.startswith("-A")]
            tools.run([program], stdin="".join(lines))


def _set(values: dict[str, str]) -> None:
    for path, value in values.items():
        Path("/proc/sys", path).write_text(value)


@contextmanager
def real_box(
    box: Namespace,
    loads: tuple[tuple[str, str], ...] = (),
    setup: str = "",
    sysctls: dict[str, str] | None = None,
) -> Iterator[RealBox]:
    """A real box in a fresh namespace, for the length of the body."""
    with ExitStack() as stack:
        world = stack.enter_context(new_namespace("world"))
        made = RealBox(box, world, loads, setup, sysctls)
        stack.callback(made.close)
        yield made


def packet_of(departures: tuple[Departure, ...]) -> Packet | None:
    return next((one.packet for one in departures), None)
