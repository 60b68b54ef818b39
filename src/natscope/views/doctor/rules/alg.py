"""R20: connection tracking helpers (ALGs): open to all, missing, or overrun."""

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
from natscope.model.nat import Kind
from natscope.views.doctor.reading.chains import helper_rules, open_helper_rules
from natscope.views.doctor.reading.rows import (
    Mask,
    Most,
    examples,
    flows,
    has_port,
    in_tcp_state,
    is_set,
    is_unset,
    most,
)
from natscope.views.doctor.remedies.edits import replaced
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import NotRead, Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.shares import percent

_AUTOMATIC = "net/netfilter/nf_conntrack_helper"
"""Gone since Linux 6.0."""
_MOST = "net/netfilter/nf_conntrack_expect_max"
_FULL = "expectation table full"
_FTP, _PPTP, _SIP = 21, 1723, 5060
_WORD = re.compile(r"[\w.:]+")
_PRIVILEGED = 1024
_INWARD = (Kind.DESTINATION, Kind.REDIRECT, Kind.PORT, Kind.BOTH)


def exposed(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R20 a: any inside host, and any page it shows, can have ports opened."""
    rules = open_helper_rules(snapshot.ruleset)
    automatic = bool(snapshot.sysctl(_AUTOMATIC))
    if not rules and not automatic:
        return
    table = snapshot.flows
    rows = is_set(table, uapi.Status.HELPER) | table.has("helper")
    facts = [Fact("rule", shown(rule.text)) for rule in rules[:3]]
    if automatic:
        facts.append(Fact("nf_conntrack_helper", 1))
    facts.append(Fact("flows with a helper", int(np.count_nonzero(rows))))
    entered = _entered(snapshot)
    if entered.any():
        let_in = np.unique(table["reply_sport"][entered]).tolist()
        facts.append(Fact("let in to port", ", ".join(map(str, let_in[:5]))))
    yield Finding(
        "R20",
        Severity.HIGH if entered.any() else Severity.WARNING,
        "connection tracking helpers are open to flows of any address"
        + (", and let strangers in to servers inside" if entered.any() else ""),
        tuple(facts),
        examples(table, entered if entered.any() else rows),
        "A helper reads addresses and ports in the payload and opens them. A web page "
        "can make a browser send such a payload (NAT slipstreaming) and so reach the "
        "inside host from outside.",
        tuple(_closing(rules, automatic=automatic)),
        "natscope doctor --only R20; each rule that gives a helper names its servers",
        about="exposed",
    )


def _closing(rules: list[TextRule], *, automatic: bool) -> Iterator[Remedy]:
    if automatic:
        yield Remedy(
            "sysctl -w net.netfilter.nf_conntrack_helper=0",
            "helpers by rule alone",
            ("net.netfilter.nf_conntrack_helper", "0"),
        )
    for rule in rules[:1]:
        yield Remedy(
            _narrowed(rule),
            "the helper is for the server that needs it alone",
            is_pattern=True,
        )


def _entered(snapshot: Snapshot) -> Mask:
    """Flows a helper let in to a port that belongs to a server.

    No protocol of a helper announces such a port for TCP: a payload did that was made
    for it.
    """
    table = snapshot.flows
    rows: Mask = table["proto"] == uapi.IPPROTO_TCP
    rows &= is_set(table, uapi.Status.EXPECTED)
    rows &= np.isin(snapshot.translations.kind, _INWARD) & table.has("reply_sport")
    rows &= table["reply_sport"] < _PRIVILEGED
    return rows


def _narrowed(rule: TextRule) -> str:
    begin = f"-A {rule.chain} "
    if rule.text.startswith(begin):
        return replaced(rule, rule.text.replace(begin, f"{begin}-d SERVER ", 1))
    family = "ip6" if rule.family == "ip6" else "ip"
    return replaced(rule, f"{family} daddr SERVER {shown(rule.text)}")


def missing(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R20 c: protocols that carry addresses, translated without their helper.

    FTP from inside is left alone: passive mode needs no helper on this side.  And so
    are boxes that forward a range of ports: that of passive mode, most likely.  Where
    a rule names the server, its flows are older than that.
    """
    table = snapshot.flows
    kinds = snapshot.translations.kind
    bare = in_tcp_state(table, "ESTABLISHED") & is_unset(table, uapi.Status.HELPER)
    bare &= ~table.has("helper")
    rows = bare & np.isin(kinds, _INWARD) & has_port(table, "reply_sport", (_FTP,))
    server = _nameless(snapshot, rows)
    if server is not None and not _forwards_a_range(snapshot):
        yield _bare(snapshot, server, "an FTP server", "ftp", _FTP)
    rows = bare & (kinds != Kind.NONE) & has_port(table, "reply_sport", (_PPTP,))
    server = _nameless(snapshot, rows)
    if server is not None and not _has_tunnels(snapshot):
        yield _bare(snapshot, server, "PPTP", "pptp", _PPTP)


def _nameless(snapshot: Snapshot, rows: Mask) -> Most | None:
    """The server of most rows that no rule gives a helper by its address."""
    named = {
        word
        for rule in helper_rules(snapshot.ruleset)
        for word in _WORD.findall(rule.text)
    }
    server = most(snapshot.flows, "reply_src", rows)
    while server is not None and str(server.address) in named:
        rows = rows & ~server.rows
        server = most(snapshot.flows, "reply_src", rows)
    return server


def _forwards_a_range(snapshot: Snapshot) -> bool:
    asks = [
        asked(nat.rule)
        for nat in snapshot.nat_rules
        if nat.gives is not None and not nat.gives.is_source
    ]
    return any(
        last > first
        for one in asks
        if uapi.IPPROTO_TCP in one.protos
        for first, last in one.dports
    )


def _has_tunnels(snapshot: Snapshot) -> bool:
    table = snapshot.flows
    answered = is_set(table, uapi.Status.SEEN_REPLY)
    return bool((answered & (table["proto"] == uapi.IPPROTO_GRE)).any())


def _bare(snapshot: Snapshot, server: Most, word: str, name: str, port: int) -> Finding:
    address = server.address
    ip = VERSIONS[address.version].nft
    table = f"{ip} natscope_{name}"
    return Finding(
        "R20",
        Severity.WARNING,
        f"{word} is translated without the helper {name}: {flows(server.count)}",
        (Fact("flows without helper", server.count), Fact("server", str(address))),
        examples(snapshot.flows, server.rows),
        "The protocol tells addresses or ports in its payload. Without the helper they "
        "are not translated, and the second flow is not expected: logging in works, "
        "transfers hang. Since Linux 6.0 no helper is given by itself.",
        (
            Remedy(
                f"nft add table {table}\n"
                f"nft add ct helper {table} {name} "
                f"'{{ type \"{name}\" protocol tcp; }}'\n"
                f"nft add chain {table} prerouting "
                "'{ type filter hook prerouting priority filter; }'\n"
                f"nft add rule {table} prerouting {ip} daddr {address} "
                f"tcp dport {port} ct helper set '\"{name}\"'",
                "for connections that begin later; the server alone has the helper",
            ),
        ),
        f"natscope list helper {name}: new connections are there",
        about=name,
    )


def one_way_calls(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R20 b: flows the SIP helper expected, with sound in one direction."""
    table = snapshot.flows
    rows = is_set(table, uapi.Status.EXPECTED) & is_unset(table, uapi.Status.SEEN_REPLY)
    rows &= (table["proto"] == uapi.IPPROTO_UDP) & table.has("orig_packets")
    rows &= table["orig_packets"] >= thresholds.one_way_packets
    rows &= has_port(table, "master_dport", (_SIP,))
    count = int(np.count_nonzero(rows))
    if not count:
        return
    yield Finding(
        "R20",
        Severity.WARNING,
        f"calls with sound in one direction only: {flows(count)}",
        (Fact("one-way flows", count),),
        examples(table, rows),
        "The SIP helper rewrote the addresses in the call's set-up, and the answer "
        "goes elsewhere. Phones that know of NAT themselves are confused by it.",
        (
            Remedy(
                "nft -a list ruleset | grep 'ct helper set'",
                "tells the rule for sip: nft delete rule FAMILY TABLE CHAIN handle N "
                "takes it away; call again",
                is_pattern=True,
            ),
        ),
        "natscope list expected and udp: both directions have packets",
        about="sip",
    )


def full(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R20 d: the table of expectations, which is not the table of flows."""
    limit = snapshot.sysctl(_MOST)
    # the kernel does not say of which namespace it logs
    is_ours = snapshot.measured.is_initial is not False
    told = snapshot.measured.log or () if is_ours else ()
    lines = [line for line in told if _FULL in line]
    count = snapshot.measured.expectations
    if count is None and not lines:
        raise NotRead("expectations")
    share = (count or 0) / limit if limit else 0.0
    if share < thresholds.expectations_share and not lines:
        return
    facts = [] if count is None else [Fact("expectations", count)]
    facts += [] if limit is None else [Fact("nf_conntrack_expect_max", limit)]
    facts += [Fact("log", line) for line in lines[-1:]]
    how = f"{percent(share)} full" if count and limit else "full, says the kernel's log"
    more = str((limit or 256) * 4)
    name = "net.netfilter.nf_conntrack_expect_max"
    yield Finding(
        "R20",
        Severity.HIGH,
        f"the table of expectations is {how}",
        tuple(facts),
        why="Helpers put there what they expect: a call's sound, a transfer's data. "
        "What finds no place is not let in, nor translated. It has a limit of its "
        "own: nf_conntrack_max does not matter here.",
        remedies=(
            Remedy(
                f"sysctl -w {name}={more}",
                "in the initial namespace: it holds for all",
                (name, more),
            ),
        ),
        verify="natscope conntrack -C expect: it is far below the limit",
        about="expectations",
    )


def helpers(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R20: all that can be wrong with helpers."""
    for check in (exposed, missing, one_way_calls, full):
        yield from check(snapshot, thresholds)


RULES = (
    Rule(
        "R20",
        "helpers",
        "connection tracking helpers: exposed, missing, overrun",
        ("flows", "ruleset"),
        helpers,
        "nf_ct_expect_related(); lede#10625, openwrt#9574, NAT slipstreaming (2020)",
    ),
)
