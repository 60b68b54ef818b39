"""The rules of iptables-legacy among what nftables' trace tells.

Both look at one bit of the packet, nf_trace: natscope's nft table has packets traced
by iptables-legacy too, which writes to the packet log.  Steps are joined to packets
by what no translation changes of their headers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from natscope.codec import legacytrace
from natscope.codec.nflog import LoggedPacket
from natscope.codec.text.ruleset import RuleIndex
from natscope.codec.traversal import Visits
from natscope.model.journey import Hook, Visit
from natscope.model.packet import Packet

_Key: TypeAlias = tuple[object, ...]
_KEPT = 4096
"""Packets whose other half has not come are forgotten after so many others."""
_PLACES = {
    Hook.INGRESS: 0,
    Hook.PREROUTING: 1,
    Hook.OUTPUT: 1,
    Hook.INPUT: 2,
    Hook.FORWARD: 2,
    Hook.POSTROUTING: 3,
    Hook.EGRESS: 4,
}


def has_rules(ruleset: RuleIndex) -> bool:
    """Whether there are rules of iptables-legacy at all."""
    return any(rule.tool.endswith("-legacy") for rule in ruleset.rules)


@dataclass(slots=True)
class _Steps:
    """Steps of one packet."""

    key: _Key
    visits: list[Visit] = field(default_factory=list)

    def goes_on_with(self, visit: Visit) -> bool:
        """Whether a step is this packet's, not that of one like it.

        A rule of a built-in chain is met once on the way.
        """
        again = visit.chain == visit.base and any(
            (one.chain, one.rule, one.is_policy)
            == (visit.chain, visit.rule, visit.is_policy)
            for one in self.visits
        )
        return not again and _order(self.visits[-1]) <= _order(visit)


class LegacySteps:
    """Collects steps until the packets they belong to are asked for.

    Args:
        ruleset: with the rules of iptables-legacy.
        name_of: the name of an interface by its index.
    """

    def __init__(
        self, ruleset: RuleIndex, name_of: Callable[[int], str | None]
    ) -> None:
        self._ruleset = ruleset
        self._name_of = name_of
        self._waiting: deque[_Steps] = deque(maxlen=_KEPT)

    def add(self, logged: LoggedPacket) -> None:
        """Take one packet of the log; what is no step is left out."""
        visit = legacytrace.visit(logged, self._ruleset, self._name_of)
        if visit is None or visit.packet is None:
            return
        key = _key(visit.packet)
        for steps in reversed(self._waiting):
            if steps.key == key and steps.goes_on_with(visit):
                break
        else:
            steps = _Steps(key)
            self._waiting.append(steps)
        steps.visits.append(visit)

    def merged(self, visits: Visits) -> Visits:
        """A packet's visits of nft chains with those of iptables-legacy between."""
        packet = visits[0].packet
        if packet is None:
            return visits
        key = _key(packet)
        for steps in self._waiting:
            if steps.key == key:
                self._waiting.remove(steps)
                return tuple(sorted((*visits, *_once(steps.visits)), key=_order))
        return visits


def _once(visits: list[Visit]) -> list[Visit]:
    """Headers and interfaces stand in the first visit of a base chain alone."""
    found: list[Visit] = []
    for visit in visits:
        again = found and found[-1].base == visit.base
        bare = replace(visit, packet=None, iif=None, oif=None) if again else visit
        found.append(bare)
    return found


def _order(visit: Visit) -> tuple[int, int]:
    """The place of a base chain on a packet's way."""
    hook = visit.base.hook
    return (-1 if hook is None else _PLACES[hook]), visit.base.priority or 0


def _key(packet: Packet) -> _Key:
    """What a packet keeps through NAT and routing."""
    return (
        *(packet.family, packet.proto, packet.ip_id, packet.seq, packet.ack),
        *(packet.tcp_flags, packet.icmp_seq, packet.spi, packet.vtag),
    )
