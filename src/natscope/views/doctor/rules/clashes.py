"""R21, R22, R27: one port or tuple wanted twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from natscope import uapi
from natscope.codec.text.natmatch import asked
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import FAMILIES, VERSIONS
from natscope.model.release import release
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.nat import is_local
from natscope.table.records import address_words
from natscope.views.doctor.reading.chains import zone_rules
from natscope.views.doctor.reading.rows import Mask, examples, flows
from natscope.views.doctor.remedies.edits import before, lacks_handle, with_ports
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_NUMBERS = {"tcp": uapi.IPPROTO_TCP, "udp": uapi.IPPROTO_UDP}
_EPHEMERAL = "net/ipv4/ip_local_port_range"
_RANGE = re.compile(r"([0-9]{1,5})\s+([0-9]{1,5})$")
_USUAL = 32768, 60999
_FIXED = frozenset({41641, 51820, 51821})
"""UDP ports in the ephemeral range that servers keep: Tailscale, WireGuard."""
_FEW_PORTS = 1000
"""A forward of more is a host's own address, not a port that is taken."""
_VS = "net/ipv4/vs"
_REUSE_MENDED = (5, 9)
"""f0a5e4d7a594: a reused port no longer waits for the old flow's end."""

_LOWEST, _HIGHEST = 1024, 0xFFFF
"""Unprivileged ports: what NAT draws from."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A port somebody waits on: at one address, or at any."""

    proto: int
    port: int
    address: Address | None = None


def taken_ports(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R21: a source port NAT gave away is one the box itself listens on, or forwards.

    Of TCP it is told in passing: a stranger would have to come from the very port
    the flow goes to.  UDP peers do that: WireGuard, IPsec, SIP, DNS.
    """
    table = snapshot.flows
    translated: Mask = snapshot.translations.snat | snapshot.translations.spat
    translated = translated & table.has("reply_dport")
    if not translated.any():
        return
    wanted = [*_listening(snapshot), *_forwarded(snapshot)]
    for proto, number in _NUMBERS.items():
        rows = translated & (table["proto"] == number)
        rows &= _is_wanted(table, [one for one in wanted if one.proto == number])
        if rows.any():
            own = snapshot.addresses
            rows &= is_local(table["family"], table["reply_dst"], own)
        if rows.any():
            ports = [one.port for one in wanted if one.proto == number]
            yield _taken(snapshot, rows, proto, _widest(ports))


def _is_wanted(table: FlowTable, wanted: list[_Wanted]) -> Mask:
    """Rows whose public port somebody waits on."""
    anywhere = [one.port for one in wanted if one.address is None]
    rows: Mask = np.isin(table["reply_dport"], anywhere)
    for one in wanted:
        if one.address is not None:
            high, low = address_words(one.address)
            words = table["reply_dst"]
            here = (words[:, 0] == np.uint64(high)) & (words[:, 1] == np.uint64(low))
            rows |= here & (table["reply_dport"] == one.port)
    return rows


def _widest(ports: list[int]) -> str:
    """The longest range of unprivileged ports without these."""
    at = sorted({_LOWEST - 1, _HIGHEST + 1, *(p for p in ports if p >= _LOWEST)})
    gap = max(range(len(at) - 1), key=lambda one: at[one + 1] - at[one])
    return f"{at[gap] + 1}-{at[gap + 1] - 1}"


def _taken(snapshot: Snapshot, rows: Mask, proto: str, free: str) -> Finding:
    table = snapshot.flows
    count = int(np.count_nonzero(rows))
    ports, times = np.unique(table["reply_dport"][rows], return_counts=True)
    often = ports[np.argsort(-times, kind="stable")].tolist()
    told = ",".join(map(str, often[:_SHOWN]))
    shown = told.replace(",", ", ") + (" …" if len(often) > _SHOWN else "")
    found = examples(table, rows)
    family = VERSIONS[found[0].reply.dst.version].nft
    return Finding(
        "R21",
        Severity.WARNING if proto == "udp" else Severity.INFO,
        f"{flows(count)} with a {proto.upper()} source port the box needs itself: "
        f"{shown}",
        (Fact("flows", count), Fact("ports", len(often)), Fact("which", shown)),
        found,
        "NAT keeps an inside host's source port, or draws one of 1024-65535: not of "
        "ip_local_port_range, and whoever listens is not asked. What the same peer "
        "sends to that port from the port the flow goes to is taken for a reply, and "
        "goes to the inside host.",
        (
            _sparing(snapshot, family, proto, free),
            Remedy(
                f"natscope delete 'snat and {proto} and public port {told}'",
                "those that are there are cut",
                is_destructive=True,
            ),
        ),
        f"natscope list 'snat and {proto} and public port {told}': none",
        about=proto,
    )


def _sparing(snapshot: Snapshot, family: str, proto: str, free: str) -> Remedy:
    """Have a range of ports given before all others are."""
    about = "before the rule that translates: a range without the ports this box needs "
    about += "itself"
    for nat in snapshot.nat_rules:
        rule = nat.rule
        if nat.gives is None or not nat.gives.is_source:
            continue
        if rule.family in (family, "inet") and (text := with_ports(rule, proto, free)):
            return Remedy(before(rule, text), about, is_pattern=lacks_handle(rule))
    words = f"meta l4proto {proto} masquerade to :{free}"
    return Remedy(
        f"nft insert rule {family} TABLE CHAIN handle N {words}",
        f"{about} (natscope rules tells table, chain and handle)",
        is_pattern=True,
    )


def _listening(snapshot: Snapshot) -> Iterator[_Wanted]:
    """Ports of the box's own servers; sockets that only ask are none."""
    told = _RANGE.match(snapshot.bundle.sysctls.get(_EPHEMERAL, ""))
    first, last = (int(told[1]), int(told[2])) if told else _USUAL
    for one in snapshot.listeners:
        asks = one.proto == "udp" and first <= one.port <= last
        if asks and one.port not in _FIXED:
            continue
        address = None if one.address.is_unspecified else one.address
        yield _Wanted(_NUMBERS[one.proto], one.port, address)


def _forwarded(snapshot: Snapshot) -> Iterator[_Wanted]:
    """Ports of the box that rules forward."""
    for nat in snapshot.nat_rules:
        if nat.gives is None or nat.gives.is_source:
            continue
        asks = asked(nat.rule)
        for first, last in asks.dports:
            if last - first < _FEW_PORTS:
                for proto in asks.protos & set(_NUMBERS.values()):
                    for port in range(first, last + 1):
                        yield _Wanted(proto, port)


def zone_clash(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R22: equal flows of several zones meet in the one zone of their replies.

    Each has its zone in the original direction alone.  Only NAT would give the second
    another port, and no chain of its family asks NAT to.
    """
    rose = snapshot.rose
    if not rose.get("insert_failed") or not rose.get("drop"):
        return
    table = snapshot.flows
    zoned = table.has("orig_zone") & (table["orig_zone"] != 0)
    chains = snapshot.ruleset.base_chains()
    for number, ip in FAMILIES.items():
        rules = zone_rules(snapshot.ruleset, ip.nft)
        rows = zoned & (table["family"] == number)
        has_nat = any(
            one.type == "nat" and one.family in (ip.nft, "inet") for one in chains
        )
        if rules and not has_nat and rows.any():
            yield _clash(snapshot, rows, rules[0].text, ip.nft)


def _clash(snapshot: Snapshot, rows: Mask, rule: str, family: str) -> Finding:
    failed = snapshot.rose["insert_failed"]
    made = f"{family} natscope-zones"
    return Finding(
        "R22",
        Severity.HIGH,
        f"{failed} new flows of zones clash in their replies: no {family} chain of "
        "type nat",
        (
            Fact("insert_failed", failed),
            Fact("drop", snapshot.rose["drop"]),
            Fact("zone rule", rule),
            Fact("flows in zones", int(np.count_nonzero(rows))),
        ),
        examples(snapshot.flows, rows),
        "Flows of two VRFs may have the same addresses and ports. With a zone for the "
        "original direction they differ there, but their replies have the same tuple, "
        "and the second flow is dropped. Where NAT is at work, even without a rule, "
        "it gives the second another port.",
        (
            Remedy(
                f"nft add table {made}\n"
                f"nft add chain {made} postrouting "
                "'{ type nat hook postrouting priority srcnat; }'",
                "an empty chain is enough",
            ),
        ),
        "natscope stats: insert_failed rises no more",
        about=family,
    )


def port_reuse(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R27: IPVS delays a client that uses a port again, on kernels before 5.9."""
    mode = snapshot.sysctl(f"{_VS}/conn_reuse_mode")
    tracked = snapshot.sysctl(f"{_VS}/conntrack")
    version = release(snapshot.bundle.kernel)
    if mode is None or tracked is None or version is None:
        return  # no IPVS here
    if not mode or not tracked:
        return
    if version >= _REUSE_MENDED:
        return
    setting = ("net.ipv4.vs.conn_reuse_mode", "0")
    yield Finding(
        "R27",
        Severity.WARNING,
        f"IPVS of Linux {version[0]} delays connections from a port used again by 1 s",
        (Fact("conn_reuse_mode", mode), Fact("vs.conntrack", tracked)),
        why="With conn_reuse_mode=1 it drops the SYN that meets an old entry, and ends "
        "that; the client sends again a second later.",
        remedies=(
            Remedy(
                "sysctl -w net.ipv4.vs.conn_reuse_mode=0",
                "a port used again then stays with its server, even one taken out; "
                "Linux 5.9 and later needs neither",
                setting,
            ),
        ),
        verify="curl in a loop from one client: no connect takes 1 s",
    )


RULES = (
    Rule(
        "R21",
        "port-taken",
        "source ports given away that the box needs itself",
        ("flows", "listeners", "links", "ruleset"),
        taken_ports,
        "nf_nat_l4proto_unique_tuple(); cilium#23604",
    ),
    Rule(
        "R22",
        "zone-clash",
        "zones whose replies clash",
        ("flows", "rose", "ruleset"),
        zone_clash,
        "nf_conntrack_zones.h; vyos-1x#5431",
    ),
    Rule(
        "R27",
        "ipvs-reuse",
        "IPVS that delays reused ports",
        (),
        port_reuse,
        "ip_vs_in(); kubernetes#81775, kubernetes#93297",
    ),
)
