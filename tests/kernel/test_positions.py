"""Packets on a real box, seen by programs between its chains."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from conftest import unavailable
from natscope import uapi
from natscope.codec import packets
from natscope.errors import KernelError, NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import Traffic
from natscope.model.journey import Hook, Position, Sightings
from natscope.model.packet import Extension, Packet
from natscope.sources.netns import Namespace
from natscope.trace.bpf import loader
from natscope.trace.bpf.assembler import R0, Assembly
from natscope.trace.positions import LAST, POINTS, Positions
from natscope.uapi import TcpFlag
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

PATIENCE_S = 5.0
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
ALICE, ALICE6 = network.HOSTS["alice"].v4, network.HOSTS["alice"].v6
BOB, BOB6 = network.HOSTS["bob"].v4, network.HOSTS["bob"].v6
SERVER, SERVER6 = network.SERVER_V4, network.SERVER_V6
FORWARDED = [
    (hook, priority)
    for hook in (Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING)
    for priority in POINTS[hook]
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A box between a network inside and the world, with NAT rules."""
    if (why := loader.available()) is not None:
        unavailable(why)
    try:
        with built() as made, Traffic(made) as traffic:
            # neighbours are known, and conntrack is at work, before anything is timed
            traffic.ping("alice", SERVER, 1)
            traffic.ping("alice", SERVER6, 1)
            yield made
    except NamespaceError as error:
        unavailable(str(error))


@contextmanager
def rules(lab: Lab, text: str) -> Iterator[None]:
    """A table of the test's own on the box."""
    lab.run(BOX, ["nft", "-f", "-"], stdin=f"table inet test {{ {text}\n }}")
    try:
        yield
    finally:
        lab.run(BOX, ["nft", "delete", "table", "inet", "test"])


def watched(lab: Lab, filter: str, count: int = 1) -> Positions:
    return Positions(lab.box.path, filter, packets=count)


def send(lab: Lab, host: str, packet: Packet) -> None:
    """A packet from a raw socket; its checksums are those of codec.packets."""
    v6 = packet.src.version == 6
    family = socket.AF_INET6 if v6 else socket.AF_INET
    with (
        lab.inside(host),
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock,
    ):
        if not v6:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        sock.sendto(packets.encode(packet), (str(packet.dst), 0))


def syn(src: str, dst: str, sport: int, dport: int, flags: int = TcpFlag.SYN) -> Packet:
    return Packet(
        ip_address(src), ip_address(dst), uapi.IPPROTO_TCP,
        sport=sport, dport=dport, tcp_flags=flags, seq=1, window=1000,
    )  # fmt: skip


def udp(src: str, dst: str, sport: int, dport: int, ttl: int = 64) -> Packet:
    return Packet(
        ip_address(src), ip_address(dst), uapi.IPPROTO_UDP,
        sport=sport, dport=dport, ttl=ttl, payload=b"x",
    )  # fmt: skip


def only(positions: Positions) -> Sightings:
    (found,) = positions.collect(PATIENCE_S)
    assert positions.lost == 0
    return found


def at(seen: Sightings, hook: Hook, priority: int) -> Position:
    (found,) = [p for p in seen.positions if (p.hook, p.priority) == (hook, priority)]
    return found


def ends(position: Position) -> tuple[str, int | None, str, int | None]:
    packet = position.packet
    assert packet is not None
    return str(packet.src), packet.sport, str(packet.dst), packet.dport


def way(seen: Sightings) -> list[tuple[Hook, int]]:
    return [(p.hook, p.priority) for p in seen.positions]


def test_masquerading_shows_between_the_positions_around_srcnat(lab: Lab) -> None:
    with watched(lab, f"tcp and src {ALICE}:4001") as positions:
        send(lab, "alice", syn(ALICE, network.BLACK_HOLE_V4, 4001, 80))
        seen = only(positions)
    assert way(seen) == FORWARDED
    before, after = (at(seen, Hook.POSTROUTING, priority) for priority in (99, 101))
    assert ends(before) == (ALICE, 4001, network.BLACK_HOLE_V4, 80)
    assert ends(after) == (network.PUBLIC_V4, 4001, network.BLACK_HOLE_V4, 80)
    assert (before.iif, before.oif) == ("lan", "wan")
    assert seen.departures[0].interface == "wan"
    assert seen.drop is None


def test_what_conntrack_and_nat_write_into_the_entry_is_seen_step_by_step(
    lab: Lab,
) -> None:
    with watched(lab, f"tcp and src {ALICE}:4002") as positions:
        send(lab, "alice", syn(ALICE, network.BLACK_HOLE_V4, 4002, 80))
        seen = only(positions)
    first, tracked = seen.positions[0], seen.positions[1]
    assert (first.tracked, first.flow) == (None, None)
    assert tracked.tracked is not None
    assert tracked.tracked.state == 8
    flows = [p.flow for p in seen.positions[1:] if p.flow is not None]
    assert [str(flow.reply.dst) for flow in flows] == [ALICE] * 6 + [
        network.PUBLIC_V4
    ] * 2
    assert flows[-1].tcp_state == uapi.TCP_STATES.index("SYN_SENT")
    assert (flows[-1].status or 0) & uapi.Status.SRC_NAT
    assert seen.before is None
    assert seen.after == flows[-1]


def test_an_answer_is_turned_back_at_the_first_hook_and_finds_its_entry(
    lab: Lab,
) -> None:
    with Traffic(lab) as traffic, watched(lab, f"src {ALICE}", 2) as positions:
        traffic.ping("alice", SERVER, 4003)
        _, answer = positions.collect(PATIENCE_S)
    assert way(answer) == FORWARDED
    assert ends(at(answer, Hook.PREROUTING, -101))[2] == network.PUBLIC_V4
    assert ends(at(answer, Hook.PREROUTING, -99))[2] == ALICE
    assert answer.before is not None
    assert str(answer.before.orig.src) == ALICE
    last = answer.positions[-1].tracked
    assert last is not None
    assert (last.state, last.direction) == (2, 1)


@dataclass(frozen=True)
class Forward:
    id: str
    visitor: str
    public: str
    inside: str


FORWARDS = [
    Forward("IPv4", network.VISITOR_V4, network.PUBLIC_V4, BOB),
    Forward("IPv6", network.VISITOR_V6, network.PUBLIC_V6, BOB6),
]


@pytest.mark.parametrize("case", FORWARDS, ids=lambda case: case.id)
@pytest.mark.parametrize("words", ["target {inside}", "host {public}"])
def test_a_port_forward_shows_between_the_positions_around_dstnat(
    lab: Lab, case: Forward, words: str
) -> None:
    filter = words.format(inside=case.inside, public=case.public)
    with watched(lab, f"{filter} and port 8080 and port 4004") as positions:
        send(lab, WORLD, syn(case.visitor, case.public, 4004, 8080))
        seen = only(positions)
    assert way(seen) == FORWARDED
    before, after = (at(seen, Hook.PREROUTING, priority) for priority in (-101, -99))
    assert ends(before) == (case.visitor, 4004, case.public, 8080)
    assert ends(after) == (case.visitor, 4004, case.inside, 80)
    assert seen.departures[0].interface == "lan"


def test_ipv6_is_masqueraded_too(lab: Lab) -> None:
    with watched(lab, f"udp and host {ALICE6} and port 4005") as positions:
        send(lab, "alice", udp(ALICE6, SERVER6, 4005, 9))
        seen = next(positions.collect(PATIENCE_S))
    assert ends(at(seen, Hook.POSTROUTING, 99))[0] == ALICE6
    assert ends(at(seen, Hook.POSTROUTING, 101))[0] == network.PUBLIC_V6


def test_an_invalid_packet_has_no_entry_though_conntrack_is_at_work(lab: Lab) -> None:
    strange = syn(ALICE, SERVER, 4006, 80, TcpFlag.SYN | TcpFlag.FIN)
    with watched(lab, f"src {ALICE}:4006") as positions:
        send(lab, "alice", strange)
        seen = only(positions)
    assert way(seen) == FORWARDED
    assert {p.tracked for p in seen.positions} == {None}
    assert seen.is_tracked is True
    assert ends(seen.positions[-1])[0] == ALICE  # and so is not translated


def test_a_box_without_rules_is_said_not_to_track(netns: Namespace) -> None:
    if (why := loader.available()) is not None:
        unavailable(why)
    with Positions(filter="udp and port 4007", packets=1) as positions:
        _up("lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", 4007))
        seen = only(positions)
    assert seen.is_tracked is False


def test_through_the_loopback_a_packet_stays_one(netns: Namespace) -> None:
    if (why := loader.available()) is not None:
        unavailable(why)
    with Positions(filter="udp and port 4008", packets=1) as positions:
        _up("lo")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", 4008))
        seen = only(positions)
    assert way(seen) == [
        (hook, priority)
        for hook in (Hook.OUTPUT, Hook.POSTROUTING, Hook.PREROUTING, Hook.INPUT)
        for priority in POINTS[hook]
    ]


def _up(name: str) -> None:
    """Set an interface of this namespace up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", name.encode(), IFF_UP)
        fcntl.ioctl(sock, SIOCSIFFLAGS, request)


@dataclass(frozen=True)
class Dropped:
    id: str
    packet: Packet
    reason: str
    place: str
    last: tuple[Hook, int]
    word: str
    """The reason natscope gives."""
    rules: str = ""
    sysctl: tuple[str, str] | None = None
    route: str = ""


ROUTED = Hook.PREROUTING, -99
DROPS = [
    Dropped(
        "the policy of a forward chain",
        udp(ALICE, SERVER, 4010, 9),
        "NETFILTER_DROP",
        "nft_do_chain",
        (Hook.FORWARD, -1),
        "netfilter",
        "chain f { type filter hook forward priority 0; policy drop; }",
    ),
    Dropped(
        "a rule",
        udp(ALICE, SERVER, 4010, 23),
        "NETFILTER_DROP",
        "nft_do_chain",
        (Hook.FORWARD, -1),
        "netfilter",
        "chain f { type filter hook forward priority 0; udp dport 23 drop\n }",
    ),
    Dropped(
        "a rule in raw",
        udp(ALICE, SERVER, 4010, 23),
        "NETFILTER_DROP",
        "nft_do_chain",
        (Hook.PREROUTING, -301),
        "netfilter",
        "chain r { type filter hook prerouting priority -300; udp dport 23 drop\n }",
    ),
    Dropped(
        "a TTL of 1",
        udp(ALICE, SERVER, 4010, 9, ttl=1),
        "IP_INHDR",
        "ip_forward",
        (Hook.PREROUTING, -99),
        "ttl",
    ),
    Dropped(
        "a closed port of the box",
        udp(ALICE, network.LAN_V4, 4010, 4999),
        "NO_SOCKET",
        "__udp4_lib_rcv",
        (Hook.INPUT, LAST),
        "no-socket",
    ),
    Dropped(
        "a closed port of the box over IPv6",
        udp(ALICE6, network.LAN_V6, 4010, 4999),
        "NO_SOCKET",
        "__udp6_lib_rcv",
        (Hook.INPUT, LAST),
        "no-socket",
    ),
    Dropped(
        "the reverse-path filter",
        udp(SERVER, network.SECOND_V4, 4010, 9),
        "IP_RPFILTER",
        "ip_rcv_finish_core",
        ROUTED,
        "rp-filter",
        sysctl=("net/ipv4/conf/lan/rp_filter", "1"),
    ),
    Dropped(
        "forwarding that is off",
        udp(ALICE, SERVER, 4010, 9),
        "IP_INADDRERRORS",
        "ip_error",
        ROUTED,
        "forwarding-off",
        sysctl=("net/ipv4/ip_forward", "0"),
    ),
    Dropped(
        "IPv6 forwarding that is off",
        udp(ALICE6, SERVER6, 4010, 9),
        "IP_INADDRERRORS",
        "ip6_forward",
        ROUTED,
        "forwarding-off",
        sysctl=("net/ipv6/conf/all/forwarding", "0"),
    ),
    Dropped(
        "a blackhole route",
        udp(ALICE, "192.0.2.200", 4010, 9),
        "NOT_SPECIFIED",
        "ip_error",
        ROUTED,
        "no-route",
        route="blackhole 192.0.2.200",
    ),
    Dropped(
        "an unreachable route of IPv6",
        udp(ALICE6, "2001:db8:ff::1", 4010, 9),
        "IP_INNOROUTES",
        "ip6_pkt_discard",
        ROUTED,
        "no-route",
        route="unreachable 2001:db8:ff::1",
    ),
    Dropped(
        "a martian source",
        udp(network.PUBLIC_V4, SERVER, 4010, 9),
        "IP_LOCAL_SOURCE",
        "ip_rcv_finish_core",
        ROUTED,
        "martian",
    ),
]


@pytest.mark.parametrize("case", DROPS, ids=lambda case: case.id)
def test_a_drop_is_named_with_its_reason_and_place(lab: Lab, case: Dropped) -> None:
    filter = f"udp and src {case.packet.src} and src port 4010"
    with changed(lab, case), watched(lab, filter) as positions:
        send(lab, "alice", case.packet)
        seen = next(positions.collect(PATIENCE_S))
    assert seen.drop is not None
    assert seen.drop.reason == case.reason
    assert seen.drop.place is None or seen.drop.place.startswith(case.place + "+")
    assert way(seen)[-1] == case.last
    assert seen.departures == ()
    assert journey(seen).reason == case.word


@contextmanager
def changed(lab: Lab, case: Dropped) -> Iterator[None]:
    """The box as a case wants it, and afterwards as it was."""
    with ExitStack() as stack:
        if case.rules:
            stack.enter_context(rules(lab, case.rules))
        if case.sysctl:
            name, value = case.sysctl
            stack.callback(sysctl, lab, name, sysctl(lab, name, value))
        if case.route:
            words = case.route.split()
            family = "-6" if ":" in words[1] else "-4"
            lab.run(BOX, ["ip", family, "route", "add", *words])
            stack.callback(lab.run, BOX, ["ip", family, "route", "del", *words])
        yield


def sysctl(lab: Lab, name: str, value: str) -> str:
    """Set one of the box's; what it was."""
    path = Path("/proc/sys") / name
    with lab.inside(BOX):
        before = path.read_text()
        path.write_text(value)
    return before


def test_ports_behind_ipv6_extension_headers_are_found(lab: Lab) -> None:
    """Untracked, so that no tuple helps."""
    hop_by_hop = Extension(0, b"\0\1\4" + bytes(4))
    packet = replace(udp(ALICE6, SERVER6, 4016, 9), extensions=(hop_by_hop,))
    text = "chain r { type filter hook prerouting priority -300; notrack\n }"
    with rules(lab, text), watched(lab, "udp and src port 4016") as positions:
        send(lab, "alice", packet)
        seen = next(positions.collect(PATIENCE_S))
    tracked = seen.positions[1].tracked
    assert tracked is not None
    assert tracked.state == 64
    assert ends(seen.positions[0]) == (ALICE6, 4016, SERVER6, 9)


def test_packets_of_another_namespace_are_not_seen(lab: Lab) -> None:
    with (
        Positions(lab.namespaces["bob"].path, f"src {ALICE}:4011") as elsewhere,
        watched(lab, f"src {ALICE}:4011") as here,
    ):
        send(lab, "alice", udp(ALICE, SERVER, 4011, 9))
        assert only(here).positions
        assert elsewhere.read(all=True) == []


def test_no_more_packets_are_recorded_than_asked_for(lab: Lab) -> None:
    with watched(lab, f"udp and src {ALICE}:4012", 2) as positions:
        for port in range(5):
            send(lab, "alice", udp(ALICE, network.BLACK_HOLE_V4, 4012, 1000 + port))
        found = list(positions.collect(PATIENCE_S))
    assert [ends(seen.positions[0])[3] for seen in found] == [1000, 1001]
    assert positions.is_done


def test_packets_the_filter_rejects_take_nobodys_place(lab: Lab) -> None:
    """The programs do not know which end is the source; the filter does."""
    with watched(lab, f"src {BOB} and udp and dst port 4013", 1) as positions:
        found: list[Sightings] = []
        for _ in range(3):
            send(lab, "alice", udp(ALICE, BOB, 4013, 4013))
            send(lab, WORLD, udp(network.VISITOR_V4, network.PUBLIC_V4, 4013, 4013))
            found += positions.read(all=True)
        send(lab, "bob", udp(BOB, network.BLACK_HOLE_V4, 5000, 4013))
        found += positions.collect(PATIENCE_S)
    (seen,) = found
    assert ends(seen.positions[0])[0] == BOB


def test_two_may_watch_the_same_box(lab: Lab) -> None:
    filter = f"src {ALICE}:4014"
    with watched(lab, filter) as one, watched(lab, filter) as other:
        send(lab, "alice", udp(ALICE, network.BLACK_HOLE_V4, 4014, 9))
        assert way(only(one)) == way(only(other)) == FORWARDED


def test_nothing_stays_of_a_process_that_is_killed(lab: Lab) -> None:
    code = (
        "import sys; from natscope.trace.positions import Positions;"
        f"p = Positions({lab.box.path!r}); print('attached', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"attached\n"
        assert is_taken(lab)
        watching.kill()
    assert not is_taken(lab)


def test_nothing_stays_attached(lab: Lab) -> None:
    with watched(lab, ""):
        assert is_taken(lab)
    assert not is_taken(lab)


def is_taken(lab: Lab) -> bool:
    """Whether a program stands at the first position: no other may."""
    code = Assembly()
    code.move(R0, 1)
    code.exit()
    program = loader.load_program(loader.PROG_NETFILTER, code.code())
    priority = POINTS[Hook.PREROUTING][0]
    try:
        with lab.inside(BOX):
            os.close(
                loader.link_netfilter(program, uapi.AF_INET, Hook.PREROUTING, priority)
            )
    except KernelError as error:
        assert error.errno == errno.EBUSY
        return True
    finally:
        os.close(program)
    return False
