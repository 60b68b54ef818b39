"""R11: port forwards that take packets and make no flow, or never can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import numpy as np

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Given
from natscope.codec.text.natrules import NatRule, place
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Chain
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.views.doctor.reading.chains import arriving
from natscope.views.doctor.reading.passage import (
    ForwardHook,
    Opening,
    Passage,
    dropping,
    is_off,
)
from natscope.views.doctor.reading.rows import Mask, is_set
from natscope.views.doctor.reading.spans import addresses_within, ports_within
from natscope.views.doctor.reading.ways import default_devices, link
from natscope.views.doctor.remedies.edits import KEEP, inserting, lacks_handle, replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.rules.forwarding import FORWARDED, is_own, turn_on
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_ACTION = re.compile(r"(?<!\S)(?=(?:dnat|redirect)(?!\S))")
_INSIDE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
"""RFC 1918, RFC 6598."""
_MOST_RULES = 3
_STRANGERS = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Of networks for documentation (RFC 5737, RFC 3849): nobody has them."""


@dataclass(frozen=True, slots=True)
class _Forward:
    """A port forward that seems to make no flow, and what is known of its packets."""

    nat: NatRule
    packet: Opening
    passage: Passage
    chain: Chain | None
    """That of the forward hook which decides."""
    flows: int = 0
    """That are there; a forward that is shut may have some of better days."""

    @property
    def target(self) -> str:
        """Where it sends packets to, in words."""
        found = [str(ip_address(first)) for first, _ in self.packet.targets[:1]]
        ports = [str(first) for first, _ in self.packet.dports[:1]]
        at = f"port {ports[0]}" if ports else "another port"
        return f"{found[0]} {at}" if found else at


def no_entry(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R11: a port forward's rule takes packets, and no flow of it is there.

    A packet is entered in the table when it leaves the box: one that is dropped on the
    way leaves nothing.  Where the texts of the forward hook leave no doubt that they
    are dropped, no packet need come, and older flows do not matter: the hook lets
    answers through.
    """
    lonely = list(_lonely(snapshot))
    for chain in dict.fromkeys(one.chain for one in lonely):
        shut = [one for one in lonely if one.passage is Passage.SHUT]
        shut = [one for one in shut if one.chain == chain]
        if chain is not None and shut:
            yield _shut_out(snapshot, shut, chain)
    for one in lonely:
        if one.passage is Passage.SHUT:
            continue
        hits = snapshot.hits_rose(one.nat.rule)
        if hits is None and one.passage is Passage.UNSURE:
            yield _uncounted(snapshot, one)
        elif hits is not None and hits >= thresholds.forward_hits:
            yield _dropped(snapshot, one, hits)


def _lonely(snapshot: Snapshot) -> Iterator[_Forward]:
    """The port forwards that make no flow: none is there, or none can come."""
    met = arriving(snapshot.ruleset)
    hooks = {version: ForwardHook(snapshot, version) for version in VERSIONS}
    shut = [chain for version in VERSIONS for chain in dropping(snapshot, version)]
    forwarded = snapshot.flows.mask(is_set(snapshot.flows, uapi.Status.DST_NAT))
    kinds = _kinds(forwarded)
    for nat in snapshot.nat_rules:
        gives, what = nat.gives, asked(nat.rule)
        if gives is None or gives.is_source:
            continue
        if not gives.addresses and not gives.ports and not what.dports:
            continue  # nothing tells its flows from others
        has_flows = bool(_of_rule(kinds, gives, what).any())
        is_six = what.version == 6 or any(last >> 32 for _, last in gives.addresses)
        hook = hooks[6 if is_six else 4]
        packet = hook.opening(nat.rule, gives)
        found: tuple[Passage, Chain | None] = Passage.OPEN, None
        is_here = gives.kind == "redirect" or is_own(snapshot, gives)
        if not is_here and place(nat.rule) in met:
            found = hook.passage(packet)
        if found[1] in shut:
            continue  # it drops all it sees, says R12
        if not has_flows:
            yield _Forward(nat, packet, *found)
        elif found[0] is Passage.SHUT:
            old = forwarded.mask(_of_rule(forwarded, gives, what))
            if not _is_young(snapshot, old).any():
                yield _Forward(nat, packet, *found, len(old))


def _is_young(snapshot: Snapshot, table: FlowTable) -> Mask:
    """Flows that began between the two readings, where flows tell when they began."""
    measured, now_ns = snapshot.measured, snapshot.evidence.now_ns or 0
    first = now_ns - measured.interval_ms * 1_000_000
    found: Mask = table.has("start_ns") & (table["start_ns"] >= np.uint64(first))
    return found


def _shut_out(snapshot: Snapshot, shut: list[_Forward], chain: Chain) -> Finding:
    where = f"{chain.family} {chain.table} {chain.name}"
    first = shut[0]
    told = f"the port forward to {first.target} cannot work: chain {where} drops its"
    if len(shut) > 1:
        told = f"{len(shut)} port forwards cannot work: chain {where} drops their"
    old = sum(one.flows for one in shut)
    facts = [Fact("flows of before", old) if old else Fact("flows", 0)]
    for one in shut[:_MOST_RULES]:
        facts += [Fact("rule", one.nat.rule.text), *_hits(snapshot, one.nat)]
    facts += _double_nat(snapshot, first.packet)
    return Finding(
        "R11",
        Severity.HIGH,
        f"{told} packets",
        tuple(facts),
        why="The rule changes the destination, and then the packet has to pass the "
        "forward hook. There the chain drops what no rule accepts, and none accepts "
        "a new flow to this target.",
        remedies=(
            Remedy(
                inserting(snapshot.bundle, chain, FORWARDED),
                f"accepts what any port forward let in, and the answers; {KEEP}",
            ),
            _explain(snapshot, first),
        ),
        verify=_VERIFY,
        about=where,
    )


def _dropped(snapshot: Snapshot, forward: _Forward, hits: int) -> Finding:
    facts = [Fact("flows", 0), *_hits(snapshot, forward.nat)]
    facts.append(Fact("rule", forward.nat.rule.text))
    remedies = [_explain(snapshot, forward)]
    if is_off(snapshot.bundle, forward.packet.version):
        facts.append(Fact("forwarding", "off"))
        remedies.insert(0, turn_on(forward.packet.version))
    if forward.chain is not None:
        chain = forward.chain
        facts.append(Fact("may drop", f"{chain.family} {chain.table} {chain.name}"))
    rose = snapshot.measured.counters_rose or {}
    if filtered := rose.get("TcpExt.IPReversePathFilter", 0):
        facts.append(Fact("reverse-path filter", filtered, "packets"))
    return Finding(
        "R11",
        Severity.HIGH,
        f"the port forward to {forward.target} was hit {hits} times in "
        f"{snapshot.interval}, and no flow of it is there: dropped, or refused",
        tuple(facts),
        why=_WHY_REFUSED if forward.passage is Passage.OPEN else _WHY_DROPPED,
        remedies=tuple(remedies),
        verify=_VERIFY,
        about=forward.nat.rule.text,
    )


def _uncounted(snapshot: Snapshot, forward: _Forward) -> Finding:
    """Nothing says that packets come, nor that they get through."""
    rule = forward.nat.rule
    chain = forward.chain
    is_pattern = lacks_handle(rule)
    listed = f"nft -a list chain {rule.family} {rule.table} {rule.chain}"
    facts = [Fact("flows", 0), Fact("rule", rule.text)]
    if chain is not None:
        facts.append(Fact("may drop", f"{chain.family} {chain.table} {chain.name}"))
    facts += _double_nat(snapshot, forward.packet)
    return Finding(
        "R11",
        Severity.INFO,
        f"nothing tells whether packets come to the port forward to {forward.target}: "
        "its rule has no counter",
        tuple(facts),
        why="No flow of it is there. Either nobody asks, or the forward hook drops the "
        "packets: a counter tells which, for a dropped packet leaves no flow.",
        remedies=(
            Remedy(
                replaced(rule, _ACTION.sub("counter ", rule.text, count=1)),
                "counts what comes, and changes nothing else"
                + (f"; N is the rule's handle: {listed}" if is_pattern else ""),
                is_pattern=is_pattern,
            ),
        ),
        verify="natscope doctor --only R11, while somebody asks",
        about=rule.text,
    )


_WHY_DROPPED = (
    "The rule changed the destination, and then the packet was dropped: by a rule of "
    "the forward hook, by the reverse-path filter, or because there is no route or no "
    "forwarding. Or the target refuses every connection at once (RST), which leaves no "
    "flow either."
)
_WHY_REFUSED = (
    "The rule changed the destination, and no rule of the forward hook drops such "
    "packets: so the target refuses every connection at once (RST), which leaves no "
    "flow. Or they are dropped elsewhere: by the reverse-path filter, or because there "
    "is no route or no forwarding."
)
_VERIFY = "natscope rules: the rule has flows"


def _hits(snapshot: Snapshot, nat: NatRule) -> Iterator[Fact]:
    if nat.packets is not None:
        yield Fact("hits in all", nat.packets)
    if snapshot.measured.hits_rose is None:
        return
    if hits := snapshot.hits_rose(nat.rule):
        yield Fact("hits", hits, f"in {snapshot.interval}")


def _double_nat(snapshot: Snapshot, packet: Opening) -> Iterator[Fact]:
    """Another NAT before this box: then that must forward as well."""
    for dev in default_devices(snapshot.bundle, VERSIONS[packet.version].inet):
        found = link(snapshot.bundle, dev)
        told = [] if found is None else [one.local for one in found.addresses]
        own = [one for one in told if one.version == 4]
        if own and packet.version == 4 and all(map(_is_inside, own)):
            yield Fact(
                "another NAT before it", f"{dev} has but {own[0]}, a private one"
            )


def _is_inside(address: Address) -> bool:
    return any(address in network for network in _INSIDE)


def _explain(snapshot: Snapshot, forward: _Forward) -> Remedy:
    """A packet of a stranger to the forward, as a question."""
    packet, what = forward.packet, asked(forward.nat.rule)
    proto = uapi.protocol_name(min(packet.protos, default=uapi.IPPROTO_TCP))
    way = packet.iif or _way_in(snapshot, forward)
    to = _asked_for(snapshot, forward, way)
    port = str(what.dports[0][0]) if what.dports else "PORT"
    at = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
    came = f" in {way}" if way else ""
    return Remedy(
        f"natscope explain {proto} {_STRANGERS[packet.version]} to {at}{came}",
        "asks the rules and routes themselves: tells which drops the packet. If it is "
        "FORWARDED, none does, and the target refuses it",
        is_pattern=True,
    )


def _way_in(snapshot: Snapshot, forward: _Forward) -> str | None:
    """The interface strangers come by: that with the address, else the default one."""
    bundle, version = snapshot.bundle, forward.packet.version
    named = {ip_address(first) for first, _ in asked(forward.nat.rule).dst}
    for one in bundle.links:
        if named & {told.local for told in one.addresses}:
            return one.name
    return next(iter(default_devices(bundle, VERSIONS[version].inet)), None)


def _asked_for(snapshot: Snapshot, forward: _Forward, way: str | None) -> str:
    """The address a stranger asks: the rule's, else one of the way in."""
    if named := asked(forward.nat.rule).dst:
        return str(ip_address(named[0][0]))
    found = None if way is None else link(snapshot.bundle, way)
    for one in () if found is None else found.addresses:
        if one.local.version == forward.packet.version and one.scope == "global":
            return str(one.local)
    return "ADDRESS"


_KINDS = ("family", "proto", "reply_sport", "orig_dport")


def _kinds(table: FlowTable) -> FlowTable:
    """Of the flows to one target by one port, one: a box has many flows, and rules."""
    target = table["reply_src"]
    words = [target[:, 0], target[:, 1], *(table[name] for name in _KINDS)]
    first, _ = group_rows(words, len(table))
    return table.take(first)


def _of_rule(table: FlowTable, gives: Given, what: Asked) -> Mask:
    """Rows a rule may have made: a target it gives, and a port it asks for."""
    rows = np.ones(len(table), np.bool_)
    for column, spans in (
        ("reply_sport", (gives.ports,) if gives.ports else ()),
        ("orig_dport", what.dports),
    ):
        if spans:
            rows &= ports_within(table[column], spans) | ~table.has(column)
    if gives.addresses and rows.any():
        rows &= addresses_within(table["reply_src"], gives.addresses)
    if what.protos and rows.any():
        rows &= np.isin(table["proto"], list(what.protos))
    return rows


RULES = (
    Rule(
        "R11",
        "forward-without-flow",
        "port forwards that take packets and make no flow",
        ("flows", "ruleset"),
        no_entry,
        "nf_nat_setup_info(), __nf_conntrack_confirm()",
    ),
)
