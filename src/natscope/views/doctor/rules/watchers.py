"""R34, R36: programs that listen to conntrack, and standbys that live on it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from natscope.codec.text.natrules import shown
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.journey import Rule as TextRule
from natscope.views.doctor.reading.rows import examples
from natscope.views.doctor.remedies.edits import replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_DROPPED = re.compile(r"netlink\.([0-9]{1,10})\.dropped$")
_MASQUERADE = re.compile(r"(?<!\S)(?:masquerade|-j MASQUERADE)(?!\S).*")
_REPLICATORS = frozenset({"conntrackd"})
_LOOSE = "net/netfilter/nf_conntrack_tcp_loose"
_ROOM = 8 << 20
"""Bytes of a listener's buffer: some 30,000 events."""


def event_loss(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R34: a listener is slower than the events come, and some are lost."""
    names = {one.pid: one.name for one in snapshot.measured.programs or ()}
    for counter, lost in snapshot.counters_rose.items():
        found = _DROPPED.match(counter)
        if found is None or not lost:
            continue
        port = int(found[1])
        who = f"{names[port]} ({port})" if port in names else f"port id {port}"
        yield Finding(
            "R34",
            Severity.HIGH,
            f"{who} lost {lost} netfilter messages in {snapshot.interval}",
            (Fact("lost", lost, "messages"), Fact("program", who)),
            why="Its receive buffer was full (ENOBUFS). What it writes down lacks "
            "these flows, unless it reads the table again, as natscope record does.",
            remedies=(
                *_larger_buffer(snapshot),
                Remedy(
                    "natscope record FILE snat or dnat",
                    "where natscope is the listener: fewer events",
                    is_pattern=True,
                ),
            ),
            verify="/proc/net/netlink, the column Drops: it rises no more",
            about=who,
        )


def _larger_buffer(snapshot: Snapshot) -> Iterator[Remedy]:
    """More room, where the box allows less; the program must ask for it."""
    now = snapshot.sysctl("net/core/rmem_max")
    if now is not None and now >= _ROOM:
        return
    yield Remedy(
        f"sysctl -w net.core.rmem_max={_ROOM}",
        "in the initial namespace; then a larger buffer in the program: "
        "NetlinkBufferSize of conntrackd, netlink_socket_buffer_size of ulogd",
        sysctl=None if now is None else ("net.core.rmem_max", str(_ROOM)),
        is_pattern=now is None,
    )


def standby(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R36: flows are replicated, and would be cut all the same.

    How far the standby is behind is not to be seen from here.
    """
    found = [one for one in snapshot.programs if one.name in _REPLICATORS]
    if not found:
        return
    who = f"{found[0].name} ({found[0].pid})"
    if snapshot.sysctl(_LOOSE) == 0:
        setting = ("net.netfilter.nf_conntrack_tcp_loose", "1")
        yield Finding(
            "R36",
            Severity.WARNING,
            f"{found[0].name} runs, and nf_conntrack_tcp_loose is 0: what was not "
            "replicated is cut",
            (Fact("program", who), Fact("nf_conntrack_tcp_loose", 0)),
            why="After a failover, flows whose events had not arrived are unknown. "
            "With loose, conntrack takes up a TCP flow midway; without, its packets "
            "are INVALID.",
            remedies=(Remedy(f"sysctl -w {setting[0]}=1", "on both boxes", setting),),
            verify=f"sysctl {setting[0]}",
            about="loose",
        )
    yield from _own_address(snapshot, who)


def _own_address(snapshot: Snapshot, who: str) -> Iterator[Finding]:
    """Masquerade gives the interface's first address, which does not move."""
    rules = [
        nat.rule
        for nat in snapshot.nat_rules
        if nat.gives is not None and nat.gives.kind == "masquerade"
    ]
    if not rules:
        return
    rows = np.zeros(0, np.bool_)
    if snapshot.table is not None:
        rows = snapshot.translations.snat
    yield Finding(
        "R36",
        Severity.WARNING,
        "flows are replicated, but masquerade gives them an address that stays here",
        (Fact("program", who), Fact("rule", shown(rules[0].text))),
        () if snapshot.table is None else examples(snapshot.table, rows),
        "Masquerade takes the first address of the interface, the box's own. The "
        "shared one moves in a failover, and only flows of it go on.",
        (
            Remedy(
                replaced(rules[0], _to_the_shared(rules[0])),
                "in place of masquerade, on both boxes",
                is_pattern=True,
            ),
        ),
        "natscope list snat --group-by public: the shared address alone",
        about="masquerade",
    )


def _to_the_shared(rule: TextRule) -> str:
    if rule.text.startswith("-A "):
        return _MASQUERADE.sub("-j SNAT --to-source SHARED-ADDRESS", rule.text)
    to = "snat ip to" if rule.family == "inet" else "snat to"
    return _MASQUERADE.sub(f"{to} SHARED-ADDRESS", shown(rule.text))


RULES = (
    Rule(
        "R34",
        "events-lost",
        "listeners that lose events",
        ("counters_rose",),
        event_loss,
        "netlink_overrun(); scope#1137, nlbwmon#43",
    ),
    Rule(
        "R36",
        "standby",
        "a failover that would cut flows",
        ("programs", "ruleset"),
        standby,
        "nf_conntrack_tcp_loose, nf_nat_masquerade_ipv4(); fck-nat#71",
    ),
)
