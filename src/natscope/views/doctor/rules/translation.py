"""R07, R08, R09: flows whose translation contradicts the rules of today.

NAT is decided once, by a flow's first packet.  A rule that changes later changes
nothing for flows that are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from natscope import uapi
from natscope.model.finding import Fact, Finding, Remedy, Severity
from natscope.model.tuples import Address
from natscope.table.age import idle_s
from natscope.table.attribution import Making, Origin
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.doctor.reading.moved import moved
from natscope.views.doctor.reading.rows import Mask, examples, flows, is_set, is_unset
from natscope.views.doctor.reading.unborn import untranslated
from natscope.views.doctor.remedies.selecting import selection
from natscope.views.doctor.rule import Rule
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

_MOST_ADDRESSES = 10
"""Addresses told of, those with most flows first."""
_DEAD = frozenset({"FAILED", "INCOMPLETE"})
"""States of a neighbour that does not answer (NUD_*)."""


def stale_dnat(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R07: flows to a target no rule names any more, or that is not there.

    A flow that its old target still answers is no trouble: connections outlive rules.
    Of UDP it is worth a word, where the rules were asked: nothing ends such a flow.
    """
    table = snapshot.flows
    translated = is_set(table, uapi.Status.DST_NAT)
    stale = translated & _made(snapshot, [one for one in _stale(snapshot) if one.dst])
    unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
    silent = _silent(snapshot)
    vain = _sends_in_vain(snapshot)
    udp = table["proto"] == uapi.IPPROTO_UDP
    for one in _by_address(snapshot, "reply_src", stale):
        # SEEN_REPLY is for ever: its link may tell that it has gone, or two readings
        lost = one.rows
        if one.address not in silent:
            lost = one.rows & unreplied | _in_vain(snapshot, one.rows, vain)
        if lost.any():
            yield _old_target(snapshot, one, lost)
        elif snapshot.is_exact:
            answered = one.rows & udp & _is_alive(snapshot)
            if answered.any():
                yield _still_answered(snapshot, one.address, answered)
    for one in _by_address(snapshot, "reply_src", translated & ~stale & unreplied):
        if one.address in silent:
            yield _absent_target(snapshot, one, silent[one.address])


def _old_target(snapshot: Snapshot, one: _OfAddress, lost: Mask) -> Finding:
    count = int(lost.sum())
    remedy, verify = _deleting(snapshot, lost, f"dnat and target {one.address}")
    return Finding(
        "R07",
        Severity.HIGH,
        f"{flows(count)} to {one.address}: no rule forwards there any more, and "
        "nobody answers",
        (Fact("flows", count), Fact("told by", _how(snapshot))),
        examples(snapshot.flows, lost),
        why="The first packet of a flow chooses its target, for good. A sender that "
        "goes on from the same port keeps the old entry alive, and its packets go to "
        "a host that is no longer there.",
        remedies=(remedy,),
        verify=verify,
        about=str(one.address),
    )


def _still_answered(snapshot: Snapshot, address: Address, rows: Mask) -> Finding:
    count = int(rows.sum())
    remedy, verify = _deleting(snapshot, rows, f"dnat and target {address}")
    return Finding(
        "R07",
        Severity.INFO,
        f"{flows(count)} of UDP to {address}, which still answers, though no rule "
        "forwards there any more",
        (Fact("flows", count), Fact("told by", _how(snapshot))),
        examples(snapshot.flows, rows),
        why="The first packet of a flow chooses its target, for good. UDP has no end: "
        "while the sender goes on from the same port, the old target serves it.",
        remedies=(remedy,),
        verify=verify,
        about=f"{address} answers",
    )


def _absent_target(snapshot: Snapshot, one: _OfAddress, dev: str) -> Finding:
    return Finding(
        "R07",
        Severity.WARNING,
        f"{flows(one.count)} forwarded to {one.address}, which is not there",
        (Fact("flows", one.count), Fact("no answer to ARP or NDP on", dev)),
        examples(snapshot.flows, one.rows),
        why="A rule names this target, but no host on its link has the address.",
        remedies=(
            Remedy(
                "natscope rules",
                "tells the rule: let it name a host that is up, or start this one",
                is_pattern=True,
            ),
        ),
        verify=f"ip neigh show {one.address}: REACHABLE or STALE",
        about=f"{one.address} is down",
    )


def _silent(snapshot: Snapshot) -> Mapping[Address, str]:
    """Neighbours that do not answer, with the interface they were asked on."""
    return {
        one.dst: one.dev
        for one in snapshot.bundle.neighbours
        if _DEAD & set(one.state) and one.mac is None
    }


def born_before(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R08: flows without translation that a rule of today would translate.

    Only where nobody answers: what is answered works without.
    """
    table = snapshot.flows
    plain = is_unset(table, uapi.Status.SRC_NAT) & is_unset(table, uapi.Status.DST_NAT)
    lost = plain & is_unset(table, uapi.Status.SEEN_REPLY)
    # what a helper expected is not new to the rules, nor the helper's to translate
    lost &= is_unset(table, uapi.Status.EXPECTED)
    if not snapshot.is_exact:
        for rule, rows in untranslated(snapshot, lost):
            yield _unborn(snapshot, rows, Fact("rule", rule))
        return
    stale = _stale(snapshot)
    for would in sorted({one.would for one in stale if one.would}):
        rows = lost & _made(snapshot, [one for one in stale if one.would == would])
        if rows.any():
            yield _unborn(snapshot, rows, Fact("today", " and ".join(would)))


def _unborn(snapshot: Snapshot, rows: Mask, today: Fact) -> Finding:
    count = int(rows.sum())
    remedy, verify = _deleting(snapshot, rows, "not nat")
    return Finding(
        "R08",
        Severity.HIGH,
        f"{flows(count)} older than the rule that would translate "
        f"{'it' if count == 1 else 'them'}, and nobody answers",
        (Fact("flows", count), today, Fact("told by", _how(snapshot))),
        examples(snapshot.flows, rows),
        why="The flow began before the rule was there: at boot, when an interface "
        "came up, or by a stray packet from outside. Its entry says: no "
        "translation, and every packet that follows keeps it alive.",
        remedies=(remedy,),
        verify=verify,
        about=str(today.value),
    )


def stale_snat(snapshot: Snapshot, thresholds: Thresholds) -> Iterator[Finding]:
    """R09: flows that leave with an address that the box or its rules gave up.

    High where a flow goes on and is not answered: a VPN or a phone keeps it alive for
    ever.  The kernel itself flushes what masquerade gave, but not what snat did.
    """
    table = snapshot.flows
    translated = is_set(table, uapi.Status.SRC_NAT)
    translated &= is_unset(table, uapi.Status.DST_NAT)
    stale = translated & _made(snapshot, [one for one in _stale(snapshot) if one.src])
    vain = _sends_in_vain(snapshot)
    if not snapshot.is_exact:
        stale |= _moved(snapshot, translated, vain)
    own = {one.ip for one in snapshot.addresses}
    unreplied = is_unset(table, uapi.Status.SEEN_REPLY)
    for one in _by_address(snapshot, "reply_dst", stale):
        lost = one.rows
        if one.address in own:  # flows that work may end so
            lost = one.rows & unreplied | _in_vain(snapshot, one.rows, vain)
        if lost.any():
            yield _old_source(snapshot, one.address, lost, is_own=one.address in own)


def _moved(snapshot: Snapshot, translated: Mask, vain: Mask) -> Mask:
    """Flows whose way has changed, by the texts; none where all are answered."""
    makings = snapshot.attribution.makings
    judged = translated & _made(snapshot, [one for one in makings if one.why is None])
    lost = judged & is_unset(snapshot.flows, uapi.Status.SEEN_REPLY)
    found = moved(snapshot, lost | judged & vain)
    return moved(snapshot, judged) if found.any() else found


def _sends_in_vain(snapshot: Snapshot) -> Mask:
    """Rows that were answered once, and were not between the two readings."""
    ids = snapshot.measured.unanswered or ()
    table = snapshot.flows
    found: Mask = table.has("id") & np.isin(table["id"], np.array(ids, np.uint32))
    return found


def _in_vain(snapshot: Snapshot, rows: Mask, vain: Mask) -> Mask:
    """Of some stale rows those that send in vain, unless most that send are answered.

    Where the old address or target still serves, a few were just about to be answered.
    """
    found = rows & vain
    if found.any():
        alive = rows & _is_alive(snapshot)
        if 2 * np.count_nonzero(found) < np.count_nonzero(alive):
            return np.zeros(len(rows), np.bool_)
    return found


def _is_alive(snapshot: Snapshot) -> Mask:
    """Rows that were answered once, with a packet since the first reading."""
    idle, known = idle_s(snapshot.flows, snapshot.evidence)
    # the kernel tells the timeout in whole seconds
    found: Mask = known & (idle <= 1 + snapshot.measured.interval_ms // 1000)
    return found & is_set(snapshot.flows, uapi.Status.SEEN_REPLY)


def _old_source(
    snapshot: Snapshot, address: Address, rows: Mask, *, is_own: bool
) -> Finding:
    table = snapshot.flows
    count = int(rows.sum())
    waiting = rows & is_unset(table, uapi.Status.SEEN_REPLY)
    waiting |= rows & _sends_in_vain(snapshot)
    kept = rows & is_set(table, uapi.Status.ASSURED)
    alive = waiting | kept & (table["proto"] == uapi.IPPROTO_UDP)
    gone = "no rule gives it" if is_own else "neither this box nor a rule has it"
    remedy, verify = _deleting(snapshot, rows, f"snat and public {address}")
    return Finding(
        "R09",
        Severity.HIGH if alive.any() else Severity.WARNING,
        f"{flows(count)} with the public address {address}: {gone} any more",
        (
            Fact("flows", count),
            Fact("not answered", int(waiting.sum())),
            Fact("told by", _how(snapshot)),
        ),
        examples(table, rows),
        why="The first packet of a flow chooses its public address, for good. After "
        "the address or the route has changed, answers go to whoever has the old one "
        "now, or its provider drops the packets; a sender that goes on keeps the entry "
        "alive, as VPNs and phones do.",
        remedies=(remedy,),
        verify=verify,
        about=str(address),
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


def _stale(snapshot: Snapshot) -> list[Making]:
    """What the rules of today would make otherwise, or drop."""
    makings = snapshot.attribution.makings
    return [one for one in makings if one.origin is Origin.STALE]


def _made(snapshot: Snapshot, makings: Collection[Making]) -> Mask:
    """Rows made so."""
    made = snapshot.attribution
    chosen = [one in makings for one in made.makings]
    found: Mask = np.array([*chosen, False], np.bool_)[made.of_row]
    return found


def _how(snapshot: Snapshot) -> str:
    return "asking the rules" if snapshot.is_exact else "the text of the rules"


def _deleting(snapshot: Snapshot, rows: Mask, words: str) -> tuple[Remedy, str]:
    """What deletes these rows and no other, and how to see that none is left."""
    about = "the next packet of each opens a flow by the rules of today; natscope undo "
    about += "puts the old ones back"
    found = selection(snapshot, rows, words)
    if found is not None:
        delete = Remedy(f"natscope delete '{found}'", about, is_destructive=True)
        return delete, f"natscope count '{found}' tells 0"
    # too many kinds of flows: the rules are asked which are stale
    if is_unset(snapshot.flows, uapi.Status.SEEN_REPLY)[rows].all():
        words = f"{words} and unreplied"
    delete = Remedy(f"natscope stale --delete '{words}'", about, is_destructive=True)
    return delete, f"natscope stale '{words}' finds none"


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
