"""R23, R24, R35: what an empty or silent table does not mean."""

from __future__ import annotations

from collections.abc import Iterator

from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_FORWARDED = ("Ip.ForwDatagrams", "Ip6OutForwDatagrams")
_SHOWN = 8
_BLIND = {
    "acct": "bytes or packets",
    "timestamp": "ages",
}
"""Switches of conntrack, and what is not known without each."""


def not_running(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R23: packets are forwarded, and none is tracked."""
    forwarded = sum(snapshot.counters_rose.get(name, 0) for name in _FORWARDED)
    if snapshot.count or forwarded < thresholds.untracked_packets:
        return
    yield Finding(
        "R23",
        Severity.INFO,
        f"{forwarded} packets were forwarded, and conntrack tracks nothing here",
        (Fact("forwarded", forwarded, "packets"), Fact("entries", 0)),
        why="Conntrack begins in a network namespace with the first rule that needs "
        "it: one with ct, a chain of type nat. Or every packet is notrack. So an empty "
        "table does not mean that there is no traffic.",
        remedies=(
            Remedy(
                "nft add table ip track; nft add chain ip track prerouting "
                "'{ type filter hook prerouting priority 0; }'; nft add rule ip track "
                "prerouting ct state new",
                "if these packets should be tracked",
            ),
        ),
        verify="natscope count",
    )


def blind_spot(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R24: most flows of the host are in other namespaces."""
    if snapshot.measured.is_initial is False:
        return  # who looks into a container knows that there are others
    others = sorted(snapshot.namespaces, key=lambda one: -one.count)
    total = sum(one.count for one in others)
    if total < thresholds.elsewhere_flows or total <= snapshot.count:
        return
    facts = [Fact("here", snapshot.count, "entries")]
    facts += [Fact(one.name, one.count, "entries") for one in others[:_SHOWN]]
    if len(others) > _SHOWN:
        rest = sum(one.count for one in others[_SHOWN:])
        facts.append(Fact(f"{len(others) - _SHOWN} more", rest, "entries"))
    yield Finding(
        "R24",
        Severity.INFO,
        f"{total} flows of this host are in {len(others)} other namespaces, "
        f"{snapshot.count} in this one",
        tuple(facts),
        why="Each network namespace has its own table, and each is held against "
        "nf_conntrack_max by itself: containers, OpenStack routers, VRFs made of "
        "namespaces. The hash table is one for all.",
        remedies=(
            Remedy("natscope doctor --netns NAME", "looks at that one"),
            Remedy("natscope list --netns NAME", ""),
        ),
        verify="natscope count --netns NAME",
    )


def blind_settings(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R35: conntrack does not keep what will be asked; or checksums are wrong.

    An empty table needs neither.
    """
    off = [
        name
        for name in _BLIND
        if snapshot.sysctl(f"net/netfilter/nf_conntrack_{name}") == 0
    ]
    if off and snapshot.count:
        names = [f"net.netfilter.nf_conntrack_{name}" for name in off]
        lost = ", no ".join(_BLIND[name] for name in off)
        yield Finding(
            "R35",
            Severity.INFO,
            f"conntrack keeps no {lost} of flows",
            tuple(Fact(name, 0) for name in names),
            why="It is off by default. Switched on it holds for flows that begin "
            "later: those that are there stay without.",
            remedies=tuple(
                Remedy(f"sysctl -w {name}=1", "for new flows", (name, "1"))
                for name in names
            ),
            verify="natscope list: new flows have bytes and ages",
            about="settings",
        )
    wrong = (snapshot.measured.rose or {}).get("error", 0)
    if wrong:
        yield Finding(
            "R35",
            Severity.INFO,
            f"{wrong} packets had a header or checksum conntrack could not read",
            (Fact("error", wrong, "packets"),),
            why="They pass as INVALID. A cable, a driver, or checksum offload between "
            "virtual machines; forged packets too.",
            remedies=(Remedy("natscope why-invalid", "names each packet's fault"),),
            verify="natscope stats: error rises no more",
            about="error",
        )


RULES = (
    Rule(
        "R23",
        "nothing-tracked",
        "packets forwarded that nobody tracks",
        ("counters_rose", "count"),
        not_running,
        "nf_ct_netns_get()",
    ),
    Rule(
        "R24",
        "other-namespaces",
        "flows in namespaces nobody looks at",
        ("namespaces", "count"),
        blind_spot,
        "nf_conntrack_alloc(); node_exporter#2264",
    ),
    Rule(
        "R35",
        "blind-settings",
        "settings without which flows tell little",
        ("count",),
        blind_settings,
        "nf_conntrack_acct.c, nf_conntrack_timestamp.c",
    ),
)
