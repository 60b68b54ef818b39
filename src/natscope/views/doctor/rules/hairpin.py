"""R10: port forwards asked for from inside, whose answers bypass the box."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from natscope import uapi
from natscope.model.bundle import Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Hook
from natscope.table.nat import in_network, is_local
from natscope.views.doctor.reading.chains import base_chains
from natscope.views.doctor.reading.rows import Mask, examples, flows, is_set, is_unset
from natscope.views.doctor.remedies.edits import KEEP, Words, inserting
from natscope.views.doctor.remedies.selecting import selection
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

Network = IPv4Network | IPv6Network
_BRIDGED = {
    4: "net/bridge/bridge-nf-call-iptables",
    6: "net/bridge/bridge-nf-call-ip6tables",
}


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
    own = snapshot.addresses
    for name in ("orig_src", "reply_src"):
        waiting &= ~is_local(table["family"], table[name], own)
    for link in snapshot.bundle.links:
        for prefix in _prefixes(link):
            if link.kind == "bridge" and snapshot.sysctl(_BRIDGED[prefix.version]):
                continue
            network = (VERSIONS[prefix.version].family, int(prefix.network_address))
            near = [
                in_network(table["family"], table[name], *network, prefix.prefixlen)
                for name in ("orig_src", "reply_src")
            ]
            rows = waiting & near[0] & near[1]
            if rows.any():
                yield _finding(snapshot, link, prefix, rows)


def _prefixes(link: Link) -> list[Network]:
    """On-link prefixes, each once."""
    found = (
        ip_network(f"{one.local}/{one.prefix}", strict=False)
        for one in link.addresses
        if one.peer is None and not one.local.is_link_local
    )
    return list(dict.fromkeys(found))


def _finding(snapshot: Snapshot, link: Link, prefix: Network, rows: Mask) -> Finding:
    count = int(rows.sum())
    return Finding(
        "R10",
        Severity.HIGH,
        f"{flows(count)} from {prefix} by a public address back to {prefix}: the "
        "answers bypass this box",
        (Fact("flows", count), Fact("interface", link.name)),
        examples(snapshot.flows, rows),
        why="The client asked the public address. The target, on the same link, "
        "answers it directly and from its own address, and the client knows no such "
        "connection. With the source translated too, the answer comes back here.",
        remedies=(
            Remedy(
                _translating(snapshot, prefix, rows),
                "the target then sees this box as the client; natscope undo puts the "
                f"old flows back; {KEEP}",
                is_destructive=True,
            ),
        ),
        verify=f"natscope list hairpin and src net {prefix}: the flows, answered",
        about=str(prefix),
    )


def _translating(snapshot: Snapshot, prefix: Network, rows: Mask) -> str:
    """The rule that is missing, and an end of the flows that began without it."""
    family = VERSIONS[prefix.version].nft
    words = Words(
        f"{family} saddr {prefix} {family} daddr {prefix} ct status dnat masquerade",
        f"-s {prefix} -d {prefix} -m conntrack --ctstate DNAT -j MASQUERADE",
    )
    chains = base_chains(snapshot.ruleset, family, Hook.POSTROUTING, "nat")
    if chains:
        command = inserting(snapshot.bundle, chains[0], words)
    else:
        chain = f"{family} natscope-hairpin postrouting"
        command = (
            f"nft 'add table {family} natscope-hairpin; add chain {chain} "
            "{ type nat hook postrouting priority srcnat; }; "
            f"add rule {chain} {words.nft}'"
        )
    old = f"dnat and src net {prefix} and target net {prefix}"
    old = selection(snapshot, rows, old) or f"{old} and unreplied"
    return f"{command} &&\nnatscope delete '{old}'"


RULES = (
    Rule(
        "R10",
        "hairpin",
        "port forwards asked for from inside, without source translation",
        ("flows", "ruleset"),
        hairpin,
        "RFC 4787 §6; anthonyl.com on hairpin NAT",
    ),
)
