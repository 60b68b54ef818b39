"""R08 by the text of the rules: through which chains a first packet surely comes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from natscope import uapi
from natscope.model.bundle import Link, LinkAddress, Route, RoutingRule
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.shapes import by_shape
from natscope.views.doctor.diagnosis import Diagnosis, diagnose
from natscope.views.doctor.reading import unborn
from natscope.views.doctor.snapshot import Snapshot
from unit.views.doctor.boxes import LINKS, ROUTES, Box

HOST, VISITOR = "10.0.0.2", "192.0.2.99"
NEW = uapi.Status.CONFIRMED
POST = "type nat hook postrouting priority srcnat; policy accept;"
PRE = "type nat hook prerouting priority dstnat; policy accept;"
OUT = 'oifname "wan" masquerade'


def flow(src: str = HOST, dst: str = VISITOR, **more: Any) -> Flow:
    a, b = map(ip_address, (src, dst))
    orig = FlowTuple(a, b, uapi.IPPROTO_UDP, 7000, 5000)
    return replace(Flow(orig, orig.reversed(), status=NEW, timeout=29), **more)


def nat(post: str, *others: str, pre: str = "", family: str = "ip") -> str:
    """Chains: the base ones, and those they lead to, named after the alphabet."""
    chains = [
        f"chain {name} {{\n{rules}\n}}\n"
        for name, rules in zip("ab", (*others, "", ""), strict=False)
    ]
    first = f"chain pre {{ {PRE}\n{pre}\n}}\n" if pre else ""
    last = f"chain post {{ {POST}\n{post}\n}}\n"
    return f"table {family} nat {{\n{first}{last}{''.join(chains)}}}\n"


def iptables(*rules: str, chains: str = "") -> str:
    named = "".join(f":{name} - [0:0]\n" for name in chains.split())
    lines = "".join(f"{rule}\n" for rule in rules)
    return f"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{named}{lines}COMMIT\n"


@dataclass(frozen=True)
class Case:
    id: str
    is_found: bool
    nft: str = ""
    flows: tuple[Flow, ...] = (flow(),)
    legacy: str = ""
    more: dict[str, Any] = field(default_factory=dict)


FORWARD_DROPS = "chain forward { type filter hook forward priority 0; policy drop; }"
LINKDOWN = Route(ip_network("192.0.2.0/24"), 254, dev="lan", flags=("linkdown",))
ANYCAST = Route(ip_network("192.0.2.0/24"), 255, type="local", dev="lo")
BROADCAST = "10.0.0.255"
MASQUERADE = "-A POSTROUTING -o wan -j MASQUERADE"
SIX = (*LINKS[:1], replace(LINKS[1], addresses=(*LINKS[1].addresses,
       LinkAddress(ip_address("fd00::1"), 64))))  # fmt: skip
ROUTES_SIX = (
    Route(ip_network("::/0"), 254, dev="wan"),
    Route(ip_network("fd00::/64"), 254, dev="lan"),
)

LED = (
    Case("by an interface", True, nat('oifname "wan" jump a', "masquerade")),
    Case("by another interface", False, nat('oifname "lan" jump a', "masquerade")),
    Case("for good", True, nat('oifname "wan" goto a', "masquerade")),
    Case("behind what went for good", False, nat(f'oifname "wan" goto a\n{OUT}')),
    Case("behind what went elsewhere for good", True,
         nat(f'oifname "lan" goto a\n{OUT}')),
    Case("twice", True,
         nat('oifname "wan" jump a', "jump b", "ip saddr 10.0.0.0/8 masquerade")),
    Case("behind what came back", True, nat(f"jump a\n{OUT}", "udp dport 9 masquerade")),
    Case("behind what returned", True,
         nat(f"jump a\n{OUT}", "ip daddr 192.0.2.0/24 return\naccept")),
    Case("behind what may return", False,
         nat(f"jump a\n{OUT}", "ip daddr @some return\naccept")),
    Case("returned before", False,
         nat('oifname "wan" jump a', "ip daddr 192.0.2.0/24 return\nmasquerade")),
    Case("behind what accepts others", True,
         nat(f"jump a\n{OUT}", "ip daddr 192.0.2.128/25 accept")),
    Case("behind what accepts it", False,
         nat(f"jump a\n{OUT}", "ip daddr 192.0.2.0/24 accept")),
    Case("behind what may be asked and lets it back", True,
         nat(f"meta mark 1 jump a\n{OUT}", "udp dport 9 accept")),
    Case("behind what may be asked and accepts it", False,
         nat(f"meta mark 1 jump a\n{OUT}", "udp dport 5000 accept")),
    Case("behind what may be asked and translates it", False,
         nat(f"meta mark 1 jump a\n{OUT}", "udp dport 5000 masquerade")),
    Case("behind what may be asked for good", False,
         nat(f"meta mark 1 goto a\n{OUT}", "udp dport 9 return")),
    Case("in a circle", False, nat("jump a", "jump b", f"jump a\n{OUT}")),
    Case("a chain named return", False,
         nat(f"jump a\n{OUT}", "ip daddr 192.0.2.0/24 jump return")
         + "table ip nat { chain return { accept\n} }\n"),
    Case("a map of verdicts with a return", False,
         nat(f"meta mark 1 jump a\n{OUT}", "udp dport vmap { 5000 : accept, 81 : return }")),
)  # fmt: skip
COMPOUND = (
    Case("accepted in a chain without a name", False,
         nat('oifname "wan" jump { ip daddr 192.0.2.0/24 accept; snat to 203.0.113.1; }')),
    Case("behind a chain without a name", False,
         nat(f"jump {{ udp dport 53 return; accept; }}\n{OUT}")),
)  # fmt: skip
TAKEN_BEFORE = (
    Case("by a rule that gives an address of few", False,
         nat(f"ip saddr 10.0.0.2 snat to 203.0.113.7\n{OUT}")),
    Case("perhaps, by a set", False, nat(f"ip saddr @lan masquerade\n{OUT}")),
    Case("in prerouting, to another way", False,
         nat(OUT, pre='iifname "lan" udp dport 5000 dnat to 10.0.0.53')),
    Case("in prerouting, perhaps", False, nat(OUT, pre="ip daddr @x dnat to 10.0.0.53")),
    Case("dropped in prerouting", False, nat(OUT, pre="udp dport 5000 drop")),
    Case("dropped by another table", False,
         nat(OUT) + f"table ip early {{ chain c {{ {POST.replace('srcnat', '90')}\n"
         "udp dport 5000 drop\n} }\n"),
    Case("by the policy of another table", False,
         nat(OUT) + "table ip early { chain c { type nat hook postrouting priority 90; "
         "policy drop; } }\n"),
    Case("by another table, in the same words", True,
         nat(OUT) + nat(f"counter {OUT}").replace("ip nat", "ip more")),
    Case("in the forward hook", False, nat(OUT) + f"table ip f {{ {FORWARD_DROPS} }}\n"),
    Case("by the box, which does not forward", False, nat(OUT),
         more={"sysctls": {"net/ipv4/ip_forward": "0"}}),
)  # fmt: skip
NOTHING_CHANGED = (
    Case("a map that has nothing for it", False,
         nat('oifname "wan" snat to ip saddr map { 10.0.0.9 : 203.0.113.9 }')),
    Case("a source that is in the range", False,
         nat('oifname "wan" snat to 10.0.0.0-10.0.0.7')),
    Case("a destination that is the target", False,
         nat("", pre=f"ip daddr 192.0.2.0/24 udp dport 5000 dnat to {VISITOR}")),
    Case("an address of the other family", False,
         nat('oifname "wan" snat ip to 203.0.113.1', family="inet"),
         (flow("fd00::2", "2001:db8:9::9"),),
         more={"links": SIX, "routes": ROUTES_SIX,
               "sysctls": {"net/ipv6/conf/all/forwarding": "1"}}),
    Case("a table that sleeps", False, nat(OUT).replace("nat {", "nat {\nflags dormant", 1)),
)  # fmt: skip
NOT_FORWARDED = (
    Case("broadcast", False, nat('ip saddr 10.0.0.0/24 oifname "lan" masquerade'),
         (flow(dst=BROADCAST),)),
    Case("delivered here by a route", False, nat(OUT),
         more={"routes": (*ROUTES, ANYCAST)}),
    Case("by a link that is down, perhaps", False, nat(OUT),
         more={"routes": (*ROUTES, LINKDOWN)}),
    Case("expected by a helper", False, nat(OUT),
         (flow(status=NEW | uapi.Status.EXPECTED),)),
)  # fmt: skip
IPTABLES = (
    Case("masquerade", True, legacy=iptables(MASQUERADE)),
    Case("not what is the box's own", True,
         legacy=iptables("-A POSTROUTING -o wan -j zone",
                         "-A zone ! -o lo -j MASQUERADE", chains="zone")),
    Case("a chain named like a target", False,
         legacy=iptables("-A POSTROUTING -o wan -j SNAT-lan", "-A SNAT-lan -j ACCEPT",
                         chains="SNAT-lan")),
    Case("exempt by a chain named like a target", False,
         legacy=iptables("-A POSTROUTING -j SNAT-not", MASQUERADE,
                         "-A SNAT-not -d 192.0.2.0/24 -j ACCEPT", chains="SNAT-not")),
    Case("a comment that names an interface", False,
         legacy=iptables('-A POSTROUTING -d 192.0.2.0/24 -m comment --comment "not for '
                         '-i wg0 peers" -j ACCEPT', MASQUERADE)),
    Case("a comment that is a word of rules", False,
         legacy=iptables("-A POSTROUTING -j a", MASQUERADE, "-A a -d 192.0.2.0/24 "
                         "-m comment --comment return -j ACCEPT", chains="a")),
    Case("a comment that is an option", False,
         legacy=iptables("-A POSTROUTING -d 192.0.2.0/24 -m comment --comment -o "
                         "-j ACCEPT", MASQUERADE)),
    Case("a comment with a quote in it", False,
         legacy=iptables('-A POSTROUTING -o wan -m comment --comment "\\" -j MASQUERADE"'
                         " -j ACCEPT")),
    Case("a mask of the host's part", False,
         legacy=iptables("-A POSTROUTING -d 0.0.0.99/0.0.0.255 -j ACCEPT", MASQUERADE)),
    Case("beside nft's of the same name", False, nat("jump a", "udp dport 9 accept"),
         legacy=iptables("-A a -o wan -j MASQUERADE", chains="a")),
)  # fmt: skip
TWICE = tuple(
    Case(f"twice: {words}", False, nat(f'oifname "wan" {words} masquerade'))
    for words in (
        "ip saddr 10.0.0.128/25 ip saddr 10.0.0.0/24",
        "udp dport 1-99 udp dport 1000-6000",
        'oifname "lan"',
        'iifname "lan" iifname "wg"',
        "ip saddr . udp dport { 10.9.9.9 . 80 } ip saddr 10.0.0.0/8 udp dport 5000",
    )
)


def diagnosed(snapshot: Snapshot) -> Diagnosis:
    made = by_shape(snapshot.flows, snapshot.nat_rules, snapshot.bundle)
    return diagnose(snapshot.judged(made), only=["R08"])


@pytest.mark.parametrize(
    "case",
    [
        *LED,
        *COMPOUND,
        *TAKEN_BEFORE,
        *NOTHING_CHANGED,
        *NOT_FORWARDED,
        *IPTABLES,
        *TWICE,
    ],
    ids=lambda case: case.id,
)
def test_a_flow_is_older_than_a_rule_where_that_is_sure(case: Case) -> None:
    box = Box(case.flows, case.nft, case.legacy, **case.more)
    found = diagnosed(box.snapshot)
    assert found.not_checked == ()
    assert bool(found.findings) is case.is_found


def test_flows_alike_but_for_where_they_go_are_told_apart() -> None:
    flows = [flow(dst=dst) for dst in ("210.1.1.1", "239.1.1.1", "255.255.255.255")]
    (found,) = diagnosed(Box(flows, nat(OUT)).snapshot).findings
    assert [one.value for one in found.facts if one.name == "flows"] == [1]


@pytest.mark.parametrize(
    ("src", "tos"), [(ip_network("10.0.9.0/24"), 0), (None, 16)], ids=["source", "TOS"]
)
def test_a_route_for_some_packets_alone_is_no_way_for_all(src: Any, tos: int) -> None:
    some = replace(ROUTES[0], src=src, tos=tos)
    other = replace(ROUTES[0], dev="lan", metric=100)
    box = Box((flow(),), nat(OUT), routes=(some, other))
    assert diagnosed(box.snapshot).findings == ()


@pytest.mark.parametrize(
    "rule",
    [
        RoutingRule("inet", 0, table=100),
        RoutingRule("inet", 32766, table=254, fwmark=1),
    ],
)
def test_a_routing_rule_in_the_place_of_the_kernels_is_another(
    rule: RoutingRule,
) -> None:
    snapshot = Box((flow(),), nat(OUT)).snapshot
    bundle = replace(snapshot.bundle, rules=(rule,))
    assert diagnosed(replace(snapshot, bundle=bundle)).findings == ()


def test_without_the_routes_it_is_not_checked() -> None:
    snapshot = Box((flow(),), nat(OUT)).snapshot
    bundle = replace(snapshot.bundle, missing=("IPv4 routes: not read",))
    found = diagnosed(replace(snapshot, bundle=bundle))
    assert [one.rule for one in found.not_checked] == ["R08"]


@pytest.mark.parametrize(("ways", "count"), [(1, 1), (1000, 0)])
def test_too_many_ways_through_the_same_rules_end(
    monkeypatch: pytest.MonkeyPatch, ways: int, count: int
) -> None:
    monkeypatch.setattr(unborn, "_MOST_RULES", 100)
    accepts = "\n".join(f"ip daddr 9.9.9.{n} accept" for n in range(25))
    snapshot = Box(
        (flow(),), nat("\n".join((*["jump a"] * ways, OUT)), accepts)
    ).snapshot
    found = unborn.untranslated(snapshot, snapshot.flows["status"] > 0)
    assert len(list(found)) == count


def test_a_link_is_no_more_than_its_addresses() -> None:
    bare = (*LINKS, Link("bare", 9, up=True, mtu=1500))
    assert diagnosed(Box((flow(),), nat(OUT), links=bare).snapshot).findings
