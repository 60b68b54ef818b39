"""Flows that are as the rules may have made them: none of them is called stale.

Each box is asked by a rehearsal, by the text of its rules, and by ``natscope rules``.
Afterwards its rules are taken away: then every translated flow is stale, so that none
was spared for want of being looked at.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kernel.staling import (
    ALICE,
    BEHIND_SECOND,
    BOB,
    BOB_V6,
    CAROL,
    NONE,
    PUBLIC,
    PUBLIC_V6,
    RULESETS,
    SECOND,
    SERVER,
    SERVER_V6,
    STATIC,
    TRACKING,
    Sender,
    ageless,
    ip,
    load,
    nat,
    natscope,
    stale,
    udp,
    uplink,
)
from natscope.lab import network
from natscope.lab.build import Lab
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import Flow, Traffic
from natscope.sources import tools
from natscope.sources.kernel import Kernel

pytestmark = pytest.mark.kernel

Way = tuple[str, tuple[str, int]]
"""Who sends, and where to."""
VISIT, VISIT_V6 = (WORLD, (PUBLIC, 8053)), (WORLD, (PUBLIC_V6, 8053))
OUT, OUT_V6 = ("alice", (SERVER, 53)), ("alice", (SERVER_V6, 53))
FORWARD = f"ip daddr {PUBLIC} udp dport 8053 dnat to {BOB}:53"
MASQUERADE = 'oifname "wan" masquerade'
needs_iptables = pytest.mark.skipif(
    tools.find("iptables-nft-restore") is None, reason="needs iptables"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of one's own."""
    with ageless() as made:
        yield made


@pytest.fixture
def traffic(lab: Lab) -> Iterator[Traffic]:
    """Its sockets."""
    with Traffic(lab) as made:
        yield made


def none_is_stale(lab: Lab) -> str:
    """See that none is, whoever is asked; what was said of those not judged."""
    code, told, said = natscope(lab, "stale")
    assert (code, told) == (NONE, ""), said
    assert stale(lab, "--by-shape") == []
    assert json.loads(natscope(lab, "rules", "--json")[1])["stale_flows"] == 0
    return said


def all_are_without_rules(lab: Lab, *, least: int = 1, rules: str = TRACKING) -> None:
    """See that every translated flow is stale once no rule is left."""
    with Kernel(lab.box.path) as kernel:
        translated = len(kernel.table("nat"))
    assert translated >= least
    load(lab, rules)
    assert len(stale(lab, "nat")) == translated


@dataclass(frozen=True)
class Rules:
    """Rules that may give several things, or one in a roundabout way."""

    id: str
    rules: str
    ways: tuple[Way, ...]


def by(prerouting: str, family: str = "ip", head: str = "") -> str:
    return nat(prerouting, MASQUERADE, family).replace("{\n", f"{{\n{head}\n", 1)


MAPS = f"""map targets {{ type inet_service : ipv4_addr . inet_service
        elements = {{ 8053 : {BOB} . 53, 8054 : {CAROL} . 53 }} }}
    set allowed {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.0/24 }} }}"""
MAPS_V6 = f"""map targets {{ type ipv6_addr . inet_service : ipv6_addr
        elements = {{ {PUBLIC_V6} . 8053 : {BOB_V6} }} }}"""
FILTER = """table ip filter { chain forward { type filter hook forward priority 0
    policy drop
    limit rate 3/minute log prefix "odd "
    udp dport 53 accept; }; }
"""
RULES = [
    *(
        Rules(f"a pool, {how or 'in order'}",
              nat("", f'oifname "wan" snat to {PUBLIC}-{STATIC} {how}'), (OUT,) * 4)
        for how in ("", "random", "fully-random", "persistent")
    ),
    *(
        Rules(f"masquerading, {how}", nat("", f"masquerade {how}"), (OUT,) * 4)
        for how in ("random", "fully-random,persistent")
    ),
    Rules("masquerading to ports",
          nat("", "ip protocol udp masquerade to :4000-4999 random"), (OUT,) * 4),
    Rules(
        "by turns, from a map",
        by(f"udp dport 8053 dnat to numgen inc mod 2 map {{ 0 : {BOB}, 1 : {CAROL} }}"),
        (VISIT,) * 4,
    ),
    Rules(
        "by a hash, from a map",
        by(f"dnat to jhash ip saddr . udp sport mod 2 map {{ 0 : {BOB}, 1 : {CAROL} }}"),
        (VISIT,) * 4,
    ),
    Rules("by chance, beside another",
          by(f"numgen random mod 2 0 dnat to {BOB}\ndnat to {CAROL}"), (VISIT,) * 4),
    Rules(
        "until a limit is reached",
        by(f"limit rate 1/hour burst 2 packets dnat to {BOB}\ndnat to {CAROL}"),
        (VISIT,) * 4,
    ),
    Rules(
        "for who was here before",
        by(f"ip saddr @met dnat to {BOB}\nupdate @met {{ ip saddr }} dnat to {CAROL}",
           head="set met { type ipv4_addr; flags dynamic,timeout; timeout 1h; }"),
        (VISIT,) * 3,
    ),
    Rules("any of a range", by(f"udp dport 8053 dnat to {ALICE}-{CAROL}"), (VISIT,) * 4),
    Rules("any port of a range", by(f"udp dport 8053 dnat to {BOB}:1000-1999"),
          (VISIT,) * 4),
    Rules(
        "named maps and sets",
        by("ip saddr @allowed dnat ip to udp dport map @targets", head=MAPS),
        (VISIT, (WORLD, (PUBLIC, 8054))),
    ),
    Rules(
        "a map of verdicts",
        by("udp dport vmap { 8053 : goto there }",
           head=f"chain there {{ udp dport 8053 dnat to {BOB}:53; }}"),
        (VISIT,),
    ),
    Rules(
        "a network for another",
        nat("dnat ip prefix to ip daddr map { 203.0.113.0/24 : 10.0.0.0/24 }",
            "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }"),
        (OUT, (WORLD, (STATIC, 53))),
    ),
    Rules("hairpin", nat(FORWARD, "masquerade"), (("alice", (PUBLIC, 8053)), VISIT)),
    Rules(
        "not for some, masquerading for others",
        nat("", f"ip daddr {SERVER} return\n{MASQUERADE}"),
        (OUT, ("alice", (network.SECOND_V4, 53))),
    ),
    Rules("rules that drop, and log not all they drop", FILTER + by(FORWARD),
          (VISIT, OUT)),
    Rules("IPv4 and IPv6 in one table", nat("", MASQUERADE, "inet"), (OUT, OUT_V6)),
    Rules("IPv6, a named map",
          by("dnat to ip6 daddr . udp dport map @targets", "ip6", MAPS_V6), (VISIT_V6,)),
    Rules("IPv6, a pool",
          nat("", "snat to 2001:db8:113::100-2001:db8:113::1ff random", "ip6"),
          (OUT_V6,) * 4),
    Rules(
        "IPv6, a network for another",
        nat("", "snat ip6 prefix to ip6 saddr map "
            "{ fd00:77::/64 : 2001:db8:113::/64 }", "ip6"),
        (OUT_V6,),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.id)
def test_what_a_rule_may_have_given_is_not_stale(
    lab: Lab, traffic: Traffic, case: Rules
) -> None:
    load(lab, case.rules)
    for client, to in case.ways:
        udp(traffic, client, to)
    none_is_stale(lab)
    all_are_without_rules(lab)


NTH = "-A PREROUTING -p udp -m udp --dport 8053"
IPTABLES = [
    Rules("a pool", f"-A POSTROUTING -o wan -j SNAT --to-source {PUBLIC}-{STATIC} --random",
          (OUT,) * 3),
    Rules("a pool, the same for each",
          f"-A POSTROUTING -o wan -j SNAT --to-source {PUBLIC}-{STATIC} --persistent",
          (OUT,) * 3),
    Rules("masquerading to ports",
          "-A POSTROUTING -o wan -p udp -j MASQUERADE --to-ports 4000-4999 --random-fully",
          (OUT,) * 3),
    Rules("a network for another",
          "-A PREROUTING -d 203.0.113.0/24 -j NETMAP --to 10.0.0.0/24\n"
          "-A POSTROUTING -s 10.0.0.0/24 -o wan -j NETMAP --to 203.0.113.0/24",
          (OUT, (WORLD, (STATIC, 53)))),
    Rules("by turns",
          f"{NTH} -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination {BOB}\n"
          f"{NTH} -j DNAT --to-destination {CAROL}:53",
          (VISIT,) * 4),
    Rules("until a limit is reached",
          f"{NTH} -m limit --limit 1/hour --limit-burst 2 -j DNAT --to-destination {BOB}\n"
          f"{NTH} -j DNAT --to-destination {CAROL}",
          (VISIT,) * 4),
    Rules("a range", f"{NTH} -j DNAT --to-destination {ALICE}-{CAROL}:1000-1999",
          (VISIT,) * 4),
    Rules("hairpin",
          f"{NTH} -d {PUBLIC} -j DNAT --to-destination {BOB}:53\n"
          "-A POSTROUTING -s 10.0.0.0/24 -d 10.0.0.0/24 -o lan -j MASQUERADE",
          (VISIT, ("alice", (PUBLIC, 8053)))),
]  # fmt: skip


@needs_iptables
@pytest.mark.parametrize("case", IPTABLES, ids=lambda case: case.id)
def test_what_a_rule_of_iptables_may_have_given_is_not_stale(
    lab: Lab, traffic: Traffic, case: Rules
) -> None:
    lab.run(BOX, ["nft", "flush", "ruleset"])
    head = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]"
    lab.run(BOX, ["iptables-nft-restore"], stdin=f"{head}\n{case.rules}\nCOMMIT\n")
    for client, to in case.ways:
        udp(traffic, client, to)
    none_is_stale(lab)
    all_are_without_rules(lab)


@pytest.mark.parametrize("how", ["ct zone", "ct original zone"])
def test_a_flow_in_a_zone_of_the_rules_is_not_stale(
    lab: Lab, traffic: Traffic, how: str
) -> None:
    zones = (
        "table ip zones { chain raw { type filter hook prerouting priority raw; "
        f'iifname {{ "lan", "wan" }} {how} set 5; }}; }}\n'
    )
    load(lab, zones + nat("", MASQUERADE))
    udp(traffic, *OUT)
    none_is_stale(lab)
    all_are_without_rules(lab, rules=zones + TRACKING)
    load(lab, TRACKING)
    assert "in a zone no rule sets" in none_is_stale(lab)


def test_what_may_have_come_in_by_another_uplink_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """The rule asks for one uplink, and the route back leads over the other."""
    uplink(lab)
    load(lab, nat(f'iifname "wan" {FORWARD}'))
    udp(traffic, *VISIT)
    ip(lab, f"route add {network.VISITOR_V4} via {BEHIND_SECOND}")
    assert "had it come in by another interface" in none_is_stale(lab)
    all_are_without_rules(lab)


def both_uplinks(lab: Lab) -> None:
    """A second uplink, on which the world sends as well."""
    uplink(lab)
    lab.run(WORLD, ["ip", "addr", "add", f"{BEHIND_SECOND}/24", "dev", "eth2"])
    lab.run(WORLD, ["ip", "link", "set", "eth2", "up"])


KEEP_THE_WAY = """table ip mangle {
    chain pre { type filter hook prerouting priority mangle
        iifname "wan2" ct state new ct mark set 2
        iifname "lan" meta mark set ct mark; }
    chain out { type route hook output priority mangle; meta mark set ct mark; }
}
"""


def test_of_two_uplinks_whose_answers_go_back_by_marks_none_makes_a_flow_stale(
    lab: Lab, traffic: Traffic
) -> None:
    both_uplinks(lab)
    ip(lab, "rule add fwmark 2 lookup 102",
       f"route add default via {BEHIND_SECOND} table 102")  # fmt: skip
    there = f'iifname "wan2" ip daddr {SECOND} udp dport 8053 dnat to {CAROL}:53'
    load(lab, KEEP_THE_WAY + nat(f'iifname "wan" {FORWARD}\n{there}', MASQUERADE))
    for way in (VISIT, (WORLD, (SECOND, 8053)), OUT):
        udp(traffic, *way)
    none_is_stale(lab)
    told = json.loads(natscope(lab, "rules", "--json")[1])["rules"]
    assert [rule["flows"] for rule in told] == [1, 1, 1]
    all_are_without_rules(lab, least=3)


def test_routes_by_source_and_by_interface_are_followed(
    lab: Lab, traffic: Traffic
) -> None:
    both_uplinks(lab)
    ip(lab, f"route add default via {BEHIND_SECOND} table 102",
       f"rule add from {ALICE} iif lan lookup 102")  # fmt: skip
    load(
        lab,
        nat("", f'oifname "wan" snat to {PUBLIC}\noifname "wan2" snat to {SECOND}'),
    )
    udp(traffic, *OUT)
    none_is_stale(lab)
    ip(lab, f"rule del from {ALICE} iif lan lookup 102")
    assert [one["reason"] for one in stale(lab)] == ["route-moved"]


def test_of_several_ways_to_one_place_none_makes_a_flow_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """The kernel chooses by a hash of what the packet has (fib_select_multipath)."""
    uplink(lab)
    load(
        lab,
        nat("", f'oifname "wan" snat to {PUBLIC}\noifname "wan2" snat to {SECOND}'),
    )
    for host in range(1, 5):
        udp(traffic, "alice", (f"198.51.100.{host}", 53))
    none_is_stale(lab)
    ip(lab, f"route add 198.51.100.0/24 via {BEHIND_SECOND}")
    for host in range(5, 9):
        udp(traffic, "alice", (f"198.51.100.{host}", 53))
    ip(lab, "route replace 198.51.100.0/24 nexthop via 203.0.113.254 "
            f"nexthop via {BEHIND_SECOND}")  # fmt: skip
    assert "chance chooses the way" in none_is_stale(lab)
    # where chance chooses the way to elsewhere alone, nothing is in doubt
    ip(lab, "route del 198.51.100.0/24",
       f"route add 198.51.100.0/24 via {BEHIND_SECOND}",
       "route add 192.0.2.0/25 nexthop via 203.0.113.254 "
       f"nexthop via {BEHIND_SECOND}")  # fmt: skip
    assert [one["reason"] for one in stale(lab)] == ["route-moved"] * 4


BY_TURNS = """table ip mangle { chain pre {
    type filter hook prerouting priority mangle; policy accept;
    iifname "lan" ct state new ct mark set numgen inc mod 2 offset 1
    iifname "lan" meta mark set ct mark
}; }
"""


def by_mark(lab: Lab) -> str:
    """Marks choose between two uplinks; each has its address."""
    uplink(lab)
    ip(
        lab,
        "rule add fwmark 1 lookup 101",
        "rule add fwmark 2 lookup 102",
        "route add default via 203.0.113.254 table 101",
        f"route add default via {BEHIND_SECOND} table 102",
    )
    return nat("", f'oifname "wan" snat to {PUBLIC}\noifname "wan2" snat to {SECOND}')


def test_of_uplinks_taken_by_turns_neither_makes_a_flow_stale(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, BY_TURNS + by_mark(lab))
    for host in range(1, 5):
        udp(traffic, "alice", (f"198.51.100.{host}", 53))
    with Kernel(lab.box.path) as kernel:
        used = {str(flow.reply.dst) for flow in kernel.flows("udp and dst port 53")}
    assert used == {PUBLIC, SECOND}
    none_is_stale(lab)
    all_are_without_rules(lab, least=4)


def test_where_chance_chooses_no_mark_a_route_that_moved_is_told(
    lab: Lab, traffic: Traffic
) -> None:
    """A limit in a table that sets no mark decides about no route."""
    rules = FILTER + by_mark(lab)
    load(lab, rules)
    udp(traffic, *OUT)
    none_is_stale(lab)
    ip(lab, f"route add {SERVER} via {BEHIND_SECOND}")
    assert [one["reason"] for one in stale(lab)] == ["route-moved"]


def own(traffic: Traffic, source: str, level: int, option: int, value: object) -> None:
    """A datagram of the box to the server, from a socket with an option."""
    sock = traffic.socket(BOX, socket.SOCK_DGRAM, v6=False)
    assert isinstance(value, (int, bytes))
    sock.setsockopt(level, option, value)
    sock.bind((source, 0))
    flow = Flow("udp", source, SERVER, sock.getsockname()[1], 51820)
    Sender(traffic, sock, flow).again()


def test_what_a_program_of_the_box_marked_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """So WireGuard keeps its own packets out of its tunnel."""
    load(lab, by_mark(lab))
    own(traffic, PUBLIC, socket.SOL_SOCKET, socket.SO_MARK, 2)
    with Kernel(lab.box.path) as kernel:
        (made,) = kernel.flows("dst port 51820")
    assert str(made.reply.dst) == SECOND
    assert "its program may have chosen the way" in none_is_stale(lab)
    all_are_without_rules(lab)


def test_what_a_program_of_the_box_bound_to_an_uplink_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """So a box with two uplinks sees whether each works."""
    uplink(lab)
    load(
        lab,
        nat("", f'oifname "wan" snat to {PUBLIC}\noifname "wan2" snat to {SECOND}'),
    )
    own(traffic, SECOND, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan2")
    with Kernel(lab.box.path) as kernel:
        (made,) = kernel.flows("dst port 51820")
    assert str(made.reply.dst) == SECOND
    assert "its program may have chosen the way" in none_is_stale(lab)


def test_what_the_box_itself_sends_is_followed(lab: Lab, traffic: Traffic) -> None:
    load(
        lab,
        nat("", 'oifname "wan" masquerade').replace(
            "chain prerouting",
            "chain output { type nat hook output priority -100; "
            f"ip daddr {STATIC} udp dport 53 dnat to {BOB}; }}\n chain prerouting",
        ),
    )
    for to in (STATIC, SERVER):
        sock = traffic.socket(BOX, socket.SOCK_DGRAM, v6=False)
        sock.bind((PUBLIC, 0))
        flow = Flow("udp", PUBLIC, to, sock.getsockname()[1], 53)
        Sender(traffic, sock, flow).again()
    none_is_stale(lab)
    all_are_without_rules(lab)


def test_what_a_limit_may_have_let_through_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, by(FORWARD))
    udp(traffic, *VISIT)
    udp(traffic, *OUT)
    limited = """table ip filter { chain forward { type filter hook forward priority 0
        limit rate 1/hour burst 1 packets accept
        drop; }; }
    """
    load(lab, limited + by(FORWARD))
    assert "where not every packet fares alike" in none_is_stale(lab)


def test_a_port_that_was_moved_for_another_flow_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat("", MASQUERADE))
    udp(traffic, *OUT, sport=6000)
    sock = traffic.socket(BOX, socket.SOCK_DGRAM, v6=False)
    sock.bind((PUBLIC, 6000))
    Sender(traffic, sock, Flow("udp", PUBLIC, SERVER, 6000, 53)).again()
    with Kernel(lab.box.path) as kernel:
        ports = {flow.reply.dport for flow in kernel.flows("dst port 53")}
    assert len(ports) == 2
    none_is_stale(lab)


@pytest.mark.parametrize(
    "file", ["kube-proxy.nft", pytest.param("kube-proxy.rules", marks=needs_iptables)]
)
def test_behind_a_service_of_kubernetes_no_flow_is_stale(
    lab: Lab, traffic: Traffic, file: str
) -> None:
    """kube-proxy chooses among endpoints by chance."""
    lab.run(BOX, ["nft", "flush", "ruleset"])
    loader = ["nft", "-f", "-"] if file.endswith("nft") else ["iptables-nft-restore"]
    lab.run(BOX, loader, stdin=(RULESETS / file).read_text())
    ip(lab, "route add 10.244.0.0/16 dev lan")
    for endpoint in ("10.244.0.5", "10.244.0.6"):
        lab.run("bob", ["ip", "addr", "add", f"{endpoint}/32", "dev", "eth0"])
    for _ in range(8):
        traffic.tcp("alice", ("10.96.0.1", 80), "bob", ("", 8080))
    none_is_stale(lab)
    all_are_without_rules(lab, least=8)


SYNPROXY = """table ip guard {
    chain raw { type filter hook prerouting priority raw
        tcp dport 8080 tcp flags syn notrack; }
    chain forward { type filter hook forward priority 0
        tcp dport 8080 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp
        ct state invalid drop; }
}
"""


def test_a_connection_a_proxy_of_syns_made_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    with lab.inside(BOX):
        subprocess.run(
            ["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"], check=True
        )
    load(lab, SYNPROXY + nat("", MASQUERADE))
    traffic.tcp("alice", (SERVER, 8080), WORLD, (SERVER, 8080))
    none_is_stale(lab)
    all_are_without_rules(lab)


HELPER = """table ip helping {
    ct helper ftp { type "ftp" protocol tcp; }
    chain pre { type filter hook prerouting priority -150; tcp dport 21 ct helper set "ftp"; }
}
"""


def test_what_a_helper_expected_is_not_stale(lab: Lab, traffic: Traffic) -> None:
    """The server of an FTP client behind masquerading calls back (PORT)."""
    load(lab, HELPER + nat("", MASQUERADE))
    server = traffic.socket(WORLD, socket.SOCK_STREAM, v6=False)
    server.bind((SERVER, 21))
    server.listen()
    called = traffic.socket("alice", socket.SOCK_STREAM, v6=False)
    called.bind((ALICE, 0))
    called.listen()
    client = traffic.socket("alice", socket.SOCK_STREAM, v6=False)
    client.connect((SERVER, 21))
    control, _ = server.accept()
    high, low = divmod(called.getsockname()[1], 256)
    client.sendall(b"USER anonymous\r\n")  # only behind a line a command is looked for
    control.recv(100)
    client.sendall(f"PORT {ALICE.replace('.', ',')},{high},{low}\r\n".encode())
    *host, high, low = map(int, control.recv(100).split()[1].split(b","))
    calling = traffic.socket(WORLD, socket.SOCK_STREAM, v6=False)
    calling.bind((SERVER, 20))
    calling.connect((".".join(map(str, host)), high * 256 + low))
    control.close()
    with Kernel(lab.box.path) as kernel:
        assert len(kernel.table("expected")) == 1
    said = none_is_stale(lab)
    assert "1 not judged: as the flow that expected it" in said
