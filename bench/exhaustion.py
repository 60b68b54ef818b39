"""How many new flows the kernel drops as the ports of a range run out.

    python -m bench.exhaustion [--turns 5] [--churn]

One destination, one public address, 64,512 ports; every flow comes from the same port
of another host, so that each but the first needs a port of its own.  What natscope
foretells is read from the table before each step and after it; what was dropped is told
by send(2).  With ``--churn`` all flows are given up before each step, an eighth of them
at a time, and others opened instead.
"""

from __future__ import annotations

import argparse
import random
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from bench.runs import say
from natscope import uapi
from natscope.codec import packets
from natscope.model.packet import Packet
from natscope.sources import tools
from natscope.sources.kernel import Kernel
from natscope.sources.netns import new_namespace
from natscope.views.portranges import CLASSES, PortRanges
from natscope.views.ports import port_use

PUBLIC, SERVER = "203.0.113.7", "198.51.100.9"
SIZE = CLASSES[-1].size
LEVELS = (0.80, 0.87, 0.90, 0.95, 0.97, 0.98, 0.99)
STEP = 0.01
"""Of the range, that is filled while the losses about a level are counted."""
NETS = 8
"""Networks the hosts are of, each given up as one: 10.16.0.0/12 and so on."""
_PORT = 5000
_SOURCE, _CHECKSUM = slice(12, 16), slice(26, 28)
"""Of an IPv4 packet without options, and of UDP in it."""
_LINKS = f"""\
link set lo up
link add wan type veth peer name nowhere
link set nowhere up
link set wan arp off up
addr add {PUBLIC}/32 dev wan
route add default dev wan
"""
_RULES = f"""\
table ip nat {{
    chain post {{
        type nat hook postrouting priority srcnat; snat to {PUBLIC}
    }}
}}
"""
_UDP_TIMEOUT = Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")


class Crowd:
    """Hosts without end that open flows from one port, in this thread's namespace."""

    def __init__(self, sock: socket.socket, chance: random.Random) -> None:
        opening = Packet(
            ip_address("10.0.0.0"),
            ip_address(SERVER),
            uapi.IPPROTO_UDP,
            sport=_PORT,
            dport=53,
        )
        self._sock, self._chance = sock, chance
        self._packet = bytearray(packets.encode(opening))
        self._packet[_CHECKSUM] = bytes(2)  # none: the source varies
        self._hosts = [0] * (NETS + 1)

    def opens(self, net: int | None = None) -> bool:
        """Let a new host open a flow; whether the kernel let it out."""
        net = self._chance.randint(1, NETS) if net is None else net
        self._hosts[net] += 1
        source = 10 << 24 | net << 20 | self._hosts[net]
        self._packet[_SOURCE] = source.to_bytes(4, "big")
        try:
            self._sock.sendto(self._packet, (SERVER, 0))
        except PermissionError:
            return False
        return True

    def fill(self, more: int, net: int | None = None) -> int:
        """Open so many flows; how many were dropped meanwhile."""
        dropped = 0
        while more:
            is_out = self.opens(net)
            more -= is_out
            dropped += not is_out
        return dropped

    def fill_to(self, level: float) -> int:
        """Open flows until so much of the range is in use; how many were dropped."""
        return self.fill(round(level * SIZE) - used())

    def churn(self) -> None:
        """Give every flow up, a network after the other, and open as many anew."""
        for net in range(1, NETS + 1):
            before = used()
            network = f"10.{net << 4}.0.0/12"
            words = ("conntrack", "-D", "-s", network)
            subprocess.run(words, check=True, capture_output=True)
            self.fill(before - used(), net)


@contextmanager
def crowd(chance: random.Random) -> Iterator[Crowd]:
    """This namespace, fresh, as a box with a line to nowhere, and all who use it."""
    tools.run(["ip", "-batch", "-"], stdin=_LINKS)
    tools.run(["nft", "-f", "-"], stdin=_RULES)
    _UDP_TIMEOUT.write_text("3600")
    with ExitStack() as opened:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        yield Crowd(opened.enter_context(made), chance)


def used() -> int:
    """Ports in use."""
    with Kernel() as kernel:
        return kernel.count()[0]


def foretold() -> float:
    """The chance natscope gives a new flow to be dropped."""
    with Kernel() as kernel:
        use = port_use(kernel.table(), PortRanges(), evicts=True)
    return use.busiest(1)[0].loss


@dataclass
class Count:
    """What was told and seen about a level."""

    foretold: float = 0.0
    """Flows that were to be dropped."""
    dropped: int = 0
    tried: int = 0


def about(level: float, crowd: Crowd, count: Count) -> None:
    """Fill on from just below a level to just above it."""
    crowd.fill_to(level - STEP / 2)
    before, step = foretold(), round(STEP * SIZE)
    dropped = crowd.fill(step)
    count.tried += step + dropped
    count.dropped += dropped
    count.foretold += (before + foretold()) / 2 * (step + dropped)


def measure(turns: int = 5, *, churn: bool = False) -> None:
    """A line for each level: drops foretold and seen."""
    counts = {level: Count() for level in LEVELS}
    for turn in range(turns):
        chance = random.Random(turn)
        with new_namespace("bench") as space, space.enter(), crowd(chance) as hosts:
            for level, count in counts.items():
                if churn:
                    hosts.fill_to(level - STEP / 2)
                    hosts.churn()
                about(level, hosts, count)
    say(f"taken  foretold   dropped  of {SIZE} ports{', after churn' if churn else ''}")
    for level, count in counts.items():
        told, seen = count.foretold / count.tried, count.dropped / count.tried
        say(f"{level:4.0%}  {told:8.3%}  {seen:8.3%}  {count.dropped} of {count.tried}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.exhaustion")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--churn", action="store_true")
    options = parser.parse_args(argv)
    measure(options.turns, churn=options.churn)


if __name__ == "__main__":
    main()
