"""What watching costs the packets that pass: both methods of ``natscope trace``.

    python -m bench.tracing

A host sends datagrams through a NAT box in namespaces; the whole way of a packet
runs within send(2), so that its length is the time of the call.  Cases take turns,
and the least of each counts: noise only adds.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from ipaddress import ip_address

from bench.runs import say
from natscope import uapi
from natscope.codec import packets
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.model.journey import Hook
from natscope.model.packet import Packet
from natscope.sources import tools
from natscope.trace.positions import POINTS, Positions
from natscope.trace.rules import Rules

TURNS, PACKETS = 15, 2000
OTHER = "host 192.0.2.77"
"""A filter no packet here matches."""
_MANY = 1 << 40
_ETHERTYPE = b"\x08\x00"


@dataclass
class Case:
    """Something that watches while packets pass."""

    name: str
    watch: Callable[[], AbstractContextManager[object]]
    attach_s: list[float] = field(default_factory=list)
    packet_ns: list[float] = field(default_factory=list)


def measure() -> None:
    """Nanoseconds a forwarded packet takes, with and without watching."""
    with built() as lab, sender(lab) as send:
        cases = cases_of(lab.box.path)
        for _ in range(TURNS):
            for case in cases:
                start = time.perf_counter()
                with case.watch():
                    case.attach_s.append(time.perf_counter() - start)
                    case.packet_ns.append(timed(send))
    base = min(cases[0].packet_ns)
    say(f"watching packets, {base:.0f} ns each without")
    for case in cases[1:]:
        more, attach = min(case.packet_ns) - base, min(case.attach_s)
        say(f"  {case.name:<40} {more:+6.0f} ns   attached in {attach:.3f} s")


def cases_of(box: str) -> list[Case]:
    """The first is nothing."""

    def positions(filter: str, count: int) -> Callable[[], Positions]:
        return lambda: Positions(box, filter, packets=count)

    def rules(filter: str) -> Callable[[], closing[Rules]]:
        return lambda: closing(Rules(box, filter))

    passed = (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
    places = sum(len(POINTS[hook]) for hook in passed)
    return [
        Case("nothing", nullcontext),
        Case(f"bpf, of another flow ({places} positions)", positions(OTHER, 10)),
        Case("bpf, enough packets admitted", positions("", 10)),
        Case("bpf, each packet recorded", positions("", _MANY)),
        Case("nft, of another flow", rules(OTHER)),
        Case("nft, each packet traced (1000 a second)", rules("")),
    ]


def timed(send: Callable[[], object]) -> float:
    """Nanoseconds a packet."""
    start = time.perf_counter_ns()
    for _ in range(PACKETS):
        send()
    return (time.perf_counter_ns() - start) / PACKETS


@contextmanager
def sender(lab: Lab) -> Iterator[Callable[[], object]]:
    """Sends one frame from an inside host to a server that does not answer."""
    packet = Packet(
        ip_address(network.HOSTS["alice"].v4),
        ip_address(network.BLACK_HOLE_V4),
        uapi.IPPROTO_UDP,
        sport=5000,
        dport=9,
        payload=bytes(64),
    )
    with lab.inside(network.BOX):
        link = tools.run(["ip", "-o", "link", "show", "lan"])
    router = bytes.fromhex(link.split("link/ether ")[1].split()[0].replace(":", ""))
    with (
        lab.inside("alice"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
    ):
        first.sendto(b"", (network.BLACK_HOLE_V4, 9))  # neighbours are asked for
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with raw:
        with lab.inside("alice"):
            raw.bind(("eth0", 0))
        frame = router + raw.getsockname()[4] + _ETHERTYPE + packets.encode(packet)
        yield lambda: raw.send(frame)


if __name__ == "__main__":
    measure()
