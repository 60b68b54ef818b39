"""What looks like trouble of R07 to R12 and is none, from snapshots by hand.

The troubles themselves are made on a real kernel: tests/kernel/test_doctor.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from natscope import uapi
from natscope.filter.compiled import parse
from natscope.model.bundle import LinkAddress, Neighbour, RoutingRule
from natscope.model.finding import Severity
from natscope.model.flow import Flow
from natscope.model.measured import Program
from natscope.model.tuples import FlowTuple
from natscope.rehearse.attribution.shapes import by_shape
from natscope.views.doctor.diagnosis import diagnose
from natscope.views.doctor.snapshot import Snapshot
from unit.views.doctor.boxes import LINKS, NOW_NS, PUBLIC, REPLIED, Box

NEW = uapi.Status.CONFIRMED
SNAT, DNAT = uapi.Status.SRC_NAT, uapi.Status.DST_NAT
VISITOR, HOST, OTHER = "192.0.2.99", "10.0.0.2", "10.0.0.3"
POST = "chain post { type nat hook postrouting priority srcnat; policy accept;\n"
PRE = "chain pre { type nat hook prerouting priority dstnat; policy accept;\n"
MASQUERADE = f'table ip nat {{ {POST} oifname "wan" masquerade\n}} }}\n'
FORWARD = (
    f"table ip nat {{ {PRE} ip daddr {PUBLIC} udp dport 5000 dnat to {OTHER}\n}} }}\n"
)
DROPS = "table ip f { chain forward { type filter hook forward priority 0; policy drop;\n} }\n"
ACCEPTS = DROPS.replace("drop;", "drop;\nct state established accept")
OFF = {"net/ipv4/ip_forward": "0"}


def flow(src: str, dst: str, reply_src: str, reply_dst: str, status: int) -> Flow:
    a, b, c, d = map(ip_address, (src, dst, reply_src, reply_dst))
    orig, reply = FlowTuple(a, b, 17, 7000, 5000), FlowTuple(c, d, 17, 5000, 7000)
    return Flow(orig, reply, status=status, timeout=29)


TO_GONE = flow(VISITOR, PUBLIC, HOST, VISITOR, NEW | DNAT)
PLAIN = flow(HOST, VISITOR, VISITOR, HOST, NEW)
GONE = flow(HOST, VISITOR, VISITOR, "203.0.113.99", NEW | SNAT)
OWN = flow(HOST, VISITOR, VISITOR, PUBLIC, NEW | SNAT)
NEAR = flow(HOST, PUBLIC, OTHER, HOST, NEW | DNAT)


def replied(one: Flow) -> Flow:
    return replace(one, status=(one.status or 0) | REPLIED)


@dataclass(frozen=True)
class Case:
    id: str
    rule: str
    is_found: bool
    flows: tuple[Flow, ...] = ()
    nft: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)


CASES = [
    Case("a target that is gone", "R07", True, (TO_GONE,), FORWARD),
    Case("a target that still answers", "R07", False, (replied(TO_GONE),), FORWARD),
    Case(
        "a flow a helper expected", "R07", False,
        (replace(TO_GONE, status=NEW | DNAT | uapi.Status.EXPECTED),), FORWARD,
    ),
    Case("the target of today", "R07", False,
         (flow(VISITOR, PUBLIC, OTHER, VISITOR, NEW | DNAT),), FORWARD),
    Case("older than masquerade", "R08", True, (PLAIN,), MASQUERADE),
    Case("answered without it", "R08", False, (replied(PLAIN),), MASQUERADE),
    Case("the box's own", "R08", False,
         (flow(PUBLIC, VISITOR, VISITOR, PUBLIC, NEW),), MASQUERADE),
    Case("for the box", "R08", False, (flow(HOST, PUBLIC, PUBLIC, HOST, NEW),), MASQUERADE),
    Case("multicast", "R08", False,
         (flow(HOST, "239.1.1.1", "239.1.1.1", HOST, NEW),), MASQUERADE),
    Case("by another interface", "R08", False,
         (flow(VISITOR, HOST, HOST, VISITOR, NEW),), MASQUERADE),
    Case("a rule before it may accept", "R08", False, (PLAIN,),
         MASQUERADE.replace("oifname", "ip daddr 192.0.2.0/24 accept\noifname")),
    Case("a rule with a set", "R08", False, (PLAIN,),
         MASQUERADE.replace("oifname", "ip saddr @lan oifname")),
    Case("an address that is gone", "R09", True, (GONE,), MASQUERADE),
    Case("an address a rule names", "R09", False, (GONE,),
         MASQUERADE.replace("masquerade", "snat to 203.0.113.90-203.0.113.99")),
    Case("a hairpin", "R10", True, (NEAR,), FORWARD),
    Case("a hairpin that is answered", "R10", False, (replied(NEAR),), FORWARD),
    Case("the source is translated too", "R10", False,
         (flow(HOST, PUBLIC, OTHER, "10.0.0.1", NEW | DNAT | SNAT),), FORWARD),
    Case("the box asks", "R10", False,
         (flow("10.0.0.1", PUBLIC, OTHER, "10.0.0.1", NEW | DNAT),), FORWARD),
    Case("from outside", "R10", False, (TO_GONE,), FORWARD),
    Case("forwarding off", "R12", True, (), MASQUERADE, OFF),
    Case("off, but on for an interface", "R12", False, (), MASQUERADE,
         OFF | {"net/ipv4/conf/lan/forwarding": "1"}),
    Case("off, and no NAT", "R12", False, (), "", OFF),
    Case("off, and a rule for the box itself", "R12", False, (),
         FORWARD.replace(f"dnat to {OTHER}", "redirect to :53"), OFF),
    Case("off, and a rule of Tailscale's", "R12", False, (),
         MASQUERADE.replace("oifname", "meta mark & 0xff0000 == 0x40000 oifname"), OFF),
    Case("a chain that drops all", "R12", True, (), MASQUERADE + DROPS),
    Case("a chain that accepts some", "R12", False, (), MASQUERADE + ACCEPTS),
]  # fmt: skip


def attributed(box: Box) -> Snapshot:
    snapshot = box.snapshot
    made = by_shape(snapshot.flows, snapshot.nat_rules, snapshot.bundle)
    return replace(snapshot, made=made)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_rule_finds_what_is_trouble_and_nothing_else(case: Case) -> None:
    snapshot = attributed(Box(case.flows, case.nft, sysctls=case.sysctls))
    found = diagnose(snapshot, only=[case.rule])
    assert found.not_checked == ()
    assert bool(found.findings) is case.is_found


def test_a_box_with_one_interface_need_not_forward() -> None:
    box = Box(nft=MASQUERADE, sysctls=OFF, links=LINKS[:1])
    assert box.findings("R12") == ()


def test_where_rules_choose_the_way_the_interface_is_not_guessed() -> None:
    snapshot = attributed(Box((PLAIN,), MASQUERADE))
    chosen = (RoutingRule("inet", 100, table=100, fwmark=1),)
    bundle = replace(snapshot.bundle, rules=chosen)
    assert diagnose(snapshot, only=["R08"]).findings
    assert not diagnose(replace(snapshot, bundle=bundle), only=["R08"]).findings


def test_a_target_that_does_not_answer_arp_is_told() -> None:
    flows = (flow(VISITOR, PUBLIC, OTHER, VISITOR, NEW | DNAT),)
    snapshot = attributed(Box(flows, FORWARD))
    dead = Neighbour(ip_address(OTHER), "lan", state=("FAILED",))
    bundle = replace(snapshot.bundle, neighbours=(dead,))
    (found,) = diagnose(replace(snapshot, bundle=bundle), only=["R07"]).findings
    assert found.about == f"{OTHER} is down"


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_target_that_answered_once_is_gone_when_its_link_says_so(
    is_silent: bool,
) -> None:
    snapshot = attributed(Box((replied(TO_GONE),), FORWARD))
    dead = (Neighbour(ip_address(HOST), "lan", state=("FAILED",)),)
    bundle = replace(snapshot.bundle, neighbours=dead if is_silent else ())
    found = diagnose(replace(snapshot, bundle=bundle), only=["R07"]).findings
    assert [(one.about, one.severity) for one in found] == (
        [(HOST, Severity.HIGH)] if is_silent else []
    )


def test_the_remedy_of_a_stale_flow_spares_the_others_of_its_target() -> None:
    ssh = replace(replied(TO_GONE), orig=replace(TO_GONE.orig, dport=22), timeout=100)
    rules = FORWARD.replace(
        "udp dport 5000", f"udp dport 22 dnat to {HOST}:5000\nudp dport 5000"
    )
    snapshot = attributed(Box((TO_GONE, ssh), rules))
    (found,) = diagnose(snapshot, only=["R07"]).findings
    words = found.remedies[0].command.removeprefix("natscope delete ").strip("'")
    mask = parse(words).mask(snapshot.flows, snapshot.evidence)
    assert mask.tolist() == [True, False]


def test_flows_no_short_filter_tells_apart_are_left_to_the_rules() -> None:
    others = [
        replace(PLAIN, orig=replace(PLAIN.orig, src=ip_address(f"10.0.0.{n}"), sport=n))
        for n in range(50, 90)
    ]
    own = flow(PUBLIC, VISITOR, VISITOR, PUBLIC, NEW)
    snapshot = attributed(Box((*others, own), MASQUERADE))
    (found,) = diagnose(snapshot, only=["R08"]).findings
    assert found.facts[0].value == 40
    assert found.remedies[0].command == (
        "natscope stale --delete 'not nat and unreplied'"
    )


@pytest.mark.parametrize("hits", [0, 1, 2])
@pytest.mark.parametrize("is_there", [False, True], ids=["no flow", "a flow"])
def test_a_forward_is_told_when_it_is_hit_and_makes_no_flow(
    hits: int, is_there: bool
) -> None:
    flows = (flow(VISITOR, PUBLIC, OTHER, VISITOR, NEW | DNAT),) if is_there else ()
    rose = {"hits_rose": {"ip nat pre 1": hits}}
    found = Box(flows, FORWARD, measured=rose).findings("R11")
    assert bool(found) is (hits >= 2 and not is_there)


@pytest.mark.parametrize("age_ms", [1, 60_000], ids=["a new flow", "an old one"])
def test_a_forward_the_texts_call_shut_is_not_while_flows_of_it_begin(
    age_ms: int,
) -> None:
    began = NOW_NS - age_ms * 1_000_000
    flows = (
        replace(flow(VISITOR, PUBLIC, OTHER, VISITOR, NEW | DNAT), start_ns=began),
    )
    box = Box(flows, FORWARD + ACCEPTS, measured={"hits_rose": {}})
    assert bool(box.findings("R11")) is (age_ms > box.snapshot.interval_s * 1000)


@dataclass(frozen=True)
class Lacking:
    id: str
    severity: Severity | None
    programs: tuple[Program, ...] = ()
    mac: str | None = None


LACKING = [
    Lacking("nobody has it", Severity.WARNING),
    Lacking("another host has it", Severity.INFO, mac="02:00:00:00:00:01"),
    Lacking("of two boxes", None, (Program(7, "keepalived"),)),
]


@pytest.mark.parametrize("case", LACKING, ids=lambda case: case.id)
def test_a_forward_of_an_address_the_box_lacks_is_told(case: Lacking) -> None:
    rules = FORWARD.replace(PUBLIC, "203.0.113.9")
    told = {"hits_rose": {}, "programs": case.programs}
    snapshot = Box(nft=rules, measured=told).snapshot
    held = Neighbour(ip_address("203.0.113.9"), "wan", case.mac, ("STALE",))
    snapshot = replace(snapshot, bundle=replace(snapshot.bundle, neighbours=(held,)))
    found = diagnose(snapshot, only=["R37"])
    assert found.not_checked == ()
    assert [one.severity for one in found.findings] == (
        [] if case.severity is None else [case.severity]
    )


def test_what_is_to_be_explained_comes_by_the_interface_that_has_the_address() -> None:
    wan, lan = LINKS
    other = LinkAddress(ip_address("192.0.2.1"), 24)
    second = replace(wan, name="wan2", index=4, addresses=(other,))
    rules = FORWARD.replace(PUBLIC, "192.0.2.1")
    rose = {"hits_rose": {"ip nat pre 1": 3}}
    (found,) = Box(nft=rules, links=(wan, second, lan), measured=rose).findings("R11")
    assert found.remedies[0].command.endswith(" to 192.0.2.1:5000 in wan2")


def test_remedies_that_delete_flows_say_so() -> None:
    (hairpin,) = Box((NEAR,), FORWARD).findings("R10")
    assert "natscope delete" in hairpin.remedies[0].command
    assert hairpin.remedies[0].is_destructive


@pytest.mark.parametrize("answered", [0, 3])
def test_a_few_that_wait_for_an_answer_among_many_are_no_trouble(answered: int) -> None:
    """Of a stale public address the box still has."""
    waits = [replace(replied(OWN), id=1, timeout=120)]
    rest = [
        replace(waits[0], id=10 + n, orig=replace(OWN.orig, sport=7100 + n))
        for n in range(answered)
    ]
    rules = MASQUERADE.replace("masquerade", "snat to 203.0.113.50")
    box = Box((*waits, *rest), rules, measured={"unanswered": (1,)})
    found = diagnose(attributed(box), only=["R09"]).findings
    assert [len(one.flows) for one in found] == ([] if answered else [1])


def test_rules_that_could_not_be_read_make_no_flow_stale() -> None:
    snapshot = Box((TO_GONE, GONE), FORWARD).snapshot
    bundle = replace(snapshot.bundle, missing=("ipsets: not permitted",))
    made = by_shape(snapshot.flows, snapshot.nat_rules, bundle)
    unsure = replace(snapshot, bundle=bundle, made=made)
    assert diagnose(unsure, only=["R07", "R09"]).findings == ()


def test_a_box_whose_addresses_are_not_known_has_no_flow_of_a_lost_address() -> None:
    box = Box((GONE,), MASQUERADE)
    assert len(diagnose(attributed(box), only=["R09"]).findings) == 1
    found = diagnose(attributed(replace(box, links=())), only=["R09"])
    assert found.findings == ()
    assert [one.part for one in found.not_checked] == ["links"]
