"""What happened to a flow, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from natscope.model.flow import Flow


class EventKind(IntEnum):
    """What an event tells of; the lower-case names are conntrack(8)'s."""

    NEW = 1
    UPDATE = 2
    DESTROY = 3


@dataclass(frozen=True, slots=True)
class Event:
    """One change of the connection tracking table."""

    kind: EventKind
    flow: Flow
    """The flow as the event told it; a DESTROY alone tells counters and stop_ns."""
    time_ns: int
    """When it happened, by the kernel's clock where it says so, else when it was
    read; ns since 1970."""
    portid: int = 0
    """Netlink port of the program that made the change; 0 is a packet's doing."""
    repaired: bool = False
    """Found by a dump: the event was lost, or never sent."""
