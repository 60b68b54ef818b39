"""R20: connection tracking helpers (ALGs): open to all, missing, or overrun."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.nat import Kind
from natscope.views.doctor.chains import open_helper_rules
from natscope.views.doctor.rows import (
    Mask,
    examples,
    flows,
    has_port,
    in_tcp_state,
    is_set,
    is_unset,
)
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import NotRead, Snapshot
from natscope.views.doctor.thresholds import Thresholds

_AUTOMATIC = "net/netfilter/nf_conntrack_helper"
"""Gone since Linux 6.0."""
_MOST = "net/netfilter/nf_conntrack_expect_max"
_FULL = "expectation table full"
_FTP, _PPTP, _SIP = 21, 1723, 5060
_INWARD = (Kind.DESTINATION, Kind.REDIRECT, Kind.PORT, Kind.BOTH)


def exposed(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R20 a: any inside host, and any page it shows, can have ports opened."""
    rules = open_helper_rules(snapshot.ruleset)
    automatic = bool(snapshot.sysctl(_AUTOMATIC))
    if not rules and not automatic:
        return
    table = snapshot.flows
    rows = is_set(table, uapi.Status.HELPER) | table.has("helper")
    facts = [Fact("rule", rule.text) for rule in rules[:3]]
    if automatic:
        facts.append(Fact("nf_conntrack_helper", 1))
    remedy = Remedy(
        "nft add rule … ip daddr SERVER tcp dport 21 ct helper set …",
        "give the helper to the servers that need it alone, and drop the open rule",
    )
    off = Remedy(
        "sysctl -w net.netfilter.nf_conntrack_helper=0",
        "helpers by rule alone",
        ("net.netfilter.nf_conntrack_helper", "0"),
    )
    yield Finding(
        "R20",
        Severity.WARNING,
        "connection tracking helpers are open to flows of any address",
        (*facts, Fact("flows with a helper", int(np.count_nonzero(rows)))),
        examples(table, rows),
        "A helper reads addresses and ports in the payload and opens them. A web page "
        "can make a browser send such a payload (NAT slipstreaming) and so reach the "
        "inside host from outside.",
        (off, remedy) if automatic else (remedy,),
        "nft list ruleset: each ct helper set names its servers",
        about="exposed",
    )


def missing(snapshot: Snapshot, _: Thresholds) -> Iterator[Finding]:
    """R20 c: protocols that carry addresses, translated without their helper.

    FTP from inside is left alone: passive mode needs no helper on this side.
    """
    table = snapshot.flows
    kinds = snapshot.translations.kind
    bare = in_tcp_state(table, "ESTABLISHED") & is_unset(table, uapi.Status.HELPER)
    bare &= ~table.has("helper")
    for port, word, needs in (
        (_FTP, "FTP servers", np.isin(kinds, _INWARD)),
        (_PPTP, "PPTP", kinds != Kind.NONE),
    ):
        rows = bare & needs & has_port(table, "orig_dport", (port,))
        name = "ftp" if port == _FTP else "pptp"
        if rows.any() and not (port == _PPTP and _has_tunnels(snapshot)):
            yield _bare(snapshot, rows, word, name)


def _has_tunnels(snapshot: Snapshot) -> bool:
    table = snapshot.flows
    answered = is_set(table, uapi.Status.SEEN_REPLY)
    return bool((answered & (table["proto"] == uapi.IPPROTO_GRE)).any())


def _bare(snapshot: Snapshot, rows: Mask, word: str, name: str) -> Finding:
    count = int(np.count_nonzero(rows))
    return Finding(
        "R20",
        Severity.WARNING,
        f"{word} translated without the helper {name}: {flows(count)}",
        (Fact("flows without helper", count),),
        examples(snapshot.flows, rows),
        "The protocol tells addresses or ports in its payload. Without the helper they "
        "are not translated, and the second flow is not expected: logging in works, "
        "transfers hang. Since Linux 6.0 no helper is given by itself.",
        (
            Remedy(
                f'nft add ct helper ip TABLE {name} {{ type "{name}" protocol tcp ; }}',
                "and a rule for these servers: ip daddr SERVER ct helper set "
                f'"{name}", in prerouting behind conntrack',
            ),
        ),
        f"natscope list helper {name}",
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
                "take the rule for sip away, and call again",
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
    how = f"{share:.0%} full" if count and limit else "full, says the kernel's log"
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
        remedies=(Remedy(f"sysctl -w {name}={more}", "", (name, more)),),
        verify="natscope conntrack -C expect",
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
