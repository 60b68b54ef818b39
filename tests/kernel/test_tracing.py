"""The kernel's trace and its packet log, read in the lab from real traffic."""

from __future__ import annotations

import _socket
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import unavailable
from natscope import uapi
from natscope.codec import packets
from natscope.codec.text.ruleset import parse_nft
from natscope.codec.traversal import Assembler, Visits
from natscope.errors import KernelError, NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.traffic import Traffic
from natscope.model.journey import Hook, Verdict
from natscope.sources import tools
from natscope.sources.netns import Namespace
from natscope.sources.nlsocket import NetlinkSocket
from natscope.sources.rulesets import read_ruleset
from natscope.sources.tracing import PacketLog, Traces, invalid_log

pytestmark = pytest.mark.kernel

SYSCTLS = Path("/proc/sys/net/netfilter")
TRACE = f"""table inet tracing {{
    chain first {{
        type filter hook prerouting priority -500; policy accept;
        ip saddr {{ {network.HOSTS["alice"].v4}, {network.VISITOR_V4} }} meta nftrace set 1
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        tcp dport 81 jump refused
    }}
    chain refused {{
        ip daddr 0.0.0.0/0 drop
    }}
    chain last {{
        type filter hook postrouting priority 500; policy accept;
    }}
}}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    try:
        with built() as made:
            made.run(network.BOX, ["nft", "-f", "-"], stdin=TRACE)
            yield made
    except NamespaceError as error:
        unavailable(f"no private namespace: {error}")


def traced(lab: Lab, traces: Traces) -> list[Visits]:
    """Everything that was told so far, put together: forwarding is done by now."""
    with lab.inside(network.BOX):
        assembler = Assembler(read_ruleset(), dict(_socket.if_nameindex()).get)
    found: list[Visits] = []
    for message in traces.read():
        found += assembler.feed(message)
    return found + assembler.flush()


def hooks(visits: Visits) -> list[tuple[Hook | None, str]]:
    return [(v.base.hook, v.base.name) for v in visits if v.packet is not None]


def test_a_packet_is_followed_from_hook_to_hook_by_its_rules(lab: Lab) -> None:
    with Traces(lab.box) as traces, Traffic(lab) as traffic:
        to = (network.PUBLIC_V4, 8080)
        traffic.tcp(network.WORLD, to, "bob", ("", 80), network.VISITOR_V4)
        syn = traced(lab, traces)[0]
        assert traces.lost == 0
    assert hooks(syn) == [
        (Hook.PREROUTING, "first"),
        (Hook.PREROUTING, "prerouting"),
        (Hook.FORWARD, "forward"),
        (Hook.POSTROUTING, "postrouting"),
        (Hook.POSTROUTING, "last"),
    ]
    (dnat,) = [v for v in syn if v.rule and "dnat to" in v.rule.text]
    assert (dnat.verdict, dnat.iif) == (Verdict.ACCEPT, "wan")
    assert dnat.rule is not None
    assert dnat.rule.text == "ip daddr 203.0.113.1 tcp dport 8080 dnat to 10.0.0.3:80"
    seen = [v.packet for v in syn if v.packet is not None]
    assert [str(p.dst) for p in seen] == [network.PUBLIC_V4] * 2 + ["10.0.0.3"] * 3
    assert (syn[-1].is_policy, syn[-1].verdict) == (True, Verdict.ACCEPT)


def test_a_packet_that_gets_another_id_on_its_way_stays_one(lab: Lab) -> None:
    with Traces(lab.box) as traces, Traffic(lab) as traffic:
        to = (network.SERVER_V4, 443)
        traffic.tcp("alice", to, network.WORLD, to)
        found = traced(lab, traces)
    places = [hooks(visits)[:1] + hooks(visits)[-1:] for visits in found]
    through = [(Hook.PREROUTING, "first"), (Hook.POSTROUTING, "last")]
    assert len(places) >= 3  # SYN, ACK, data
    assert places == [through] * len(places)


def test_source_nat_is_seen_in_a_chain_behind_it(lab: Lab) -> None:
    with Traces(lab.box) as traces, Traffic(lab) as traffic:
        traffic.syn("alice", (network.BLACK_HOLE_V4, 80))
        (visits,) = traced(lab, traces)
    seen = [v.packet for v in visits if v.packet is not None]
    assert str(seen[0].src) == network.HOSTS["alice"].v4
    assert str(seen[-1].src) == network.PUBLIC_V4


def test_a_drop_in_a_chain_that_was_jumped_to_ends_the_packet(lab: Lab) -> None:
    with Traces(lab.box) as traces, Traffic(lab) as traffic:
        traffic.syn("alice", (network.SERVER_V4, 81))
        (visits,) = traced(lab, traces)
    jump, drop = visits[-2:]
    assert (jump.verdict, jump.target) == (Verdict.JUMP, "refused")
    assert (drop.verdict, drop.base.name, drop.chain.name) == (
        Verdict.DROP,
        "forward",
        "refused",
    )
    assert drop.rule is not None
    assert drop.rule.text == "ip daddr 0.0.0.0/0 drop"


def test_the_entry_is_told_by_the_id_conntrack_gives_it(lab: Lab) -> None:
    with Traces(lab.box) as traces, Traffic(lab) as traffic:
        traffic.syn("alice", (network.BLACK_HOLE_V4, 80))
        (visits,) = traced(lab, traces)
        listed = lab.run(network.BOX, ["conntrack", "-L", "-o", "id"])
    told = {visit.tracked.id for visit in visits if visit.tracked is not None}
    assert len(told) == 1
    assert f"id={told.pop()} " in listed.replace("\n", " \n")


def test_a_socket_opened_elsewhere_listens_where_it_was_opened(
    netns: Namespace,
) -> None:
    opened = _socket.socket(
        _socket.AF_NETLINK, _socket.SOCK_RAW, uapi.NETLINK_NETFILTER
    )
    with Traces(socket=NetlinkSocket.of(opened)) as traces:
        assert traces.read() == []


def test_steps_that_find_no_room_are_counted(netns: Namespace) -> None:
    rules = "table inet t {\nchain c {\ntype filter hook output priority 0\n"
    tools.run(["nft", "-f", "-"], stdin=f"{rules}meta nftrace set 1\n}}\n}}\n")
    tools.run(["ip", "link", "set", "lo", "up"])
    with Traces(buffer=4096) as traces:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for _ in range(100):
                sending.sendto(b"x", ("127.0.0.1", 9))
        told = traces.read()
    assert told
    assert traces.lost > 0
    # in this chain a packet's steps are the rule, the chain's end and the policy
    assert len(told) + traces.lost >= 300


NULL_FLAGS = struct.pack(">HHIIBBHHH", 1000, 80, 1, 0, 0x50, 0, 1000, 0, 0)
TRACKED = "add rule inet t c ct state new accept"


def make_conntrack_work() -> None:
    rules = "table inet t {\nchain c {\ntype filter hook input priority 0\n}\n}\n"
    tools.run(["nft", "-f", "-"], stdin=f"{rules}\n{TRACKED}\n")
    tools.run(["ip", "link", "set", "lo", "up"])


def send_null_flags() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(NULL_FLAGS, ("127.0.0.1", 0))


def settings() -> list[str]:
    names = ("nf_log/2", "nf_log/10", "nf_conntrack_log_invalid")
    return [(SYSCTLS / name).read_text().strip() for name in names]


def test_what_conntrack_calls_invalid_comes_with_its_reason(netns: Namespace) -> None:
    make_conntrack_work()
    with invalid_log(netns) as log:
        send_null_flags()
        (logged, *_) = log.read(5)
    assert logged.prefix == "nf_ct_proto_6: invalid tcp flag combination "
    packet = packets.decode(logged.payload, cut=True)
    assert (packet.sport, packet.dport, packet.tcp_flags) == (1000, 80, 0)


def test_every_setting_is_put_back(netns: Namespace) -> None:
    make_conntrack_work()
    (SYSCTLS / "nf_conntrack_log_invalid").write_text("17")
    before = settings()
    with invalid_log(netns):
        assert settings() == ["nfnetlink_log", "nfnetlink_log", "255"]
    assert settings() == before


def test_every_setting_is_put_back_after_an_error(netns: Namespace) -> None:
    make_conntrack_work()
    before = settings()
    with pytest.raises(ZeroDivisionError), invalid_log(netns):
        _ = 1 / 0
    assert settings() == before


def test_a_group_that_another_program_has_is_said_to_be_taken(netns: Namespace) -> None:
    with (
        PacketLog(netns),
        pytest.raises(KernelError, match=r"port \d+ has it") as error,
    ):
        PacketLog(netns)
    assert "ulogd" in (error.value.hint or "")


def test_a_file_that_was_saved_is_read_like_a_listing() -> None:
    rules = parse_nft(TRACE).rules
    assert [rule.text for rule in rules][-1] == "ip daddr 0.0.0.0/0 drop"
