"""What a twin is told of its box, and says where it is not like it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from natscope.codec.text.question import parse
from natscope.errors import NatscopeError
from natscope.model.bundle import Bundle, RoutingRule, Ruleset
from natscope.model.journey import Journey, Outcome, Stage
from natscope.rehearse.twin import Twin
from natscope.sources import tools
from natscope.sources.bundle import collect
from natscope.sources.netns import Namespace
from natscope.views.journey import journey

pytestmark = pytest.mark.kernel

LINKS = """
link set lo up
link add br0 type bridge
link add port type veth peer name port-peer
link set port master br0
link add wan type veth peer name wan-peer
link set br0 up
link set port up
link set port-peer up
link set wan up
link set wan-peer up
addr add 10.0.0.1/24 dev br0
addr add 2001:db8:1::1/64 dev br0 nodad
addr add 203.0.113.1/24 dev wan
addr add 2001:db8:2::1/64 dev wan nodad
route add default via 203.0.113.254
route add default via 2001:db8:2::fe
"""
RULES = """table ip filter {
 chain input {
  type filter hook input priority filter
  tcp dport 80 accept comment "no ct, zone set, snat"
 }
}
"""
WEB = "tcp 10.0.0.5 to 9.9.9.9:443"
WEB6 = "tcp 2001:db8:1::5 to [2001:db8:9::9]:443 in br0"


@pytest.fixture
def box(netns: Namespace) -> Bundle:
    """A router with a bridge; rules that track nothing, and do not forward."""
    for line in LINKS.strip().splitlines():
        tools.run(["ip", *line.split()])
    tools.run(["nft", "-f", "-"], stdin=RULES)
    return collect()


@pytest.fixture
def twin(box: Bundle) -> Iterator[Twin]:
    """The twin of that router."""
    with Twin(box) as made:
        yield made


def _asked(twin: Twin, words: str) -> Journey:
    return journey(twin.send(parse(words)))


def _said(found: Journey, stage: Stage) -> str:
    (phase,) = [phase for phase in found.phases if phase.stage is stage]
    return phase.said


def test_a_packet_does_not_come_in_by_the_port_of_a_bridge(twin: Twin) -> None:
    for send in (twin.send, twin.send_untraced):
        with pytest.raises(NatscopeError, match="port of br0") as refused:
            send(parse(f"{WEB} in port"))
        assert refused.value.hint == "in br0"


def test_words_of_a_comment_track_nothing(twin: Twin) -> None:
    found = _asked(twin, "tcp 10.0.0.5 to 10.0.0.1:80 in br0")
    assert _said(found, Stage.CONNTRACK).startswith("off")
    assert found.outcome is Outcome.DELIVERED


def test_what_a_change_tracks_is_tracked(twin: Twin) -> None:
    before = twin.tracked
    twin.change("nft add rule ip filter input ct state new accept")
    assert (before, twin.tracked) == (frozenset(), frozenset({4}))
    found = _asked(twin, "tcp 10.0.0.5 to 10.0.0.1:81 in br0")
    assert _said(found, Stage.CONNTRACK) == "NEW: no entry yet"


def test_a_change_of_a_setting_is_the_reason_from_then_on(twin: Twin) -> None:
    twin.change("sysctl -q -w net.ipv4.ip_forward=1")
    assert _asked(twin, f"{WEB} in br0").outcome is Outcome.FORWARDED
    twin.change("sysctl -q -w net.ipv4.conf.br0.forwarding=0")
    assert _asked(twin, f"{WEB} in br0").reason == "forwarding-off"


def test_what_conntrack_logs_does_not_change_the_order_of_the_way(box: Bundle) -> None:
    rules = """table inet filter {
      chain output { type filter hook output priority 0; ct state invalid counter; }
      chain postrouting { type filter hook postrouting priority 0; }
      chain input { type filter hook input priority 0; drop; }
    }
    table netdev early {
      chain lo { type filter hook ingress device "lo" priority 0; }
    }"""
    with Twin(replace(box, rulesets=(Ruleset("nft", rules),))) as twin:
        seen = twin.send(parse("tcp 10.0.0.1 to 203.0.113.1:80 flags syn,fin"))
    assert seen.invalid
    there = ("inet filter", "netdev early")
    met = [
        one.base
        for one in seen.visits
        if f"{one.base.family} {one.base.table}" in there
    ]
    assert list(dict.fromkeys(one.name for one in met)) == [
        *("output", "postrouting", "lo", "input"),
    ]


def test_a_route_without_a_prefix_is_no_error(twin: Twin) -> None:
    for words in ("udp 0.0.0.0:68 to 255.255.255.255:67", "ping 10.0.0.5 to 224.0.0.1"):
        found = _asked(twin, f"{words} in br0")
        assert found.outcome is Outcome.DELIVERED
        assert "EHOSTUNREACH" not in _said(found, Stage.ROUTING)


def test_ipv6_is_forwarded_from_an_interface_that_is_forced_to(box: Bundle) -> None:
    name = "net/ipv6/conf/br0/force_forwarding"
    if name not in box.sysctls:
        pytest.skip("a kernel before 6.17")
    with Twin(box) as twin:
        assert _asked(twin, WEB6).reason == "forwarding-off"
        twin.change(f"echo 1 > /proc/sys/{name}")
        assert _asked(twin, WEB6).outcome is Outcome.FORWARDED


def test_interfaces_may_have_the_names_of_words_of_ip(netns: Namespace) -> None:
    for name, other in (("up", "a"), ("dev", "type")):
        words = ["ip", "link", "add", "name", name, "type", "veth"]
        tools.run([*words, "peer", "name", other])
        tools.run(["ip", "link", "set", "dev", name, "up"])
        tools.run(["ip", "link", "set", "dev", other, "up"])
    tools.run(["ip", "addr", "add", "10.0.0.1/24", "dev", "a"])
    with Twin(collect()) as twin:
        found = _asked(twin, "tcp 10.0.0.5 to 10.0.0.1:80 in a")
    assert found.outcome is Outcome.DELIVERED


def test_that_a_route_has_several_ways_is_said(twin: Twin) -> None:
    twin.change("sysctl -q -w net.ipv4.ip_forward=1")
    one = "the route has several next hops: the box may choose another one"
    assert one not in _asked(twin, f"{WEB} in br0").notes
    hops = "nexthop via 203.0.113.2 nexthop via 203.0.113.3"
    twin.change(f"ip route add 9.9.0.0/16 {hops}")
    assert one in _asked(twin, f"{WEB} in br0").notes


def test_what_is_not_in_the_twin_is_said(box: Bundle) -> None:
    rule = RoutingRule("inet", 50, table=99, unknown=("dscp",))
    odd = Bundle(box.made_ns, links=box.links, rules=(rule,), rulesets=box.rulesets)
    with Twin(odd) as twin:
        assert twin.missing == ["IPv4 rule 50: it asks for dscp"]


def test_a_ruleset_that_cannot_be_loaded_leaves_nothing_open(box: Bundle) -> None:
    bad = Bundle(box.made_ns, links=box.links, rulesets=(Ruleset("nft", "nonsense"),))
    with pytest.raises(NatscopeError, match="nonsense"):
        Twin(bad)
