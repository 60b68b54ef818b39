"""A lab whose rules, addresses and routes change, and what is then said of its flows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import unavailable
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import PATIENCE_S, Flow, Traffic
from natscope.sources.kernel import Kernel

ALICE, BOB, CAROL = (network.HOSTS[name].v4 for name in network.INSIDE)
ALICE_V6, BOB_V6, CAROL_V6 = (network.HOSTS[name].v6 for name in network.INSIDE)
PUBLIC, STATIC, SERVER = network.PUBLIC_V4, network.STATIC_V4, network.SERVER_V4
PUBLIC_V6, SERVER_V6 = network.PUBLIC_V6, network.SERVER_V6
SECOND, BEHIND_SECOND = "198.18.0.1", "198.18.0.9"
SECOND_V6, BEHIND_SECOND_V6 = "2001:db8:18::1", "2001:db8:18::9"
NONE, SOME = 0, 1
RULESETS = Path(__file__).parents[1] / "rulesets"


@contextmanager
def ageless() -> Iterator[Lab]:
    """A lab whose flows have no age: none is too young to be judged."""
    try:
        with built() as made:
            with made.inside(BOX):
                place = Path("/proc/sys/net/netfilter/nf_conntrack_timestamp")
                place.write_text("0")
            yield made
    except NamespaceError as error:
        unavailable(str(error))


@dataclass
class Sender:
    """One end of a flow nobody answers; it hears no ICMP errors."""

    traffic: Traffic
    socket: socket.socket
    flow: Flow

    def again(self) -> None:
        """Another datagram, once the box has counted it."""
        before, deadline = self._packets(), time.monotonic() + PATIENCE_S
        while self._packets() == before:
            # the first may be lost while its neighbour is asked for
            self.socket.sendto(b"again", (self.flow.dst, self.flow.dport))
            assert time.monotonic() < deadline

    def _packets(self) -> int:
        with Kernel(self.traffic.lab.box.path) as kernel:
            return sum(
                one.orig_packets or 0 for one in kernel.flows(self.flow.filter())
            )


def udp(traffic: Traffic, client: str, to: tuple[str, int], sport: int = 0) -> Sender:
    """A datagram to nobody, once it is in the box's table."""
    v6 = ":" in to[0]
    sock = traffic.socket(client, socket.SOCK_DGRAM, v6=v6)
    source = {
        "alice": ALICE_V6 if v6 else ALICE,
        WORLD: network.VISITOR_V6 if v6 else network.VISITOR_V4,
    }
    sock.bind((source[client], sport))
    flow = Flow("udp", source[client], to[0], sock.getsockname()[1], to[1])
    sender = Sender(traffic, sock, flow)
    sender.again()
    return sender


def uplink(lab: Lab) -> None:
    """A second way out of the box: wan2, with addresses of its own."""
    words = ["ip", "link", "add", "wan2", "type", "veth", "peer", "name", "eth2"]
    lab.run(BOX, [*words, "netns", lab.namespaces[WORLD].path])
    own = (f"{SECOND}/24", f"{SECOND_V6}/64 nodad")
    ip(lab, *(f"addr add {one} dev wan2" for one in own), "link set wan2 up")


def ip(lab: Lab, *commands: str) -> None:
    """Commands of ip(8) on the box."""
    lab.run(BOX, ["ip", "-batch", "-"], stdin="".join(f"{one}\n" for one in commands))


def load(lab: Lab, rules: str) -> None:
    """These rules of nft in place of all others."""
    lab.run(BOX, ["nft", "-f", "-"], stdin=f"flush ruleset\n{rules}")


def nat(prerouting: str = "", postrouting: str = "", family: str = "ip") -> str:
    return f"""table {family} nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {prerouting}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {postrouting}
    }}
}}
"""


def natscope(lab: Lab, *words: str) -> tuple[int, str, str]:
    with lab.inside(BOX):
        done = subprocess.run(
            [sys.executable, "-m", "natscope", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def stale(lab: Lab, *words: str) -> list[dict[str, Any]]:
    """The stale flows; the exit code says the same."""
    code, told, said = natscope(lab, "stale", "--json", *words)
    found: list[dict[str, Any]] = json.loads(told)["rows"]
    assert code == (SOME if found else NONE), said
    return found


TRACKING = nat("udp dport 1 redirect")
"""The first rule of NAT brings tracking into a namespace."""
