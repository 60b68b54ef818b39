"""R10, R11, R12: port forwards that cannot work, and boxes that do not forward."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.natmatch import Asked, asked
from natscope.codec.text.natrule import Given
from natscope.codec.text.natrules import NatRule, by_chain, reachable
from natscope.model.bundle import Bundle, Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.journey import Chain, Hook, Verdict
from natscope.table.flowtable import FlowTable
from natscope.table.nat import in_network, is_local
from natscope.views.doctor.chains import base_chains
from natscope.views.doctor.rows import examples, is_set, is_unset
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

Mask = NDArray[np.bool_]
_STRING = re.compile(r'"[^"]*"')
_ACCEPTS = re.compile(
    r"\b(?:accept|queue|jump|goto|vmap)\b|-[jg] (?!DROP\b|REJECT\b|N?F?LOG\b)"
)
_MARK = re.compile(r"\bmark\b")
_FAMILIES = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_BRIDGED = "net/bridge/bridge-nf-call-iptables"
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
_OF_LINK = {4: "net/ipv4/conf/{}/forwarding", 6: "net/ipv6/conf/{}/force_forwarding"}
"""What lets one interface forward though the box does not: IPv6 from Linux 6.17 on."""
_NFT_FAMILY = {4: "ip", 6: "ip6"}


def hairpin(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R10: a client and its target share a link, and the client's address stays.

    Where bridge-nf-call-iptables sends bridged answers through netfilter as well, they
    are translated back: then it works.
    """
    table = snapshot.flows
    waiting = (
        is_set(table, uapi.Status.DST_NAT)
        & is_unset(table, uapi.Status.SRC_NAT)
        & is_unset(table, uapi.Status.SEEN_REPLY)
    )
    if not waiting.any():
        return
    own = snapshot.evidence.addresses
    for name in ("orig_src", "reply_src"):
        waiting &= ~is_local(table["family"], table[name], own)
    for link in snapshot.bundle.links:
        if link.kind == "bridge" and snapshot.sysctl(_BRIDGED):
            continue
        for prefix in _prefixes(link):
            network = (_FAMILIES[prefix.version], int(prefix.network_address))
            near = [
                in_network(table["family"], table[name], *network, prefix.prefixlen)
                for name in ("orig_src", "reply_src")
            ]
            rows = waiting & near[0] & near[1]
            if rows.any():
                yield _hairpin_finding(snapshot, link, str(prefix), rows)


def _hairpin_finding(
    snapshot: Snapshot, link: Link, prefix: str, rows: Mask
) -> Finding:
    flows = examples(snapshot.flows, rows)
    family = _NFT_FAMILY[flows[0].orig.src.version]
    count = int(rows.sum())
    return Finding(
        "R10",
        Severity.HIGH,
        f"{count} flows from {prefix} to a public address come back to {prefix}, and "
        "the answers bypass this box",
        (Fact("flows", count), Fact("interface", link.name)),
        flows,
        why="The client asked the public address; the target, on the same link, "
        "answers it directly and as itself. The client knows no such connection. The "
        "source must be translated as well, so that the answer comes back here.",
        remedies=(
            Remedy(
                f"nft add rule {family} TABLE POSTROUTING {family} saddr {prefix} "
                f"{family} daddr {prefix} ct status dnat masquerade",
                "in the chain of the nat hook postrouting",
                is_pattern=True,
            ),
        ),
        verify=f"natscope list hairpin and src net {prefix}",
        about=prefix,
    )


def no_entry(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R11: a port forward's rule takes packets, and no flow of it is there.

    A packet is entered in the table when it leaves the box: one that is dropped on the
    way leaves nothing.
    """
    for nat in snapshot.nat_rules:
        hits = snapshot.hits_rose(nat.rule) or 0
        gives = nat.gives
        if gives is None or gives.is_source or hits < thresholds.forward_hits:
            continue
        what = asked(nat.rule)
        if not gives.addresses and not gives.ports and not what.dports:
            continue  # nothing tells its flows from others
        if _of_rule(snapshot.flows, gives, what).any():
            continue
        yield _no_entry_finding(snapshot, nat, hits)


def _no_entry_finding(snapshot: Snapshot, nat: NatRule, hits: int) -> Finding:
    facts = [
        Fact("hits", hits, "packets"),
        Fact("in", snapshot.interval_s, "s"),
        Fact("flows", 0),
        Fact("rule", nat.rule.text),
    ]
    version = 6 if nat.rule.family == "ip6" else 4
    remedies = []
    if _is_off(snapshot.bundle, version):
        facts.append(Fact("forwarding", "off"))
        remedies.append(_turn_on(version))
    dropping = _dropping(snapshot, version)
    for chain in dropping:
        facts.append(Fact("policy drop", f"{chain.family} {chain.table} {chain.name}"))
        remedies.append(_accept(snapshot.bundle, chain))
    rose = snapshot.measured.counters_rose or {}
    filtered = rose.get("TcpExt.IPReversePathFilter", 0)
    if filtered:
        facts.append(Fact("reverse-path filter", filtered, "packets"))
    remedies.append(_EXPLAIN)
    return Finding(
        "R11",
        Severity.HIGH,
        f"a port forward was hit {hits} times in {snapshot.interval_s:.3g} s, and no "
        "flow of it is there",
        tuple(facts),
        why="The rule changed the destination, and then the packet was dropped: by a "
        "rule or policy of the forward hook, by the reverse-path filter, or because "
        "there is no route or no forwarding. (A target that refuses every connection "
        "at once leaves no flow either.)",
        remedies=tuple(remedies),
        verify="natscope rules: the rule has flows",
        about=nat.rule.text,
    )


_EXPLAIN = Remedy(
    "natscope explain tcp CLIENT to ADDRESS:PORT",
    "tells the rule or route that drops the packet",
    is_pattern=True,
)


def not_forwarding(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R12: NAT rules for others' packets, on a box that forwards none.

    A box with one interface forwards for nobody, and a family is asked about only
    where rules are surely for it.
    """
    if len([link for link in snapshot.bundle.links if _carries(link)]) < 2:
        return
    for version in (4, 6):
        rules = [nat for nat in snapshot.nat_rules if _is_for_others(nat, version)]
        if not rules:
            continue
        text = rules[0].rule.text
        if _is_off(snapshot.bundle, version):
            yield Finding(
                "R12",
                Severity.CRITICAL,
                f"{len(rules)} NAT rules, but this box does not forward IPv{version}",
                (Fact("rules", len(rules)), Fact("rule", text)),
                why="Without forwarding the kernel drops every packet that is not for "
                "the box itself: nothing comes to the rules behind routing.",
                remedies=(_turn_on(version),),
                verify=f"sysctl {_dotted(_FORWARDING[version])}",
                about=f"IPv{version}",
            )
            continue
        for chain in _dropping(snapshot, version):
            where = f"{chain.family} {chain.table} {chain.name}"
            yield Finding(
                "R12",
                Severity.CRITICAL,
                f"{len(rules)} NAT rules, but chain {where} drops all it sees",
                (Fact("rules", len(rules)), Fact("rule", text)),
                why="The policy of the chain is drop, and it has no rule that accepts "
                "anything. Docker sets such a policy for iptables' FORWARD.",
                remedies=(_accept(snapshot.bundle, chain),),
                verify="natscope explain tcp CLIENT to ADDRESS:PORT",
                about=where,
            )


def _prefixes(link: Link) -> Iterator[IPv4Network | IPv6Network]:
    for one in link.addresses:
        if one.peer is None and not one.local.is_link_local:
            yield ip_network(f"{one.local}/{one.prefix}", strict=False)


def _of_rule(table: FlowTable, gives: Given, what: Asked) -> Mask:
    """Rows a rule may have made: a target it gives, or a port it asks for."""
    rows = is_set(table, uapi.Status.DST_NAT)
    if gives.addresses:
        found = [
            _in_span(table["reply_src"], first, last) for first, last in gives.addresses
        ]
        rows &= np.logical_or.reduce(found)
    for column, spans in (
        ("reply_sport", (gives.ports,) if gives.ports else ()),
        ("orig_dport", what.dports),
    ):
        if spans:
            ports = table[column]
            told = [(ports >= first) & (ports <= last) for first, last in spans]
            rows &= np.logical_or.reduce(told) | ~table.has(column)
    return rows


def _in_span(words: NDArray[np.uint64], first: int, last: int) -> Mask:
    """Addresses in a range; of one that is wider than a word, by its high words."""
    shift = 0 if last < 1 << 64 else 64
    word = words[:, 1] if shift == 0 else words[:, 0]
    low, high = np.uint64(first >> shift), np.uint64(last >> shift)
    found: Mask = (word >= low) & (word <= high)
    return found


def _is_for_others(nat: NatRule, version: int) -> bool:
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
    return gives.is_source or bool(gives.addresses)


def _is_off(bundle: Bundle, version: int) -> bool:
    """Whether nothing is forwarded; False where it is not known."""
    if bundle.sysctls.get(_FORWARDING[version]) != "0":
        return False
    names = (_OF_LINK[version].format(link.name) for link in bundle.links)
    return not any(bundle.sysctls.get(name) == "1" for name in names)


def _dropping(snapshot: Snapshot, version: int) -> list[Chain]:
    """Chains of the forward hook that drop everything."""
    family = _NFT_FAMILY[version]
    rules = by_chain(snapshot.ruleset)
    return [
        chain
        for chain in base_chains(snapshot.ruleset, family, Hook.FORWARD)
        if chain.policy is Verdict.DROP
        and not any(
            _ACCEPTS.search(_STRING.sub('""', rule.text))
            for rule in reachable(rules, (chain.family, chain.table, chain.name))
        )
    ]


def _carries(link: Link) -> bool:
    return link.up and "LOOPBACK" not in link.flags and link.master is None


def _turn_on(version: int) -> Remedy:
    name = _dotted(_FORWARDING[version])
    about = "hosts behind this box can then send through it: see the forward chain"
    return Remedy(f"sysctl -w {name}=1", about, sysctl=(name, "1"))


def _accept(bundle: Bundle, chain: Chain) -> Remedy:
    about = (
        "answers, and what port forwards let in; what goes out needs a rule of its own"
    )
    tool = _iptables_of(bundle, chain)
    if tool is not None:
        add = f"{tool} -A {shlex.quote(chain.name)} -m conntrack"
        return Remedy(
            f"{add} --ctstate RELATED,ESTABLISHED -j ACCEPT && "
            f"{add} --ctstate DNAT -j ACCEPT",
            about,
        )
    where = f"{chain.family} {chain.table} {chain.name}"
    rules = (
        f"add rule {where} ct state established,related accept; "
        f"add rule {where} ct status dnat accept"
    )
    return Remedy(f"nft {shlex.quote(rules)}", about)


def _iptables_of(bundle: Bundle, chain: Chain) -> str | None:
    """The iptables program whose chain it is; None: it is nft's own."""
    prefix = "ip6" if chain.family == "ip6" else "ip"
    heading = re.compile(rf"^\*{re.escape(chain.table)}$", re.MULTILINE)
    for one in bundle.rulesets:
        if one.tool.startswith(f"{prefix}tables") and heading.search(one.text):
            return one.tool
    return None


def _dotted(path: str) -> str:
    return path.replace("/", ".")


RULES = (
    Rule(
        "R10",
        "hairpin",
        "port forwards asked for from inside, without source translation",
        ("flows",),
        hairpin,
        "RFC 4787 §6; anthonyl.com on hairpin NAT",
    ),
    Rule(
        "R11",
        "forward-without-flow",
        "port forwards that take packets and make no flow",
        ("flows", "hits_rose"),
        no_entry,
        "nf_nat_setup_info(), __nf_conntrack_confirm()",
    ),
    Rule(
        "R12",
        "not-forwarding",
        "NAT rules on a box that does not forward",
        (),
        not_forwarding,
        "ip_forward(), ip-sysctl.rst",
    ),
)
