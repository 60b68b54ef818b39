"""Flows that contradict the box: made by real rules, which then change."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import unavailable
from natscope.errors import NamespaceError
from natscope.lab import network
from natscope.lab.build import Lab, built
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import PATIENCE_S, Flow, Traffic, happen
from natscope.sources import tools
from natscope.sources.kernel import Kernel

pytestmark = pytest.mark.kernel

ALICE, BOB, CAROL = (network.HOSTS[name].v4 for name in network.INSIDE)
PUBLIC, STATIC, SERVER = network.PUBLIC_V4, network.STATIC_V4, network.SERVER_V4
BOB_V6, CAROL_V6 = (network.HOSTS[name].v6 for name in ("bob", "carol"))
NONE, SOME = 0, 1
RULESETS = Path(__file__).parents[1] / "rulesets"
needs_iptables = pytest.mark.skipif(
    tools.find("iptables-nft-restore") is None, reason="needs iptables"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab whose flows have no age: none is too young to be judged."""
    try:
        with built() as made:
            with made.inside(BOX):
                place = Path("/proc/sys/net/netfilter/nf_conntrack_timestamp")
                place.write_text("0")
            yield made
    except NamespaceError as error:
        unavailable(str(error))


@pytest.fixture
def traffic(lab: Lab) -> Iterator[Traffic]:
    """Its sockets."""
    with Traffic(lab) as made:
        yield made


@dataclass
class Sender:
    """One end of a flow nobody answers; it hears no ICMP errors."""

    traffic: Traffic
    socket: socket.socket
    flow: Flow

    def again(self) -> None:
        """Another datagram, once the box has counted it."""
        before, deadline = self._packets(), time.monotonic() + PATIENCE_S
        while self._packets() == before:
            # the first may be lost while its neighbour is asked for
            self.socket.sendto(b"again", (self.flow.dst, self.flow.dport))
            assert time.monotonic() < deadline

    def _packets(self) -> int:
        with Kernel(self.traffic.lab.box.path) as kernel:
            return sum(
                one.orig_packets or 0 for one in kernel.flows(self.flow.filter())
            )


def udp(traffic: Traffic, client: str, to: tuple[str, int], sport: int = 0) -> Sender:
    """A datagram to nobody, once it is in the box's table."""
    v6 = ":" in to[0]
    sock = traffic.socket(client, socket.SOCK_DGRAM, v6=v6)
    source = {"alice": ALICE, WORLD: network.VISITOR_V6 if v6 else network.VISITOR_V4}
    sock.bind((source[client], sport))
    flow = Flow("udp", source[client], to[0], sock.getsockname()[1], to[1])
    sender = Sender(traffic, sock, flow)
    sender.again()
    return sender


def uplink(lab: Lab) -> None:
    """A second way out of the box: wan2, with 198.18.0.1."""
    words = ["ip", "link", "add", "wan2", "type", "veth", "peer", "name", "eth2"]
    lab.run(BOX, [*words, "netns", lab.namespaces[WORLD].path])
    ip(lab, f"addr add {SECOND}/24 dev wan2", "link set wan2 up")


def ip(lab: Lab, *commands: str) -> None:
    """Commands of ip(8) on the box."""
    lab.run(BOX, ["ip", "-batch", "-"], stdin="".join(f"{one}\n" for one in commands))


def load(lab: Lab, rules: str) -> None:
    """These rules of nft in place of all others."""
    lab.run(BOX, ["nft", "-f", "-"], stdin=f"flush ruleset\n{rules}")


def nat(prerouting: str = "", postrouting: str = "", family: str = "ip") -> str:
    return f"""table {family} nat {{
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


def natscope(lab: Lab, *words: str) -> tuple[int, str, str]:
    with lab.inside(BOX):
        done = subprocess.run(
            [sys.executable, "-m", "natscope", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def stale(lab: Lab, *words: str) -> list[dict[str, Any]]:
    """The stale flows; the exit code says the same."""
    code, told, said = natscope(lab, "stale", "--json", *words)
    found: list[dict[str, Any]] = json.loads(told)["rows"]
    assert code == (SOME if found else NONE), said
    return found


def test_a_healthy_box_has_no_stale_flow(lab: Lab, traffic: Traffic) -> None:
    made = [flow for _, flow in happen(traffic)]
    code, told, said = natscope(lab, "stale")
    assert (code, told) == (NONE, ""), said
    with Kernel(lab.box.path) as kernel:
        flows, _ = kernel.count()
    assert flows >= len(made)
    assert f"none of {flows} flows is stale" in said
    assert stale(lab, "--by-shape") == []


@dataclass(frozen=True)
class Change:
    """A flow, what changes afterwards, and what is then said of the flow."""

    id: str
    client: str
    to: tuple[str, int]
    before: str
    after: str
    reason: str
    now: str | None
    would: str | None
    commands: str = ""
    """Of ip(8), after the rules."""
    by_shape: bool = True
    """The rules' shape tells it as well."""


FORWARD = f"ip daddr {PUBLIC} udp dport 8053 dnat to {BOB}:53"
WORLDS, ALICES = (PUBLIC, 8053), (SERVER, 53)
SECOND = "198.18.0.1"
TRACKING = nat("udp dport 1 redirect")
"""The first rule of NAT brings tracking into a namespace."""
CHANGES = [
    Change(
        "the forward leads elsewhere",
        WORLD, WORLDS, nat(FORWARD),
        nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"),
        "target-changed", f"{BOB}:53", f"{CAROL}:53",
    ),
    Change(
        "the forward leads to another port",
        WORLD, WORLDS, nat(FORWARD),
        nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {BOB}:5353"),
        "target-changed", f"{BOB}:53", f"{BOB}:5353",
    ),
    Change(
        "the forward is gone",
        WORLD, WORLDS, nat(FORWARD), nat(), "rule-gone", f"{BOB}:53", "untranslated",
    ),
    Change(
        "a rule before it takes the packets",
        WORLD, WORLDS, nat(FORWARD), nat(f"udp dport 8053 dnat to {CAROL}\n{FORWARD}"),
        "target-changed", f"{BOB}:53", CAROL,
        by_shape=False,
    ),
    Change(
        "IPv6: the forward leads elsewhere",
        WORLD, (network.PUBLIC_V6, 8053),
        nat(f"udp dport 8053 dnat to [{BOB_V6}]:53", family="ip6"),
        nat(f"udp dport 8053 dnat to [{CAROL_V6}]:53", family="ip6"),
        "target-changed", f"[{BOB_V6}]:53", f"[{CAROL_V6}]:53",
    ),
    Change(
        "the box gave the public address up",
        "alice", ALICES, nat("", f'oifname "wan" snat to {STATIC}'),
        nat("", 'oifname "wan" masquerade'),
        "address-gone", STATIC, PUBLIC,
        f"addr del {STATIC}/24 dev wan",
    ),
    Change(
        "the rule gives another public address",
        "alice", ALICES, nat("", f'oifname "wan" snat to {STATIC}'),
        nat("", 'oifname "wan" masquerade'),
        "source-changed", STATIC, PUBLIC,
        by_shape=False,  # an interface may give any of its addresses
    ),
    Change(
        "no rule translates the source any more",
        "alice", ALICES, nat("", f'oifname "wan" snat to {STATIC}'), nat(),
        "rule-gone", STATIC, "untranslated",
    ),
    Change(
        "the route moved to another uplink",
        "alice", ALICES, nat("", "masquerade"), nat("", "masquerade"),
        "route-moved", PUBLIC, SECOND,
        f"route add {SERVER} via 198.18.0.9",
        by_shape=False,  # it does not look at routes
    ),
    Change(
        "born before the masquerade",
        "alice", ALICES, TRACKING, nat("", 'oifname "wan" masquerade'),
        "born-before-rule", None, PUBLIC,
        by_shape=False,
    ),
    Change(
        "born before the forward",
        WORLD, WORLDS, TRACKING, nat(f'iifname "wan" {FORWARD}'),
        "born-before-rule", None, f"{BOB}:53",
        by_shape=False,
    ),
    Change(
        "a rule drops what was forwarded",
        WORLD, WORLDS, nat(FORWARD),
        nat(FORWARD) + "\ntable ip filter { chain forward { type filter hook forward "
        "priority 0; policy accept; udp dport 53 drop; }; }",
        "dropped", None, "dropped by ip filter forward",
        by_shape=False,
    ),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.id)
def test_a_flow_the_box_would_not_make_today_is_told_with_the_reason(
    lab: Lab, traffic: Traffic, change: Change
) -> None:
    uplink(lab)
    load(lab, change.before)
    sender = udp(traffic, change.client, change.to)
    flow = sender.flow
    assert stale(lab) == []
    load(lab, change.after)
    if change.commands:
        ip(lab, change.commands)
    (found,) = stale(lab)
    told = (found["reason"], found.get("now"), found.get("would"))
    assert told == (change.reason, change.now, change.would)
    assert (found["certain"], found["judged_by"]) == (True, "rehearsal")
    assert (found["orig_src"], found["orig_sport"]) == (flow.src, flow.sport)
    shape = stale(lab, "--by-shape")
    assert [(one["certain"], one["judged_by"]) for one in shape] == [
        (False, "shape")
    ] * change.by_shape


@needs_iptables
def test_rules_of_iptables_are_asked_as_well(lab: Lab, traffic: Traffic) -> None:
    def restore(target: str) -> None:
        lab.run(
            BOX,
            [tools.needed("iptables-nft-restore")],
            stdin="*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n"
            "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
            "-A DOCKER ! -i lan -p udp -m udp --dport 8053 -j DNAT "
            f"--to-destination {target}\nCOMMIT\n",
        )

    lab.run(BOX, ["nft", "flush", "ruleset"])
    restore(f"{BOB}:53")
    udp(traffic, WORLD, WORLDS)
    assert stale(lab) == stale(lab, "--by-shape") == []
    restore(f"{CAROL}:53")
    for words in ((), ("--by-shape",)):
        (found,) = stale(lab, *words)
        assert found["now"] == f"{BOB}:53"


@dataclass(frozen=True)
class Choice:
    """A rule that may give several things, and one of which none was given."""

    id: str
    rule: str
    narrowed: str


CHOICES = [
    Choice(
        "by turns",
        f"udp dport 53 dnat to numgen inc mod 2 map {{ 0 : {BOB}, 1 : {CAROL} }}",
        f"udp dport 53 dnat to numgen inc mod 2 map {{ 0 : {ALICE}, 1 : 10.0.0.9 }}",
    ),
    Choice(
        "of a range",
        f"udp dport 53 dnat to {ALICE}-{CAROL}",
        "udp dport 53 dnat to 10.0.0.7-10.0.0.9",
    ),
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.id)
def test_what_a_rule_may_have_chosen_is_not_stale(
    lab: Lab, traffic: Traffic, choice: Choice
) -> None:
    load(lab, nat(choice.rule))
    for _ in range(4):
        udp(traffic, WORLD, (PUBLIC, 53))
    assert stale(lab) == stale(lab, "--by-shape") == []
    load(lab, nat(choice.narrowed))
    assert len(stale(lab)) == len(stale(lab, "--by-shape")) == 4


def test_what_may_have_come_in_by_another_uplink_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """The rule asks for one uplink, and the route back leads over the other."""
    uplink(lab)
    load(lab, nat(f'iifname "wan" {FORWARD}'))
    udp(traffic, WORLD, WORLDS)
    ip(lab, f"route add {network.VISITOR_V4} via 198.18.0.9")
    code, told, said = natscope(lab, "stale")
    assert (code, told) == (NONE, ""), said
    assert "had it come in by another interface" in said


def test_of_several_ways_to_one_place_none_makes_a_flow_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """The kernel chooses by a hash of what the packet has (fib_select_multipath)."""
    uplink(lab)
    load(
        lab,
        nat("", f'oifname "wan" snat to {PUBLIC}\noifname "wan2" snat to {SECOND}'),
    )
    for host in range(1, 9):
        udp(traffic, "alice", (f"198.51.100.{host}", 53))
    assert stale(lab) == []
    ip(lab, "route add 198.51.100.0/24 nexthop via 203.0.113.254 "
            "nexthop via 198.18.0.9")  # fmt: skip
    assert stale(lab) == []
    ip(lab, "route replace 198.51.100.0/24 via 198.18.0.9")
    assert [one["reason"] for one in stale(lab)] == ["route-moved"] * 8


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
        "route add default via 198.18.0.9 table 102",
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
    assert stale(lab) == []


def test_what_a_program_of_the_box_marked_is_not_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """So WireGuard keeps its own packets out of its tunnel."""
    load(lab, by_mark(lab))
    own = traffic.socket(BOX, socket.SOCK_DGRAM, v6=False)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 2)
    own.bind((PUBLIC, 0))
    flow = Flow("udp", PUBLIC, SERVER, own.getsockname()[1], 51820)
    Sender(traffic, own, flow).again()
    with Kernel(lab.box.path) as kernel:
        (made,) = kernel.flows(flow.filter())
    assert str(made.reply.dst) == SECOND
    assert stale(lab) == []


def test_as_many_flows_as_there_are_were_born_before_their_rule(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, TRACKING)
    sock = traffic.socket("alice", socket.SOCK_DGRAM, v6=False)
    sock.bind((ALICE, 0))
    flow = Flow("udp", ALICE, SERVER, sock.getsockname()[1], 53)
    Sender(traffic, sock, flow).again()
    for host in range(240):
        sock.sendto(b"one", (f"198.51.100.{host}", 53))
    with Kernel(lab.box.path) as kernel:
        made = len(kernel.table("udp and dst port 53"))
    load(lab, nat("", 'oifname "wan" masquerade'))
    found = stale(lab)
    assert len(found) == made > 200
    assert {(one["reason"], one["certain"]) for one in found} == {
        ("born-before-rule", True)
    }


def test_behind_a_service_of_kubernetes_no_flow_is_stale(
    lab: Lab, traffic: Traffic
) -> None:
    """kube-proxy chooses among endpoints by chance."""
    lab.run(BOX, ["nft", "flush", "ruleset"])
    lab.run(BOX, ["nft", "-f", "-"], stdin=(RULESETS / "kube-proxy.nft").read_text())
    ip(lab, "route add 10.244.0.0/16 dev lan")
    for endpoint in ("10.244.0.5", "10.244.0.6"):
        lab.run("bob", ["ip", "addr", "add", f"{endpoint}/32", "dev", "eth0"])
    for _ in range(8):
        traffic.tcp("alice", ("10.96.0.1", 80), "bob", ("", 8080))
    assert stale(lab) == stale(lab, "--by-shape") == []


def test_a_filter_chooses_what_is_judged(lab: Lab, traffic: Traffic) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    assert len(stale(lab, "udp", "and", "dst", "port", "8053")) == 1
    assert stale(lab, "tcp") == []


def test_stale_flows_are_deleted_and_put_back(
    lab: Lab, traffic: Traffic, tmp_path: Path
) -> None:
    undo = str(tmp_path / "undo")
    load(lab, nat(FORWARD))
    gone = udp(traffic, WORLD, WORLDS)
    kept = udp(traffic, WORLD, (PUBLIC, 9999))
    load(lab, nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"))
    code, _, said = natscope(lab, "stale", "--delete", "--dry-run")
    assert (code, said.count("would delete 1 flow")) == (0, 1)
    assert len(stale(lab)) == 1
    code, told, _ = natscope(lab, "stale", "--delete", "--yes", "--json",
                             "--undo-file", undo)  # fmt: skip
    assert (code, json.loads(told)["done"]) == (0, 1)
    with Kernel(lab.box.path) as kernel:
        assert len(kernel.table(gone.flow.filter())) == 0
        assert len(kernel.table(kept.flow.filter())) == 1
    assert stale(lab) == []
    assert natscope(lab, "undo", "--yes", undo)[0] == 0
    assert len(stale(lab)) == 1


def test_what_is_not_certain_is_deleted_only_when_asked(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    shape = ("stale", "--by-shape", "--delete", "--yes", "--no-undo")
    code, _, said = natscope(lab, *shape)
    assert (code, "1 that are not certain are left" in said) == (1, True)
    assert len(stale(lab)) == 1
    assert natscope(lab, *shape, "--uncertain")[0] == 0
    assert stale(lab) == []


def test_a_deleted_flow_comes_back_as_the_rules_of_today_make_it(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat(FORWARD))
    sender = udp(traffic, WORLD, WORLDS, sport=7000)
    load(lab, nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"))
    assert natscope(lab, "stale", "--delete", "--yes", "--no-undo")[0] == 0
    sender.again()
    with Kernel(lab.box.path) as kernel:
        (made,) = kernel.flows(sender.flow.filter())
    assert str(made.reply.src) == CAROL


def test_a_flow_kept_alive_stays_stale_until_it_is_deleted(
    lab: Lab, traffic: Traffic
) -> None:
    """A UDP sender that keeps its port never meets the new rule."""
    load(lab, nat(FORWARD))
    sender = udp(traffic, WORLD, WORLDS)
    load(lab, nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"))
    for _ in range(3):
        sender.again()
        (found,) = stale(lab)
        assert (found["now"], found["would"]) == (f"{BOB}:53", f"{CAROL}:53")


def test_a_bundle_is_judged_like_its_box(
    lab: Lab, traffic: Traffic, tmp_path: Path
) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    bundle = str(tmp_path / "box.json.gz")
    assert natscope(lab, "bundle", "--flows", bundle)[0] == 0
    (found,) = stale(lab, "--bundle", bundle)
    assert (found["reason"], found["certain"]) == ("rule-gone", True)


def test_where_there_can_be_no_rehearsal_the_shape_is_asked_and_it_is_said(
    lab: Lab, traffic: Traffic, tmp_path: Path
) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    bundle = str(tmp_path / "box.json.gz")
    assert natscope(lab, "bundle", "--flows", bundle)[0] == 0
    # a user namespace that may have none of its own
    script = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, "sh", sys.executable, "-m", "natscope",
         "stale", "--json", "--bundle", bundle],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (found,) = json.loads(done.stdout)["rows"]
    assert (done.returncode, found["judged_by"], found["certain"]) == (
        1,
        "shape",
        False,
    )
    assert "no rehearsal, judged by the rules' shape" in done.stderr


def test_programs_get_a_row_a_flow(lab: Lab, traffic: Traffic) -> None:
    load(lab, nat(FORWARD))
    flow = udp(traffic, WORLD, WORLDS).flow
    load(lab, nat())
    (row,) = csv.DictReader(io.StringIO(natscope(lab, "stale", "--csv")[1]))
    assert (row["reason"], row["orig_src"]) == ("rule-gone", flow.src)
    (line,) = natscope(lab, "stale", "--ndjson")[1].splitlines()
    assert json.loads(line)["reply_src"] == BOB


def test_people_read_why(lab: Lab, traffic: Traffic) -> None:
    load(lab, nat(FORWARD))
    flow = udp(traffic, WORLD, WORLDS).flow
    load(lab, nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"))
    code, told, said = natscope(lab, "stale", "udp")
    first, second = told.splitlines()
    assert code == SOME
    assert first == f"1 flow: goes to {BOB}:53; the rules of today say {CAROL}:53"
    assert second.strip().startswith(
        f"udp {flow.src}:{flow.sport} to {PUBLIC}:8053 now {BOB}:53"
    )
    assert "1 of 1 flows are stale, 1 beyond doubt" in said


def test_of_what_no_packet_was_sent_for_the_shape_tells(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    (found,) = stale(lab, "--packets", "0")
    assert (found["judged_by"], found["certain"]) == ("shape", False)
