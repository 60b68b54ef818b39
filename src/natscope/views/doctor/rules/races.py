"""R04, R05: new flows that lost a race for a tuple.

A flow's tuple is chosen when its first packet passes the NAT rules, and entered in the
table when it leaves (__nf_conntrack_confirm): until then another may choose alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from natscope import uapi
from natscope.codec.text.natrules import shown
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.journey import Rule as TextRule
from natscope.views.doctor.reading.losses import Losses
from natscope.views.doctor.reading.rows import Mask, examples, has_port, is_set
from natscope.views.doctor.remedies.edits import KEEP, lacks_handle, replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.rules.clashes import zone_clash
from natscope.views.doctor.rules.exhaustion import explains_failures
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_DNS = 53
_FULLY = re.compile(r"\bfully-random\b|--random-fully\b")
_RANDOM = re.compile(r"(?<!\S)(?:--)?random,?(?!\S)")
_ONCE_MORE = "natscope stats --interval 10: insert_failed no longer rises"


def port_race(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R04: flows fail though no destination is short of ports.

    Not where another cause explains it: ports used up (R03), name servers behind DNAT
    (R05), zones that meet in one reply tuple (R22).
    """
    failed = _lost(snapshot, thresholds)
    if not failed or _is_dns(snapshot, thresholds):
        return
    if any(zone_clash(snapshot, thresholds)):
        return
    ordered = [
        nat.rule
        for nat in snapshot.nat_rules
        if nat.gives is not None
        and nat.gives.is_source
        and not _FULLY.search(nat.rule.text)
    ][:1]
    yield Finding(
        "R04",
        Severity.WARNING,
        f"{failed} new flows were dropped: another took the same port first",
        (
            Fact("insert_failed", snapshot.rose.get("insert_failed", 0)),
            Fact("drop", snapshot.rose.get("drop", 0)),
            Fact("in", snapshot.interval_s, "s"),
            *(Fact("rule", shown(rule.text)) for rule in ordered),
        ),
        why="The source port is chosen when a flow's first packet passes, but entered "
        "in the table when it leaves. Two flows that look at the same moment find the "
        "same port free, and the second is dropped: its sender tries again after a "
        "second or three." + ("" if ordered else _WITHOUT_A_PORT),
        remedies=tuple(map(_drawing_at_random, ordered)),
        verify=_ONCE_MORE,
    )


def _drawing_at_random(rule: TextRule) -> Remedy:
    text, comment, rest = shown(rule.text).partition(' comment "')
    word = "--random-fully" if text.startswith("-A ") else "fully-random"
    text = f"{_RANDOM.sub('', text).strip()} {word}{comment}{rest}"
    about = "the same rule, drawing ports at random: flows seldom choose alike; "
    about += KEEP
    return Remedy(replaced(rule, text), about, is_pattern=lacks_handle(rule))


_WITHOUT_A_PORT = (
    " No rule draws ports in order here: what races are flows from one port of a "
    "client to several addresses that DNAT leads to one target."
)


def dns_race(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R05: two queries from one socket race; or they did, and both were served.

    Current kernels settle the race itself (clash_resolve).  Lost is still a query whose
    reply tuple another has: of a resolver that asks two addresses of one server.
    """
    failed = _lost(snapshot, thresholds)
    if failed and _is_dns(snapshot, thresholds):
        yield _dns(snapshot, failed)
        return
    settled = snapshot.rose.get("clash_resolve", 0)
    if settled >= thresholds.clashes and not snapshot.rose.get("insert_failed", 0):
        yield Finding(
            "R05",
            Severity.INFO,
            f"{settled} races of two first packets, all settled: nothing was lost",
            (Fact("clash_resolve", settled), Fact("in", snapshot.interval_s, "s")),
            why="Two first packets of one flow met, and both went on "
            "(nf_ct_resolve_clash). It is what the old loss of DNS queries has become.",
            verify="natscope explain-counter clash_resolve",
        )


def _dns(snapshot: Snapshot, failed: int) -> Finding:
    rows = _queries(snapshot)
    return Finding(
        "R05",
        Severity.WARNING,
        f"{failed} new flows were dropped while name servers are asked through DNAT: "
        "look-ups take five seconds",
        (
            Fact("insert_failed", failed),
            Fact("UDP flows to port 53", int(rows.sum())),
            Fact("races settled", snapshot.rose.get("clash_resolve", 0)),
        ),
        examples(snapshot.flows, rows),
        why="A resolver sends several queries from one socket at one moment: A and "
        "AAAA, or to each of its name servers. Where rules lead them to one server, or "
        "choose one for each, a query may find its tuple taken, and is dropped; the "
        "resolver asks again after five seconds.",
        remedies=(
            Remedy(
                "printf 'options single-request-reopen\\n' >> /etc/resolv.conf",
                "on the clients (glibc): each query from a socket of its own",
                is_pattern=True,
            ),
            Remedy(
                "nft add rule ip raw prerouting udp dport 53 notrack",
                "where the name server is reached without NAT; a cache on each node "
                "does the same",
                is_pattern=True,
            ),
        ),
        verify=_ONCE_MORE,
    )


def _lost(snapshot: Snapshot, thresholds: Thresholds) -> int:
    """Flows that lost a race in the interval; 0 where they had no port to find."""
    failed = Losses.of(snapshot.rose, thresholds).taken
    if failed < thresholds.races or explains_failures(snapshot, thresholds):
        return 0
    return failed


def _is_dns(snapshot: Snapshot, thresholds: Thresholds) -> bool:
    """Whether a good part of the UDP flows asks name servers through DNAT."""
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
        ("rose", "flows", "ruleset"),
        port_race,
        "__nf_conntrack_confirm(); weave#3287, k8s#76699, flannel#1001",
    ),
    Rule(
        "R05",
        "dns-race",
        "DNS queries that raced for one entry",
        ("rose", "flows", "ruleset"),
        dns_race,
        "nf_ct_resolve_clash(); k8s#56903",
    ),
)
