"""R20: helpers that are open to all, missing, in the way, or overrun, on a real kernel."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from conftest import unavailable
from kernel.router import (
    CLIENT,
    MASQUERADE,
    SERVER,
    V4,
    V6,
    WAN,
    Addresses,
    Hosts,
    hosts,
)
from natscope.actions import mending, plan
from natscope.errors import NatscopeError
from natscope.model.expectation import Expectation
from natscope.model.finding import Finding, Severity
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources import expectations, tools
from natscope.sources.kernel import Kernel
from natscope.views.doctor.thresholds import DEFAULT

pytestmark = pytest.mark.kernel
GIVEN = """\
table {ip} alg {{
    ct helper {name} {{ type "{name}" protocol {l4}; }}
    chain prerouting {{
        type filter hook prerouting priority filter;
        {match} {l4} dport {port} ct helper set "{name}"
    }}
}}
"""


@pytest.fixture
def box() -> Iterator[Hosts]:
    with hosts() as made:
        yield made


def give(box: Hosts, name: str, l4: str, port: int, match: str = "") -> None:
    """A rule that gives a helper to flows to a port."""
    rules = GIVEN.format(ip=box.at.nft, name=name, l4=l4, port=port, match=match)
    try:
        box.rules(rules)
    except NatscopeError as error:
        unavailable(f"no {name} helper: {error}")


def mend(box: Hosts, command: str) -> None:
    with box.router.enter():
        mending.run(command)


@pytest.mark.parametrize("at", [V4, V6], ids=["IPv4", "IPv6"])
def test_a_helper_open_to_all_is_found_and_narrowed(at: Addresses) -> None:
    with hosts(at) as box:
        give(box, "ftp", "tcp", 21)
        box.connection(21)
        (found,) = box.findings("R20")
        assert found.about == "exposed"
        assert [flow.helper for flow in found.flows] == ["ftp"]
        (remedy,) = found.remedies
        assert remedy.is_pattern
        with box.router.enter():
            listed = tools.run(["nft", "-a", "list", "table", at.nft, "alg"])
        handle = re.search(r"ct helper set .* handle (\d+)", listed)
        assert handle is not None
        command = remedy.command.replace("SERVER", at.server)
        mend(box, command.replace("handle N", f"handle {handle[1]}"))
        assert box.findings("R20") == ()
        assert box.connection(2121).getpeername()[1] == 2121


def test_a_payload_that_opens_a_servers_port_inside_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    give(box, "ftp", "tcp", 21)
    secret = box.open(box.client, socket.SOCK_STREAM, ("", 22))
    secret.listen()
    listener = box.open(box.server, socket.SOCK_STREAM, ("", 21))
    listener.listen()
    lured = box.open(box.client, socket.SOCK_STREAM)
    lured.connect((SERVER, 21))
    page, _ = listener.accept()
    box.stack.enter_context(page)
    lured.sendall(b"POST / HTTP/1.1\r\n")
    page.recv(100)
    lured.sendall(f"PORT {CLIENT},0,22\r\n".replace(".", ",").encode())
    *_, high, low = page.recv(100).split(b",")
    stranger = box.open(box.server, socket.SOCK_STREAM)
    stranger.connect((WAN, int(high) << 8 | int(low)))
    (found,) = box.findings("R20")
    assert found.severity is Severity.HIGH
    told = {fact.name: fact.value for fact in found.facts}
    assert told["let in to port"] == "22"
    assert [flow.reply.src for flow in found.flows] == [ip_address(CLIENT)]


def test_a_helper_iptables_gives_is_found_and_narrowed(box: Hosts) -> None:
    if tools.find("iptables-nft") is None:
        unavailable("iptables-nft is not installed")
    words = "-t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp"
    with box.router.enter():
        tools.run(["iptables-nft", *words.split()])
    (found,) = box.findings("R20")
    mend(box, found.remedies[0].command.replace("SERVER", SERVER))
    assert box.findings("R20") == ()
    box.connection(21)
    (flow,) = box.snapshot().flows
    assert flow.helper == "ftp"


FORWARD = """\
table {at.nft} nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        {at.nft} daddr {at.lan} tcp dport {ports} dnat to {at.server}
    }}
}}
"""


def log_in(box: Hosts, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client's connection to the forwarded server, and the server's end of it."""
    asking = box.open(box.client, socket.SOCK_STREAM)
    asking.connect((box.at.lan, 21))
    serving, _ = listener.accept()
    box.stack.enter_context(serving)
    return asking, serving


def passive(asking: socket.socket, serving: socket.socket) -> bytes:
    """What a client hears of the place a server announces for the data (RFC 959)."""
    serving.sendall(b"220 ready\r\n")
    asking.recv(100)
    asking.sendall(b"PASV\r\n")
    serving.recv(100)
    place = f"{SERVER},156,64".replace(".", ",")
    serving.sendall(f"227 Entering Passive Mode ({place})\r\n".encode())
    return asking.recv(100)


def test_a_forwarded_ftp_server_without_helper_is_found_and_given_it(
    box: Hosts,
) -> None:
    box.rules(FORWARD.format(at=V4, ports=21))
    listener = box.open(box.server, socket.SOCK_STREAM, ("", 21))
    listener.listen()
    own, public = (one.replace(".", ",").encode() for one in (SERVER, V4.lan))
    assert own in passive(*log_in(box, listener))
    (found,) = box.findings("R20")
    assert found.about == "ftp"
    assert found.flows[0].reply.src == ip_address(SERVER)
    mend(box, found.remedies[0].command)
    assert public in passive(*log_in(box, listener))
    assert box.findings("R20") == ()  # the first is older than the rule


def test_a_forwarded_ftp_server_of_ipv6_is_found_and_given_it() -> None:
    with hosts(V6) as box:
        box.rules(FORWARD.format(at=V6, ports=21))
        listener = box.open(box.server, socket.SOCK_STREAM, ("", 21))
        listener.listen()
        log_in(box, listener)
        (found,) = box.findings("R20")
        mend(box, found.remedies[0].command)
        log_in(box, listener)
        helpers = [flow.helper for flow in box.snapshot().flows if flow.proto == 6]
        assert helpers.count("ftp") == helpers.count(None) == 1


def test_an_ftp_server_with_its_passive_ports_forwarded_needs_no_helper(
    box: Hosts,
) -> None:
    box.rules(FORWARD.format(at=V4, ports="{ 21, 40000-40010 }"))
    box.connection(21, V4.lan)
    assert box.findings("R20") == ()


def test_pptp_without_helper_is_found_until_its_tunnel_answers(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.connection(1723)
    (found,) = box.findings("R20")
    assert found.about == "pptp"
    ends = [
        box.open(host, socket.SOCK_RAW, ("", 0), socket.IPPROTO_GRE)
        for host in (box.client, box.server)
    ]
    gre = b"\x30\x01\x88\x0b" + bytes(12)  # RFC 2637 §4.1
    ends[0].sendto(gre, (SERVER, 0))
    _, (peer, _) = ends[1].recvfrom(200)
    ends[1].sendto(gre, (peer, 0))
    ends[0].recv(200)
    assert box.findings("R20") == ()


def test_pptp_is_given_its_helper(box: Hosts) -> None:
    box.rules(MASQUERADE)
    listener = box.open(box.server, socket.SOCK_STREAM, ("", 1723))
    listener.listen()

    def dial() -> None:
        asking = box.open(box.client, socket.SOCK_STREAM)
        asking.connect((SERVER, 1723))
        serving, _ = listener.accept()
        box.stack.enter_context(serving)

    dial()
    (found,) = box.findings("R20")
    mend(box, found.remedies[0].command)
    dial()
    assert box.findings("R20") == ()
    helpers = [flow.helper for flow in box.snapshot().flows]
    assert sorted(helpers, key=str) == [None, "pptp"]


INVITE = f"""\
INVITE sip:bob@{SERVER} SIP/2.0
Via: SIP/2.0/UDP {CLIENT}:5060;branch=z9hG4bK1
From: <sip:alice@{CLIENT}>;tag=1
To: <sip:bob@{SERVER}>
Call-ID: 1@{CLIENT}
CSeq: 1 INVITE
Contact: <sip:alice@{CLIENT}:5060>
Content-Type: application/sdp
Content-Length: %d

"""
SDP = f"""\
v=0
o=alice 1 1 IN IP4 {CLIENT}
s=-
c=IN IP4 {CLIENT}
t=0 0
m=audio 40000 RTP/AVP 0
"""
"""RFC 3261 §24.2, RFC 4566."""


def test_sound_in_one_direction_behind_the_sip_helper_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    give(box, "sip", "udp", 5060)
    phone = box.open(box.client, socket.SOCK_DGRAM, ("", 5060))
    server = box.open(box.server, socket.SOCK_DGRAM, ("", 5060))
    sdp = SDP.replace("\n", "\r\n")
    head = (INVITE % len(sdp)).replace("\n", "\r\n")
    phone.sendto((head + sdp).encode(), (SERVER, 5060))
    heard, _ = server.recvfrom(4000)
    port = re.search(rb"m=audio (\d+)", heard)
    assert port is not None
    assert f"c=IN IP4 {WAN}".encode() in heard
    sound = box.open(box.server, socket.SOCK_DGRAM, ("", 30000))

    def talk(packets: int) -> None:
        for _ in range(packets):
            sound.sendto(bytes(172), (WAN, int(port[1])))

    talk(49)
    about = [one.about for one in box.findings("R20")]
    assert about == ["exposed"]
    talk(1)
    found = {one.about: one for one in box.findings("R20")}["sip"]
    assert found.severity is Severity.WARNING
    assert found.flows[0].master is not None
    assert found.flows[0].orig_packets == 50


def _announced(port: int) -> Expectation:
    master = FlowTuple(ip_address(CLIENT), ip_address(SERVER), 6, port, 21)
    every = ip_address("255.255.255.255")
    return Expectation(
        expected=FlowTuple(master.dst, master.src, 6, 0, port),
        mask=FlowTuple(every, every, 6, 0, 0xFFFF),
        master=master,
        timeout=300,
        flags=0,
        class_=0,
        helper="ftp",
    )


def test_expectations_are_counted_against_their_own_limit(box: Hosts) -> None:
    made = [_announced(port) for port in range(40000, 40004)]
    masters = [
        Flow(one.master, one.master.reversed(), status=6, timeout=600, helper="ftp",
             tcp_state=3)
        for one in made
    ]  # fmt: skip
    with box.router.enter():
        kernel = Kernel()
        assert plan.insert(kernel, masters).run().refused == {}
        with kernel.socket() as sock:
            for one in made:
                expectations.create(sock, one)
    limit = box.snapshot().sysctl("net/netfilter/nf_conntrack_expect_max")
    assert limit is not None
    full = replace(DEFAULT, expectations_share=4 / limit)
    (found,) = box.findings("R20", thresholds=full)
    told = {fact.name: fact.value for fact in found.facts}
    assert (found.about, found.severity) == ("expectations", Severity.HIGH)
    assert told == {"expectations": 4, "nf_conntrack_expect_max": limit}
    assert _sysctl(found) == ("net.netfilter.nf_conntrack_expect_max", str(4 * limit))
    above = replace(DEFAULT, expectations_share=5 / limit)
    assert box.findings("R20", thresholds=above) == ()


def _sysctl(found: Finding) -> tuple[str, str] | None:
    return found.remedies[0].sysctl
