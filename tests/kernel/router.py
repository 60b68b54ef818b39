"""A client, a router and a server, to be made ill one way at a time.

::

    client 10.0.0.2 ── lan 10.0.0.1 [ router ] 198.51.100.1 wan ── server 198.51.100.9

and the same in IPv6, for tests that ask for it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from conftest import unavailable
from natscope.actions import mending
from natscope.codec.checksum import internet_checksum, pseudo_header
from natscope.errors import NamespaceError
from natscope.model.finding import Finding, Remedy
from natscope.sources import tools
from natscope.sources.netns import Namespace, new_namespace
from natscope.sources.snapshot import collect
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import DEFAULT, Thresholds

CLIENT, SERVER = "10.0.0.2", "198.51.100.9"
LAN, WAN = "10.0.0.1", "198.51.100.1"


@dataclass(frozen=True)
class Addresses:
    """Of one family: the hosts', and the router's on either side."""

    client: str
    lan: str
    wan: str
    server: str
    length: int
    """Of both prefixes."""
    nft: str
    """The family as nft names it."""
    family: socket.AddressFamily


V4 = Addresses(CLIENT, LAN, WAN, SERVER, 24, "ip", socket.AF_INET)
V6 = Addresses(
    *("fd00:77::2", "fd00:77::1", "2001:db8:51::1", "2001:db8:51::9"),
    64,
    "ip6",
    socket.AF_INET6,
)
TRACKED = """\
table ip track {
    chain prerouting {
        type filter hook prerouting priority filter; ct state new
    }
}
"""
MASQUERADE = """\
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat; oifname "wan" masquerade
    }
}
"""
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
}
SETTINGS_V6 = {
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
}
PATIENCE_S = 5.0


def nothing() -> None:
    """Let the time between the two readings pass without traffic."""


@dataclass
class Hosts:
    """Three network namespaces, cabled."""

    client: Namespace
    router: Namespace
    server: Namespace
    stack: ExitStack
    at: Addresses = V4

    def ip(self, host: Namespace, batch: str) -> None:
        """Commands of ip(8) on a host."""
        with host.enter():
            tools.run(["ip", "-batch", "-"], stdin=batch)

    def rules(self, text: str) -> None:
        """Load a ruleset on the router."""
        with self.router.enter():
            tools.run(["nft", "-f", "-"], stdin=text)

    def setting(self, path: str, value: str) -> None:
        """A sysctl of the router."""
        with self.router.enter():
            Path("/proc/sys", path).write_text(value)

    def open(
        self, host: Namespace, kind: int, at: tuple[str, int] = ("", 0), proto: int = 0
    ) -> socket.socket:
        """A socket of a host, bound; it is closed with the hosts."""
        with host.enter():
            made = socket.socket(self.at.family, kind, proto)
        self.stack.enter_context(made)
        made.settimeout(PATIENCE_S)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(at)
        return made

    def datagrams(
        self, ports: list[int], *, sport: int = 0, src: str = "", dst: str = ""
    ) -> None:
        """One datagram of the client to each port; nobody answers."""
        asking = self.open(self.client, socket.SOCK_DGRAM, (src, sport))
        for port in ports:
            asking.sendto(b"hello", (dst or self.at.server, port))

    def connection(self, port: int, dst: str = "") -> socket.socket:
        """A TCP connection of the client to a port the server listens on."""
        listener = self.open(self.server, socket.SOCK_STREAM, ("", port))
        listener.listen()
        asking = self.open(self.client, socket.SOCK_STREAM)
        asking.connect((dst or self.at.server, port))
        accepted, _ = listener.accept()
        self.stack.enter_context(accepted)
        asking.sendall(b"question")
        accepted.recv(100)
        accepted.sendall(b"answer")
        asking.recv(100)
        return asking

    def mend(self, remedy: Remedy) -> None:
        """Run a remedy on the router, as it stands."""
        assert not remedy.is_pattern
        with self.router.enter():
            mending.run(remedy.command)

    def findings(
        self,
        rule: str,
        meanwhile: Callable[[], object] = nothing,
        thresholds: Thresholds = DEFAULT,
    ) -> tuple[Finding, ...]:
        """What a rule finds on the router, with traffic between the two readings."""
        found = diagnose(self.snapshot(meanwhile), thresholds, only=[rule])
        assert found.not_checked == ()
        return found.findings

    def snapshot(self, meanwhile: Callable[[], object] = nothing) -> Snapshot:
        """The router, before and after some traffic."""
        with self.router.enter():
            bundle, flows = collect(interval_s=1.0, wait=lambda _: meanwhile())
        return Snapshot.of(bundle, flows)


@contextmanager
def hosts(at: Addresses = V4) -> Iterator[Hosts]:
    """The three, without a rule."""
    with ExitStack() as stack:
        try:
            found = [stack.enter_context(new_namespace(name)) for name in "abc"]
        except NamespaceError as error:
            unavailable(f"no private namespace: {error}")
            raise
        client, router, server = found
        made = Hosts(client, router, server, stack, at)
        settings = SETTINGS | (SETTINGS_V6 if at is V6 else {})
        for host in found:
            with host.enter():
                for path, value in settings.items():
                    Path("/proc/sys", path).write_text(value)
        for port, host in (("lan", client), ("wan", server)):
            link = f"link add {port} type veth peer name eth0 netns {host.path}\n"
            made.ip(router, link)
        made.ip(router, "link set lo up\nlink set lan up\nlink set wan up\n")
        for end, own in (("lan", at.lan), ("wan", at.wan)):
            made.ip(router, f"addr add {own}/{at.length} dev {end}\n")
        for host, own, gateway in (
            (client, at.client, at.lan),
            (server, at.server, at.wan),
        ):
            way = f"addr add {own}/{at.length} dev eth0\nroute add default via {gateway}\n"
            made.ip(host, f"link set lo up\nlink set eth0 up\n{way}")
        _meet(made)
        yield made


def _meet(hosts: Hosts) -> None:
    """Client and server, by a datagram each way: then what is sent goes at once.

    A link is up when linkwatch says so, and neighbours are asked for a second apart.
    Nothing is tracked yet: there is no rule.
    """
    until = time.monotonic() + PATIENCE_S
    with hosts.client.enter():
        asking = socket.socket(hosts.at.family, socket.SOCK_DGRAM)
    with hosts.server.enter():
        answering = socket.socket(hosts.at.family, socket.SOCK_DGRAM)
    with asking, answering:
        for one in (asking, answering):
            one.settimeout(0.05)
        answering.bind(("", 9))
        while True:
            asking.sendto(b"?", (hosts.at.server, 9))
            with suppress(TimeoutError):
                _, client = answering.recvfrom(9)
                answering.sendto(b"!", client)
                asking.recv(9)
                return
            assert time.monotonic() < until, "the hosts do not reach each other"


def segment(
    src: tuple[str, int], dst: tuple[str, int], *, flags: int, seq: int = 0
) -> bytes:
    """A TCP segment without data (RFC 9293 §3.1)."""
    head = struct.pack(
        ">HHIIBBHHH", src[1], dst[1], seq, seq, 5 << 4, flags, 1000, 0, 0
    )
    ends = (ip_address(src[0]), ip_address(dst[0]))
    pseudo = pseudo_header(*ends, socket.IPPROTO_TCP, len(head))
    checksum = internet_checksum(pseudo + head)
    return head[:16] + struct.pack(">H", checksum) + head[18:]
