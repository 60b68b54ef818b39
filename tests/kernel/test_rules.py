"""Which rule made a translation: real traffic, real rules, and the twin's answer."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import unavailable
from natscope.codec.text.natrules import nat_rules
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import EXAMPLES, PATIENCE_S, Flow, Traffic
from natscope.model.bundle import Bundle, RoutingRule
from natscope.rehearse.attribution.attributor import Attributor, attribute
from natscope.rehearse.twin import Twin
from natscope.sources import tools
from natscope.sources.bundle import collect
from natscope.sources.kernel import Kernel
from natscope.table.attribution import Contradiction, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.views.makings import said

pytestmark = pytest.mark.kernel

ALICE, BOB, CAROL = (network.HOSTS[name].v4 for name in network.INSIDE)
PUBLIC, STATIC = network.PUBLIC_V4, network.STATIC_V4
SERVER = network.SERVER_V4
needs_iptables = pytest.mark.skipif(
    tools.find("iptables-nft-restore") is None, reason="needs iptables"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of one's own."""
    try:
        with built() as made:
            yield made
    except NamespaceError as error:
        unavailable(str(error))


@pytest.fixture
def traffic(lab: Lab) -> Iterator[Traffic]:
    """Its sockets."""
    with Traffic(lab) as made:
        yield made


def appeared(traffic: Traffic, flow: Flow) -> Flow:
    """A flow, once it is in the box's table."""
    deadline = time.monotonic() + PATIENCE_S
    with Kernel(traffic.lab.box.path) as kernel:
        while len(kernel.table(flow.filter())) == 0:
            assert time.monotonic() < deadline
    return flow


def udp(traffic: Traffic, client: str, to: tuple[str, int], sport: int = 0) -> Flow:
    """A datagram nobody answers."""
    return appeared(traffic, traffic.udp(client, to, sport=sport))


def load(lab: Lab, rules: str) -> None:
    """These rules of nft in place of all others."""
    lab.run(BOX, ["nft", "-f", "-"], stdin=f"flush ruleset\n{rules}")


def nat(prerouting: str = "", postrouting: str = "") -> str:
    return f"""table ip nat {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        {prerouting}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {postrouting}
    }}
}}
"""


def box(lab: Lab) -> Bundle:
    with lab.inside(BOX):
        return collect()


def makings(lab: Lab, flows: Sequence[Flow], **options: int) -> list[Making]:
    """What made each of these flows, by the rules of now."""
    bundle = box(lab)
    with Twin(bundle) as twin, Kernel(lab.box.path) as kernel:
        attributor = Attributor(twin, nat_rules(bundle), **options)
        found = []
        for flow in flows:
            table = kernel.table(flow.filter())
            assert len(table) == 1
            attribution = attributor.attribute(table)
            found.append(attribution.makings[attribution.of_row[0]])
    return found


def texts(making: Making) -> list[str]:
    return [rule.text for rule in making.rules]


RULES_OF = {
    "masquerade": ['oifname "wan" ip saddr 10.0.0.0/24 masquerade'],
    "static source": [f'oifname "wan" ip saddr {CAROL} snat to {STATIC}'],
    "udp": ['oifname "wan" ip saddr 10.0.0.0/24 masquerade'],
    "port forward": [f"ip daddr {PUBLIC} tcp dport 8080 dnat to {BOB}:80"],
    "hairpin": [
        f"ip daddr {PUBLIC} tcp dport 8080 dnat to {BOB}:80",
        'oifname "lan" ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 masquerade',
    ],
    "redirect": ['iifname "lan" udp dport 123 redirect'],
    "redirect to a port": ['iifname "lan" tcp dport 8888 redirect to :2222'],
    "port only": [f'oifname "wan" udp sport 5060 snat to {PUBLIC}:15060'],
    "ping": ['oifname "wan" ip saddr 10.0.0.0/24 masquerade'],
    "gre": [f'oifname "wan" ip saddr {CAROL} snat to {STATIC}'],
    "unanswered": ['oifname "wan" ip saddr 10.0.0.0/24 masquerade'],
    "closed": ['oifname "wan" ip saddr 10.0.0.0/24 masquerade'],
    "IPv6 masquerade": ['oifname "wan" ip6 saddr fd00:77::/64 masquerade'],
    "IPv6 port forward": [
        f"ip6 daddr {network.PUBLIC_V6} tcp dport 8080 dnat to "
        f"[{network.HOSTS['bob'].v6}]:80"
    ],
    "IPv6 ping": ['oifname "wan" ip6 saddr fd00:77::/64 masquerade'],
}


def test_every_translation_of_the_lab_has_its_rule(lab: Lab, traffic: Traffic) -> None:
    flows = [appeared(traffic, example.make(traffic)) for example in EXAMPLES]
    found = makings(lab, flows)
    assert {example.name: texts(m) for example, m in zip(EXAMPLES, found, strict=True)}\
        == RULES_OF  # fmt: skip
    assert all(m.origin is Origin.RULE and m.is_certain for m in found)


@dataclass(frozen=True)
class Change:
    """Rules a flow was made by, and those that stand there afterwards."""

    id: str
    before: str
    after: str
    said: str


FORWARD = f"ip daddr {PUBLIC} udp dport 8053 dnat to {BOB}:53"
CHANGES = [
    Change(
        "the forward leads elsewhere",
        nat(FORWARD),
        nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"),
        f"no rule now (would be {CAROL}:53)",
    ),
    Change(
        "the forward leads to another port",
        nat(FORWARD),
        nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {BOB}:5353"),
        f"no rule now (would be {BOB}:5353)",
    ),
    Change(
        "the forward is gone",
        nat(FORWARD),
        nat(),
        "no rule now (would be untranslated)",
    ),
    Change(
        "a rule before it takes the packets",
        nat(FORWARD),
        nat(f"ip daddr {PUBLIC} redirect\n{FORWARD}"),
        f"no rule now (would be {PUBLIC})",
    ),
    Change(
        "a rule drops what it took",
        nat(FORWARD),
        nat(FORWARD) + "\ntable ip filter { chain forward { type filter hook forward "
        "priority 0; policy accept; udp dport 53 drop; }; }",
        "no rule now (dropped by ip filter forward)",
    ),
    Change(
        "the rule is another, and gives the same",
        nat(FORWARD),
        nat(f"udp dport 8000-8100 dnat to {BOB}:53"),
        f"ip nat prerouting #3: udp dport 8000-8100 dnat to {BOB}:53",
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.id)
def test_a_flow_no_rule_of_today_makes_is_told(
    lab: Lab, traffic: Traffic, change: Change
) -> None:
    load(lab, change.before)
    flow = udp(traffic, WORLD, (PUBLIC, 8053))
    load(lab, change.after)
    (making,) = makings(lab, [flow])
    assert said(making) == change.said


def test_a_source_rule_that_is_gone_makes_its_flows_stale(
    lab: Lab, traffic: Traffic
) -> None:
    rule = f'oifname "wan" snat to {STATIC}'
    load(lab, nat("", rule))
    flow = udp(traffic, "alice", (SERVER, 53))
    load(lab, nat("", 'oifname "wan" masquerade'))
    (making,) = makings(lab, [flow])
    assert (making.origin, making.is_certain) == (Origin.STALE, True)
    assert (making.dst, making.src) == (None, Contradiction(PUBLIC))


def test_a_port_that_was_taken_needs_no_rule(lab: Lab, traffic: Traffic) -> None:
    load(lab, nat("", f'oifname "wan" ip saddr {ALICE} snat to {PUBLIC}'))
    udp(traffic, "alice", (SERVER, 53), sport=6000)
    own = udp(traffic, BOX, (SERVER, 53), sport=6000)
    (making,) = makings(lab, [own])
    assert (making.origin, making.rules) == (Origin.NONE, ())
    assert said(making) == "~ no rule: the kernel moves a port that another flow has"


def test_another_address_of_the_interface_is_likely_where_the_destination_chooses(
    lab: Lab, traffic: Traffic
) -> None:
    flow = traffic.ping("alice", network.SERVER_V6, 5)
    # of two addresses, the one more like the destination's (RFC 6724 rule 8)
    lab.run(BOX, ["ip", "addr", "add", "2001:db8:51::77/128", "dev", "wan", "nodad"])
    (making,) = makings(lab, [flow])
    assert (making.origin, making.is_certain) == (Origin.RULE, False)
    assert texts(making) == RULES_OF["IPv6 ping"]


@dataclass(frozen=True)
class Range:
    """A rule that may give more than one address or port."""

    id: str
    rule: str
    narrowed: str
    """The same for others alone."""


RANGES = [
    Range("addresses", f"snat to {PUBLIC}-{STATIC}", "snat to 203.0.113.8-203.0.113.9"),
    Range("ports", f"snat to {PUBLIC}:5000-5999", f"snat to {PUBLIC}:6000-6999"),
    Range("random", f"snat to {STATIC} random", f"snat to {PUBLIC} random"),
    Range("masquerade to ports", "masquerade to :5000-5999", "masquerade to :7000"),
    Range(
        "network",
        "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }",
        "snat to 203.0.113.200",
    ),
]


@pytest.mark.parametrize("case", RANGES, ids=lambda case: case.id)
def test_a_flow_within_the_range_of_its_rule_is_not_stale(
    lab: Lab, traffic: Traffic, case: Range
) -> None:
    load(lab, nat("", f'ip protocol udp oifname "wan" {case.rule}'))
    flows = [udp(traffic, host, (SERVER, 53)) for host in network.INSIDE for _ in "ab"]
    assert {m.origin for m in makings(lab, flows)} == {Origin.RULE}
    load(lab, nat("", f'ip protocol udp oifname "wan" {case.narrowed}'))
    assert {m.origin for m in makings(lab, flows)} == {Origin.STALE}


def test_where_chance_decides_each_flow_has_the_rule_that_gives_its_target(
    lab: Lab, traffic: Traffic
) -> None:
    first = f"udp dport 53 numgen inc mod 2 0 dnat to {BOB}"
    second = f"udp dport 53 dnat to {CAROL}"
    load(lab, nat(f"{first}\n{second}"))
    flows = [udp(traffic, WORLD, (PUBLIC, 53)) for _ in range(4)]
    found = makings(lab, flows)
    with Kernel(lab.box.path) as kernel:
        targets = [str(flow.reply.src) for one in flows
                   for flow in kernel.flows(one.filter())]  # fmt: skip
    assert sorted(set(targets)) == [BOB, CAROL]
    assert [texts(m)[0].endswith(f"to {t}") for m, t in zip(found, targets, strict=True)
            ] == [True] * 4  # fmt: skip
    assert not all(m.is_certain for m in found)
    load(lab, nat(f"{first}\nudp dport 53 dnat to {ALICE}"))
    stale = {t for m, t in zip(makings(lab, flows), targets, strict=True)
             if m.origin is Origin.STALE}  # fmt: skip
    assert stale == {CAROL}


def test_a_map_by_chance_gives_any_of_its_targets(lab: Lab, traffic: Traffic) -> None:
    load(
        lab,
        nat(f"udp dport 53 dnat to numgen inc mod 2 map {{ 0 : {BOB}, 1 : {CAROL} }}"),
    )
    flows = [udp(traffic, WORLD, (PUBLIC, 53)) for _ in range(4)]
    assert {m.origin for m in makings(lab, flows)} == {Origin.RULE}
    load(
        lab,
        nat(f"udp dport 53 dnat to numgen inc mod 2 map {{ 0 : {BOB}, 1 : {ALICE} }}"),
    )
    origins = [m.origin for m in makings(lab, flows)]
    assert origins.count(Origin.STALE) == origins.count(Origin.RULE) == 2


DOCKER_NFT = f"""table ip nat {{
    chain DOCKER {{
        iifname != "lan" udp dport 8053 counter dnat to {BOB}:53
    }}
    chain PREROUTING {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local counter jump DOCKER
    }}
    chain POSTROUTING {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.0.0.0/24 oifname != "lan" counter masquerade
    }}
}}"""
DOCKER_IPTABLES = f"""*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.0.0.0/24 ! -o lan -j MASQUERADE
-A DOCKER ! -i lan -p udp -m udp --dport 8053 -j DNAT --to-destination {BOB}:53
COMMIT
"""


def docker(lab: Lab, tool: str) -> None:
    lab.run(BOX, ["nft", "flush", "ruleset"])
    if tool == "nft":
        lab.run(BOX, ["nft", "-f", "-"], stdin=DOCKER_NFT)
    else:
        lab.run(BOX, [tools.needed(f"{tool}-restore")], stdin=DOCKER_IPTABLES)


TOOLS = ["nft"] + [
    pytest.param(tool, marks=needs_iptables)
    for tool in ("iptables-nft", "iptables-legacy")
]


@pytest.mark.parametrize("tool", TOOLS)
def test_rules_like_dockers_are_found_whatever_made_them(
    lab: Lab, traffic: Traffic, tool: str
) -> None:
    docker(lab, tool)
    flows = [udp(traffic, WORLD, (PUBLIC, 8053)), udp(traffic, "alice", (SERVER, 53))]
    inward, outward = makings(lab, flows)
    assert inward.dnat is not None
    assert outward.snat is not None
    assert (inward.dnat.chain, inward.dnat.number) == ("DOCKER", 1)
    assert (outward.snat.chain, outward.snat.number) == ("POSTROUTING", 1)
    assert {inward.dnat.tool, outward.snat.tool} == {tool}
    assert [inward.is_certain, outward.is_certain] == [True, True]


RULESETS = Path(__file__).parents[1] / "rulesets"


@pytest.mark.parametrize(
    "file", ["kube-proxy.nft", pytest.param("kube-proxy.rules", marks=needs_iptables)]
)
def test_behind_a_service_each_flow_has_the_rule_of_its_endpoint(
    lab: Lab, traffic: Traffic, file: str
) -> None:
    program = "nft" if file.endswith(".nft") else "iptables-nft-restore"
    words = [tools.needed(program), *(["-f", "-"] if program == "nft" else [])]
    lab.run(BOX, ["nft", "flush", "ruleset"])
    lab.run(BOX, words, stdin=(RULESETS / file).read_text())
    lab.run(BOX, ["ip", "route", "add", "10.244.0.0/16", "dev", "lan"])
    for endpoint in ("10.244.0.5", "10.244.0.6"):
        lab.run("bob", ["ip", "addr", "add", f"{endpoint}/32", "dev", "eth0"])
    flows = [
        traffic.tcp("alice", ("10.96.0.1", 80), "bob", ("", 8080)) for _ in range(12)
    ]
    with Kernel(lab.box.path) as kernel:
        targets = [str(flow.reply.src) for one in flows
                   for flow in kernel.flows(one.filter())]  # fmt: skip
    found = makings(lab, flows)
    assert set(targets) <= {"10.244.0.5", "10.244.0.6"}
    for making, target in zip(found, targets, strict=True):
        assert making.dnat is not None
        assert f"{target}:8080" in making.dnat.text
        assert making.snat is not None
        assert "masquerade" in making.snat.text.lower()


def natscope(lab: Lab, *words: str) -> str:
    return lab.run(BOX, [sys.executable, "-m", "natscope", *words])


def rules(lab: Lab, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(natscope(lab, "rules", "--json", *words))[
        "rules"
    ]
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_rules_have_their_flows_and_what_their_counters_say(
    lab: Lab, traffic: Traffic, tool: str
) -> None:
    docker(lab, tool)
    for _ in range(3):
        udp(traffic, WORLD, (PUBLIC, 8053))
    udp(traffic, "alice", (SERVER, 53))
    found = {rule["chain"]: rule for rule in rules(lab)}
    assert list(found) == ["DOCKER", "POSTROUTING"]
    assert [rule["flows"] for rule in found.values()] == [3, 1]
    assert [rule["hits"] for rule in found.values()] == [3, 1]
    # 20 bytes of IP, 8 of UDP, 8 of "question"
    assert [rule["bytes"] for rule in found.values()] == [3 * 36, 36]
    assert {rule["tool"] for rule in found.values()} == {tool}


def test_the_handles_are_those_of_the_kernel(lab: Lab, traffic: Traffic) -> None:
    udp(traffic, "alice", (SERVER, 53))
    listed = json.loads(lab.run(BOX, ["nft", "-a", "-j", "list", "ruleset"]))
    theirs = {
        (rule["family"], rule["table"], rule["chain"], rule["handle"])
        for rule in (item["rule"] for item in listed["nftables"] if "rule" in item)
    }
    ours = {(r["family"], r["table"], r["chain"], r["handle"]) for r in rules(lab)}
    assert theirs == ours
    (flow,) = json.loads(natscope(lab, "list", "--rule", "--json", "src", ALICE))[
        "flows"
    ]
    place = ("family", "table", "chain", "handle")
    assert tuple(flow[f"snat_rule_{member}"] for member in place) in theirs
    assert flow["rule_state"] == "exact"
    assert not any(name.startswith("dnat_rule") for name in flow)


def test_rules_nobody_uses_are_marked_and_none_is_called_unused_for_want_of_a_counter(
    lab: Lab, traffic: Traffic
) -> None:
    load(
        lab,
        nat(
            f"udp dport 1 counter dnat to {BOB}\n"
            f"udp dport 2 dnat to {BOB}\n"
            f"udp dport 3 counter packets 7 bytes 252 dnat to {BOB}\n"
            f"udp dport 4 counter packets 7 bytes 252 dnat to {BOB}\n"
        ),
    )
    udp(traffic, WORLD, (PUBLIC, 4))
    lines = natscope(lab, "rules").splitlines()
    said_below = [line.strip() for line in lines[2::2]]
    assert said_below[:3] == [
        "no flow; 0 hits since it was loaded",
        "no flow, no counter",
        "no flow now",
    ]
    assert said_below[3].endswith(f"to {PUBLIC}:4 now {BOB}:4")
    assert [rule.get("hits") for rule in rules(lab)] == [0, None, 7, 8]


def test_stale_flows_are_counted_beside_the_rules(lab: Lab, traffic: Traffic) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, (PUBLIC, 8053))
    load(lab, nat(f"udp dport 8053 dnat to {CAROL}:53"))
    document = json.loads(natscope(lab, "rules", "--json"))
    assert (document["flows"], document["stale_flows"]) == (1, 1)
    assert [rule["flows"] for rule in document["rules"]] == [0]
    assert f"no rule now (would be {CAROL}:53)" in natscope(lab, "list", "--rule")


def test_a_bundle_tells_the_same_of_its_rules_and_flows(
    lab: Lab, traffic: Traffic, tmp_path: Path
) -> None:
    for example in EXAMPLES:
        appeared(traffic, example.make(traffic))
    file, flows = str(tmp_path / "box.json"), str(tmp_path / "flows.nsave")
    natscope(lab, "bundle", "--flows", file)
    live, saved = rules(lab), rules(lab, "--bundle", file)
    assert [{**rule, "example": ""} for rule in saved] == [
        {**rule, "example": ""} for rule in live
    ]
    natscope(lab, "save", flows)
    listed = natscope(lab, "list", flows, "--rule", "--bundle", file, "--csv")
    states = {row["rule_state"] for row in csv.DictReader(io.StringIO(listed))}
    assert states == {"exact"}


def test_a_bundle_without_flows_has_none_to_count(lab: Lab, tmp_path: Path) -> None:
    file = str(tmp_path / "box.json")
    natscope(lab, "bundle", file)
    found = rules(lab, "--bundle", file)
    assert found
    assert not any("flows" in rule or "unused" in rule for rule in found)


def test_of_a_box_not_all_of_which_was_read_nothing_is_called_stale(
    lab: Lab, traffic: Traffic
) -> None:
    flow = udp(traffic, "alice", (SERVER, 53))
    unread = replace(box(lab), rulesets=(), missing=("nftables: not permitted",))
    with Twin(unread) as twin, Kernel(lab.box.path) as kernel:
        found = attribute(kernel.table(flow.filter()), twin)
    assert (
        said(found.makings[found.of_row[0]])
        == "not known: not all of the box could be read"
    )


def test_where_the_twin_lacks_something_of_the_box_no_stale_flow_is_certain(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat(FORWARD))
    flow = udp(traffic, WORLD, (PUBLIC, 8053))
    load(lab, nat())
    whole = box(lab)
    odd = RoutingRule("inet", 9, table=77, unknown=("colour",))
    for bundle, is_certain in (
        (whole, True),
        (replace(whole, rules=(*whole.rules, odd)), False),
    ):
        with Twin(bundle) as twin, Kernel(lab.box.path) as kernel:
            found = attribute(kernel.table(flow.filter()), twin)
        making = found.makings[found.of_row[0]]
        assert (making.origin, making.is_certain) == (Origin.STALE, is_certain)


@needs_iptables
def test_rules_of_iptables_legacy_are_followed_beside_those_of_nft(
    lab: Lab, traffic: Traffic
) -> None:
    forwards = [line for line in DOCKER_IPTABLES.splitlines() if "MASQ" not in line]
    lab.run(BOX, ["iptables-legacy-restore"], stdin="\n".join([*forwards, ""]))
    inward = udp(traffic, WORLD, (PUBLIC, 8053))
    outward = udp(traffic, "carol", (SERVER, 53))
    forward, static = makings(lab, [inward, outward])
    assert ["--dport 8053 -j DNAT" in text for text in texts(forward)] == [True]
    assert texts(static) == [f'oifname "wan" ip saddr {CAROL} snat to {STATIC}']
    flows = {rule["tool"]: "flows" in rule for rule in rules(lab)}
    assert flows == {"nft": True, "iptables-legacy": True}


def test_a_flow_whose_source_has_no_route_is_not_known(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat("udp dport 8080 dnat to 10.0.0.3"))
    flow = udp(traffic, WORLD, (PUBLIC, 8080), sport=5)
    lab.run(BOX, ["ip", "route", "del", "default"])
    lab.run(BOX, ["ip", "route", "add", "unreachable", "203.0.113.254/32"])
    (making,) = makings(lab, [flow])
    assert making.origin is Origin.UNKNOWN
    assert "203.0.113.254" in said(making)


def crowd(flows: int) -> FlowTable:
    """Flows of many hosts to many places, all masqueraded."""
    chance = np.random.default_rng(7)
    words = np.zeros((4, flows, 2), np.uint64)
    src, dst, reply_src, reply_dst = words
    src[:, 1] = (10 << 24) + 100 + chance.integers(0, 100, flows)
    reply_src[:, 1] = dst[:, 1] = (8 << 24) + chance.integers(0, 1 << 16, flows)
    reply_dst[:, 1] = 0xCB007101
    port = chance.integers(20000, 60000, flows).astype(np.uint16)
    to = np.full(flows, 443, np.uint16)
    udp = np.full(flows, 17, np.uint8)
    return FlowTable(
        {
            "family": np.full(flows, 2, np.uint8),
            "proto": udp,
            "reply_proto": udp,
            "orig_src": src,
            "orig_dst": dst,
            "orig_sport": port,
            "orig_dport": to,
            "reply_src": reply_src,
            "reply_dst": reply_dst,
            "reply_sport": to,
            "reply_dport": port,
        }
    )


def test_a_crowd_no_rule_tells_apart_takes_one_packet(lab: Lab) -> None:
    with Twin(box(lab)) as twin:
        attributor = Attributor(twin)
        found = attributor.attribute(crowd(20_000))
    assert attributor.asked == 1
    (making,) = {found.makings[code] for code in found.of_row.tolist()}
    assert texts(making) == ['oifname "wan" ip saddr 10.0.0.0/24 masquerade']


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "not given"])
def test_of_kinds_that_may_not_be_asked_about_the_text_of_the_rules_tells(
    lab: Lab, *, is_given: bool
) -> None:
    """Unknown where a rule may give it, else stale, and not certain."""
    rule = 'oifname "wan" ip saddr 10.0.0.{}/25 masquerade'
    halves = (128, 0) if is_given else (128,)
    load(lab, nat("", "\n".join(map(rule.format, halves))))
    table = crowd(1000)
    with Twin(box(lab)) as twin:
        attributor = Attributor(twin, most=1)
        found = attributor.attribute(table)
    told = [found.makings[code] for code in found.of_row.tolist()]
    unasked = [one for one in told if one.origin is not Origin.RULE]
    assert attributor.asked == 1
    assert len(unasked) == attributor.unasked > 0
    origin = Origin.UNKNOWN if is_given else Origin.STALE
    assert {(one.origin, one.is_certain) for one in unasked} == {(origin, False)}


def test_rules_of_bits_are_asked_of_each_address(lab: Lab) -> None:
    load(lab, nat("", 'oifname "wan" ip saddr & 0.0.0.1 == 0.0.0.1 masquerade'))
    table = crowd(60)
    with Twin(box(lab)) as twin:
        found = Attributor(twin).attribute(table)
    odd = table["orig_src"][:, 1] % 2 == 1
    is_rule = [found.makings[c].origin is Origin.RULE for c in found.of_row.tolist()]
    assert is_rule == odd.tolist()


def test_flows_of_overlapping_networks_are_told_by_their_zone(
    lab: Lab, traffic: Traffic
) -> None:
    load(
        lab,
        "table ip zones { chain raw { type filter hook prerouting priority raw; "
        'iifname "lan" ct zone set 5; }; }\n'
        + nat("", f'oifname "wan" snat to {STATIC}'),
    )
    flow = udp(traffic, "alice", (SERVER, 53))
    (making,) = makings(lab, [flow])
    assert (making.origin, making.is_certain) == (Origin.RULE, True)
