"""What becomes of a port forward's packets in the forward hook, by the texts alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest

from natscope.codec.text.natrules import rulesets
from natscope.model.bundle import LinkAddress
from natscope.model.finding import Severity
from natscope.views.doctor.reading.passage import ForwardHook, Passage
from unit.views.doctor.boxes import LINKS, PUBLIC, Box, snat

OPEN, UNSURE, SHUT = Passage
DNAT = f'iifname "wan" ip daddr {PUBLIC} tcp dport 8080 dnat to 10.0.0.2:80'
NAT = (
    "table ip nat {\n\tchain pre {\n"
    "\t\ttype nat hook prerouting priority dstnat; policy accept;\n"
    f"\t\t{DNAT}\n\t}}\n}}\n"
)
ANSWERS = "ct state established,related accept"


def _nft(*rules: str, policy: str = "drop", before: str = "") -> str:
    lines = "".join(f"\t\t{rule}\n" for rule in rules)
    return (
        f"table inet filter {{\n{before}\tchain forward {{\n"
        f"\t\ttype filter hook forward priority filter; policy {policy};\n"
        f"{lines}\t}}\n}}\n"
    )


def _saved(*rules: str, policy: str = "DROP") -> str:
    lines = "".join(f"-A FORWARD {rule}\n" for rule in rules)
    return f"*filter\n:FORWARD {policy} [0:0]\n:USER - [0:0]\n{lines}COMMIT\n"


@dataclass(frozen=True)
class Case:
    id: str
    passage: Passage
    nft: str = ""
    legacy: str = ""


CASES = [
    Case("no chain", OPEN),
    Case("a policy of accept", OPEN, _nft(ANSWERS, policy="accept")),
    Case("answers alone", SHUT, _nft(ANSWERS)),
    Case("answers by a map", SHUT, _nft("ct state vmap { established : accept }")),
    Case("new ones by a map", UNSURE, _nft("ct state vmap { new : accept }")),
    Case("states by a map that is told elsewhere", UNSURE, _nft("ct state vmap @s")),
    Case("new ones are dropped by the map", SHUT,
         _nft("ct state vmap { established : accept, new : drop }")),
    Case("a reject in the end", SHUT,
         _nft(ANSWERS, "reject with icmpx admin-prohibited", policy="accept")),
    Case("a drop of some", OPEN, _nft("tcp dport 25 drop", policy="accept")),
    Case("what was forwarded", OPEN, _nft(ANSWERS, "ct status dnat accept")),
    Case("what was forwarded, from inside", SHUT,
         _nft(ANSWERS, 'iifname "lan" ct status dnat accept')),
    Case("the target", OPEN, _nft(ANSWERS, "ip daddr 10.0.0.2 tcp dport 80 accept")),
    Case("the target's network", OPEN, _nft("ip daddr 10.0.0.0/24 accept")),
    Case("the port asked for, not the target's", SHUT,
         _nft("ip daddr 10.0.0.2 tcp dport 8080 accept")),
    Case("another target", SHUT, _nft("ip daddr 10.0.0.3 accept")),
    Case("another protocol", SHUT, _nft("meta l4proto udp accept")),
    Case("what comes from inside", SHUT, _nft('iifname "lan" accept')),
    Case("what goes outside", SHUT, _nft('oifname "wan" accept')),
    Case("what goes inside", UNSURE, _nft('oifname "lan" accept')),
    Case("a set nobody looked into", UNSURE, _nft("ip daddr @servers accept")),
    Case("an interface by wildcard", UNSURE, _nft('iifname "w*" accept')),
    Case("all but one state", UNSURE, _nft("ct state != invalid accept")),
    Case("a comment that says accept", SHUT, _nft('counter comment "accept"')),
    Case("a chain that is led to", OPEN,
         _nft("jump other", before="\tchain other {\n\t\tct status dnat accept\n\t}\n")),
    Case("a chain nobody leads to", SHUT,
         _nft(ANSWERS, before="\tchain other {\n\t\tct status dnat accept\n\t}\n")),
    Case("iptables: answers", SHUT,
         legacy=_saved("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")),
    Case("iptables: what was forwarded", OPEN,
         legacy=_saved("-m conntrack --ctstate DNAT -j ACCEPT")),
    Case("iptables: the target", OPEN,
         legacy=_saved("-d 10.0.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT")),
    Case("iptables: not from there", UNSURE, legacy=_saved("! -i lan -j ACCEPT")),
    Case("iptables: from inside", SHUT, legacy=_saved("-i lan -j ACCEPT")),
    Case("iptables: a reject in the end", SHUT,
         legacy=_saved("-j REJECT --reject-with icmp-port-unreachable",
                       policy="ACCEPT")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_forward_hook_is_open_or_shut_or_nobody_knows(case: Case) -> None:
    snapshot = Box(nft=NAT + case.nft, legacy=case.legacy).snapshot
    (nat,) = [one for one in snapshot.nat_rules if one.gives is not None]
    assert nat.gives is not None
    hook = ForwardHook(snapshot, 4)
    assert hook.passage(hook.opening(nat.rule, nat.gives))[0] is case.passage


def test_a_rule_for_all_but_one_interface_is_not_let_in_by_what_comes_from_there() -> (
    None
):
    anywhere = NAT.replace('iifname "wan"', 'iifname != "lan"')
    snapshot = Box(nft=anywhere + _nft('iifname "lan" accept')).snapshot
    (nat,) = [one for one in snapshot.nat_rules if one.gives is not None]
    assert nat.gives is not None
    hook = ForwardHook(snapshot, 4)
    assert hook.passage(hook.opening(nat.rule, nat.gives))[0] is SHUT


def test_chains_of_the_other_family_do_not_matter() -> None:
    six = _nft().replace("table inet", "table ip6")
    snapshot = Box(nft=NAT + six).snapshot
    assert len(rulesets(snapshot.bundle).chains) == 2
    (nat,) = snapshot.nat_rules
    assert nat.gives is not None
    hook = ForwardHook(snapshot, 4)
    assert hook.passage(hook.opening(nat.rule, nat.gives)) == (OPEN, None)


@pytest.mark.parametrize(
    ("nft", "found"),
    [
        (_nft(ANSWERS), [Severity.HIGH]),
        (_nft('oifname "lan" accept'), [Severity.INFO]),
        (_nft("ct status dnat accept"), []),
        (_nft(), []),  # R12 says so
    ],
    ids=["shut", "nobody knows", "open", "drops all"],
)
def test_a_forward_without_a_counter_is_judged_by_the_forward_hook(
    nft: str, found: list[Severity]
) -> None:
    box = Box(nft=NAT + nft, measured={"hits_rose": {}})
    assert [one.severity for one in box.findings("R11")] == found


def test_what_the_box_itself_sends_does_not_pass_the_forward_hook() -> None:
    own = NAT.replace("hook prerouting", "hook output").replace('iifname "wan" ', "")
    box = Box(nft=own + _nft(ANSWERS), measured={"hits_rose": {}})
    assert box.findings("R11") == ()


@pytest.mark.parametrize("own", ["10.0.0.1", "127.0.0.1"])
def test_what_goes_to_the_box_itself_does_not_pass_the_forward_hook(own: str) -> None:
    here = NAT.replace("10.0.0.2", own)
    box = Box(nft=here + _nft(ANSWERS), measured={"hits_rose": {}})
    assert box.findings("R11") == ()
    off = {"net/ipv4/ip_forward": "0"}
    assert Box(nft=here, sysctls=off).findings("R12") == ()


@pytest.mark.parametrize(
    ("address", "is_told"), [("100.64.1.2", True), ("10.1.1.2", True), (PUBLIC, False)]
)
def test_another_nat_before_the_box_is_told(address: str, is_told: bool) -> None:
    wan = replace(LINKS[0], addresses=(LinkAddress(ip_address(address), 24),))
    box = Box(nft=NAT + _nft(ANSWERS), links=(wan, LINKS[1]))
    (found,) = box.findings("R11")
    assert ("another NAT before it" in [fact.name for fact in found.facts]) is is_told


def test_forwards_one_chain_drops_are_told_together() -> None:
    two = NAT.replace(DNAT, f"{DNAT}\n\t\t{DNAT.replace('8080', '8081')}")
    (found,) = Box(nft=two + _nft(ANSWERS)).findings("R11")
    assert found.headline.startswith("2 port forwards cannot work: chain inet filter")
    assert found.remedies[0].command == (
        "nft 'insert rule inet filter forward ct status dnat accept'"
    )
    assert found.remedies[1].command == (
        f"natscope explain tcp 192.0.2.1 to {PUBLIC}:8080 in wan"
    )


MASQUERADE = (
    "table ip nat {\n\tchain post {\n"
    "\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
    '\t\toifname "wan" ip saddr 10.0.0.0/24 masquerade\n\t}\n}\n'
)


@dataclass(frozen=True)
class Leaving:
    id: str
    rules: tuple[str, ...]
    is_stuck: bool


LEAVING = [
    Leaving("answers alone", (ANSWERS,), True),
    Leaving("port forwards alone", (ANSWERS, "ct status dnat accept"), True),
    Leaving("what goes inside", ('oifname "lan" accept',), True),
    Leaving("what comes from outside", ('iifname "wan" accept',), True),
    Leaving("an inside server", ("ip daddr 10.0.0.2 tcp dport 80 accept",), True),
    Leaving("another subnet", ("ip saddr 10.5.0.0/24 accept",), True),
    Leaving("pings", ("meta l4proto icmp accept",), True),
    Leaving("what goes out", ('oifname "wan" accept',), False),
    Leaving("what comes from inside", ('iifname "lan" accept',), False),
    Leaving("half of the subnet", ("ip saddr 10.0.0.0/25 accept",), False),
    Leaving("one server outside", ("ip daddr 198.51.100.9 accept",), False),
    Leaving("a set nobody looked into", ("ip saddr @lan accept",), False),
]


@pytest.mark.parametrize("case", LEAVING, ids=lambda case: case.id)
def test_hosts_that_are_translated_may_leave_or_are_stuck(case: Leaving) -> None:
    found = Box(nft=MASQUERADE + _nft(*case.rules)).findings("R12")
    told = [("lan to wan", Severity.HIGH)] if case.is_stuck else []
    assert [(one.about, one.severity) for one in found] == told


def test_hosts_that_have_flows_are_not_stuck() -> None:
    box = Box([snat(6, 1, 443)], nft=MASQUERADE + _nft(ANSWERS))
    assert box.findings("R12") == ()
