"""The doctor's rules against real trouble: made in a lab, read from its kernel."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import unavailable
from natscope import uapi
from natscope.actions import mending
from natscope.codec.bundle import decode, encode
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import Traffic, happen
from natscope.model.finding import Finding, Severity
from natscope.model.flow import Flow
from natscope.rehearse.attribution.attributor import attribute
from natscope.rehearse.attribution.shapes import by_shape
from natscope.rehearse.twin import Twin
from natscope.sources import tools
from natscope.sources.snapshot import collect
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import DEFAULT, Thresholds

pytestmark = pytest.mark.kernel

ALICE, BOB, CAROL = (network.HOSTS[name].v4 for name in network.INSIDE)
PUBLIC, STATIC = network.PUBLIC_V4, network.STATIC_V4
SERVER, VISITOR = network.SERVER_V4, network.VISITOR_V4
NAT = "type nat hook {hook} priority {priority};"
PREROUTING = NAT.format(hook="prerouting", priority="dstnat")
POSTROUTING = NAT.format(hook="postrouting", priority="srcnat")
MASQUERADE = f'chain post {{ {POSTROUTING} oifname "wan" masquerade }}'
TRACKED = "table ip watch { chain c { type filter hook forward priority 0; ct state new counter } }"


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    """A lab of one's own, and its sockets."""
    try:
        with built() as lab, Traffic(lab) as made:
            yield made
    except NamespaceError as error:
        unavailable(str(error))


def load(lab: Lab, rules: str) -> None:
    """These rules of nft in place of all others."""
    lines = rules.replace("}", "\n}")  # nft wants a line's end before a brace
    lab.run(BOX, ["nft", "-f", "-"], stdin=f"flush ruleset\n{lines}")


def forward(target: str, counter: str = "") -> str:
    """A port forward of UDP and TCP 5000, and masquerading."""
    return f"""table ip nat {{
        chain pre {{ {PREROUTING}
            ip daddr {PUBLIC} udp dport 5000 {counter} dnat to {target}
            ip daddr {PUBLIC} tcp dport 5000 {counter} dnat to {target} }}
        {MASQUERADE} }}"""


def look(
    lab: Lab, meanwhile: Callable[[], object] = lambda: None, *, deep: bool = False
) -> Snapshot:
    """The box, with what happened between two readings."""
    snapshot = Snapshot.of(*collect(lab.box.path, 1.0, wait=lambda _: meanwhile()))
    assert snapshot.table is not None
    if not deep:
        made = by_shape(snapshot.table, snapshot.nat_rules, snapshot.bundle)
        return replace(snapshot, made=made)
    with Twin(snapshot.bundle) as twin:
        return replace(snapshot, made=attribute(snapshot.table, twin), is_exact=True)


def found(snapshot: Snapshot, thresholds: Thresholds = DEFAULT) -> list[Finding]:
    """What all the rules say; each of them was asked."""
    diagnosis = diagnose(snapshot, thresholds)
    assert diagnosis.not_checked == ()
    return list(diagnosis.findings)


def only(snapshot: Snapshot, rule: str) -> Finding:
    """The one finding there is."""
    (finding,) = found(snapshot)
    assert finding.rule == rule
    return finding


def facts(finding: Finding) -> dict[str, int | float | str]:
    return {fact.name: fact.value for fact in finding.facts}


def datagram(
    traffic: Traffic, host: str, to: tuple[str, int], source: tuple[str, int] = ("", 0)
) -> Callable[[], object]:
    """A sender of datagrams nobody answers; called, it sends another."""
    made = traffic.socket(host, socket.SOCK_DGRAM, v6=False)
    made.bind(source)
    made.connect(to)

    def send() -> None:
        try:
            made.send(b"hello")
        except ConnectionRefusedError:
            made.send(b"hello")  # told of the one before

    send()
    return send


@pytest.mark.parametrize("deep", [False, True], ids=["by shape", "asked"])
def test_a_healthy_box_gives_no_finding(traffic: Traffic, deep: bool) -> None:
    snapshot = look(traffic.lab, lambda: list(happen(traffic)), deep=deep)
    assert len(snapshot.flows) >= len(list(network.INSIDE))
    assert [finding.headline for finding in found(snapshot)] == []


DOCKER = f"""*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o lan -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o lan -j DOCKER
-A FORWARD -i lan -j ACCEPT
-A DOCKER -d {BOB}/32 -o lan -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.0.0.0/24 ! -o lan -j MASQUERADE
-A POSTROUTING -s 10.0.0.0/24 -d 10.0.0.0/24 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination {BOB}:80
COMMIT
"""


@pytest.mark.parametrize("deep", [False, True], ids=["by shape", "asked"])
@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_a_healthy_box_with_dockers_rules_gives_no_finding(
    traffic: Traffic, tool: str, deep: bool
) -> None:
    if tools.find(f"{tool}-restore") is None:
        pytest.skip(f"needs {tool}")
    lab = traffic.lab
    lab.run(BOX, ["nft", "flush", "ruleset"])
    lab.run(BOX, [f"{tool}-restore"], stdin=DOCKER)

    def work() -> None:
        web, names = (SERVER, 443), (network.SECOND_V4, 53)
        traffic.tcp("alice", web, WORLD, web)
        traffic.tcp("bob", web, WORLD, web, close=True)
        traffic.udp("alice", names, WORLD, names, rounds=2)
        traffic.tcp(WORLD, (PUBLIC, 8080), "bob", ("", 80), VISITOR)
        traffic.tcp("alice", (PUBLIC, 8080), "bob", ("", 80))
        traffic.syn("alice", (network.BLACK_HOLE_V4, 80))
        traffic.ping("alice", SERVER, 4711)
        traffic.udp("carol", (network.BLACK_HOLE_V4, 514))

    snapshot = look(lab, work, deep=deep)
    assert len(snapshot.flows) >= 8
    assert [finding.headline for finding in found(snapshot)] == []


def test_used_up_ports_are_found(traffic: Traffic) -> None:
    load(
        traffic.lab,
        f'table ip nat {{ chain post {{ {POSTROUTING} oifname "wan" meta l4proto udp masquerade to :2000-2009 }} }}',
    )

    def crowd() -> None:
        for _ in range(14):
            datagram(traffic, "alice", (SERVER, 4000))

    finding = only(look(traffic.lab, crowd), "R03")
    assert finding.severity is Severity.CRITICAL
    assert facts(finding)["ports held"] == 10
    assert facts(finding)["range"] == "2000-2009"
    assert facts(finding)["new flows dropped"] == 4
    assert finding.about == f"{PUBLIC} to udp {SERVER}:4000"


def test_ports_used_towards_another_destination_are_no_trouble(
    traffic: Traffic,
) -> None:
    load(
        traffic.lab,
        f'table ip nat {{ chain post {{ {POSTROUTING} oifname "wan" meta l4proto udp masquerade to :2000-2009 }} }}',
    )

    def spread() -> None:
        for port in range(4000, 4020):
            datagram(traffic, "alice", (SERVER, port))

    assert found(look(traffic.lab, spread)) == []


@pytest.mark.parametrize("deep", [False, True], ids=["by shape", "asked"])
def test_flows_to_a_target_no_rule_names_are_found(
    traffic: Traffic, deep: bool
) -> None:
    load(traffic.lab, forward(BOB))
    send = datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, 7000))
    load(traffic.lab, forward(CAROL))
    finding = only(look(traffic.lab, send, deep=deep), "R07")
    assert finding.severity is Severity.HIGH
    assert finding.about == BOB
    assert facts(finding)["flows"] == 1
    assert str(finding.flows[0].reply.src) == BOB


def test_a_flow_its_old_target_still_answers_is_worth_a_word_where_it_is_asked(
    traffic: Traffic,
) -> None:
    load(traffic.lab, forward(BOB))
    visit, service = (VISITOR, 7000), ("", 5000)
    asking = traffic.socket(WORLD, socket.SOCK_DGRAM, v6=False)
    answering = traffic.socket("bob", socket.SOCK_DGRAM, v6=False)
    asking.bind(visit)
    answering.bind(service)

    def talk() -> None:
        for _ in range(3):
            asking.sendto(b"hello", (PUBLIC, 5000))
            _, peer = answering.recvfrom(10)
            answering.sendto(b"hello", peer)
            asking.recv(10)

    talk()
    load(traffic.lab, forward(CAROL))
    assert found(look(traffic.lab, talk)) == []
    finding = only(look(traffic.lab, talk, deep=True), "R07")
    assert (finding.severity, finding.about) == (Severity.INFO, f"{BOB} answers")
    answering.close()
    finding = only(
        look(
            traffic.lab,
            lambda: [asking.sendto(b"?", (PUBLIC, 5000)) for _ in range(3)],
        ),
        "R07",
    )
    assert (finding.severity, finding.about) == (Severity.HIGH, BOB)


def test_a_new_flow_to_the_new_target_is_no_trouble(traffic: Traffic) -> None:
    load(traffic.lab, forward(BOB))
    load(traffic.lab, forward(CAROL))
    send = datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, 7000))
    assert found(look(traffic.lab, send)) == []


@pytest.mark.parametrize("deep", [False, True], ids=["by shape", "asked"])
def test_a_flow_older_than_masquerade_is_found(traffic: Traffic, deep: bool) -> None:
    load(traffic.lab, TRACKED)
    send = datagram(traffic, "alice", (SERVER, 4000))
    load(traffic.lab, f"table ip nat {{ {MASQUERADE} }}")
    finding = only(look(traffic.lab, send, deep=deep), "R08")
    assert finding.severity is Severity.HIGH
    assert facts(finding)["flows"] == 1
    assert str(finding.flows[0].reply.dst) == ALICE


def test_a_flow_older_than_a_port_forward_is_found(traffic: Traffic) -> None:
    load(traffic.lab, TRACKED + "\ntable ip nat { " + MASQUERADE + " }")
    send = datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, 7000))
    load(traffic.lab, TRACKED + "\n" + forward(BOB))
    finding = only(look(traffic.lab, send), "R08")
    assert str(finding.flows[0].orig.dst) == PUBLIC


@pytest.mark.parametrize("deep", [False, True], ids=["by shape", "asked"])
def test_flows_with_an_address_that_is_gone_are_found(
    traffic: Traffic, deep: bool
) -> None:
    def rules(address: str) -> str:
        post = f'{POSTROUTING} oifname "wan" snat to {address}'
        return f"table ip nat {{ chain post {{ {post} }} }}"

    load(traffic.lab, rules(STATIC))
    send = datagram(traffic, "alice", (SERVER, 4000))
    load(traffic.lab, rules(PUBLIC))
    traffic.lab.run(BOX, ["ip", "addr", "del", f"{STATIC}/24", "dev", "wan"])
    finding = only(look(traffic.lab, send, deep=deep), "R09")
    assert finding.severity is Severity.HIGH
    assert finding.about == STATIC


BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables"
"""There where br_netfilter is loaded: then answers are translated on the bridge."""


def test_a_hairpin_without_source_translation_is_found(traffic: Traffic) -> None:
    traffic.lab.run(BOX, ["sh", "-c", f"[ ! -e {BRIDGED} ] || echo 0 > {BRIDGED}"])
    load(traffic.lab, forward(BOB))
    finding = only(
        look(traffic.lab, lambda: traffic.syn("alice", (PUBLIC, 5000))), "R10"
    )
    assert finding.severity is Severity.HIGH
    assert facts(finding)["interface"] == "lan"
    assert finding.about == "10.0.0.0/24"


def test_a_hairpin_on_a_bridge_that_translates_answers_is_no_trouble(
    traffic: Traffic,
) -> None:
    if not Path(BRIDGED).exists():
        pytest.skip("br_netfilter is not loaded")
    load(traffic.lab, forward(BOB))

    def ask() -> None:
        traffic.tcp("alice", (PUBLIC, 5000), "bob", ("", 5000))
        traffic.syn("alice", (PUBLIC, 5000))

    assert found(look(traffic.lab, ask)) == []


def test_a_forward_that_is_hit_and_makes_no_flow_is_found(traffic: Traffic) -> None:
    drops = "table ip f { chain forward { type filter hook forward priority 0; policy drop; ct state established accept } }"
    load(traffic.lab, forward(BOB, "counter") + "\n" + drops)

    def knock() -> None:
        send = datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, 7000))
        send()

    finding = only(look(traffic.lab, knock), "R11")
    assert finding.severity is Severity.HIGH
    assert facts(finding)["hits"] == 2
    assert finding.about == "ip f forward"


SHUT = "table ip f { chain forward { type filter hook forward priority 0; policy drop; ct state established accept } }"


def test_a_forward_that_is_shut_is_found_though_older_flows_are_there(
    traffic: Traffic,
) -> None:
    load(traffic.lab, forward(BOB))
    visit = traffic.tcp(WORLD, (PUBLIC, 5000), "bob", ("", 5000), VISITOR)
    assert visit is not None
    load(traffic.lab, forward(BOB) + "\n" + SHUT)
    told = [one for one in found(look(traffic.lab)) if one.severity is Severity.HIGH]
    assert [(one.rule, one.about) for one in told] == [("R11", "ip f forward")]
    assert facts(told[0])["flows of before"] == 1


def test_a_forward_to_a_host_that_refuses_is_told_so(traffic: Traffic) -> None:
    load(traffic.lab, forward(BOB, "counter"))

    def knock() -> None:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                traffic.socket(WORLD, socket.SOCK_STREAM, v6=False).connect(
                    (PUBLIC, 5000)
                )

    finding = only(look(traffic.lab, knock), "R11")
    assert finding.headline.endswith("no flow of it is there: dropped, or refused")
    assert "the target refuses every connection at once" in finding.why
    assert finding.remedies[0].command.endswith(f"to {PUBLIC}:5000 in wan")


def test_a_forward_that_makes_flows_is_no_trouble(traffic: Traffic) -> None:
    load(traffic.lab, forward(BOB, "counter"))

    def knock() -> None:
        for port in range(7000, 7005):
            datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, port))

    assert found(look(traffic.lab, knock)) == []


@dataclass(frozen=True)
class Off:
    id: str
    sysctl: str
    about: str


OFF = [
    Off("IPv4", "net/ipv4/ip_forward", "IPv4"),
    Off("IPv6", "net/ipv6/conf/all/forwarding", "IPv6"),
]


@pytest.mark.parametrize("case", OFF, ids=lambda case: case.id)
def test_a_box_that_does_not_forward_is_found(traffic: Traffic, case: Off) -> None:
    traffic.lab.run(BOX, ["sh", "-c", f"echo 0 > /proc/sys/{case.sysctl}"])
    finding = only(look(traffic.lab), "R12")
    assert finding.severity is Severity.CRITICAL
    assert finding.about == case.about
    assert finding.remedies[0].sysctl == (case.sysctl.replace("/", "."), "1")


def test_a_forward_chain_that_accepts_nothing_is_found(traffic: Traffic) -> None:
    drops = "table ip f { chain forward { type filter hook forward priority 0; policy drop; } }"
    load(traffic.lab, network.RULES + drops)
    finding = only(look(traffic.lab), "R12")
    assert finding.about == "ip f forward"


def datagrams(snapshot: Snapshot) -> list[Flow]:
    """The flows of UDP: the box itself sends IGMP as well."""
    return [flow for flow in snapshot.flows if flow.proto == uapi.IPPROTO_UDP]


def mended(lab: Lab, finding: Finding) -> None:
    """Run the remedy that comes first."""
    with lab.inside(BOX):
        mending.run(finding.remedies[0].command)


def test_the_remedy_of_a_stale_flow_mends_it(
    traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    load(traffic.lab, forward(BOB))
    send = datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, 7000))
    load(traffic.lab, forward(CAROL))
    mended(traffic.lab, only(look(traffic.lab, send), "R07"))
    snapshot = look(traffic.lab, send)
    assert found(snapshot) == []
    assert [str(flow.reply.src) for flow in datagrams(snapshot)] == [CAROL]


def test_the_remedy_of_a_flow_born_too_soon_mends_it(
    traffic: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    load(traffic.lab, TRACKED)
    send = datagram(traffic, "alice", (SERVER, 4000))
    load(traffic.lab, f"table ip nat {{ {MASQUERADE} }}")
    mended(traffic.lab, only(look(traffic.lab, send), "R08"))
    snapshot = look(traffic.lab, send)
    assert found(snapshot) == []
    assert [str(flow.reply.dst) for flow in datagrams(snapshot)] == [PUBLIC]


def test_the_remedy_of_a_chain_that_accepts_nothing_mends_it(traffic: Traffic) -> None:
    drops = "table ip f { chain forward { type filter hook forward priority 0; policy drop; } }"
    load(traffic.lab, forward(BOB, "counter") + "\n" + drops)
    mended(traffic.lab, only(look(traffic.lab), "R12"))
    snapshot = look(
        traffic.lab,
        lambda: [
            datagram(traffic, WORLD, (PUBLIC, 5000), (VISITOR, port))
            for port in (7000, 7001)
        ],
    )
    assert found(snapshot) == []
    assert len(datagrams(snapshot)) == 2


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
def test_the_remedy_of_a_chain_of_iptables_mends_it(
    traffic: Traffic, tool: str
) -> None:
    if tools.find(f"{tool}-restore") is None:
        pytest.skip(f"needs {tool}")
    kept = [line for line in DOCKER.splitlines() if not line.startswith("-A FORWARD")]
    traffic.lab.run(BOX, ["nft", "flush", "ruleset"])
    rules = "".join(f"{line}\n" for line in kept)
    traffic.lab.run(BOX, [f"{tool}-restore"], stdin=rules)
    finding = only(look(traffic.lab), "R12")
    if tool == "iptables-legacy":  # nft knows iptables-nft's chains as its own
        assert finding.remedies[0].command.startswith(f"{tool} -t filter -I FORWARD ")
    mended(traffic.lab, finding)

    def ask() -> None:
        traffic.tcp(WORLD, (PUBLIC, 8080), "bob", ("", 80), VISITOR)

    assert found(look(traffic.lab, ask)) == []


def test_the_tables_fill_is_the_namespaces_own(traffic: Traffic) -> None:
    for port in (4000, 4001):
        datagram(traffic, "alice", (SERVER, port))
    snapshot = look(traffic.lab)
    low = replace(DEFAULT, table_warning=1 / snapshot.limit)
    (finding,) = [one for one in found(snapshot, low) if one.rule == "R01"]
    assert facts(finding)["entries"] == snapshot.count
    assert f"flows of {ALICE}" in facts(finding)


def test_a_box_in_a_bundle_is_judged_like_the_live_one(traffic: Traffic) -> None:
    traffic.lab.run(BOX, ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])
    live = look(traffic.lab)
    kept = Snapshot.of(decode(encode(live.bundle)), live.table)
    assert found(replace(kept, made=live.made)) == found(live)
