"""R19 to R36 on a real router: what is found, and that its own remedy clears it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from conftest import unavailable
from kernel.router import MASQUERADE, V4, V6, Addresses, Hosts, hosts, segment
from natscope.actions import mending
from natscope.codec.checksum import internet_checksum
from natscope.errors import NatscopeError
from natscope.model.finding import Finding, Remedy, Severity
from natscope.sources.netns import Namespace, new_namespace
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.thresholds import DEFAULT

pytestmark = pytest.mark.kernel
NO_WORDS: Mapping[str, str] = MappingProxyType({})


@pytest.fixture(params=[V4, V6], ids=["IPv4", "IPv6"])
def box(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosts]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # what is deleted is kept there
    with hosts(request.param) as made:
        yield made


def masquerade(at: Addresses, words: str = "masquerade") -> str:
    rules = MASQUERADE.replace("table ip ", f"table {at.nft} ")
    return rules.replace("masquerade", words)


def mend(box: Hosts, remedy: Remedy, words: Mapping[str, str] = NO_WORDS) -> None:
    """Run a remedy; of a pattern, with its words filled in."""
    command = remedy.command
    assert remedy.is_pattern == bool(words)
    for word, meant in words.items():
        assert word in command
        command = command.replace(word, meant)
    with box.router.enter():
        mending.run(command)


def facts(found: Finding) -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in found.facts}


SCANNED = {
    V4: ("198.18.0.0/15", "198.18.{:x}.{}"),
    V6: ("2001:db8:18::/48", "2001:db8:18::{:x}:{}"),
}


def test_a_scan_is_bounded(box: Hosts) -> None:
    box.rules(masquerade(box.at))
    network, pattern = SCANNED[box.at]
    box.ip(box.server, f"route add blackhole {network}\n")
    box.ip(box.router, f"route add {network} via {box.at.server}\n")
    scan = box.open(box.client, socket.SOCK_DGRAM)

    def knock() -> None:
        for at in range(1100):
            scan.sendto(b"?", (pattern.format(at >> 8, at & 255), 161))

    (found,) = box.findings("R19", knock)
    assert facts(found)["destinations"] == 1100
    for remedy in found.remedies:
        mend(box, remedy)
    assert box.findings("R19", knock) == ()
    with box.router.enter():
        mending.run("nft delete table inet natscope-flood")
    assert len(box.findings("R19", knock)) == 1


def test_a_flood_of_forged_sources_is_bounded_at_its_target() -> None:
    with hosts() as box:
        box.rules(masquerade(V4))
        box.ip(box.router, "route add 10.0.0.0/8 dev lan\n")
        raw = box.open(box.client, socket.SOCK_RAW, ("", 0), socket.IPPROTO_RAW)
        ends = struct.Struct(">BBHHHBBH4s4sHHHH")  # RFC 791 §3.1, RFC 768
        target = socket.inet_aton(V4.server)

        def flood() -> None:
            for at in range(1100):
                source = bytes((10, 1, at >> 8, at & 255))
                ip = (0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0, source, target)
                raw.sendto(ends.pack(*ip, 40000, 80, 8, 0), (V4.server, 0))

        (found,) = box.findings("R19", flood)
        assert found.about == f"to {V4.server}"
        assert facts(found)["sources"] == 1100
        assert found.remedies[0].is_destructive  # those of others wait as well
        for remedy in found.remedies:
            mend(box, remedy)
        assert box.findings("R19", flood) == ()


def test_streams_nobody_answers_are_no_scan(box: Hosts) -> None:
    box.rules(masquerade(box.at))
    few = replace(DEFAULT, flood_flows=10)
    sending = box.open(box.client, socket.SOCK_DGRAM)
    for port in range(5140, 5160):
        for _ in range(11):
            sending.sendto(b"syslog", (box.at.server, port))
    assert box.findings("R19", thresholds=few) == ()
    for port in range(6140, 6161):
        sending.sendto(b"?", (box.at.server, port))
    (found,) = box.findings("R19", thresholds=few)
    assert facts(found)["unanswered"] == 21


def test_a_source_port_the_box_needs_is_left_to_it(box: Hosts) -> None:
    box.rules(masquerade(box.at))
    box.open(box.router, socket.SOCK_DGRAM, ("", 4500))
    asking = box.open(box.client, socket.SOCK_DGRAM, ("", 4500))
    asking.sendto(b"?", (box.at.server, 9))
    (found,) = box.findings("R21")
    insert, delete = found.remedies
    mend(box, insert)
    mend(box, delete)
    asking.sendto(b"?", (box.at.server, 9))
    assert box.findings("R21") == ()
    ports = [one.reply.dport for one in box.snapshot().flows if one.orig.sport == 4500]
    assert len(ports) == 1
    assert ports[0] not in (None, 4500)


ZONES = """\
table {ip} zones {{
    chain prerouting {{
        type filter hook prerouting priority raw;
        iifname "lan" ct original zone set 1
        iifname "lan2" ct original zone set 2
    }}
}}
"""
MAC = "02:00:00:00:00:02"


def _twin(box: Hosts, twin: Namespace) -> None:
    """A customer with the client's address, behind an interface of its own."""
    at = box.at
    with twin.enter():
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
    box.ip(box.router, f"link add lan2 type veth peer name eth0 netns {twin.path}\n")
    box.ip(box.router, f"link set lan2 address {MAC} up\n")
    box.ip(
        twin,
        f"link set eth0 up\naddr add {at.client}/{at.length} dev eth0\n"
        f"route add default via {at.lan}\n"
        f"neigh replace {at.lan} lladdr {MAC} dev eth0\n",
    )


def test_zones_that_clash_need_a_chain_of_nat(box: Hosts) -> None:
    at = box.at
    with new_namespace("twin") as twin:
        _twin(box, twin)
        network = {V4: "10.0.0.0/24", V6: "fd00:77::/64"}[at]
        box.ip(box.server, f"route add blackhole {network}\n")
        box.rules(ZONES.format(ip=at.nft))

        def ask(ports: range) -> None:
            """The same SYNs from both."""
            for port in ports:
                for host in (box.client, twin):
                    asking = box.open(host, socket.SOCK_STREAM, (at.client, port))
                    asking.setblocking(False)
                    asking.connect_ex((at.server, 81))

        (found,) = box.findings("R22", lambda: ask(range(5000, 5010)))
        assert (found.about, facts(found)["insert_failed"]) == (at.nft, 10)
        mend(box, found.remedies[0])
        assert box.findings("R22", lambda: ask(range(6000, 6010))) == ()


def test_packets_that_nobody_tracks_can_be_tracked(box: Hosts) -> None:
    (found,) = box.findings("R23", lambda: box.datagrams([9] * 20))
    assert found.severity is Severity.INFO
    assert int(facts(found)["forwarded"]) >= 20  # and some ICMP errors
    mend(box, found.remedies[0])
    assert box.findings("R23", lambda: box.datagrams([9] * 20)) == ()
    assert len(box.snapshot().flows) > 0


def test_packets_that_fit_no_flow_do_not_say_that_nobody_tracks() -> None:
    """What began before the box tracked ends so, and leaves no entry."""
    with hosts() as box:
        box.rules(masquerade(V4))
        raw = box.open(box.client, socket.SOCK_RAW, ("", 0), socket.IPPROTO_TCP)

        def ends() -> None:
            for port in range(5000, 5020):
                src, dst = (V4.client, port), (V4.server, 443)
                raw.sendto(segment(src, dst, flags=0x14), (V4.server, 0))

        assert box.findings("R23", ends) == ()
        assert len(box.snapshot(ends).flows) == 0
        box.rules("flush ruleset")
        assert len(box.findings("R23", ends)) == 1


def test_packets_a_rule_keeps_from_conntrack_can_be_tracked(box: Hosts) -> None:
    box.rules(masquerade(box.at))
    box.rules(
        f"table {box.at.nft} raw {{ chain pre {{ type filter hook prerouting priority "
        'raw; iifname "lan" notrack; }; }'
    )
    (found,) = box.findings("R23", lambda: box.datagrams([9] * 20))
    assert facts(found)["rule"] == 'iifname "lan" notrack'
    mend(box, found.remedies[0])
    assert box.findings("R23", lambda: box.datagrams([9] * 20)) == ()


def _overlay(box: Hosts) -> None:
    """A VXLAN of the router to the server, as an overlay's node has it."""
    at = box.at
    link = f"link add vx type vxlan id 7 local {at.wan} remote {at.server} dstport 4789"
    try:
        box.ip(box.router, f"{link}\naddr add 192.0.2.1/24 dev vx\nlink set vx up\n")
        box.ip(box.router, f"neigh add 192.0.2.9 lladdr {MAC} dev vx\n")
    except NatscopeError as error:
        unavailable(f"no VXLAN: {error}")


def test_an_overlay_whose_packets_are_masqueraded_is_left_alone(box: Hosts) -> None:
    _overlay(box)
    with box.router.enter():
        inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    box.stack.enter_context(inner)

    def begin(rules: str = "") -> tuple[Finding, ...]:
        """With other rules, as a flow of today."""
        with box.router.enter():
            mending.run("conntrack -F")
        box.rules(rules)
        inner.sendto(b"?", ("192.0.2.9", 9))
        assert 4789 in [one.orig.dport for one in box.snapshot().flows]
        return box.findings("R26")

    assert begin(masquerade(box.at)) == ()  # as what it is already
    fully = masquerade(box.at, "masquerade fully-random")
    (found,) = begin(f"flush ruleset\n{fully}")
    assert found.severity is Severity.INFO  # the checksum is right on this kernel
    assert len(found.remedies) == 1
    mend(box, found.remedies[0], {"TABLE CHAIN": "nat postrouting"})
    assert begin() == ()


def test_keepalives_just_before_the_timeout_are_found(box: Hosts) -> None:
    box.rules(masquerade(box.at))
    box.setting("net/netfilter/nf_conntrack_udp_timeout", "30")
    peer = box.open(box.client, socket.SOCK_DGRAM)
    for _ in range(5):
        peer.sendto(b"alive", (box.at.server, 51820))
    assert box.findings("R29") == ()
    snapshot = box.snapshot()
    (began,) = {one.start_ns for one in snapshot.flows if one.orig.dport == 51820}
    assert began is not None

    def later(seconds: int) -> tuple[Finding, ...]:
        """As if these packets had come over so many seconds."""
        made_ns = began + seconds * 1_000_000_000
        then = replace(snapshot, bundle=replace(snapshot.bundle, made_ns=made_ns))
        return diagnose(then, only=["R29"]).findings

    (found,) = later(4 * 28)  # between five packets are four gaps
    told = facts(found)
    assert told["timeout"] == 30
    assert told["mean gap"] == pytest.approx(28, abs=0.5)
    assert found.remedies[1].command == "PersistentKeepalive = 15"
    assert later(4 * 20) == ()
    mend(box, found.remedies[0])
    snapshot = box.snapshot()
    assert later(4 * 28) == ()


@pytest.mark.parametrize("flag", ["random", "fully-random", "random,persistent"])
def test_random_ports_are_a_strict_nat_until_the_rule_is_replaced(
    box: Hosts, flag: str
) -> None:
    box.rules(masquerade(box.at, f"masquerade {flag}"))
    box.datagrams([3478, 3479], sport=3074)
    (found,) = box.findings("R30")
    assert found.severity is Severity.WARNING
    assert {flow.orig.sport for flow in found.flows} == {3074}
    assert len({flow.reply.dport for flow in found.flows}) == 2
    mend(box, found.remedies[0])
    assert box.findings("R30") == ()
    box.datagrams([3478, 3479], sport=3075)
    flows = [one for one in box.snapshot().flows if one.orig.sport == 3075]
    assert [flow.reply.dport for flow in flows] == [3075, 3075]


def _segment_size(box: Hosts, port: int) -> int:
    """What the server may send in a segment, as the client's SYN told it."""
    listener = box.open(box.server, socket.SOCK_STREAM, ("", port))
    listener.listen()
    asking = box.open(box.client, socket.SOCK_STREAM)
    asking.connect((box.at.server, port))
    serving, _ = listener.accept()
    box.stack.enter_context(serving)
    return serving.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def test_a_small_way_out_is_told_to_tcp(box: Hosts) -> None:
    box.ip(box.router, f"route add default via {box.at.server}\n")
    assert box.findings("R32") == ()
    box.ip(box.router, "link set wan mtu 1400\n")
    (found,) = box.findings("R32")
    assert (found.about, facts(found)["family"]) == (
        "wan",
        {V4: "IPv4", V6: "IPv6"}[box.at],
    )
    before = _segment_size(box, 80)
    other = {V4: "ip6", V6: "ip"}[box.at]
    box.rules(
        f"table {other} mss {{ chain forward {{ type filter hook forward priority "
        "mangle; tcp flags syn tcp option maxseg size set rt mtu; }; }"
    )
    assert len(box.findings("R32")) == 1  # of the other family
    mend(box, found.remedies[0])
    assert box.findings("R32") == ()
    assert before - _segment_size(box, 81) == 100


def _icmp(kind: int, body: bytes) -> bytes:
    head = struct.pack(">BBHI", kind, 0, 0, 0) + body
    return head[:2] + struct.pack(">H", internet_checksum(head)) + head[4:]


def test_icmp_that_conntrack_cannot_place_is_told() -> None:
    with hosts() as box:
        box.rules(masquerade(V4))
        icmp = box.open(box.server, socket.SOCK_RAW, ("", 0), socket.IPPROTO_ICMP)
        tcp = box.open(box.server, socket.SOCK_RAW, ("", 0), socket.IPPROTO_TCP)
        spoilt = bytearray(segment((V4.server, 5), (V4.wan, 6), flags=2))
        spoilt[16] ^= 1  # its checksum: INVALID, and no error

        def send(count: int) -> None:
            for _ in range(count):
                icmp.sendto(_icmp(42, b"what"), (V4.wan, 0))
                tcp.sendto(spoilt, (V4.wan, 0))

        assert box.findings("R35", lambda: send(9)) == ()
        (found,) = box.findings("R35", lambda: send(10))
        assert (found.about, facts(found)["error"]) == ("error", 10)
