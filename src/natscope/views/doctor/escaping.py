"""R16, R31: packets NAT misses, and rules that never have their turn."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Span
from natscope.codec.text.natrules import NatRule, shown
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.journey import Rule as TextRule
from natscope.model.nat import Kind
from natscope.table.flowtable import FlowTable
from natscope.table.nat import in_network, is_local, is_private
from natscope.views.doctor.rows import Mask, examples, flows, is_set, is_unset, most
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.doctor.ways import outgoing

_RFC1918 = tuple(
    IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_NO_HOST = (IPv4Network("224.0.0.0/3"), IPv4Network("0.0.0.0/8"))
"""Multicast, broadcast and reserved: no host of the world."""
_LEGACY = "legacy"
_V4 = (None, 4)
_ACTION = re.compile(r"(?<!\S)(?:snat|masquerade|-j \S+)(?!\S).*$")
_ASIDE = re.compile(r'-m comment|(?:--)?comment (?:"[^"]*"|\S+)|\bcounter\b')


def escaping(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R16: private sources leave untranslated where others are translated.

    Only flows nobody answers count: where a router behind translates, answers come.
    A flow that some rule may take is not counted: why that did not is R08's.
    """
    found = [one for one in snapshot.nat_rules if one.gives and one.gives.is_source]
    rules = [(one, asked(one.rule)) for one in found]
    rules = [(one, asks) for one, asks in rules if asks.version in _V4]
    leaving = _leaving(snapshot) if rules else np.zeros(0, np.bool_)
    if np.count_nonzero(leaving) < thresholds.escaping_flows:
        return
    table = snapshot.flows
    at = np.flatnonzero(leaving)
    names, codes = outgoing(snapshot.bundle, table["orig_dst"][at])
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
            yield _escaped(table, rows, dev, [one for one, _ in here])


def _escaped(table: FlowTable, rows: Mask, dev: str, rules: list[NatRule]) -> Finding:
    count = int(np.count_nonzero(rows))
    top = most(table, "orig_src", rows)
    assert top is not None  # rows are not empty
    facts = [
        Fact("untranslated flows", count),
        Fact("most of", f"{top.address} ({top.count})"),
    ]
    facts += [Fact("source NAT", one.rule.text) for one in rules[:3]]
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
                f'nft add rule ip nat postrouting oifname "{dev}" masquerade',
                "without a condition on the source; or widen the rule that is there",
            ),
            Remedy(
                f'nft add rule ip TABLE forward oifname "{dev}" ip saddr SOURCE drop',
                "if these hosts should not go out",
            ),
        ),
        f'nft add rule ip TABLE CHAIN oifname "{dev}" ip saddr '
        "{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } counter, in a chain of "
        "postrouting behind NAT (priority 110): it counts nothing",
        about=dev,
    )


def _leaving(snapshot: Snapshot) -> Mask:
    """Forwarded IPv4 flows from private hosts to the world, untranslated."""
    table = snapshot.flows
    family = table["family"]
    own = snapshot.evidence.addresses
    rows: Mask = (family == uapi.AF_INET) & (snapshot.translations.kind == Kind.NONE)
    rows &= _within(table, "orig_src", _RFC1918)
    rows &= ~is_private(family, table["orig_dst"])
    rows &= ~_within(table, "orig_dst", _NO_HOST)
    if rows.any():
        rows &= ~is_local(family, table["orig_src"], own)
        rows &= ~is_local(family, table["orig_dst"], own)
    return rows


def _within(table: FlowTable, column: str, networks: tuple[IPv4Network, ...]) -> Mask:
    found = np.zeros(len(table), np.bool_)
    for one in networks:
        net = (uapi.AF_INET, int(one.network_address), one.prefixlen)
        found |= in_network(table["family"], table[column], *net)
    return found


def _taken(table: FlowTable, asks: Asked) -> Mask:
    """IPv4 rows a rule may take, the interface apart."""
    rows = np.ones(len(table), np.bool_)
    if asks.protos:
        rows &= np.isin(table["proto"], tuple(asks.protos))
    for column, spans in (("orig_src", asks.src), ("orig_dst", asks.dst)):
        if spans:
            rows &= _in_spans(table[column][:, 1], spans)
    if asks.dports:
        rows &= _in_spans(table["orig_dport"], asks.dports)
    return rows


def _in_spans(values: NDArray[np.unsignedinteger], spans: tuple[Span, ...]) -> Mask:
    found = np.zeros(len(values), np.bool_)
    for first, last in spans:
        found |= (values >= first) & (values <= last)
    return found


def mixed_firewalls(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R31: two rulesets translate the same packets; one of them in vain.

    A flow's source is translated once: by the chain that comes first.  Chains that
    give the same, as two that masquerade, do no harm.
    """
    translating = [one for one in snapshot.nat_rules if one.gives is not None]
    by_legacy = [one for one in translating if _LEGACY in one.rule.tool]
    by_tables = [one for one in translating if _LEGACY not in one.rule.tool]
    if by_legacy and by_tables:
        yield _two_tools(by_legacy, by_tables)
    yield from _shadowed([one for one in translating if one not in by_legacy])


def _two_tools(legacy: list[NatRule], tables: list[NatRule]) -> Finding:
    other = tables[0].rule.tool
    return Finding(
        "R31",
        Severity.WARNING,
        f"iptables-legacy has {len(legacy)} NAT rules and {other} {len(tables)}: "
        "each is blind to the other's",
        (
            Fact("iptables-legacy", _told(legacy[0].rule)),
            Fact(other, _told(tables[0].rule)),
        ),
        why="Both hang at the same hooks. The first chain that translates a flow has "
        "it, and which is first is the order they were loaded in. Each tool lists "
        "only its own rules.",
        remedies=(
            Remedy(
                "iptables-legacy-save > legacy.rules; iptables-nft-restore -n < "
                "legacy.rules",
                "then flush the legacy tables: iptables-legacy -t nat -F",
                is_destructive=True,
            ),
        ),
        verify="iptables-legacy-save prints no rule",
        about="iptables-legacy",
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
