"""Cases: packets, and what must become of them.

A file of cases stands beside the rules it is about.  Absent is not asked: an
expectation that is None may turn out either way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from natscope.model.journey import Outcome

if TYPE_CHECKING:
    from natscope.model.journey import Journey
    from natscope.model.packet import Question
    from natscope.model.tuples import Address

PASSED = frozenset({Outcome.FORWARDED, Outcome.DELIVERED, Outcome.SENT})
"""What ``accepted`` means."""
OUTCOMES: dict[str, frozenset[Outcome]] = {
    "forwarded": frozenset({Outcome.FORWARDED}),
    "delivered": frozenset({Outcome.DELIVERED}),
    "sent": frozenset({Outcome.SENT}),
    "rejected": frozenset({Outcome.REJECTED}),
    # one that is seen no more has left no trace of why: dropped all the same
    "dropped": frozenset({Outcome.DROPPED, Outcome.UNKNOWN}),
    "queued": frozenset({Outcome.QUEUED}),
    "answered": frozenset({Outcome.ANSWERED}),
    "accepted": PASSED,
    "stopped": frozenset(Outcome) - PASSED,
}
"""What a case may expect, by the word for it."""
NATS = ("none", "snat", "dnat", "both")
"""Which ends of a packet are other when it leaves."""
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
"""nft's ct state, by the kernel's bits (NF_CT_STATE_BIT)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The addresses and ports one end of a packet may have; None is any."""

    text: str
    """As it was written."""
    network: IPv4Network | IPv6Network | None = None
    ports: tuple[int, int] | None = None
    """First and last."""

    def holds(self, address: Address, port: int | None) -> bool:
        """Whether an end is as it says."""
        if self.network is not None and address not in self.network:
            return False
        if self.ports is None:
            return True
        return port is not None and self.ports[0] <= port <= self.ports[1]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must become of a packet."""

    expect: str | None = None
    """Of OUTCOMES."""
    out: str | None = None
    """The interface it leaves by."""
    src: Endpoint | None = None
    """As it leaves, or is delivered."""
    dst: Endpoint | None = None
    nat: str | None = None
    """Of NATS."""
    reply: str | None = None
    """Of OUTCOMES, what becomes of the answer; accepted: it comes back to the asker,
    from whom it was sent to."""
    rule: str | None = None
    """Words a rule that matched has, in this order."""
    comment: str | None = None
    """Of a rule that matched."""
    reason: str | None = None
    """Why it was stopped: Journey.reason."""
    ct: str | None = None
    """Of STATES."""
    mark: int | None = None
    """Of the packet, when it leaves."""
    ctmark: int | None = None
    """Of its entry."""

    @property
    def is_empty(self) -> bool:
        """Nothing is expected."""
        return all(getattr(self, one.name) is None for one in fields(self))

    @property
    def needs_trace(self) -> bool:
        """Whether what leaves the box is not enough to tell."""
        told = (self.rule, self.comment, self.reason, self.ct, self.mark, self.ctmark)
        return any(one is not None for one in told)


@dataclass(frozen=True, slots=True)
class Step:
    """A packet of a case."""

    question: Question | None
    """None: the answer to what left before."""
    is_placed: bool = True
    """It was said where it comes in; else the routing table is asked."""


@dataclass(frozen=True, slots=True)
class Case:
    """Packets in order, and what must become of the last."""

    name: str
    steps: tuple[Step, ...]
    expectation: Expectation


@dataclass(frozen=True, slots=True)
class Box:
    """Which box the cases are about, as their file says it; None: not said."""

    bundle: str | None = None
    rules: str | None = None
    ip: tuple[str, ...] = ()
    netns: str | None = None


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of cases."""

    box: Box
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected."""

    key: str
    """As the file has it: expect, out, to …"""
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A case, and how it turned out."""

    case: Case
    differences: tuple[Difference, ...] = ()
    journeys: tuple[Journey, ...] = ()
    """Of its packets in order, then of the reply; empty where they were not traced."""

    @property
    def is_good(self) -> bool:
        """All is as expected."""
        return not self.differences
