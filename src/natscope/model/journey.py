"""What happened to a packet on its way through netfilter.

A trace brings visits: the rules that matched and the ends of chains, in the order
of the kernel.  What else was seen of the packet stands beside them in Sightings, and
a Journey is what an engineer reads in it, phase by phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natscope.model.flow import Flow
    from natscope.model.packet import Packet, Question


class Hook(IntEnum):
    """enum nf_inet_hooks; EGRESS is of the netdev family."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4
    INGRESS = 5
    EGRESS = 6


class Verdict(IntEnum):
    """NF_* and NFT_* verdicts of linux/netfilter.h and nf_tables.h."""

    DROP = 0
    ACCEPT = 1
    STOLEN = 2
    QUEUE = 3
    REPEAT = 4
    CONTINUE = -1
    BREAK = -2
    JUMP = -3
    GOTO = -4
    RETURN = -5


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; a base chain has a hook, a type, a priority and a policy.

    ``family`` is nft's word: ip, ip6, inet, arp, bridge, netdev.
    """

    family: str
    table: str
    name: str
    type: str | None = None
    hook: Hook | None = None
    priority: int | None = None
    policy: Verdict | None = None


OWN_TABLES = "natscope_"
"""So the names of tables begin that natscope makes to see packets pass: their visits
tell where a packet was, and are not shown."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as its own tool writes it."""

    family: str
    table: str
    chain: str
    text: str
    handle: int | None = None
    """nft's name for it, and the kernel's."""
    number: int | None = None
    """Its place in the chain, from 1: iptables' name for it."""
    tool: str = "nft"
    """nft, iptables-nft, ip6tables-nft, iptables-legacy, ip6tables-legacy."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What conntrack had made of the packet when a chain saw it.

    No Tracked at all: before conntrack, or INVALID (nf_trace_fill_ct_info).
    """

    state: int
    """Of nft's ct state: 1 invalid, 2 established, 4 related, 8 new, 64 untracked."""
    direction: int = 0
    status: int = 0
    """Bits of uapi.Status."""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A rule that matched, or the end of a chain (``rule`` is None).

    ``chain`` is where it happened and ``base`` the base chain that led there, each
    with its hook and priority as far as the ruleset told.  ``packet``, ``tracked``,
    ``iif`` and ``oif`` are told once a base chain, by its first visit.
    """

    base: Chain
    chain: Chain
    verdict: Verdict
    rule: Rule | None = None
    target: str | None = None
    """The chain a jump or goto leads to."""
    is_policy: bool = False
    packet: Packet | None = None
    tracked: Tracked | None = None
    iif: str | None = None
    oif: str | None = None
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Departure:
    """A packet that left through an interface, or was handed to the box (None)."""

    interface: str | None
    packet: Packet
    is_answer: bool = False
    """It is the box's own: a reset, an ICMP error, an echo reply."""


@dataclass(frozen=True, slots=True)
class Routed:
    """The answer of the routing table: RTM_GETROUTE, or why there is none."""

    kind: str
    """unicast, local, broadcast, multicast; or unreachable, blackhole, prohibit,
    martian; none where no route was found."""
    interface: str | None = None
    gateway: str | None = None
    source: str | None = None
    prefix: str | None = None
    """The route that matched, as ip-route(8) writes a prefix."""
    table: str | None = None
    error: str | None = None
    """What the kernel answered instead, as the name of an errno."""
    has_ways: bool = False
    """The route has several next hops; this is the one the packet's hash chose."""


@dataclass(frozen=True, slots=True)
class Position:
    """A packet as it was at one priority of a hook, between two chains.

    What stands there tells no rule: see trace.positions.
    """

    hook: Hook
    priority: int
    family: str
    """ip or ip6."""
    packet: Packet | None
    """None where its headers cannot be read."""
    time_ns: int
    """Nanoseconds since 1970."""
    tracked: Tracked | None = None
    flow: Flow | None = None
    """The entry it had, with both tuples as NAT had set them by then."""
    iif: str | None = None
    oif: str | None = None
    mark: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """The kernel freed a packet: tracepoint kfree_skb."""

    reason: str
    """Of enum skb_drop_reason, without its prefix: NETFILTER_DROP, NO_SOCKET."""
    place: str | None
    """Where in the kernel, ``nft_do_chain+0x5ad``; None where symbols are hidden."""
    time_ns: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """All that was seen of one packet."""

    visits: tuple[Visit, ...] = ()
    question: Question | None = None
    """What was asked, in a rehearsal."""
    departures: tuple[Departure, ...] = ()
    before: Flow | None = None
    """The entry it found."""
    after: Flow | None = None
    """The entry when it was through."""
    routed: Routed | None = None
    is_tracked: bool | None = None
    """Whether connection tracking is at work at all; None: not known."""
    invalid: tuple[str, ...] = ()
    """What nf_conntrack_log_invalid said."""
    counters: tuple[tuple[str, int], ...] = ()
    """Counters that rose meanwhile: names of /proc/net/snmp, netstat, conntrack."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Settings that decide about it."""
    is_up: bool | None = None
    """Whether the interface it came in by is up."""
    is_bridge: bool = False
    """That interface is a bridge, of which a twin has no ports."""

    @property
    def departure(self) -> Departure | None:
        """How the packet itself left, None if it did not."""
        return next((one for one in self.departures if not one.is_answer), None)

    positions: tuple[Position, ...] = ()
    """Where a trace without rules saw it, in order."""
    drop: Drop | None = None
    """What the kernel says ended it."""


class Stage(Enum):
    """A part of the way, by the name an engineer gives it."""

    ARRIVAL = "arrival"
    RAW = "raw"
    CONNTRACK = "conntrack"
    MANGLE = "mangle"
    DNAT = "dnat"
    ROUTING = "routing"
    FILTER = "filter"
    SNAT = "snat"
    CONFIRM = "confirm"


class Outcome(Enum):
    """What became of a packet."""

    FORWARDED = "forwarded"
    DELIVERED = "delivered"
    SENT = "sent"
    REJECTED = "rejected"
    DROPPED = "dropped"
    QUEUED = "queued"
    ANSWERED = "answered"
    """The box answered in place of the other end: synproxy."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Phase:
    """One stage of the way: what it did, by which rules, and the packet after it."""

    stage: Stage
    said: str
    visits: tuple[Visit, ...] = ()
    packet: Packet | None = None
    is_turned: bool = False
    """It has other addresses or ports than before."""
    is_end: bool = False
    """The packet came no further."""


@dataclass(frozen=True, slots=True)
class Journey:
    """A packet's way, phase by phase, and its end.

    ``reason`` is a word for programs: rule, policy, no-route, forwarding-off,
    rp-filter, table-full, no-port …; None where nothing stopped the packet.
    """

    outcome: Outcome
    phases: tuple[Phase, ...]
    reason: str | None = None
    why: str | None = None
    """The reason, as a sentence."""
    by: Visit | None = None
    """The rule or policy that decided."""
    question: Question | None = None
    departures: tuple[Departure, ...] = ()
    entry: Flow | None = None
    notes: tuple[str, ...] = ()
    """What limits the answer: what was chosen at random, what a twin cannot know."""
