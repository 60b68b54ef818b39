"""Everything that stops a packet, brought about on a real box and in its twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from conftest import unavailable
from kernel import crowd
from kernel.realbox import RealBox, real_box
from natscope.codec.text.question import parse
from natscope.errors import NamespaceError
from natscope.model.journey import OWN_TABLES, Outcome, Sightings
from natscope.model.packet import Fragment, Packet, Question
from natscope.rehearse.twin import Twin
from natscope.sources.netns import new_namespace
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

RULES = """
table inet filter {
  chain early {
    type filter hook prerouting priority raw; policy accept;
    tcp dport 1001 drop
  }
  chain pre {
    type filter hook prerouting priority mangle; policy accept;
    tcp dport 1002 drop
    tcp dport 1012 tproxy to :12
  }
  chain input {
    type filter hook input priority filter; policy drop;
    udp dport 1003 reject
    udp dport 1000 accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    udp dport 1004 jump refused
    tcp dport 1005 reject with tcp reset
    tcp dport 1006 synproxy mss 1460 wscale 7
    udp dport 1000-1999 accept
    tcp dport 1000-1999 accept
    meta l4proto { icmp, icmpv6, gre, 253 } accept
  }
  chain refused { reject; }
  chain output {
    type filter hook output priority filter; policy accept;
    udp dport 1007 drop
    udp dport 1008 reject
  }
  chain post {
    type filter hook postrouting priority mangle; policy accept;
    udp dport 1009 drop
  }
}
table ip nat {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    udp dport 1010 drop
    udp dport 1016 dnat to 10.66.0.1
    ip daddr 203.0.113.2 meta l4proto gre dnat to 10.0.0.3
  }
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    udp dport 1011 snat to 203.0.113.2:5000-5001
  }
}
"""
QUEUE = """*mangle
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp --dport 1013 -j NFQUEUE --queue-num 7
COMMIT
"""
LEGACY = """*filter
:FORWARD DROP [0:0]
-A FORWARD -p udp --dport 1 -j REJECT
-A FORWARD -p udp --dport 2 -m conntrack --ctstate NEW -j DROP
COMMIT
"""
ROUTES = """link set virbr0 down
rule add from 10.9.2.5 lookup 200
rule add from 10.9.2.6 prohibit
"""
TRACKING = "table inet t { chain c { type filter hook forward priority 0; ct state new accept; }; }"
BOXES = {
    "gateway": (
        (("nft", RULES), ("iptables-nft-restore", QUEUE)),
        ROUTES,
        {
            "net/ipv4/conf/eth3/rp_filter": "1",
            "net/ipv4/conf/tenant2/forwarding": "0",
        },
    ),
    "island": (
        (("nft", TRACKING),),
        "route del default\nroute del ::/0\n",
        {"net/ipv6/conf/docker0/disable_ipv6": "1"},
    ),
    "legacy": ((("iptables-legacy-restore", LEGACY),), "", {}),
    "host": (
        (),
        "",
        {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"},
    ),
}
"""Rulesets, further lines for ip(8), and settings."""


@dataclass(frozen=True)
class Case:
    """A packet that is stopped; ``before`` are sent first."""

    id: str
    packet: str
    outcome: Outcome
    reason: str
    why: str = ""
    """A part of the sentence."""
    before: tuple[str, ...] = ()
    box: str = "gateway"


REJECTED, DROPPED = Outcome.REJECTED, Outcome.DROPPED
LAN, OUT = "10.0.0.2:7", "9.9.9.9"
CASES = (
    Case(
        "a rule before conntrack",
        f"tcp {LAN} to {OUT}:1001 in eth1",
        DROPPED,
        "rule",
        "early",
    ),
    Case(
        "a rule before routing",
        f"tcp {LAN} to {OUT}:1002 in eth1",
        DROPPED,
        "rule",
        "inet filter pre:",
    ),
    Case(
        "a rule of forward",
        f"udp {LAN} to {OUT}:1004 in eth1",
        REJECTED,
        "rule",
        "refused: reject",
    ),
    Case(
        "a rule that resets",
        f"tcp {LAN} to {OUT}:1005 in eth1",
        REJECTED,
        "rule",
        "tcp reset",
    ),
    Case(
        "a rule of input",
        "udp 10.0.0.2:7 to 10.0.0.1:1003 in eth1",
        REJECTED,
        "rule",
        "input: udp",
    ),
    Case(
        "a rule of output",
        "udp 10.0.0.1:7 to 10.0.0.2:1007 out",
        DROPPED,
        "rule",
        "output: udp",
    ),
    Case(
        "a rule of output that rejects",
        "udp 10.0.0.1:7 to 10.0.0.2:1008 out",
        REJECTED,
        "rule",
        "reject",
    ),
    Case(
        "a rule after routing",
        f"udp {LAN} to {OUT}:1009 in eth1",
        DROPPED,
        "rule",
        "post",
    ),
    Case(
        "a rule of a nat chain",
        f"udp {LAN} to {OUT}:1010 in eth1",
        DROPPED,
        "rule",
        "ip nat pre",
    ),
    Case(
        "a policy of input",
        "udp 10.0.0.2:7 to 10.0.0.1:9 in eth1",
        DROPPED,
        "policy",
        "inet filter input",
    ),
    Case(
        "a policy of forward",
        f"udp {LAN} to {OUT}:9 in eth1",
        DROPPED,
        "policy",
        "inet filter forward",
    ),
    Case(
        "a policy, IPv6",
        "udp [fd00:1::2]:7 to [2001:db8::50]:9 in eth1",
        DROPPED,
        "policy",
    ),
    Case(
        "a rule, IPv6",
        "udp [fd00:1::2]:7 to [2001:db8::50]:1004 in eth1",
        REJECTED,
        "rule",
    ),
    Case(
        "INVALID",
        f"tcp {LAN} to {OUT}:1000 in eth1 flags syn,fin",
        DROPPED,
        "rule",
        "invalid",
    ),
    Case(
        "INVALID, IPv6",
        "tcp [fd00:1::2]:7 to [2001:db8::50]:1000 in eth1 flags syn,fin",
        DROPPED,
        "rule",
    ),
    Case("a blackhole", f"udp {LAN} to 10.66.0.1:1000 in eth1", DROPPED, "blackhole"),
    Case("a prohibition", f"udp {LAN} to 10.67.0.1:1000 in eth1", REJECTED, "prohibit"),
    Case(
        "an unreachable route",
        f"udp {LAN} to 10.68.0.1:1000 in eth1",
        REJECTED,
        "unreachable",
    ),
    Case(
        "a blackhole, IPv6",
        "udp [fd00:1::2]:7 to [fd00:66::1]:1000 in eth1",
        DROPPED,
        "blackhole",
    ),
    Case(
        "a prohibition, IPv6",
        "udp [fd00:1::2]:7 to [fd00:67::1]:1000 in eth1",
        REJECTED,
        "prohibit",
    ),
    Case(
        "an unreachable route, IPv6",
        "udp [fd00:1::2]:7 to [fd00:68::1]:1000 in eth1",
        REJECTED,
        "unreachable",
    ),
    Case(
        "a blackhole, from the box",
        "udp 10.0.0.1:7 to 10.66.0.1:1000 out",
        REJECTED,
        "blackhole",
    ),
    Case(
        "a prohibition, from the box",
        "udp 10.0.0.1:7 to 10.67.0.1:1000 out",
        REJECTED,
        "prohibit",
    ),
    Case(
        "an unreachable route, from the box",
        "udp 10.0.0.1:7 to 10.68.0.1:1000 out",
        REJECTED,
        "unreachable",
    ),
    Case(
        "a blackhole behind a translation",
        "udp 9.9.9.9:7 to 203.0.113.1:1016 in eth0",
        DROPPED,
        "blackhole",
    ),
    Case(
        "a prohibiting rule",
        f"udp 10.9.2.6:7 to {OUT}:1000 in tenant1",
        REJECTED,
        "prohibit",
    ),
    Case(
        "forwarding off",
        f"udp 10.9.2.5:7 to {OUT}:1000 in tenant2",
        DROPPED,
        "forwarding-off",
    ),
    Case(
        "reverse path",
        f"udp 10.0.0.2:7 to {OUT}:1000 in eth3",
        DROPPED,
        "rp-filter",
        "rp_filter=1",
    ),
    Case(
        "reverse path, to the box",
        "udp 10.0.0.2:7 to 198.51.100.1:1000 in eth3",
        DROPPED,
        "rp-filter",
    ),
    Case(
        "a martian source: loopback",
        f"udp 127.0.0.5:7 to {OUT}:1000 in eth1",
        DROPPED,
        "martian",
    ),
    Case(
        "a martian source: the box's own",
        f"udp 10.0.0.1:7 to {OUT}:1000 in eth1",
        DROPPED,
        "martian",
    ),
    Case(
        "a martian source: multicast",
        f"udp 224.0.0.9:7 to {OUT}:1000 in eth1",
        DROPPED,
        "martian",
    ),
    Case(
        "a martian destination",
        f"udp {LAN} to 127.0.0.1:1000 in eth1",
        DROPPED,
        "martian",
    ),
    Case(
        "a source no packet may have, IPv6",
        "udp [::1]:7 to [2001:db8::50]:1000 in eth1",
        DROPPED,
        "not-received",
    ),
    Case("TTL", f"udp {LAN} to {OUT}:1000 in eth1 ttl 1", REJECTED, "ttl"),
    Case(
        "hop limit",
        "udp [fd00:1::2]:7 to [2001:db8::50]:1000 in eth1 ttl 1",
        REJECTED,
        "ttl",
    ),
    Case(
        "TTL, behind a rule that would drop",
        f"udp {LAN} to {OUT}:9 in eth1 ttl 1",
        REJECTED,
        "ttl",
    ),
    Case(
        "too large",
        f"udp {LAN} to 10.9.1.5:1000 in eth1 payload {'x' * 1400}",
        REJECTED,
        "mtu",
    ),
    Case(
        "too large, IPv6",
        f"udp [2001:db8::50]:7 to [fd00:44::5]:1000 in eth0 payload {'x' * 1440}",
        REJECTED,
        "mtu",
    ),
    Case(
        "no port free",
        f"udp 10.0.0.4:7 to {OUT}:1011 in eth1",
        DROPPED,
        "no-port",
        before=(
            f"udp 10.0.0.2:7 to {OUT}:1011 in eth1",
            f"udp 10.0.0.3:7 to {OUT}:1011 in eth1",
        ),
    ),
    Case(
        "an interface that is down",
        "udp 192.168.122.10:7 to 9.9.9.9:1000 in virbr0",
        DROPPED,
        "interface-down",
    ),
    Case("a program", f"udp {LAN} to {OUT}:1013 in eth1", Outcome.QUEUED, "queue"),
    Case(
        "a proxy for SYNs",
        f"tcp {LAN} to {OUT}:1006 in eth1",
        Outcome.ANSWERED,
        "synproxy",
    ),
    Case(
        "a checksum, to the box",
        "udp 10.0.0.2:7 to 10.0.0.1:9 in eth1 badsum",
        DROPPED,
        "policy",
    ),
    Case(
        "iptables-legacy: a rule",
        f"udp {LAN} to {OUT}:2 in eth1",
        DROPPED,
        "rule",
        "ip filter FORWARD: -A FORWARD",
        box="legacy",
    ),
    Case(
        "iptables-legacy: a reject",
        f"udp {LAN} to {OUT}:1 in eth1",
        REJECTED,
        "rule",
        "-j REJECT",
        box="legacy",
    ),
    Case(
        "iptables-legacy: a policy",
        f"udp {LAN} to {OUT}:3 in eth1",
        DROPPED,
        "policy",
        "ip filter FORWARD",
        box="legacy",
    ),
    Case(
        "no route", f"udp {LAN} to {OUT}:1 in eth1", REJECTED, "no-route", box="island"
    ),
    Case(
        "no route, IPv6",
        "udp [fd00:1::2]:7 to [2001:db8:ffff::9]:1 in eth1",
        REJECTED,
        "no-route",
        box="island",
    ),
    Case(
        "no route, from the box",
        f"udp 10.0.0.1:7 to {OUT}:1 out",
        REJECTED,
        "no-route",
        "ENETUNREACH",
        box="island",
    ),
    Case(
        "no route, from the box, IPv6",
        "udp [fd00:1::1]:7 to [2001:db8:ffff::9]:1 out",
        REJECTED,
        "no-route",
        "ENETUNREACH",
        box="island",
    ),
    Case(
        "a group nobody joined",
        f"udp {LAN} to 239.1.2.3:1 in eth1",
        DROPPED,
        "multicast",
        box="island",
    ),
    Case(
        "IPv6 switched off",
        "udp [fd00:17::2]:7 to [fd00:1::2]:1 in docker0",
        DROPPED,
        "not-received",
        box="island",
    ),
    Case(
        "forwarding off altogether",
        f"udp {LAN} to {OUT}:1 in eth1",
        DROPPED,
        "forwarding-off",
        box="host",
    ),
    Case(
        "forwarding off, IPv6",
        "udp [fd00:1::2]:7 to [2001:db8::50]:1 in eth1",
        DROPPED,
        "forwarding-off",
        box="host",
    ),
    Case(
        "forwarding off, and a blackhole, IPv6",
        "udp [fd00:1::2]:7 to [fd00:66::1]:1 in eth1",
        DROPPED,
        "blackhole",
        box="host",
    ),
)


class Boxes:
    """Real boxes and their twins, made when they are asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[str, tuple[RealBox, Twin]] = {}

    def pair(self, name: str) -> tuple[RealBox, Twin]:
        if name not in self._made:
            try:
                namespace = self._stack.enter_context(new_namespace("box"))
            except NamespaceError as error:
                unavailable(f"no private namespace: {error}")
                raise
            real = self._stack.enter_context(real_box(namespace, *BOXES[name]))
            self._made[name] = real, self._stack.enter_context(Twin(real.bundle))
        return self._made[name]


@pytest.fixture(scope="module")
def boxes() -> Iterator[Boxes]:
    with ExitStack() as stack:
        yield Boxes(stack)


def left(seen: Sightings) -> list[tuple[object, ...]]:
    return [
        (one.interface, one.is_answer, one.packet.icmp_type, one.packet.icmp_code)
        for one in seen.departures
    ]


def rules(seen: Sightings) -> list[str]:
    own = OWN_TABLES
    return [
        v.rule.text for v in seen.visits if v.rule and not v.rule.table.startswith(own)
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_stops_a_packet_is_named(boxes: Boxes, case: Case) -> None:
    real, twin = boxes.pair(case.box)
    for earlier in case.before:
        for box in (real, twin):
            assert journey(box.send(parse(earlier))).reason is None
    there, seen = real.send(parse(case.packet)), twin.send(parse(case.packet))
    way = journey(seen)
    assert (way.outcome, way.reason) == (case.outcome, case.reason)
    assert case.why in (way.why or "")
    assert all(departure.is_answer for departure in there.departures)
    assert left(there) == left(seen)
    assert rules(there) == rules(seen)


PART = Packet(
    ip_address("10.0.0.2"),
    ip_address(OUT),
    proto=253,  # for experiments (RFC 3692)
    payload=bytes(64),
    dont_fragment=False,
    ip_id=4711,
)


def test_a_part_of_a_packet_waits_for_the_others(boxes: Boxes) -> None:
    for box in boxes.pair("gateway"):
        first = Question(replace(PART, fragment=Fragment(0, more=True)), "eth1")
        way = journey(box.send(first))
        assert (way.outcome, way.reason) == (DROPPED, "fragment")
        rest = replace(PART, fragment=Fragment(64))
        seen = box.send(Question(rest, "eth1"))
        # and leave as they came (ip_fragment)
        assert left(seen) == [("eth0", False, None, None)] * 2


def test_a_packet_nat_cannot_rewrite_is_named(boxes: Boxes) -> None:
    short = replace(PART, src=ip_address(OUT), dst=ip_address("203.0.113.2"), proto=47)
    short = replace(short, gre_flags=0, gre_protocol=0x0800, payload=b"")
    for box in boxes.pair("gateway"):
        way = journey(box.send(Question(short, "eth0")))
        assert (way.outcome, way.reason) == (DROPPED, "nat")


def test_a_packet_larger_than_its_link_is_not_taken_in(boxes: Boxes) -> None:
    _, twin = boxes.pair("gateway")
    packet = replace(PART, src=ip_address("10.9.1.5"), payload=bytes(1400))
    way = journey(twin.send(Question(packet, "tenant1")))
    assert (way.outcome, way.reason) == (DROPPED, "mtu")


def test_a_full_table_is_named(boxes: Boxes) -> None:
    """The limit is the machine's, but each namespace has as many entries of its own."""
    limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    if limit > 1 << 18:
        pytest.skip(f"nf_conntrack_max={limit}: too many to fill the table with")
    _, twin = boxes.pair("island")
    assert twin.insert(crowd.many(limit)) == 0
    way = journey(twin.send(parse("udp 10.0.0.2:7 to 10.0.0.3:1 in eth1")))
    assert (way.outcome, way.reason) == (DROPPED, "table-full")
