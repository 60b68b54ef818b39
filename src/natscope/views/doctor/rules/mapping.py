"""R25, R26, R30: translations that do not do what they look like."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.codec.text.natmatch import asked
from natscope.codec.text.natrules import shown
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.ipversion import VERSIONS
from natscope.model.journey import Rule as TextRule
from natscope.model.release import release
from natscope.table.flowtable import FlowTable
from natscope.views.doctor.reading.chains import uncounted_flowtables
from natscope.views.doctor.reading.rows import Mask, examples, flows, has_port, is_set
from natscope.views.doctor.remedies.edits import lacks_handle, replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_TUNNELS = {4789: "VXLAN", 6081: "Geneve", 8472: "VXLAN"}
_CHECKSUMS = ("Udp.InCsumErrors", "Udp6InCsumErrors")
_PEERS = (3074, 3478, 3479, 3480, 9308)
"""STUN, Xbox Live, PlayStation: they ask strangers to reach their port."""
_RANDOM = re.compile(
    r"((?:masquerade|snat|-j (?:MASQUERADE|SNAT))\b[^\"]*?)"
    r"(?: --random(?:-fully)?\b|(?:[ ,](?:fully-)?random)+(?![\w,-])"
    r"|(?<= )(?:(?:fully-)?random,)+)"
)
"""What draws a port at random, behind its action."""
_MENDED = (5, 7)
_MENDED_STABLE = {(4, 19): 123, (5, 4): 41, (5, 6): 13}
"""The outer checksum of a translated VXLAN packet is right from here on."""


def uncounted_offload(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R25: offloaded flows whose packets nobody counts."""
    names = [
        name
        for one in snapshot.bundle.rulesets
        if one.tool == "nft"
        for name in uncounted_flowtables(one.text)
    ]
    table = snapshot.flows
    rows = is_set(table, uapi.Status.OFFLOAD) | is_set(table, uapi.Status.HW_OFFLOAD)
    if not names or not rows.any():
        return
    count = int(np.count_nonzero(rows))
    yield Finding(
        "R25",
        Severity.INFO,
        f"{flows(count)} offloaded that flowtable {names[0]} does not count",
        (Fact("offloaded flows", count), Fact("flowtables", ", ".join(names))),
        examples(table, rows),
        "An offloaded packet goes past conntrack. Its counters stand still, and so do "
        "bytes, packets and idle times of these flows, unless the flowtable counts. "
        "They have no timeout of conntrack's either: nf_flowtable_tcp_timeout and "
        "nf_flowtable_udp_timeout (30 s) decide.",
        (
            Remedy(
                f"add the word counter to flowtable {names[0]}",
                "in the ruleset, and load that again: it holds for new flows",
                is_pattern=True,
            ),
        ),
        "natscope list offload: bytes grow",
    )


def tunnels(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R26: an overlay's outer packets are translated too."""
    table = snapshot.flows
    translated: Mask = snapshot.translations.snat | snapshot.translations.spat
    rows = (table["proto"] == uapi.IPPROTO_UDP) & translated
    rows &= has_port(table, "orig_dport", tuple(_TUNNELS))
    if not rows.any():
        return
    count = int(np.count_nonzero(rows))
    port = int(table["orig_dport"][rows][0])
    rose = snapshot.measured.counters_rose or {}
    wrong = sum(rose.get(name, 0) for name in _CHECKSUMS)
    is_harmed = wrong > 0 or not _is_mended(snapshot.bundle.kernel)
    facts = [Fact("tunnel flows", count), Fact("port", port)]
    facts += [Fact("wrong UDP checksums", wrong, "packets")] if wrong else []
    found = examples(table, rows)
    family = VERSIONS[found[0].orig.src.version].nft
    yield Finding(
        "R26",
        Severity.WARNING if is_harmed else Severity.INFO,
        f"{_TUNNELS[port]} is source translated: {flows(count)}",
        tuple(facts),
        found,
        "The inner packet was masqueraded once, and its mark makes the rules take the "
        "outer one too. Before Linux 5.6.13, 5.4.41 and 4.19.123 that spoiled its "
        "checksum: connects through the overlay took 1, 3 or 63 s. It also makes the "
        "tunnel come from a port and address its peer does not expect.",
        (
            Remedy(
                f"nft insert rule {family} TABLE CHAIN udp dport {port} return",
                "in the chain that masquerades: the overlay is left alone, in flows "
                "that begin later",
                is_pattern=True,
            ),
            *(_without_offload(snapshot) if is_harmed else ()),
        ),
        f"natscope list snat and udp and dst port {port}: none",
    )


def _is_mended(kernel: str | None) -> bool:
    told = release(kernel)
    if told is None:
        return False
    needed = _MENDED_STABLE.get(told[:2])
    return told >= _MENDED if needed is None else told[2] >= needed


def _without_offload(snapshot: Snapshot) -> Iterator[Remedy]:
    """For each tunnel interface: the kernel itself computes the checksum then."""
    for link in snapshot.bundle.links:
        if link.kind in ("vxlan", "geneve"):
            yield Remedy(
                f"ethtool -K {link.name} tx-checksum-ip-generic off",
                "where the kernel cannot be changed; until the next boot",
            )


def strict_nat(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R30: peers are told a port that strangers cannot reach.

    Without random, netfilter gives one inside port one public port, to all
    destinations.  Two of them at once are the proof.
    """
    table = snapshot.flows
    udp = (table["proto"] == uapi.IPPROTO_UDP) & snapshot.translations.snat
    peers = udp & has_port(table, "orig_dport", _PEERS)
    if not (peers & (table["orig_sport"] != table["reply_dport"])).any():
        return  # the port was kept: what draws at random was not asked
    rules = _random_rules(snapshot)
    if not rules:
        return  # a port that was taken moves a mapping too
    rows = _mapped_twice(table, udp, peers)
    is_proved = bool(rows.any())
    told = examples(table, rows if is_proved else peers)
    facts = [Fact("rule", shown(rule.text)) for rule in rules[:3]]
    facts.append(Fact("flows to STUN and game ports", int(np.count_nonzero(peers))))
    if is_proved:
        facts.append(Fact("of ports mapped twice", int(np.count_nonzero(rows))))
    yield Finding(
        "R30",
        Severity.WARNING if is_proved else Severity.INFO,
        "source ports are drawn at random: games and calls meet a strict NAT",
        tuple(facts),
        told,
        "Peers learn their public port from a STUN server and tell it to others. With "
        "random each destination gets another port (endpoint-dependent mapping, RFC "
        "4787), so that what was learned is of no use: NAT type strict.",
        (
            Remedy(
                replaced(rules[0], _RANDOM.sub(r"\1", shown(rules[0].text))),
                "without random the mapping is the same for all destinations",
                is_pattern=lacks_handle(rules[0]),
            ),
        ),
        f"natscope list udp and snat and inside {told[0].orig.src}: one public port a "
        "port inside",
    )


def _random_rules(snapshot: Snapshot) -> list[TextRule]:
    """The rules that may draw a source port of UDP at random."""
    return [
        nat.rule
        for nat in snapshot.nat_rules
        if nat.gives is not None
        and nat.gives.is_source
        and _RANDOM.search(nat.rule.text)
        and (asked(nat.rule).protos or {uapi.IPPROTO_UDP}) >= {uapi.IPPROTO_UDP}
    ]


def _mapped_twice(table: FlowTable, udp: Mask, peers: Mask) -> Mask:
    """UDP rows of the peers' inside ports that have several public ports."""
    rows = np.zeros(len(table), np.bool_)
    at = np.flatnonzero(udp)
    asking = table.take(at)
    keys = ("family", "orig_src", "orig_sport", "reply_dst", "zone")
    first, inside = asking.group(*keys)
    asks = np.zeros(len(first), np.bool_)
    asks[inside[peers[at]]] = True
    ports = asking["reply_dport"]
    lowest = np.full(len(first), 0xFFFF, np.uint16)
    highest = np.zeros(len(first), np.uint16)
    np.minimum.at(lowest, inside, ports)
    np.maximum.at(highest, inside, ports)
    rows[at] = (asks & (lowest != highest))[inside]
    return rows


RULES = (
    Rule(
        "R25",
        "offload-uncounted",
        "offloaded flows that nobody counts",
        ("flows", "ruleset"),
        uncounted_offload,
        "nf_flow_table_core.c; openwrt#10399, openwrt#17915",
    ),
    Rule(
        "R26",
        "tunnel-translated",
        "overlay tunnels that are source translated",
        ("flows",),
        tunnels,
        "kubernetes#88986, flannel#1279",
    ),
    Rule(
        "R30",
        "strict-nat",
        "random source ports under games and calls",
        ("flows", "ruleset"),
        strict_nat,
        "nf_nat_setup_info(); RFC 4787 §4.1; netfilter-full-cone-nat#42",
    ),
)
