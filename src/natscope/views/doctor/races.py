"""R04, R05: new flows that lost a race for a port or an entry.

``insert_failed`` and ``drop`` rise together where a new flow's reply tuple was taken
between its choice and its entry (__nf_conntrack_confirm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.views.doctor.chains import zone_rules
from natscope.views.doctor.exhaustion import fullest
from natscope.views.doctor.rows import Mask, examples, has_port, is_set
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_DNS = 53
_RANDOM = re.compile(r"\b(fully-random|random-fully)\b|--random-fully")
_FAMILIES = ("ip", "ip6")


def port_race(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R04: flows fail though no destination is short of ports.

    Not where another cause explains it: chains too long (R02), ports used up (R03),
    name servers behind DNAT (R05), zones that meet in one reply tuple (R22).
    """
    failed = _lost(snapshot, thresholds)
    if failed < thresholds.races or snapshot.rose.get("chaintoolong", 0):
        return
    if any(zone_rules(snapshot.ruleset, family) for family in _FAMILIES):
        return
    if fullest(snapshot, thresholds.ports_race) or _is_dns(snapshot, thresholds):
        return
    drawing = [
        nat.rule
        for nat in snapshot.nat_rules
        if nat.gives is not None and nat.gives.is_source
    ]
    ordered = [rule for rule in drawing if not _RANDOM.search(rule.text)]
    if not ordered:
        return  # drawn at random already, or nothing is drawn
    yield _race(snapshot, failed, ordered[0].text)


def _race(snapshot: Snapshot, failed: int, rule: str) -> Finding:
    word = "--random-fully" if rule.startswith("-A ") else "fully-random"
    about = "the same rule, drawing ports at random: flows seldom choose alike"
    return Finding(
        "R04",
        Severity.WARNING,
        f"{failed} new flows were dropped: another took the same port first",
        (
            Fact("insert_failed", failed),
            Fact("drop", snapshot.rose.get("drop", 0)),
            Fact("in", snapshot.interval_s, "s"),
            Fact("rule", rule),
        ),
        why="The source port is chosen when a flow's first packet passes, but entered "
        "in the table when it leaves. Two flows that look at the same moment find the "
        "same port free, and the second is dropped: its sender tries again after a "
        "second or three.",
        remedies=(Remedy(f"{rule} {word}", about, is_pattern=True),),
        verify="natscope stats --interval 10: insert_failed no longer rises",
    )


def dns_race(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R05: two queries from one socket race; or they did, and both were served.

    Since 5.1 the kernel settles most such races itself (clash_resolve).
    """
    failed = _lost(snapshot, thresholds)
    settled = snapshot.rose.get("clash_resolve", 0)
    if failed and _is_dns(snapshot, thresholds):
        yield _dns(snapshot, failed, settled)
    elif settled >= thresholds.clashes and not failed:
        yield Finding(
            "R05",
            Severity.INFO,
            f"{settled} races of two first packets, all settled: nothing was lost",
            (Fact("clash_resolve", settled), Fact("in", snapshot.interval_s, "s")),
            why="Two first packets of one flow met, and one entry serves both "
            "(nf_ct_resolve_clash). It is what the old loss of DNS queries has become.",
            verify="natscope explain-counter clash_resolve",
        )


def _dns(snapshot: Snapshot, failed: int, settled: int) -> Finding:
    rows = _queries(snapshot)
    return Finding(
        "R05",
        Severity.WARNING,
        f"{failed} new flows were dropped while name servers are asked through DNAT: "
        "look-ups take five seconds",
        (
            Fact("insert_failed", failed),
            Fact("UDP flows to port 53", int(rows.sum())),
            Fact("races settled", settled),
        ),
        examples(snapshot.flows, rows),
        why="A resolver sends A and AAAA queries from one socket at one moment. Where "
        "rules choose a server for each by itself, the second may find its entry "
        "taken, and is dropped; the resolver asks again after five seconds.",
        remedies=(
            Remedy(
                "printf 'options single-request-reopen\\n' >> /etc/resolv.conf",
                "on the clients: each query from a socket of its own",
                is_pattern=True,
            ),
            Remedy(
                "nft add rule ip raw prerouting udp dport 53 notrack",
                "where the name server is reached without NAT; a cache on each node "
                "does the same",
                is_pattern=True,
            ),
        ),
        verify="natscope stats --interval 10: insert_failed no longer rises",
    )


def _lost(snapshot: Snapshot, thresholds: Thresholds) -> int:
    """New flows that were dropped at insertion; 0 where drops have another cause."""
    rose = snapshot.rose
    failed, dropped = rose.get("insert_failed", 0), rose.get("drop", 0)
    if abs(dropped - failed) > thresholds.same_counters * failed:
        return 0
    return failed


def _is_dns(snapshot: Snapshot, thresholds: Thresholds) -> bool:
    udp = int((snapshot.flows["proto"] == uapi.IPPROTO_UDP).sum())
    queries = _queries(snapshot)
    translated = queries & is_set(snapshot.flows, uapi.Status.DST_NAT)
    return bool(translated.any()) and queries.sum() >= thresholds.dns_share * udp


def _queries(snapshot: Snapshot) -> Mask:
    table = snapshot.flows
    found: Mask = (table["proto"] == uapi.IPPROTO_UDP) & has_port(
        table, "orig_dport", (_DNS,)
    )
    return found


RULES = (
    Rule(
        "R04",
        "port-race",
        "new flows that raced for one port",
        ("rose", "flows"),
        port_race,
        "__nf_conntrack_confirm(); weave#3287, k8s#76699, flannel#1001",
    ),
    Rule(
        "R05",
        "dns-race",
        "DNS queries that raced for one entry",
        ("rose", "flows"),
        dns_race,
        "nf_ct_resolve_clash(); k8s#56903",
    ),
)
