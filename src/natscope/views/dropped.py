"""The kernel's own reason for a drop, in words.

The reasons are enum skb_drop_reason (include/net/dropreason-core.h).  It tells why
the packet was freed, never by which rule: for netfilter there is one reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.journey import Drop, Hook, Outcome, Position, Stage

NETFILTER = "netfilter"
"""The reason where something at a hook dropped it, and nothing says what."""
CONNTRACK, DSTNAT = -200, -100
"""Of enum nf_ip_hook_priorities."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Outcome, stage, a word for programs, and a sentence."""

    outcome: Outcome
    stage: Stage
    reason: str
    why: str


_NO_ROUTE = "no-route", "no route leads to its destination"
_ROUTING = {
    "IP_RPFILTER": (
        "rp-filter",
        "reverse-path filter: answers to its source would not leave where it came in",
    ),
    "IP_INNOROUTES": _NO_ROUTE,
    "IP_OUTNOROUTES": _NO_ROUTE,
    "IP_INADDRERRORS": (
        "forwarding-off",
        "forwarding is off on the interface it came in by, or its addresses may not "
        "be forwarded",
    ),
    "IP_LOCAL_SOURCE": ("martian", "a martian: its source is the box's own"),
    "IP_INVALID_SOURCE": ("martian", "a martian: its source is no address of a host"),
    "IP_LOCALNET": ("martian", "a martian: 127.0.0.0/8 stays within a host"),
    "IP_INVALID_DEST": ("martian", "a martian: no packet may be sent there"),
    "XFRM_POLICY": ("xfrm", "an IPsec policy forbids it"),
}
_UNROUTED = frozenset(
    {
        "dst_discard",
        "dst_discard_out",
        "ip_error",
        "ip6_pkt_discard",
        "ip6_pkt_prohibit",
    }
)
"""Functions that take in place of an output what no route leads on; of these drops
the kernel gives no reason on most ways."""
_DELIVERY = {
    "NO_SOCKET": ("no-socket", "the box itself has nothing that listens on that port"),
    "SOCKET_RCVBUFF": (
        "socket-buffer",
        "the receive buffer of the program it is for is full",
    ),
}
_LINK = {
    "NEIGH_FAILED": (
        "no-neighbour",
        "the next hop answers neither ARP nor neighbour solicitation",
    ),
    "NEIGH_QUEUEFULL": (
        "no-neighbour",
        "too many packets wait for the next hop's hardware address",
    ),
    "QDISC_DROP": ("queue", "the queue of the interface it leaves by is full"),
}
_REASONS = {
    reason: (stage, *told)
    for stage, table in (
        (Stage.ROUTING, _ROUTING),
        (Stage.FILTER, _DELIVERY),
        (Stage.CONFIRM, _LINK),
    )
    for reason, told in table.items()
}
_ANSWERED = frozenset({"NO_SOCKET"})
"""The box tells the sender."""
_NETFILTER, _HEADER, _TOO_BIG = "NETFILTER_DROP", "IP_INHDR", "PKT_TOO_BIG"


def dropped(drop: Drop, last: Position) -> Dropped:
    """Why a packet was dropped.

    Args:
        drop: what the kernel said.
        last: where the packet was seen last.
    """
    if drop.reason == _NETFILTER:
        return _by_netfilter(drop, last)
    if drop.reason == _HEADER and last.packet is not None and last.packet.ttl <= 1:
        why = "its TTL is used up: the box answers with time exceeded"
        return Dropped(Outcome.REJECTED, Stage.ROUTING, "ttl", why)
    if drop.reason == _TOO_BIG:
        why = "too large for the next link, and it may not be fragmented"
        return Dropped(Outcome.REJECTED, Stage.ROUTING, "mtu", why)
    if drop.reason in _REASONS:
        stage, word, why = _REASONS[drop.reason]
        answered = drop.reason in _ANSWERED
        outcome = Outcome.REJECTED if answered else Outcome.DROPPED
        return Dropped(outcome, stage, word, why)
    if (drop.place or "").partition("+")[0] in _UNROUTED:
        why = "no route, or an unreachable, prohibit or blackhole route takes it"
        return Dropped(Outcome.DROPPED, Stage.ROUTING, "no-route", why)
    place = f" at {drop.place}" if drop.place else ""
    if drop.reason.endswith("_CSUM"):
        why = f"its checksum is wrong ({drop.reason}{place})"
        return Dropped(Outcome.DROPPED, _after(last), "checksum", why)
    word = drop.reason.lower().replace("_", "-")
    why = f"the kernel dropped it: {drop.reason}{place}"
    return Dropped(Outcome.DROPPED, _after(last), word, why)


def _by_netfilter(drop: Drop, last: Position) -> Dropped:
    who = "a rule or a policy"
    if not (drop.place or "").startswith("nft_do_chain"):
        # nf_hook_slow() frees for any other function at the hook
        who = "a rule, a policy, connection tracking or NAT"
    where = f"{last.hook.name.lower()}, after priority {last.priority}"
    why = f"{who} dropped it at {where} (--method nft names the rule)"
    return Dropped(Outcome.DROPPED, _next_chain(last), NETFILTER, why)


def _next_chain(last: Position) -> Stage:
    """The stage of the chains that come next after a position."""
    if last.hook == Hook.POSTROUTING:
        return Stage.SNAT
    if last.hook in (Hook.PREROUTING, Hook.OUTPUT):
        if last.priority < CONNTRACK:
            return Stage.RAW
        if last.priority < DSTNAT - 1:
            return Stage.MANGLE
        if last.priority < DSTNAT:
            return Stage.DNAT
    return Stage.FILTER


def _after(last: Position) -> Stage:
    """Where a packet is lost that no chain dropped."""
    if last.hook == Hook.PREROUTING:
        return Stage.ROUTING
    return Stage.CONFIRM if last.hook == Hook.POSTROUTING else Stage.FILTER
