"""The records of one packet, as what was seen of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from natscope import uapi
from natscope.model.ipversion import FAMILIES
from natscope.model.journey import (
    OWN_TABLES,
    Chain,
    Departure,
    Drop,
    Hook,
    Position,
    Sightings,
    Tracked,
    Verdict,
    Visit,
)
from natscope.trace.drops import Reasons, Symbols
from natscope.trace.records import DROPPED, Record

Points: TypeAlias = Mapping[Hook, tuple[int, ...]]
"""Priorities at each hook, ascending."""
_TABLE = f"{OWN_TABLES}positions"
_LOOPBACK = "lo"
_PURGED = "QUEUE_PURGE"
"""Freed with the queue it was in: a program closed its socket."""
_ROLE = uapi.TcpFlag.SYN | uapi.TcpFlag.RST | uapi.TcpFlag.FIN
"""What a TCP segment is for; ECN's flags may change on the way."""
_CONNTRACK = frozenset(
    f"ipv{version}_conntrack_{where}+0x0"
    for version in (4, 6)
    for where in ("in", "local")
)
"""What conntrack registers at PREROUTING and OUTPUT (nf_conntrack_proto.c)."""


class Reader:
    """Turns records into sightings.

    Args:
        points: where the programs stand.
        reasons: names of drop reasons.
        interface: the name of an interface by its index; OSError if it is gone.
        symbols: the kernel's; None are those of the running one.
    """

    def __init__(
        self,
        points: Points,
        reasons: Reasons,
        interface: Callable[[int], str],
        symbols: Symbols | None = None,
    ) -> None:
        self._points = points
        self._reasons = reasons
        self._symbols = symbols or Symbols()
        self._name = interface
        self._names: dict[int, str | None] = {0: None}
        self._wall = time.time_ns() - time.monotonic_ns()
        self._is_tracked: bool | None = None

    def sightings(self, records: list[Record]) -> Sightings:
        """What was seen of a packet.

        Each position is told twice: as it is, and as a visit of a chain of
        natscope's own, so that a trace of rules and this one read alike.
        """
        records = _of_one(records)
        seen = [record for record in records if record.hook != DROPPED]
        entries = [record.flow for record in seen if record.flow is not None]
        self._is_tracked = self._tracking(seen)
        is_known = entries and (entries[0].status or 0) & uapi.Status.CONFIRMED
        positions = tuple(self._position(record) for record in seen)
        drop = self._drop(records)
        return Sightings(
            visits=tuple(map(_visit, positions)),
            departures=() if drop else self._departures(positions),
            before=entries[0] if is_known else None,
            after=entries[-1] if entries else None,
            is_tracked=self._is_tracked,
            positions=positions,
            drop=drop,
        )

    def _tracking(self, seen: list[Record]) -> bool | None:
        """Whether conntrack looks at packets here; remembered once it is known."""
        if any(record.flow is not None for record in seen):
            return True
        for record in seen:
            names = {self._symbols.name(hook) for hook in record.hooks}
            if names - {None}:
                return bool(names & _CONNTRACK)
        return self._is_tracked

    def _position(self, record: Record) -> Position:
        tracked = None
        if record.state is not None:
            status = record.flow.status if record.flow else None
            tracked = Tracked(record.state, record.direction, status or 0)
        hook = Hook(record.hook)
        return Position(
            hook=hook,
            priority=self._points[hook][record.place],
            family=FAMILIES[record.family].nft,
            packet=record.packet,
            time_ns=record.time_ns + self._wall,
            tracked=tracked,
            flow=record.flow,
            iif=self._interface(record.iif),
            oif=self._interface(record.oif),
            mark=record.mark,
        )

    def _departures(self, positions: tuple[Position, ...]) -> tuple[Departure, ...]:
        """How it went on after its last position, where that is its hook's last."""
        last = positions[-1]
        if last.packet is None or last.priority != self._points[last.hook][-1]:
            return ()
        if last.hook == Hook.INPUT:
            return (Departure(None, last.packet),)
        if last.hook == Hook.POSTROUTING and last.oif not in (None, _LOOPBACK):
            return (Departure(last.oif, last.packet),)
        return ()

    def _drop(self, records: list[Record]) -> Drop | None:
        last = records[-1]
        if last.reason is None or last.address is None:
            return None
        reason = self._reasons.name(last.reason)
        has_left = len(records) > 1 and records[-2].hook == Hook.POSTROUTING
        if not last.iif and (has_left or reason == _PURGED):
            return None  # by a socket that had it, of another host or of the box
        return Drop(
            reason,
            self._symbols.name(last.address),
            last.time_ns + self._wall,
        )

    def _interface(self, index: int) -> str | None:
        """An interface's name; its number once it is gone."""
        if index not in self._names:
            try:
                self._names[index] = self._name(index)
            except OSError:
                self._names[index] = str(index)
        return self._names[index]


def _visit(position: Position) -> Visit:
    hook = position.hook
    chain = Chain(
        position.family,
        _TABLE,
        f"{hook.name.lower()} {position.priority}",
        hook=hook,
        priority=position.priority,
    )
    return Visit(
        base=chain,
        chain=chain,
        verdict=Verdict.ACCEPT,
        packet=position.packet,
        tracked=position.tracked,
        iif=position.iif,
        oif=position.oif,
        mark=position.mark,
    )


def _of_one(records: list[Record]) -> list[Record]:
    """The records of the packet most of them are of.

    An skb's memory serves again once it is free, which only a drop tells.  Another
    packet in it whose way begins at no first position, a multicast copy say, is taken
    for the former one.
    """
    kinds = Counter(map(_lasting, records))
    ((kind, _),) = kinds.most_common(1)
    return [record for record in records if _lasting(record) == kind]


def _lasting(record: Record) -> tuple[object, ...]:
    """What no translation touches."""
    packet = record.packet
    if packet is None:
        return record.skb, None
    return (
        record.skb,
        packet.family,
        packet.proto,
        packet.ip_id,
        packet.flow_label,
        packet.icmp_type,
        packet.icmp_seq,
        (packet.tcp_flags or 0) & _ROLE,
        packet.spi,
    )
