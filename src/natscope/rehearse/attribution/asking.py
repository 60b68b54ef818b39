"""Asks a twin what the box would make of a flow today, by its first packet.

The packet is sent as if it came in by the way its source is routed to.  On a box with
several ways, or with zones, that need not be so: then others are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from natscope.codec.text.natrules import rulesets
from natscope.errors import NatscopeError
from natscope.model.flow import Flow
from natscope.model.journey import Sightings
from natscope.model.packet import Question, opening
from natscope.rehearse.attribution.answers import Answer, Reading
from natscope.rehearse.twin import Twin


class Asking:
    """Asks a twin about flows.

    Args:
        twin: of the box; without flows of its own.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._reading = Reading(rulesets(twin.bundle), twin.bundle)

    def about(self, flow: Flow) -> Answer:
        """What becomes of the first packet of a flow."""
        packet = opening(flow.orig)
        try:
            iif = self._twin.origin(packet)
            if iif is None and flow.orig.dst.is_multicast:
                return Answer.unknown("its program chose the interface it left by")
            seen = self._send(Question(packet, iif))
            if _zones(seen.after) == _zones(flow):
                return self._reading.answer(seen)
        except NatscopeError as error:
            return Answer.unknown(str(error))
        if any(_zones(flow)):
            # the same addresses may have come in by an interface of another zone
            links = (link for link in self._twin.bundle.links if link.up)
            ways = (link.name for link in links if "LOOPBACK" not in link.flags)
            for answer in self.by_ways(flow, ways):
                return answer
        return self._reading.doubted(seen)

    def other_ways(self, flow: Flow, ways: set[str]) -> list[str]:
        """Without that to its source; none, where the box itself sent it."""
        try:
            iif = self._twin.origin(opening(flow.orig))
        except NatscopeError:
            return []
        return [] if iif is None else sorted(ways - {iif})

    def by_ways(self, flow: Flow, ways: Iterable[str]) -> Iterator[Answer]:
        """What becomes of it by some interfaces: those that lead into its zone."""
        for way in ways:
            try:
                seen = self._send(Question(opening(flow.orig), way))
            except NatscopeError:
                continue  # a port of a bridge: its packets come in by that
            if _zones(seen.after) == _zones(flow):
                yield self._reading.answer(seen)

    def _send(self, question: Question) -> Sightings:
        seen = self._twin.send(question)
        if seen.before is not None:
            self._twin.forget(seen.before)
            seen = self._twin.send(question)
        if seen.after is not None:
            self._twin.forget(seen.after)
        return seen


def _zones(flow: Flow | None) -> tuple[int, ...]:
    if flow is None:
        return (0, 0, 0)
    return tuple(zone or 0 for zone in (flow.zone, flow.orig.zone, flow.reply.zone))
