"""R12: NAT rules for others' packets, on a box that forwards none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from natscope import uapi
from natscope.codec.text.natmatch import asked
from natscope.codec.text.natrule import Given
from natscope.codec.text.natrules import NatRule
from natscope.model.bundle import Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Chain
from natscope.views.doctor.reading.passage import (
    FORWARDING,
    ForwardHook,
    Opening,
    Passage,
    dropping,
    is_off,
)
from natscope.views.doctor.reading.rows import is_set, is_unset
from natscope.views.doctor.reading.spans import addresses_within
from natscope.views.doctor.remedies.edits import KEEP, Words, inserting
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_MARK = re.compile(r"\bmark\b")
ANSWERS = Words(
    "ct state established,related accept",
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
)
FORWARDED = Words("ct status dnat accept", "-m conntrack --ctstate DNAT -j ACCEPT")
"""Accepts both directions of what a port forward let in."""


def not_forwarding(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R12: NAT rules for others' packets, on a box that forwards none.

    A box with one interface forwards for nobody, and a family is asked about only
    where rules are surely for it.
    """
    if len([link for link in snapshot.bundle.links if _carries(link)]) < 2:
        return
    for version in VERSIONS:
        nat_rules = snapshot.nat_rules
        rules = [nat for nat in nat_rules if _is_for_others(snapshot, nat, version)]
        if not rules:
            continue
        text = rules[0].rule.text
        if is_off(snapshot.bundle, version):
            yield Finding(
                "R12",
                Severity.CRITICAL,
                f"{_count(rules)}, but this box does not forward IPv{version}",
                (Fact("rules", len(rules)), Fact("rule", text)),
                why="Without forwarding the kernel drops every packet that is not for "
                "the box itself: nothing comes to the rules behind routing.",
                remedies=(turn_on(version),),
                verify=f"sysctl {_dotted(FORWARDING[version])}",
                about=f"IPv{version}",
            )
            continue
        shut = dropping(snapshot, version)
        for chain in shut:
            yield _shut(snapshot, chain, rules)
        yield from _stuck_hosts(snapshot, version, rules, shut)


def _shut(snapshot: Snapshot, chain: Chain, rules: list[NatRule]) -> Finding:
    where = f"{chain.family} {chain.table} {chain.name}"
    return Finding(
        "R12",
        Severity.CRITICAL,
        f"{_count(rules)}, but chain {where} drops all it sees",
        (Fact("rules", len(rules)), Fact("rule", rules[0].rule.text)),
        why="The policy of the chain is drop, and it has no rule that accepts "
        "anything. Docker sets such a policy for iptables' FORWARD.",
        remedies=(
            Remedy(
                inserting(snapshot.bundle, chain, ANSWERS, *_wanted(rules)),
                "accepts the answers, port forwards, and what leaves by an interface "
                f"a NAT rule names; {KEEP}",
            ),
        ),
        verify="natscope doctor --only R12 finds nothing",
        about=where,
    )


def _stuck_hosts(
    snapshot: Snapshot, version: int, rules: list[NatRule], shut: list[Chain]
) -> Iterator[Finding]:
    """Inside hosts a rule translates, if only their packets came so far."""
    hook = ForwardHook(snapshot, version)
    told = set()
    for nat in rules:
        packet = hook.leaving(nat.rule)
        way = packet.iif, packet.oif
        if way in told or not _names_hosts(nat, packet):
            continue
        found, chain = hook.passage(packet)
        is_shut = found is Passage.SHUT and chain is not None and chain not in shut
        if is_shut and chain and not _has_flows(snapshot, packet):
            told.add(way)
            yield _stuck(snapshot, packet, nat, chain)


def _names_hosts(nat: NatRule, packet: Opening) -> bool:
    """A rule that names no source or no interface may be for others."""
    is_source = nat.gives is not None and nat.gives.is_source
    ways = packet.iif, packet.oif
    return (
        is_source and bool(packet.sources) and None not in ways and ways[0] != ways[1]
    )


def _has_flows(snapshot: Snapshot, packet: Opening) -> bool:
    """Whether something did pass."""
    table = snapshot.flows
    rows = is_set(table, uapi.Status.SRC_NAT) & is_unset(table, uapi.Status.DST_NAT)
    return bool((rows & addresses_within(table["orig_src"], packet.sources)).any())


def _stuck(snapshot: Snapshot, packet: Opening, nat: NatRule, chain: Chain) -> Finding:
    where = f"{chain.family} {chain.table} {chain.name}"
    words = Words(
        f'iifname "{packet.iif}" oifname "{packet.oif}" ct state new accept',
        f"-i {packet.iif} -o {packet.oif} -m conntrack --ctstate NEW -j ACCEPT",
    )
    return Finding(
        "R12",
        Severity.HIGH,
        f"hosts behind {packet.iif} are translated as they leave by {packet.oif}, but "
        f"chain {where} drops what they send",
        (Fact("flows", 0), Fact("rule", nat.rule.text)),
        why="The chain drops what no rule accepts, and none can accept a new TCP flow "
        "of theirs. Docker and ufw set such a policy for iptables' FORWARD.",
        remedies=(
            Remedy(
                inserting(snapshot.bundle, chain, ANSWERS, words),
                f"accepts what these hosts open, and the answers; {KEEP}",
            ),
        ),
        verify="natscope doctor --only R12 finds nothing",
        about=f"{packet.iif} to {packet.oif}",
    )


def _wanted(rules: list[NatRule]) -> Iterator[Words]:
    """What the NAT rules are for: port forwards, and what leaves by an interface."""
    gives = [nat.gives for nat in rules if nat.gives is not None]
    if any(not one.is_source for one in gives):
        yield FORWARDED
    asks = (asked(nat.rule) for nat in rules if nat.gives and nat.gives.is_source)
    for oif in dict.fromkeys(one.oif for one in asks):
        if oif is not None:
            yield Words(
                f'oifname "{oif}" ct state new accept',
                f"-o {oif} -m conntrack --ctstate NEW -j ACCEPT",
            )


def _count(rules: list[NatRule]) -> str:
    return "1 NAT rule" if len(rules) == 1 else f"{len(rules)} NAT rules"


def _is_for_others(snapshot: Snapshot, nat: NatRule, version: int) -> bool:
    """Whether a rule translates packets that are to be forwarded, of this family.

    A source rule of a table of both families is taken to be for IPv4.  A rule that
    asks for a mark is a program's own (Tailscale and kube-proxy put one on every host).
    """
    gives = nat.gives
    if gives is None or gives.kind == "redirect" or _MARK.search(nat.rule.text):
        return False
    told = asked(nat.rule).version
    if told is None:
        told = 6 if any(last >> 32 for _, last in gives.addresses) else 4
    if told != version:
        return False
    return gives.is_source or (bool(gives.addresses) and not is_own(snapshot, gives))


def is_own(snapshot: Snapshot, gives: Given) -> bool:
    """Whether a rule sends packets to an address of the box itself."""
    ends = {end for span in gives.addresses for end in span}
    return any(end in snapshot.own or ip_address(end).is_loopback for end in ends)


def _carries(link: Link) -> bool:
    return link.up and "LOOPBACK" not in link.flags and link.master is None


def turn_on(version: int) -> Remedy:
    """Makes the box forward."""
    name = _dotted(FORWARDING[version])
    about = "hosts behind this box can then send through it: see the forward chain"
    return Remedy(f"sysctl -w {name}=1", about, sysctl=(name, "1"))


def _dotted(path: str) -> str:
    """A setting's path as sysctl(8) writes it."""
    return path.replace("/", ".")


RULES = (
    Rule(
        "R12",
        "not-forwarding",
        "NAT rules on a box that does not forward",
        (),
        not_forwarding,
        "ip_forward(), ip-sysctl.rst",
    ),
)
