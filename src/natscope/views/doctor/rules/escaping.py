"""R16, R31: packets NAT misses, and rules that never have their turn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network

import numpy as np

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrules import NatRule, shown
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Hook
from natscope.model.journey import Rule as TextRule
from natscope.model.nat import Kind
from natscope.table.flowtable import FlowTable
from natscope.table.nat import in_network, is_local, is_private
from natscope.views.doctor.reading.chains import base_chains
from natscope.views.doctor.reading.rows import (
    Mask,
    examples,
    flows,
    is_set,
    is_unset,
    most,
)
from natscope.views.doctor.reading.spans import addresses_within, ports_within
from natscope.views.doctor.reading.ways import outgoing
from natscope.views.doctor.remedies.edits import KEEP, Words, adding
from natscope.views.doctor.remedies.selecting import selection
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

Network = IPv4Network | IPv6Network
_INSIDE: Mapping[int, tuple[Network, ...]] = {
    4: tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))),
    6: (IPv6Network("fc00::/7"),),
}
"""RFC 1918; RFC 4193."""
_NO_HOST: Mapping[int, tuple[Network, ...]] = {
    4: (IPv4Network("224.0.0.0/3"), IPv4Network("0.0.0.0/8")),
    6: (IPv6Network("ff00::/8"), IPv6Network("fe80::/10")),
}
"""Multicast, broadcast, link-local and reserved: no host of the world."""
_LEGACY = "legacy"
_ACTION = re.compile(r"(?<!\S)(?:snat|masquerade|-j \S+)(?!\S).*$")
_ASIDE = re.compile(r'-m comment|(?:--)?comment (?:"[^"]*"|\S+)|\bcounter\b')


def escaping(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R16: private sources leave untranslated where others are translated.

    Only flows nobody answers count: where a router behind translates, answers come.
    A flow that some rule may take is not counted: why that did not is R08's.
    """
    found = [one for one in snapshot.nat_rules if one.gives and one.gives.is_source]
    rules = [(one, asked(one.rule)) for one in found]
    for version in _INSIDE:
        # in IPv6 nothing need be translated: a rule must say it is
        versions = (None, 4) if version == 4 else (6,)
        of_it = [(one, asks) for one, asks in rules if asks.version in versions]
        if of_it:
            yield from _escaping(snapshot, thresholds, version, of_it)


def _escaping(
    snapshot: Snapshot,
    thresholds: Thresholds,
    version: int,
    rules: list[tuple[NatRule, Asked]],
) -> Iterator[Finding]:
    table = snapshot.flows
    leaving = _leaving(snapshot, version)
    if np.count_nonzero(leaving) < thresholds.escaping_flows:
        return
    at = np.flatnonzero(leaving)
    names, codes = outgoing(snapshot.bundle, version, table["orig_dst"][at])
    for code, dev in enumerate(names):
        here = [(one, asks) for one, asks in rules if asks.oif in (None, dev)]
        if not dev or not here:
            continue
        rows = np.zeros(len(table), np.bool_)
        rows[at[codes == code]] = True
        for _, asks in here:
            rows &= ~_taken(table, asks)
        answered = rows & is_set(table, uapi.Status.SEEN_REPLY)
        rows &= is_unset(table, uapi.Status.SEEN_REPLY)
        if np.count_nonzero(rows) >= thresholds.escaping_flows and not answered.any():
            told = [one for one, _ in here]
            yield _escaped(snapshot, rows, dev, version, told)


def _escaped(
    snapshot: Snapshot, rows: Mask, dev: str, version: int, rules: list[NatRule]
) -> Finding:
    table = snapshot.flows
    count = int(np.count_nonzero(rows))
    top = most(table, "orig_src", rows)
    assert top is not None  # rows are not empty
    facts = [
        Fact("untranslated flows", count),
        Fact("most of", f"{top.address} ({top.count})"),
    ]
    facts += [Fact("source NAT", one.rule.text) for one in rules[:3]]
    command = _masquerading(snapshot, rules[0].rule, dev, version)
    chosen = selection(snapshot, rows, "not nat")
    if chosen is not None:  # they began without the rule, and would go on so
        command += f" &&\nnatscope delete '{chosen}'"
    return Finding(
        "R16",
        Severity.WARNING,
        f"{flows(count)} through {dev} with a private source address: no rule there "
        "takes them",
        tuple(facts),
        examples(table, rows),
        "The source-NAT rules of this interface ask for a source or a protocol these "
        "flows do not have. Nobody outside can answer a private address.",
        (
            Remedy(
                command,
                f"or widen the rule that is there; {KEEP}",
                is_destructive=chosen is not None,
            ),
        ),
        "natscope doctor --only R16 finds nothing",
        about=dev if version == 4 else f"{dev} (IPv6)",
    )


def _masquerading(snapshot: Snapshot, beside: TextRule, dev: str, version: int) -> str:
    """A rule for all private sources, in the table whose rules do not take them."""
    family = VERSIONS[version].nft
    blocks = [str(one) for one in _INSIDE[version]]
    listed = f"{{ {', '.join(blocks)} }}" if len(blocks) > 1 else blocks[0]
    words = Words(
        f'oifname "{dev}" {family} saddr {listed} masquerade',
        f"-s {','.join(blocks)} -o {dev} -j MASQUERADE",
    )
    chains = base_chains(snapshot.ruleset, family, Hook.POSTROUTING, "nat")
    own = [c for c in chains if (c.family, c.table) == (beside.family, beside.table)]
    return adding(snapshot.bundle, (own or chains)[0], words)


def _leaving(snapshot: Snapshot, version: int) -> Mask:
    """Forwarded flows from private hosts to the world, untranslated."""
    table = snapshot.flows
    family = table["family"]
    own = snapshot.addresses
    rows: Mask = (family == VERSIONS[version].family) & (
        snapshot.translations.kind == Kind.NONE
    )
    rows &= _within(table, "orig_src", _INSIDE[version])
    rows &= ~is_private(family, table["orig_dst"])
    rows &= ~_within(table, "orig_dst", _NO_HOST[version])
    if rows.any():
        rows &= ~is_local(family, table["orig_src"], own)
        rows &= ~is_local(family, table["orig_dst"], own)
    return rows


def _within(table: FlowTable, column: str, networks: tuple[Network, ...]) -> Mask:
    found = np.zeros(len(table), np.bool_)
    for one in networks:
        net = (VERSIONS[one.version].family, int(one.network_address), one.prefixlen)
        found |= in_network(table["family"], table[column], *net)
    return found


def _taken(table: FlowTable, asks: Asked) -> Mask:
    """Rows of its family a rule may take, the interface apart."""
    rows = np.ones(len(table), np.bool_)
    if asks.protos:
        rows &= np.isin(table["proto"], tuple(asks.protos))
    for column, spans in (("orig_src", asks.src), ("orig_dst", asks.dst)):
        if spans:
            rows &= addresses_within(table[column], spans)
    if asks.dports:
        rows &= ports_within(table["orig_dport"], asks.dports)
    return rows


def mixed_firewalls(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R31: two rulesets translate the same packets; one of them in vain.

    A flow's source is translated once: by the chain that comes first.  Chains that
    give the same, as two that masquerade, do no harm.
    """
    translating = [one for one in snapshot.nat_rules if one.gives is not None]
    by_legacy = [one for one in translating if _LEGACY in one.rule.tool]
    by_tables = [one for one in translating if _LEGACY not in one.rule.tool]
    for family in ("ip", "ip6"):
        legacy = [one for one in by_legacy if one.rule.family == family]
        tables = [one for one in by_tables if one.rule.family in (family, "inet")]
        if legacy and tables:
            yield _two_tools(legacy, tables)
    yield from _shadowed(by_tables)


def _two_tools(legacy: list[NatRule], tables: list[NatRule]) -> Finding:
    other = tables[0].rule.tool
    tool = "ip6tables" if legacy[0].rule.family == "ip6" else "iptables"
    return Finding(
        "R31",
        Severity.WARNING,
        f"two tools hold NAT rules: {tool}-legacy {len(legacy)}, {other} "
        f"{len(tables)}; each is blind to the other's",
        (
            Fact(f"{tool}-legacy", _told(legacy[0].rule)),
            Fact(other, _told(tables[0].rule)),
        ),
        why="Both hang at the same hooks. The first chain that translates a flow has "
        "it, and which is first is the order they were loaded in. Each tool lists "
        "only its own rules.",
        remedies=(
            Remedy(
                f"{tool}-legacy-save | {tool}-nft-restore -n\n"
                f"for table in $(cat /proc/net/{tool.removesuffix('tables')}"
                "_tables_names)\n"
                f"do {tool}-legacy -t $table -F; done",
                "the rules move to nftables; a chain of your own that both have is "
                "replaced there, so compare first",
                is_pattern=True,
                is_destructive=True,
            ),
        ),
        verify=f"{tool}-legacy-save prints no rule",
        about=f"{tool}-legacy",
    )


def _shadowed(rules: list[NatRule]) -> Iterator[Finding]:
    """Source rules that ask what one of an earlier chain asks, and give other."""
    first: dict[tuple[str, str], NatRule] = {}
    for later in rules:
        if later.gives is None or not later.gives.is_source:
            continue
        asks = (later.rule.family, _condition(later.rule))
        earlier = first.setdefault(asks, later)
        same_chain = _place(earlier.rule) == _place(later.rule)
        if same_chain or earlier.gives == later.gives:
            continue
        yield Finding(
            "R31",
            Severity.WARNING,
            f"{' '.join(_place(later.rule))} has a rule that never has its turn: "
            f"{' '.join(_place(earlier.rule))} takes its packets first",
            (Fact("first", _told(earlier.rule)), Fact("then", _told(later.rule))),
            why="The source of a flow is translated once: what the first chain takes, "
            "the second never sees. Chains of one priority come in the order they "
            "were loaded.",
            remedies=(
                Remedy(
                    "nft -a list ruleset",
                    "keep one of the two, or put both in one chain in the right order",
                    is_pattern=True,
                ),
            ),
            verify="natscope rules: each rule has the flows it should have",
            about=_told(later.rule),
        )


def _condition(rule: TextRule) -> str:
    """What a rule asks, as text: equal texts ask the same."""
    text = shown(rule.text).removeprefix(f"-A {rule.chain}")
    return " ".join(_ASIDE.sub("", _ACTION.sub("", text)).split())


def _place(rule: TextRule) -> tuple[str, str, str]:
    return rule.family, rule.table, rule.chain


def _told(rule: TextRule) -> str:
    return f"{' '.join(_place(rule))}: {shown(rule.text)}"


RULES = (
    Rule(
        "R16",
        "private-source",
        "private addresses that leave untranslated",
        ("flows", "links", "routes", "ruleset"),
        escaping,
        "RFC 1918 §3; moby#18630",
    ),
    Rule(
        "R31",
        "mixed-firewalls",
        "two rulesets that translate the same packets",
        (),
        mixed_firewalls,
        "nf_nat_inet_fn(); flannel#1679",
    ),
)
