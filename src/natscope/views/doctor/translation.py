"""R07, R08, R09: flows whose translation contradicts the rules of today.

NAT is decided once, by a flow's first packet.  A rule that changes later changes
nothing for flows that are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.tuples import Address
from natscope.table.attribution import Origin
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.doctor.rows import examples, is_set, is_unset
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds
from natscope.views.doctor.unborn import untranslated

Mask = NDArray[np.bool_]
_MOST_ADDRESSES = 10
"""Addresses told of, those with most flows first."""
_DEAD = frozenset({"FAILED", "INCOMPLETE"})
"""States of a neighbour that does not answer (NUD_*)."""


def stale_dnat(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R07: flows to a target no rule names any more, or that does not answer.

    A flow that its old target still answers is no trouble: connections outlive rules.
    """
    table = snapshot.flows
    stale = _stale(snapshot) & is_set(table, uapi.Status.DST_NAT)
    lost = stale & is_unset(table, uapi.Status.SEEN_REPLY)
    for one in _by_address(snapshot, "reply_src", lost):
        yield Finding(
            "R07",
            Severity.HIGH,
            f"{one.count} flows still go to {one.address}, which no rule forwards to "
            "any more, and nobody answers them",
            (
                Fact("flows", one.count),
                Fact("told by", _how(snapshot)),
                Fact("still answered, elsewhere", int((stale & ~lost).sum())),
            ),
            examples(table, one.rows),
            why="The target of a flow is chosen by its first packet and kept. A sender "
            "that goes on from the same port keeps the old entry alive, and its "
            "packets go to a host that is no longer there.",
            remedies=(_delete(f"dnat and target {one.address}", one.count),),
            verify=f"natscope count 'dnat and target {one.address}' tells 0",
            about=str(one.address),
        )
    yield from _unanswered(snapshot, is_set(table, uapi.Status.DST_NAT) & ~stale)


def _unanswered(snapshot: Snapshot, rows: Mask) -> Iterator[Finding]:
    """Flows to a target on a link of the box that does not answer even ARP."""
    dead = {
        one.dst: one.dev
        for one in snapshot.bundle.neighbours
        if _DEAD & set(one.state) and one.mac is None
    }
    waiting = rows & is_unset(snapshot.flows, uapi.Status.SEEN_REPLY)
    for one in _by_address(snapshot, "reply_src", waiting):
        if one.address not in dead:
            continue
        yield Finding(
            "R07",
            Severity.WARNING,
            f"{one.count} flows are forwarded to {one.address}, which is not there",
            (Fact("flows", one.count), Fact("no answer on", dead[one.address])),
            examples(snapshot.flows, one.rows),
            why="A rule names the target, but nobody on its link has the address.",
            remedies=(
                Remedy(
                    "natscope rules", "tells the rule; let it name a host that is up"
                ),
            ),
            verify=f"ip neigh show {one.address}",
            about=f"{one.address} is down",
        )


def born_before(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R08: flows without translation that a rule of today would translate.

    Only where nobody answers: what is answered works without.
    """
    table = snapshot.flows
    plain = is_unset(table, uapi.Status.SRC_NAT) & is_unset(table, uapi.Status.DST_NAT)
    lost = plain & is_unset(table, uapi.Status.SEEN_REPLY)
    if snapshot.is_exact:
        found = {"a rule": lost & _stale(snapshot)}
    else:
        found = untranslated(snapshot, lost)
    for rule, rows in found.items():
        count = int(rows.sum())
        if not count:
            continue
        flows = examples(table, rows)
        first = flows[0].orig
        proto = uapi.protocol_name(first.proto)
        words = f"{proto} and src {first.src} and dst {first.dst} and not nat"
        yield Finding(
            "R08",
            Severity.HIGH,
            f"{count} flows are older than the rule that would translate them, and "
            "nobody answers them",
            (
                Fact("flows", count),
                Fact("rule", rule),
                Fact("told by", _how(snapshot)),
            ),
            flows,
            why="The flow began before the rule was there: at boot, when an interface "
            "came up, or by a stray packet from outside. Its entry says: no "
            "translation, and every packet that follows keeps it alive.",
            remedies=(_delete(words, count),),
            verify=f"natscope count '{words}'",
            about=rule,
        )


def stale_snat(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R09: flows that leave with an address that the box or its rules gave up.

    High where a flow goes on and is not answered: a VPN or a phone keeps it alive for
    ever.  The kernel itself flushes what masquerade gave, but not what snat did.
    """
    table = snapshot.flows
    stale = _stale(snapshot) & is_set(table, uapi.Status.SRC_NAT)
    stale &= ~is_set(table, uapi.Status.DST_NAT)
    own = {int(one.ip) for one in snapshot.evidence.addresses}
    for one in _by_address(snapshot, "reply_dst", stale):
        is_gone = int(one.address) not in own
        answered = one.rows & is_set(table, uapi.Status.SEEN_REPLY)
        if not is_gone and answered.sum() == one.count:
            continue  # an address the box has, and flows that work: they may end so
        waiting = one.rows & is_unset(table, uapi.Status.SEEN_REPLY)
        kept = one.rows & is_set(table, uapi.Status.ASSURED)
        alive = bool((waiting | kept & (table["proto"] == uapi.IPPROTO_UDP)).any())
        what = (
            "which this box does not have any more"
            if is_gone
            else "which no rule gives them any more"
        )
        yield Finding(
            "R09",
            Severity.HIGH if alive else Severity.WARNING,
            f"{one.count} flows leave as {one.address}, {what}",
            (
                Fact("flows", one.count),
                Fact("not answered", int(waiting.sum())),
                Fact("told by", _how(snapshot)),
            ),
            examples(table, one.rows),
            why="The public address of a flow is chosen once. After the address has "
            "changed, answers go to whoever has the old one now; a sender that goes on "
            "keeps the entry alive, as VPNs and phones do.",
            remedies=(_delete(f"snat and public {one.address}", one.count),),
            verify=f"natscope count 'snat and public {one.address}' tells 0",
            about=str(one.address),
        )


@dataclass(frozen=True, slots=True)
class _OfAddress:
    """Rows that have one address in a column."""

    address: Address
    count: int
    rows: Mask


def _by_address(snapshot: Snapshot, column: str, rows: Mask) -> Iterator[_OfAddress]:
    """The addresses some rows have in a column, the most frequent first."""
    at = np.flatnonzero(rows)
    if len(at) == 0:
        return
    table = snapshot.flows
    words = table[column][at]
    family = table["family"][at]
    first, of_row = group_rows([family, words[:, 0], words[:, 1]], len(at))
    counts = np.bincount(of_row)
    for group in np.argsort(-counts, kind="stable")[:_MOST_ADDRESSES].tolist():
        mask = np.zeros(len(table), np.bool_)
        mask[at[of_row == group]] = True
        high, low = words[first[group]].tolist()
        address = address_at(int(family[first[group]]), high, low)
        yield _OfAddress(address, int(counts[group]), mask)


def _stale(snapshot: Snapshot) -> Mask:
    """Rows no rule of today makes so, but for those a helper expected: they are
    translated as their master is."""
    made = snapshot.attribution
    stale = [making.origin is Origin.STALE for making in made.makings]
    found: Mask = np.array(stale, np.bool_)[made.of_row]
    expected = is_set(snapshot.flows, uapi.Status.EXPECTED)
    return found & ~expected & ~snapshot.flows.has("master_src")


def _how(snapshot: Snapshot) -> str:
    return "asking the rules" if snapshot.is_exact else "the text of the rules"


def _delete(words: str, count: int) -> Remedy:
    flows = "1 flow" if count == 1 else f"{count} flows"
    return Remedy(
        f"natscope delete '{words}'",
        f"their next packets open new flows by the rules of today; {flows} now, "
        "natscope undo puts them back",
        is_destructive=True,
    )


RULES = (
    Rule(
        "R07",
        "stale-dnat",
        "flows to a target no rule names",
        ("flows", "attribution"),
        stale_dnat,
        "nf_nat_setup_info(); moby#8795, k8s#139628, calico#4124",
    ),
    Rule(
        "R08",
        "born-before-rule",
        "flows older than the rule that would translate them",
        ("flows", "attribution"),
        born_before,
        "nf_nat_initialized(); k8s#48719, nebula#889",
    ),
    Rule(
        "R09",
        "stale-snat",
        "flows that leave with an address that is gone",
        ("flows", "attribution"),
        stale_snat,
        "nf_nat_masquerade's notifiers; landscape#214, opnsense#4726",
    ),
)
