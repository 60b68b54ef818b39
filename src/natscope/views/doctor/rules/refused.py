"""R13, R14, R15: packets that routing or conntrack refuses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from natscope import uapi
from natscope.model.bundle import Link
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.flow import Flow
from natscope.model.ipversion import FAMILIES, VERSIONS, IpVersion
from natscope.model.journey import Hook
from natscope.model.measured import STANDBY
from natscope.table.nat import in_network, is_local
from natscope.views.doctor.reading.chains import base_chains, passes_invalid
from natscope.views.doctor.reading.rows import (
    Mask,
    examples,
    in_tcp_state,
    is_set,
    is_unset,
)
from natscope.views.doctor.reading.ways import (
    default_devices,
    has_several_ways,
    several_ways,
    translating,
)
from natscope.views.doctor.remedies.edits import KEEP, Words, inserting
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import NotRead, Snapshot
from natscope.views.doctor.thresholds import Thresholds

_CONF = "net/ipv4/conf"
_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"
_FORWARDED = ("Ip.ForwDatagrams", "Ip6OutForwDatagrams")
_STRICT = 1
"""RFC 3704 §2.2: the source must be reached through the interface it came by."""
_NO_INVALID = Words("ct state invalid drop", "-m conntrack --ctstate INVALID -j DROP")
_PATHS = {Hook.FORWARD: "forward", Hook.INPUT: "input"}


def reverse_path(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R13: rp_filter drops packets of a box with several ways.

    A box with one way is left alone: what the filter drops there is forged.  With one
    default route there are several ways where two interfaces translate for the world.
    """
    dropped = snapshot.counters_rose.get("TcpExt.IPReversePathFilter", 0)
    strict = _strict_interfaces(snapshot)
    if dropped < thresholds.reverse_path_packets or not strict:
        return
    if not (has_several_ways(snapshot.bundle, "inet") or _second(snapshot, strict)):
        return
    facts = [
        Fact("dropped", dropped, "packets"),
        Fact("rp_filter=1 on", ", ".join(strict)),
    ]
    martians = [line for line in snapshot.measured.log or () if "martian" in line]
    facts += [Fact("log", line) for line in martians[-1:]]
    yield Finding(
        "R13",
        Severity.WARNING,
        f"the reverse-path filter dropped {dropped} packets in "
        f"{snapshot.interval}, and this box has several ways",
        tuple(facts),
        why="Strict filtering (RFC 3704) drops a packet whose source is routed through "
        "another interface than it came by. With several uplinks, policy routing or "
        "VRRP that happens to good packets: replies are lost, and no rule shows it.",
        remedies=(_loosened(strict),),
        verify="nstat -az TcpExtIPReversePathFilter: it rises no more",
    )


def _second(snapshot: Snapshot, strict: list[str]) -> bool:
    """Whether strict filtering is on where sources are translated, off the default way.

    A link whose hosts are themselves translated is no uplink: that is for hairpins.
    """
    bundle = snapshot.bundle
    first = default_devices(bundle, "inet")
    others = translating(bundle, snapshot.nat_rules) - set(first)
    return bool(first) and any(
        one.name in others and one.name in strict and not _has_hosts(snapshot, one)
        for one in snapshot.links
    )


def _has_hosts(snapshot: Snapshot, link: Link) -> bool:
    """Whether flows of hosts on a link are source translated."""
    table = snapshot.flows
    rows = is_set(table, uapi.Status.SRC_NAT)
    rows &= ~is_local(table["family"], table["orig_src"], snapshot.addresses)
    for one in link.addresses:
        net = (VERSIONS[one.local.version].family, int(one.local), one.prefix)
        if (rows & in_network(table["family"], table["orig_src"], *net)).any():
            return True
    return False


def _loosened(strict: list[str]) -> Remedy:
    # the greater of all and the interface counts: all loosens every interface
    name = "all"
    if len(strict) == 1:
        name = strict[0].replace(".", "/")  # as sysctl(8) writes it
    setting = (f"net.ipv4.conf.{name}.rp_filter", "2")
    return Remedy(
        f"sysctl -w {setting[0]}={setting[1]}",
        "loose: the source need only be reachable by some interface",
        setting,
    )


def asymmetric_path(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R14: conntrack sees one direction of many TCP flows.

    ESTABLISHED without a reply says it by itself: the flow was taken up midway, and
    goes on.  With be_liberal that does no harm.  SYN_SENT is also what a dead server
    and a scan leave: it counts only where INVALID packets come with it and the box has
    several ways, or a peer.
    """
    table = snapshot.flows
    invalid = (snapshot.measured.rose or {}).get("invalid", 0)
    unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
    counted = table.has("orig_packets")
    repeated = unreplied & counted & (table["orig_packets"] > 1)
    midway = in_tcp_state(table, "ESTABLISHED")
    tcp = int(np.count_nonzero(table["proto"] == uapi.IPPROTO_TCP))
    enough = max(thresholds.asymmetric_flows, thresholds.asymmetric_share * tcp)
    rows = midway & repeated
    if invalid >= thresholds.asymmetric_invalid and _may_differ(snapshot):
        rows |= in_tcp_state(table, "SYN_SENT") & repeated
    found = int(np.count_nonzero(rows))
    if snapshot.sysctl(_LIBERAL) and invalid < thresholds.asymmetric_invalid:
        return  # set for ways that differ, and it does what it is for
    if found < enough:
        if np.count_nonzero(midway & unreplied & ~counted) >= enough:
            raise NotRead("packet counters (nf_conntrack_acct)")
        if not _refuses_much(snapshot, invalid, thresholds):
            return
    headline = f"{found} of {tcp} TCP flows pass this box in one direction only"
    if found < enough:
        headline = f"{invalid} packets are INVALID, and there is more than one way"
    facts = [Fact("one-way TCP flows", found), Fact("TCP flows", tcp)]
    if snapshot.measured.rose is not None:
        facts.append(Fact("INVALID", invalid, "packets"))
    yield _one_way(headline, facts, examples(table, rows))


def _one_way(headline: str, facts: list[Fact], flows: tuple[Flow, ...]) -> Finding:
    return Finding(
        "R14",
        Severity.WARNING,
        headline,
        tuple(facts),
        flows,
        "The other direction goes past this box: by another uplink or router, by "
        "VRRP or ECMP. Conntrack then cannot follow TCP; what it calls INVALID is "
        "neither translated nor accepted as established.",
        (
            Remedy(
                "natscope why-invalid",
                "names the reason of each INVALID packet",
                is_pattern=True,
            ),
            Remedy(
                "ip route get ADDRESS",
                "both ways, on every router: make them one",
                is_pattern=True,
            ),
            Remedy(
                "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1",
                "if the ways must differ: out of window is not INVALID then",
                ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
            ),
        ),
        "natscope count tcp and state established and unreplied: few are left",
    )


def _may_differ(snapshot: Snapshot) -> bool:
    """Whether the other direction may well go elsewhere: by a way or a box."""
    programs = snapshot.measured.programs or ()
    has_peer = any(one.name in STANDBY for one in programs)
    return has_peer or several_ways(snapshot.bundle)


def _refuses_much(snapshot: Snapshot, invalid: int, thresholds: Thresholds) -> bool:
    """Whether INVALID packets are many beside those forwarded, over several ways."""
    rose = snapshot.measured.counters_rose
    if rose is None or not _may_differ(snapshot):
        return False
    forwarded = sum(rose.get(name, 0) for name in _FORWARDED)
    return (
        invalid >= thresholds.asymmetric_invalid
        and forwarded > 0
        and invalid > thresholds.asymmetric_invalid_share * forwarded
    )


def invalid_leak(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R15: INVALID packets of translated flows get through as they are."""
    liberal = snapshot.sysctl(_LIBERAL)
    if liberal is None:
        raise NotRead("nf_conntrack_tcp_be_liberal")
    invalid = snapshot.rose.get("invalid", 0)
    if liberal or invalid < thresholds.invalid_leak_packets:
        return
    table = snapshot.flows
    translated = (snapshot.translations.kind != 0) & in_tcp_state(table, "ESTABLISHED")
    for number, ip in FAMILIES.items():
        rows = translated & (table["family"] == number)
        leaks = [
            hook for hook in _PATHS if passes_invalid(snapshot.ruleset, ip.nft, hook)
        ]
        if leaks and rows.any():
            yield _leak(snapshot, rows, ip, leaks)


def _leak(snapshot: Snapshot, rows: Mask, ip: IpVersion, hooks: list[Hook]) -> Finding:
    invalid = snapshot.rose["invalid"]
    where = " and ".join(_PATHS[hook] for hook in hooks)
    return Finding(
        "R15",
        Severity.WARNING,
        f"{invalid} INVALID packets in {snapshot.interval}, and "
        f"nothing stops them in {where} (IPv{ip.number})",
        (
            Fact("INVALID", invalid, "packets"),
            Fact("nf_conntrack_tcp_be_liberal", 0),
            Fact("translated TCP flows", int(np.count_nonzero(rows))),
        ),
        examples(snapshot.flows, rows),
        "A segment out of window is INVALID, and NAT leaves it alone: it reaches "
        "a host that knows no such connection, which answers with a reset. Large "
        "transfers break with 'connection reset by peer'.",
        (
            Remedy(
                "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1",
                "out of window is not INVALID any more",
                ("net.netfilter.nf_conntrack_tcp_be_liberal", "1"),
            ),
            Remedy(_stopping(snapshot, ip.nft, hooks), f"or drops them; {KEEP}"),
        ),
        "natscope why-invalid: what is INVALID is dropped, or is no more",
        about=ip.nft,
    )


def _stopping(snapshot: Snapshot, family: str, hooks: list[Hook]) -> str:
    """The command that drops INVALID at some hooks, before anything accepts it."""
    found = [base_chains(snapshot.ruleset, family, one, "filter") for one in hooks]
    if all(found):
        chains = dict.fromkeys(some[0] for some in found)
        return " &&\n".join(
            inserting(snapshot.bundle, chain, _NO_INVALID) for chain in chains
        )
    chain = f"{family} natscope-invalid prerouting"
    return (
        f"nft 'add table {family} natscope-invalid; add chain {chain} "
        "{ type filter hook prerouting priority mangle; }; "
        f"add rule {chain} {_NO_INVALID.nft}'"
    )


def _strict_interfaces(snapshot: Snapshot) -> list[str]:
    """Interfaces in strict mode: the greater of theirs and all's (IN_DEV_RPFILTER)."""
    every = snapshot.sysctl(f"{_CONF}/all/rp_filter") or 0
    found = []
    for link in snapshot.links:
        own = snapshot.sysctl(f"{_CONF}/{link.name}/rp_filter") or 0
        if link.up and "LOOPBACK" not in link.flags and max(every, own) == _STRICT:
            found.append(link.name)
    return found


RULES = (
    Rule(
        "R13",
        "reverse-path",
        "replies dropped by the reverse-path filter",
        ("counters_rose", "links", "routes"),
        reverse_path,
        "fib_validate_source(); RFC 3704",
    ),
    Rule(
        "R14",
        "asymmetric-path",
        "flows of which only one direction passes",
        ("flows",),
        asymmetric_path,
        "tcp_in_window(); firehol#358, firewalld#1061, kubernetes#94861",
    ),
    Rule(
        "R15",
        "invalid-leak",
        "INVALID packets let through, untranslated",
        ("flows", "rose", "ruleset"),
        invalid_leak,
        "nf_nat_inet_fn(); kubernetes#74839, libnetwork#1090",
    ),
)
