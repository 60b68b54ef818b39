"""R17 to R19, R21, R24 to R26, R30: flows that tell of trouble, on a real router."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from kernel import crowd
from kernel.router import (
    CLIENT,
    MASQUERADE,
    SERVER,
    TRACKED,
    WAN,
    Hosts,
    hosts,
)
from natscope import uapi
from natscope.errors import NatscopeError
from natscope.model.finding import Severity
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.thresholds import DEFAULT, Thresholds

pytestmark = pytest.mark.kernel
TIMEOUT = "net/netfilter/nf_conntrack_tcp_timeout_"


@pytest.fixture
def box() -> Iterator[Hosts]:
    with hosts() as made:
        yield made


def test_a_short_established_timeout_is_told(box: Hosts) -> None:
    box.rules(TRACKED)
    assert box.findings("R17") == ()
    box.setting(f"{TIMEOUT}established", "600")
    (found,) = box.findings("R17")
    assert (found.severity, found.facts[0].value) == (Severity.INFO, 600)


def _closing(count: int) -> list[Flow]:
    state = uapi.TCP_STATES.index("CLOSE_WAIT")
    replied = uapi.Status.SEEN_REPLY | uapi.Status.ASSURED | uapi.Status.CONFIRMED
    found = []
    for at in range(count):
        orig = FlowTuple(ip_address(CLIENT), ip_address(SERVER), 6, 1024 + at, 80)
        reply = orig.reversed()
        found.append(Flow(orig, reply, status=replied, timeout=3000, tcp_state=state))
    return found


def test_close_wait_that_stays_for_an_hour_piles_up(box: Hosts) -> None:
    with box.router.enter():
        crowd.insert(_closing(200))
    few = Thresholds(closing_flows=100)
    assert box.findings("R18", thresholds=few) == ()
    box.setting(f"{TIMEOUT}close_wait", "3600")
    (found,) = box.findings("R18", thresholds=few)
    assert found.headline == "200 of 200 TCP flows are CLOSE_WAIT"


def test_a_scan_is_found_and_its_source_named(box: Hosts) -> None:
    box.rules(TRACKED)
    box.ip(box.server, "route add blackhole 198.18.0.0/15\n")
    box.ip(box.router, f"route add 198.18.0.0/15 via {SERVER}\n")
    scan = box.open(box.client, socket.SOCK_DGRAM)
    for at in range(1100):
        scan.sendto(b"?", (f"198.18.{at >> 8}.{at & 255}", 161))
    (found,) = box.findings("R19")
    told = {fact.name: fact.value for fact in found.facts}
    assert found.about == f"from {CLIENT}"
    assert told["unanswered"] == told["destinations"] == 1100
    assert len(found.flows) == 5
    more = replace(DEFAULT, flood_flows=1100)
    assert box.findings("R19", thresholds=more) == ()


def test_a_source_port_the_box_listens_on_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.datagrams([9], sport=4500)
    assert box.findings("R21") == ()
    box.open(box.router, socket.SOCK_DGRAM, ("", 4500))
    (found,) = box.findings("R21")
    assert (found.about, found.severity) == ("udp", Severity.WARNING)
    assert found.flows[0].reply.dst == ip_address(WAN)


def test_a_source_port_a_rule_forwards_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.rules(
        "table ip fw { chain prerouting { type nat hook prerouting priority dstnat; "
        f"ip daddr {WAN} tcp dport 8080 dnat to {CLIENT}; }}; }}"
    )
    listener = box.open(box.server, socket.SOCK_STREAM, ("", 80))
    listener.listen()
    asking = box.open(box.client, socket.SOCK_STREAM, ("", 8080))
    asking.connect((SERVER, 80))
    (found,) = box.findings("R21")
    assert (found.about, found.severity) == ("tcp", Severity.INFO)


def test_a_host_is_told_of_the_flows_in_its_containers(box: Hosts) -> None:
    with box.client.enter():
        crowd.insert(_closing(1200))
        # a namespace nobody is in cannot be found
        holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with holder:
        assert holder.stdin is not None
        snapshot = box.snapshot()
        holder.stdin.close()
    assert diagnose(snapshot, only=["R24"]).findings == ()
    # others may have namespaces of their own
    name = f"pid {holder.pid}"
    own = tuple(one for one in snapshot.namespaces if one.name == name)
    host = replace(snapshot.measured, is_initial=True, namespaces=own)
    (found,) = diagnose(replace(snapshot, measured=host), only=["R24"]).findings
    told = {fact.name: fact.value for fact in found.facts}
    assert found.severity is Severity.INFO
    assert told["here"] == 0
    assert told[name] == 1200
    full = replace(host, limit=1300)
    (found,) = diagnose(replace(snapshot, measured=full), only=["R24"]).findings
    assert found.severity is Severity.HIGH
    assert found.headline.startswith(f"{name}: its table is 92 % full; ")


OFFLOAD = """\
table ip filter {
    flowtable fast { hook ingress priority filter; devices = { lan, wan }; %s }
    chain forward {
        type filter hook forward priority filter; ct state established flow add @fast
    }
}
"""


@pytest.mark.parametrize("counter", ["", "counter;"])
def test_offloaded_flows_nobody_counts_are_told(box: Hosts, counter: str) -> None:
    try:
        box.rules(OFFLOAD % counter)
    except NatscopeError:
        pytest.skip("this kernel has no flowtables")
    box.connection(80)
    found = box.findings("R25")
    assert [one.flows[0].orig.dport for one in found] == ([] if counter else [80])


def test_random_ports_of_others_are_no_strict_nat(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.rules('add rule ip nat postrouting oifname "vpn" masquerade random')
    box.datagrams([3478, 3479], sport=3074)
    assert box.findings("R30") == ()
    box.rules('insert rule ip nat postrouting oifname "wan" masquerade random')
    box.datagrams([3478, 3479], sport=3075)
    (found,) = box.findings("R30")
    assert {flow.orig.sport for flow in found.flows} == {3075}


def test_a_tunnel_that_is_masqueraded_is_found(box: Hosts) -> None:
    box.rules(MASQUERADE)
    box.datagrams([4790])
    assert box.findings("R26") == ()
    box.datagrams([4789])
    (found,) = box.findings("R26")
    assert found.headline == "VXLAN is source translated: 1 flow"
