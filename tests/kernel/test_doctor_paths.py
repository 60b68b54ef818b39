"""R09, R13 to R16: ways that are wrong, made on a real router."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.router import (
    CLIENT,
    LAN,
    MASQUERADE,
    SERVER,
    TRACKED,
    V6,
    WAN,
    Hosts,
    hosts,
    segment,
)
from natscope.model.finding import Finding, Severity
from natscope.rehearse.attribution.attributor import attribute
from natscope.rehearse.attribution.shapes import by_shape
from natscope.rehearse.twin import Twin
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.thresholds import Thresholds

pytestmark = pytest.mark.kernel
ACK = 1 << 4


@pytest.fixture
def box() -> Iterator[Hosts]:
    with hosts() as made:
        yield made


def _from_elsewhere(box: Hosts) -> None:
    """Twenty datagrams of an address the router expects behind the wan."""
    box.datagrams([9] * 20, src="10.9.0.2")


def _two_ways(box: Hosts) -> None:
    box.ip(box.client, "addr add 10.9.0.2/32 dev lo\n")
    box.ip(box.router, f"route add 10.9.0.0/24 via {SERVER} dev wan\n")
    box.ip(box.router, f"route add default via {SERVER}\n")
    box.ip(box.router, f"route add default via {CLIENT} metric 9\n")
    box.datagrams([9])  # the filter would drop the client's ARP too


def test_a_strict_reverse_path_filter_on_a_box_with_two_ways_is_found(
    box: Hosts,
) -> None:
    _two_ways(box)
    box.setting("net/ipv4/conf/lan/rp_filter", "1")
    (found,) = box.findings("R13", lambda: _from_elsewhere(box))
    assert found.severity is Severity.WARNING
    assert ("dropped", 20) in [(fact.name, fact.value) for fact in found.facts]
    assert found.remedies[0].sysctl == ("net.ipv4.conf.lan.rp_filter", "2")
    box.mend(found.remedies[0])
    assert box.findings("R13", lambda: _from_elsewhere(box)) == ()


def test_a_reverse_path_filter_on_a_box_with_one_way_does_its_work(box: Hosts) -> None:
    box.ip(box.client, "addr add 10.9.0.2/32 dev lo\n")
    box.ip(box.router, f"route add default via {SERVER}\n")
    box.datagrams([9])
    box.setting("net/ipv4/conf/lan/rp_filter", "1")
    assert box.findings("R13", lambda: _from_elsewhere(box)) == ()


def _fetch(box: Hosts, listener: socket.socket, times: int = 1) -> None:
    """Connections from CLIENT, with data in both directions."""
    for _ in range(times):
        _fetch_once(box, listener)


def _fetch_once(box: Hosts, listener: socket.socket) -> None:
    asking = box.open(box.client, socket.SOCK_STREAM, (CLIENT, 0))
    asking.connect((SERVER, 80))
    accepted, _ = listener.accept()
    box.stack.enter_context(accepted)
    for _ in range(3):
        asking.sendall(b"more")
        accepted.recv(100)
        accepted.sendall(b"data")
        asking.recv(100)


def test_flows_that_come_back_another_way_are_found(box: Hosts) -> None:
    box.rules(TRACKED)
    listener = box.open(box.server, socket.SOCK_STREAM, ("", 80))
    listener.listen()
    few = Thresholds(asymmetric_flows=5)
    assert box.findings("R14", lambda: _fetch(box, listener), few) == ()
    link = f"link add eth1 type veth peer name eth1 netns {box.server.path}\n"
    box.ip(box.client, f"{link}addr add 192.0.2.2/24 dev eth1\nlink set eth1 up\n")
    box.ip(box.server, "addr add 192.0.2.9/24 dev eth1\nlink set eth1 up\n")
    box.ip(box.client, f"route add {SERVER} via 192.0.2.9\n")
    (found,) = box.findings("R14", lambda: _fetch(box, listener, 6), few)
    assert found.severity is Severity.WARNING
    assert found.facts[0].value == 6
    assert {str(flow.orig.src) for flow in found.flows} == {SERVER}
    assert found.headline == "6 of 7 TCP flows pass this box in one direction only"
    box.mend(found.remedies[-1])
    assert box.findings("R14", lambda: _fetch(box, listener, 6), few) == ()


FILTERS = """
table inet filter {
    chain input { type filter hook input priority filter; accept; }
    chain forward { type filter hook forward priority filter; accept; }
}
"""


def _out_of_window(box: Hosts, public: int) -> None:
    """Sequence numbers all round the circle: about half lie beyond any window."""
    raw = box.open(box.server, socket.SOCK_RAW, ("", 0), socket.IPPROTO_TCP)
    for sixteenth in range(16):
        seq = sixteenth << 28
        here = box.at.wan
        sent = segment((box.at.server, 443), (here, public), flags=ACK, seq=seq)
        raw.sendto(sent, (here, 0))


@pytest.mark.parametrize("remedy", [0, 1], ids=["be_liberal", "drop"])
@pytest.mark.parametrize("filters", ["", FILTERS], ids=["no filter", "filters"])
def test_invalid_packets_that_reach_the_box_are_a_leak_until_they_are_dropped(
    box: Hosts, filters: str, remedy: int
) -> None:
    box.rules(MASQUERADE + filters)
    public = box.connection(443).getsockname()[1]
    heard = box.open(box.server, socket.SOCK_RAW, ("", 0), socket.IPPROTO_TCP)
    (found,) = box.findings("R15", lambda: _out_of_window(box, public))
    assert (found.about, found.severity) == ("ip", Severity.WARNING)
    assert found.flows[0].orig.dport == 443
    flags = 0
    while not flags & 1 << 2:  # the box knows no such connection, and resets it
        flags = heard.recv(200)[20 + 13]
    box.mend(found.remedies[remedy])
    assert box.findings("R15", lambda: _out_of_window(box, public)) == ()


def test_invalid_packets_of_ipv6_are_a_leak_as_well() -> None:
    with hosts(V6) as box:
        box.rules(MASQUERADE.replace("table ip ", "table ip6 "))
        public = box.connection(443).getsockname()[1]
        (found,) = box.findings("R15", lambda: _out_of_window(box, public))
        assert (found.about, found.flows[0].orig.src.version) == ("ip6", 6)
        box.mend(found.remedies[1])
        assert box.findings("R15", lambda: _out_of_window(box, public)) == ()


def test_invalid_packets_do_no_harm_where_windows_are_not_asked(box: Hosts) -> None:
    box.rules(MASQUERADE)
    public = box.connection(443).getsockname()[1]
    box.setting("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
    assert box.findings("R15", lambda: _out_of_window(box, public)) == ()


NARROW = MASQUERADE.replace("masquerade", "ip saddr 10.0.0.0/24 masquerade")


def test_private_hosts_no_rule_translates_are_found(
    box: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    box.ip(box.client, "addr add 10.5.0.2/32 dev lo\n")
    box.ip(box.router, f"route add 10.5.0.0/24 via {CLIENT}\n")
    box.rules(NARROW)
    box.datagrams([1, 2, 3, 4])
    assert box.findings("R16") == ()
    box.datagrams([1, 2, 3, 4], src="10.5.0.2", sport=4000)
    (found,) = box.findings("R16")
    assert found.about == "wan"
    assert {str(flow.orig.src) for flow in found.flows} == {"10.5.0.2"}
    box.mend(found.remedies[0])
    box.datagrams([1, 2, 3, 4], src="10.5.0.2", sport=4000)
    snapshot = box.snapshot()
    told = {(str(one.orig.src), str(one.reply.dst)) for one in snapshot.flows}
    assert told == {(CLIENT, WAN), ("10.5.0.2", WAN)}


def test_private_hosts_somebody_answers_are_translated_elsewhere(box: Hosts) -> None:
    box.ip(box.client, "addr add 10.5.0.2/32 dev lo\n")
    box.ip(box.router, f"route add 10.5.0.0/24 via {CLIENT}\n")
    box.rules(NARROW)
    box.datagrams([1, 2, 3, 4], src="10.5.0.2")
    answering = box.open(box.server, socket.SOCK_DGRAM, ("", 5))
    asking = box.open(box.client, socket.SOCK_DGRAM, ("10.5.0.2", 0))
    asking.sendto(b"hello", (SERVER, 5))
    _, peer = answering.recvfrom(10)
    answering.sendto(b"hello", peer)
    asking.recv(10)
    assert box.findings("R16") == ()


FAR, WAN2, NEXT2 = "192.0.2.9", "198.18.0.1", "198.18.0.254"
"""A host beyond the server, and the second way to it."""
UPLINKS = f"""\
table ip nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "wan" snat to {WAN}
        oifname "wan2" snat to {WAN2}
    }}
}}
"""


def _two_uplinks(box: Hosts) -> None:
    """Each provider drops what has the other's address; the default route is by wan."""
    box.ip(
        box.router, f"link add wan2 type veth peer name eth1 netns {box.server.path}\n"
    )
    box.ip(box.router, f"addr add {WAN2}/24 dev wan2\nlink set wan2 up\n")
    box.ip(box.server, f"addr add {NEXT2}/24 dev eth1\nlink set eth1 up\n")
    box.ip(box.server, f"addr add {FAR}/32 dev lo\n")
    with box.server.enter():
        for name in ("eth0", "eth1"):
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("1")
    box.ip(box.router, f"route add default via {SERVER} dev wan\n")
    box.rules(UPLINKS)


def _conversation(box: Hosts, packets: int = 6) -> socket.socket:
    """A UDP flow of a phone's: it is answered each time."""
    answering = box.open(box.server, socket.SOCK_DGRAM, (FAR, 5060))
    asking = box.open(box.client, socket.SOCK_DGRAM, (CLIENT, 5060))
    for _ in range(packets):
        asking.sendto(b"hello", (FAR, 5060))
        _, peer = answering.recvfrom(10)
        answering.sendto(b"hello", peer)
        asking.recv(10)
    return asking


def _judged(
    box: Hosts, rule: str, meanwhile: Callable[[], object], *, deep: bool
) -> tuple[Finding, ...]:
    """What a rule about the makings of flows finds."""
    found = box.snapshot(meanwhile)
    if deep:
        with Twin(found.bundle) as twin:
            made = attribute(found.flows, twin)
    else:
        made = by_shape(found.flows, found.nat_rules, found.bundle)
    diagnosis = diagnose(replace(found, made=made, is_exact=deep), only=[rule])
    assert diagnosis.not_checked == ()
    return diagnosis.findings


@pytest.mark.parametrize("deep", [False, True], ids=["by text", "asked"])
def test_a_flow_that_keeps_its_address_after_a_failover_is_found(
    box: Hosts, deep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    _two_uplinks(box)
    phone = _conversation(box)

    def talk() -> None:
        for _ in range(3):
            phone.sendto(b"hello", (FAR, 5060))

    assert _judged(box, "R09", talk, deep=deep) == ()
    box.ip(box.router, f"route replace default via {NEXT2} dev wan2\n")
    (found,) = _judged(box, "R09", talk, deep=deep)
    assert (found.about, found.severity) == (WAN, Severity.HIGH)
    assert [str(one.orig.src) for one in found.flows] == [CLIENT]
    box.mend(found.remedies[0])
    assert _judged(box, "R09", talk, deep=deep) == ()


@pytest.mark.parametrize("deep", [False, True], ids=["by text", "asked"])
def test_a_flow_that_keeps_its_address_and_is_answered_is_left_alone(
    box: Hosts, deep: bool
) -> None:
    _two_uplinks(box)
    with box.server.enter():
        Path("/proc/sys/net/ipv4/conf/eth1/rp_filter").write_text("0")
    answering = box.open(box.server, socket.SOCK_DGRAM, (FAR, 5061))
    asking = box.open(box.client, socket.SOCK_DGRAM, (CLIENT, 5061))

    def talk() -> None:
        for _ in range(3):
            asking.sendto(b"hello", (FAR, 5061))
            _, peer = answering.recvfrom(10)
            answering.sendto(b"hello", peer)
            asking.recv(10)

    talk()
    box.ip(box.router, f"route replace default via {NEXT2} dev wan2\n")
    assert _judged(box, "R09", talk, deep=deep) == ()


def test_a_strict_filter_on_a_second_uplink_without_a_route_is_found(
    box: Hosts,
) -> None:
    _two_uplinks(box)
    with box.server.enter():  # its replies leave by the other way
        Path("/proc/sys/net/ipv4/conf/eth1/arp_announce").write_text("2")
        for name in ("eth0", "eth1"):
            Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")
    box.ip(box.server, f"addr del {SERVER}/24 dev eth0\n")
    box.ip(box.server, f"addr add {SERVER}/32 dev eth0\n")
    box.ip(box.server, f"route replace default via {WAN2} dev eth1\n")
    box.setting("net/ipv4/conf/wan2/rp_filter", "1")
    answering = box.open(box.server, socket.SOCK_DGRAM, (FAR, 5062))
    asking = box.open(box.client, socket.SOCK_DGRAM, (CLIENT, 5062))

    def talk() -> None:
        for _ in range(20):
            asking.sendto(b"hello", (FAR, 5062))
            _, peer = answering.recvfrom(10)
            answering.sendto(b"hello", peer)

    (found,) = box.findings("R13", talk)
    assert ("dropped", 20) in [(fact.name, fact.value) for fact in found.facts]
    box.mend(found.remedies[0])
    assert box.findings("R13", talk) == ()
    assert asking.recv(10) == b"hello"


def test_a_strict_filter_where_hosts_are_translated_does_its_work(box: Hosts) -> None:
    """The lan, of which replies are translated as well, is no second uplink."""
    box.ip(box.client, "addr add 10.9.0.2/32 dev lo\n")
    box.ip(box.router, f"route add default via {SERVER}\n")
    box.rules(UPLINKS.replace("wan2", "lan").replace(WAN2, LAN))
    box.datagrams([9])
    box.setting("net/ipv4/conf/lan/rp_filter", "1")
    assert box.findings("R13", lambda: _from_elsewhere(box)) == ()
