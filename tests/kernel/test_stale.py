"""Flows that contradict the box: made by real rules, which then change."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernel.staling import (
    ALICE,
    BEHIND_SECOND,
    BEHIND_SECOND_V6,
    BOB,
    BOB_V6,
    CAROL,
    CAROL_V6,
    NONE,
    PUBLIC,
    PUBLIC_V6,
    RULESETS,
    SECOND,
    SECOND_V6,
    SERVER,
    SERVER_V6,
    SOME,
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
from natscope.lab.build import Lab
from natscope.lab.network import BOX, WORLD
from natscope.lab.traffic import Flow, Traffic, happen
from natscope.sources import tools
from natscope.sources.kernel import Kernel

pytestmark = pytest.mark.kernel

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


def test_a_healthy_box_has_no_stale_flow(lab: Lab, traffic: Traffic) -> None:
    made = [flow for _, flow in happen(traffic)]
    code, told, said = natscope(lab, "stale")
    assert (code, told) == (NONE, ""), said
    with Kernel(lab.box.path) as kernel:
        flows, _ = kernel.count()
    assert flows >= len(made)
    assert f"none of {flows} flows is stale" in said
    assert flows > 1
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
VISITS_V6, ALICES_V6 = (PUBLIC_V6, 8053), (SERVER_V6, 53)
GONE_V6 = "2001:db8:113::7"
MASQUERADE = 'oifname "wan*" masquerade'


def mapped(target: str, allowed: str = "192.0.2.0/24") -> str:
    """A forward by a named map, for the sources of a named set."""
    return f"""table ip nat {{
    map targets {{ type ipv4_addr . inet_service : ipv4_addr . inet_service
        elements = {{ {PUBLIC} . 8053 : {target} . 53 }} }}
    set allowed {{ type ipv4_addr; flags interval; elements = {{ {allowed} }} }}
    chain pre {{ type nat hook prerouting priority dstnat
        ip saddr @allowed dnat ip to ip daddr . udp dport map @targets; }}
}}
"""


def by_verdict(chain: str) -> str:
    """A forward by a map of verdicts."""
    return f"""table inet nat {{
    map ways {{ type inet_service : verdict; elements = {{ 8053 : goto {chain} }} }}
    chain first {{ udp dport 8053 dnat ip to {BOB}:53; }}
    chain second {{ udp dport 8053 dnat ip to {CAROL}:53; }}
    chain pre {{ type nat hook prerouting priority dstnat; udp dport vmap @ways; }}
}}
"""


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
        "target-changed", f"{BOB}:53", f"{CAROL}:8053",
        by_shape=False,
    ),
    Change(
        "the forward names no port, and leads elsewhere",
        WORLD, WORLDS, nat(f"udp dport 8053 dnat to {BOB}"),
        nat(f"udp dport 8053 dnat to {CAROL}"),
        "target-changed", f"{BOB}:8053", f"{CAROL}:8053",
    ),
    Change(
        "IPv6: the forward leads elsewhere",
        WORLD, VISITS_V6,
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
        f"route add {SERVER} via {BEHIND_SECOND}",
        by_shape=False,  # it does not look at routes
    ),
    Change(
        "the default route moved to another uplink",
        "alice", ALICES, nat("", MASQUERADE), nat("", MASQUERADE),
        "route-moved", PUBLIC, SECOND,
        f"route replace default via {BEHIND_SECOND}",
        by_shape=False,
    ),
    Change(
        "a routing rule sends the source by another uplink",
        "alice", ALICES, nat("", MASQUERADE), nat("", MASQUERADE),
        "route-moved", PUBLIC, SECOND,
        f"route add default via {BEHIND_SECOND} table 102\n"
        f"rule add from {ALICE} lookup 102",
        by_shape=False,
    ),
    Change(
        "another element of a named map",
        WORLD, WORLDS, mapped(f"{BOB}"), mapped(f"{CAROL}"),
        "target-changed", f"{BOB}:53", f"{CAROL}:53",
        by_shape=False,  # what a named map holds the rule does not say
    ),
    Change(
        "not of a named set any more",
        WORLD, WORLDS, mapped(f"{BOB}"), mapped(f"{BOB}", "198.51.100.0/24"),
        "rule-gone", f"{BOB}:53", "untranslated",
        by_shape=False,
    ),
    Change(
        "another verdict of a map",
        WORLD, WORLDS, by_verdict("first"), by_verdict("second"),
        "target-changed", f"{BOB}:53", f"{CAROL}:53",
        by_shape=False,  # both rules stand there
    ),
    Change(
        "a network for another",
        "alice", ALICES,
        nat("", "snat ip prefix to ip saddr map { 10.0.0.0/24 : 203.0.113.0/24 }"),
        nat("", "snat ip prefix to ip saddr map { 10.0.0.0/24 : 198.18.5.0/24 }"),
        "address-gone", "203.0.113.2", "198.18.5.2",
    ),
    Change(
        "only the source port, and another now",
        "alice", ALICES, nat("", f"oifname wan udp dport 53 snat to {ALICE}:7000"),
        nat("", f"oifname wan udp dport 53 snat to {ALICE}:7001"),
        "source-changed", f"{ALICE}:7000", f"{ALICE}:7001",
        by_shape=False,  # the kernel may have moved the port
    ),
    Change(
        "IPv6: the forward is gone",
        WORLD, VISITS_V6, nat(f"udp dport 8053 dnat to [{BOB_V6}]:53", family="ip6"),
        nat(family="ip6"), "rule-gone", f"[{BOB_V6}]:53", "untranslated",
    ),
    Change(
        "IPv6: the box gave the public address up",
        "alice", ALICES_V6, nat("", f"snat to {GONE_V6}", "ip6"),
        nat("", MASQUERADE, "ip6"), "address-gone", GONE_V6, PUBLIC_V6,
    ),
    Change(
        "IPv6: no rule translates the source any more",
        "alice", ALICES_V6, nat("", MASQUERADE, "ip6"), nat(family="ip6"),
        "rule-gone", PUBLIC_V6, "untranslated",
    ),
    Change(
        "IPv6: the route moved to another uplink",
        "alice", ALICES_V6, nat("", MASQUERADE, "inet"), nat("", MASQUERADE, "inet"),
        "route-moved", PUBLIC_V6, SECOND_V6,
        f"route add {SERVER_V6} via {BEHIND_SECOND_V6}",
        by_shape=False,
    ),
    Change(
        "IPv6: born before the masquerade",
        "alice", ALICES_V6, nat("udp dport 1 redirect", family="ip6"),
        nat("", MASQUERADE, "ip6"), "born-before-rule", None, PUBLIC_V6,
        by_shape=False,
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
    Change(
        "a rule drops what was forwarded, and logs some of it",
        WORLD, WORLDS, nat(FORWARD),
        nat(FORWARD) + "\ntable ip filter { chain forward { type filter hook forward "
        "priority 0; policy accept; limit rate 3/minute log; udp dport 53 drop; }; }",
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
    assert stale(lab, "udp") == []
    load(lab, change.after)
    if change.commands:
        ip(lab, change.commands)
    (found,) = stale(lab, "udp")
    told = (found["reason"], found.get("now"), found.get("would"))
    assert told == (change.reason, change.now, change.would)
    assert (found["certain"], found["judged_by"]) == (True, "rehearsal")
    assert (found["orig_src"], found["orig_sport"]) == (flow.src, flow.sport)
    shape = stale(lab, "udp", "--by-shape")
    assert [(one["certain"], one["judged_by"]) for one in shape] == [
        (False, "shape")
    ] * change.by_shape


TOOLS = ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"]


@needs_iptables
@pytest.mark.parametrize("tool", TOOLS)
def test_a_container_that_got_another_address_leaves_its_flows_stale(
    lab: Lab, traffic: Traffic, tool: str
) -> None:
    """As Docker writes its rules."""
    is_v6 = tool.startswith("ip6")
    old, new = (f"[{BOB_V6}]", f"[{CAROL_V6}]") if is_v6 else (BOB, CAROL)

    def restore(target: str) -> None:
        rules = f"""*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING ! -o lan -p udp -j MASQUERADE
-A DOCKER ! -i lan -p udp -m udp --dport 8053 -j DNAT --to-destination {target}:53
COMMIT
"""
        lab.run(BOX, [tools.needed(f"{tool}-restore")], stdin=rules)

    lab.run(BOX, ["nft", "flush", "ruleset"])
    restore(old)
    udp(traffic, WORLD, VISITS_V6 if is_v6 else WORLDS)
    udp(traffic, "alice", ALICES_V6 if is_v6 else ALICES)
    assert stale(lab) == stale(lab, "--by-shape") == []
    restore(new)
    (found,) = stale(lab)
    assert (found["reason"], found["certain"]) == ("target-changed", True)
    assert (found["now"], found["would"]) == (f"{old}:53", f"{new}:53")
    (shape,) = stale(lab, "--by-shape")
    assert (shape["reason"], shape["now"]) == ("rule-gone", f"{old}:53")


@pytest.mark.parametrize(
    "file", ["kube-proxy.nft", pytest.param("kube-proxy.rules", marks=needs_iptables)]
)
def test_flows_to_an_endpoint_a_service_lost_are_stale(
    lab: Lab, traffic: Traffic, file: str
) -> None:
    """kube-proxy chooses by chance; but no rule gives what they have."""
    lab.run(BOX, ["nft", "flush", "ruleset"])
    loader = ["nft", "-f", "-"] if file.endswith("nft") else ["iptables-nft-restore"]
    rules = (RULESETS / file).read_text()
    lab.run(BOX, loader, stdin=rules)
    ip(lab, "route add 10.244.0.0/16 dev lan")
    for endpoint in ("10.244.0.5", "10.244.0.6"):
        lab.run("bob", ["ip", "addr", "add", f"{endpoint}/32", "dev", "eth0"])
    for _ in range(12):
        traffic.tcp("alice", ("10.96.0.1", 80), "bob", ("", 8080))
    with Kernel(lab.box.path) as kernel:
        flows = list(kernel.flows("tcp and dst 10.96.0.1"))
    lost = {flow.id for flow in flows if str(flow.reply.src) == "10.244.0.5"}
    assert lost
    lab.run(BOX, ["nft", "flush", "ruleset"])
    lab.run(BOX, loader, stdin=rules.replace("10.244.0.5", "10.244.0.7"))
    found = stale(lab)
    assert {one["id"] for one in found} == lost
    assert {(one["certain"], one["now"]) for one in found} == {
        (True, "10.244.0.5:8080")
    }
    assert {one["id"] for one in stale(lab, "--by-shape")} == lost


def test_who_asks_for_the_rule_hears_the_same(lab: Lab, traffic: Traffic) -> None:
    """``rules`` and ``list --rule`` doubt what ``stale`` doubts."""
    uplink(lab)
    load(
        lab,
        nat(
            f'iifname "wan2" {FORWARD}\nip daddr {PUBLIC} udp dport 9 dnat to {BOB}',
            MASQUERADE,
        ),
    )
    ip(lab, f"route replace default via {BEHIND_SECOND}")
    udp(traffic, "alice", ALICES)
    udp(traffic, WORLD, (PUBLIC, 9))
    ip(lab, "route replace default via 203.0.113.254")
    counts = json.loads(natscope(lab, "rules", "--json")[1])
    listed = json.loads(natscope(lab, "list", "--rule", "--json")[1])["flows"]
    states = sorted(one["rule_state"] for one in listed)
    assert (counts["stale_flows"], counts["flows"]) == (len(stale(lab)), 2) == (1, 2)
    assert states == ["exact", "stale"]


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


def test_a_flow_in_the_place_of_a_deleted_one_is_told_from_it(
    lab: Lab, traffic: Traffic, tmp_path: Path
) -> None:
    """Its sender went on meanwhile, and met the rules of today."""
    undo = str(tmp_path / "undo")
    load(lab, nat(FORWARD))
    sender = udp(traffic, WORLD, WORLDS)
    load(lab, nat(f"ip daddr {PUBLIC} udp dport 8053 dnat to {CAROL}:53"))
    words = ("stale", "--delete", "--yes", "--undo-file", undo)
    assert natscope(lab, *words)[0] == 0
    sender.again()
    code, _, said = natscope(lab, "undo", "--yes", undo)
    assert code == 3
    assert "it is there, but translated otherwise" in said
    assert natscope(lab, "delete", "udp and dst port 8053", "--no-undo")[0] == 0
    assert natscope(lab, "undo", "--yes", undo)[0] == 0
    (found,) = stale(lab)
    assert found["now"] == f"{BOB}:53"


@dataclass(frozen=True)
class Deleted:
    """A flow whose rules are taken away."""

    id: str
    client: str
    to: tuple[str, int]
    rules: str


DELETED = [
    Deleted("a source of IPv4", "alice", ALICES, nat("", MASQUERADE)),
    Deleted("a source of IPv6", "alice", ALICES_V6, nat("", MASQUERADE, "ip6")),
    Deleted("both ends", "alice", WORLDS, nat(FORWARD, "masquerade")),
]


@pytest.mark.parametrize("case", DELETED, ids=lambda case: case.id)
def test_what_was_deleted_is_put_back_as_it_was(
    lab: Lab, traffic: Traffic, tmp_path: Path, case: Deleted
) -> None:
    undo = str(tmp_path / "undo")
    load(lab, case.rules)
    flow = udp(traffic, case.client, case.to).flow
    load(lab, TRACKING)
    with Kernel(lab.box.path) as kernel:
        (before,) = kernel.flows(flow.filter())
        words = ("stale", "udp", "--delete", "--yes", "--undo-file", undo)
        assert natscope(lab, *words)[0] == 0
        assert len(kernel.table(flow.filter())) == 0
        assert natscope(lab, "undo", "--yes", undo)[0] == 0
        (after,) = kernel.flows(flow.filter())
    assert (after.orig, after.reply) == (before.orig, before.reply)
    assert len(stale(lab, "udp")) == 1


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
    for words in (("--bundle", bundle), (bundle,), (bundle, "udp")):
        (found,) = stale(lab, *words)
        assert (found["reason"], found["certain"]) == ("rule-gone", True)
    assert stale(lab, bundle, "tcp") == []
    code, _, said = natscope(lab, "stale", "--bundle", bundle, bundle)
    assert (code, "choose one of" in said) == (2, True)


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
    assert first == f"1 flow going to {BOB}:53; the rules of today say {CAROL}:53"
    assert second.strip().startswith(
        f"udp {flow.src}:{flow.sport} to {PUBLIC}:8053 now {BOB}:53"
    )
    assert "1 of 1 flow is stale, 1 beyond doubt" in said


def test_of_what_no_packet_was_sent_for_the_shape_tells(
    lab: Lab, traffic: Traffic
) -> None:
    load(lab, nat(FORWARD))
    udp(traffic, WORLD, WORLDS)
    load(lab, nat())
    (found,) = stale(lab, "--packets", "0")
    assert (found["judged_by"], found["certain"]) == ("shape", False)
