"""R23, R24, R35: what an empty or silent table does not mean."""

from __future__ import annotations

from collections.abc import Iterator

from natscope.codec.text.natrules import shown
from natscope.codec.text.tracking import VERSIONS, tracked
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.journey import Rule as TextRule
from natscope.views.doctor.reading.chains import untracking_rules
from natscope.views.doctor.remedies.edits import deleted, lacks_handle
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.shares import percent

_FORWARDED = {4: "Ip.ForwDatagrams", 6: "Ip6OutForwDatagrams"}
_SHOWN = 8
_BLIND = {
    "acct": "bytes or packets",
    "timestamp": "ages",
}
"""Switches of conntrack, and what is not known without each."""


def not_running(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R23: packets are forwarded, and none is tracked.

    A family whose rules have conntrack look may leave no entry all the same: its
    packets were INVALID.
    """
    notrack = untracking_rules(snapshot.ruleset)
    seen = tracked(snapshot.ruleset.rules)
    if not (snapshot.measured.rose or {}).get("invalid"):
        # where it looked at none it could place, notrack may have kept them from it
        seen -= {one for rule in notrack for one in VERSIONS.get(rule.family, ())}
    forwarded = sum(
        snapshot.counters_rose.get(name, 0)
        for version, name in _FORWARDED.items()
        if version not in seen
    )
    if snapshot.count or forwarded < thresholds.untracked_packets:
        return
    facts = [Fact("forwarded", forwarded, "packets"), Fact("entries", 0)]
    facts += [Fact("rule", shown(rule.text)) for rule in notrack[:3]]
    yield Finding(
        "R23",
        Severity.INFO,
        f"{forwarded} packets were forwarded, and conntrack tracks nothing here",
        tuple(facts),
        why="Conntrack begins in a network namespace with the first rule that needs "
        "it: one with ct, one that translates. And notrack keeps packets from it. So "
        "an empty table does not mean that there is no traffic.",
        remedies=(_track(notrack),),
        verify="natscope count: it is no longer 0",
    )


def _track(notrack: list[TextRule]) -> Remedy:
    about = "only if these packets should be tracked: without it the box is faster"
    if notrack:
        return Remedy(deleted(notrack[0]), about, is_pattern=lacks_handle(notrack[0]))
    return Remedy(
        "nft add table inet natscope-track\n"
        "nft add chain inet natscope-track prerouting "
        "'{ type filter hook prerouting priority filter; }'\n"
        "nft add rule inet natscope-track prerouting ct state new",
        about,
    )


def blind_spot(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R24: most flows of the host are in other namespaces."""
    if snapshot.measured.is_initial is False:
        return  # who looks into a container knows that there are others
    others = sorted(snapshot.namespaces, key=lambda one: -one.count)
    total = sum(one.count for one in others)
    limit = snapshot.measured.limit
    fullest = others[0].count / limit if others and limit else 0.0
    level = thresholds.of_table(fullest)
    few = total < thresholds.elsewhere_flows or total <= snapshot.count
    if level is None and few:
        return
    name = others[0].name.removeprefix("pid ")
    facts = [Fact("here", snapshot.count, "entries")]
    facts += [] if limit is None else [Fact("limit of each", limit, "entries")]
    facts += [Fact(one.name, one.count, "entries") for one in others[:_SHOWN]]
    if len(others) > _SHOWN:
        rest = sum(one.count for one in others[_SHOWN:])
        facts.append(Fact(f"{len(others) - _SHOWN} more", rest, "entries"))
    yield Finding(
        "R24",
        level or Severity.INFO,
        (f"{others[0].name}: its table is {percent(fullest)} full; " if level else "")
        + f"{total} flows of this host are in {_namespaces(len(others))}, "
        f"{snapshot.count} in this one",
        tuple(facts),
        why="Each network namespace has its own table, and each is held against "
        "nf_conntrack_max by itself: containers, OpenStack routers, VRFs made of "
        "namespaces. The hash table is one for all.",
        remedies=(
            Remedy(f"natscope doctor --netns {name}", "looks there", is_pattern=True),
        ),
        verify=f"natscope count --netns {name}",
    )


def _namespaces(count: int) -> str:
    return "another namespace" if count == 1 else f"{count} other namespaces"


def blind_settings(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R35: conntrack does not keep what will be asked; or cannot place ICMP errors.

    An empty table needs neither setting.
    """
    for word, lost in _BLIND.items():
        if snapshot.sysctl(f"net/netfilter/nf_conntrack_{word}") != 0:
            continue
        name = f"net.netfilter.nf_conntrack_{word}"
        if snapshot.count:
            yield Finding(
                "R35",
                Severity.INFO,
                f"conntrack keeps no {lost} of flows",
                (Fact(name, 0),),
                why="It is off by default. Switched on it holds for flows that begin "
                "later: those that are there stay without.",
                remedies=(Remedy(f"sysctl -w {name}=1", "for new flows", (name, "1")),),
                verify=f"natscope list: new flows have {lost}",
                about=word,
            )
    yield from _unplaced(snapshot, thresholds)


def _unplaced(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """ICMP conntrack can make nothing of."""
    wrong = (snapshot.measured.rose or {}).get("error", 0)
    if wrong < thresholds.error_packets:
        return
    yield Finding(
        "R35",
        Severity.INFO,
        f"conntrack could not place {wrong} ICMP messages in {snapshot.interval}",
        (Fact("error", wrong, "packets"),),
        why="Their checksum is wrong, their type unknown, or they are errors about "
        "a flow that is not in the table. They are INVALID, and not translated "
        "back to a host inside. Of flows that have ended that is no loss; but "
        "path MTU discovery lives on such errors.",
        remedies=(
            Remedy(
                "natscope why-invalid", "names each packet's fault", is_pattern=True
            ),
        ),
        verify="natscope stats: error rises no more",
        about="error",
    )


RULES = (
    Rule(
        "R23",
        "nothing-tracked",
        "packets forwarded that nobody tracks",
        ("counters_rose", "count", "ruleset"),
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
