"""What a twin's kernel answers when asked: entries of its table, and routes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from natscope import uapi
from natscope.codec import encode, request, requests, routes
from natscope.codec.scalar import decode_flow
from natscope.errors import KernelError, NatscopeError
from natscope.model.flow import Flow
from natscope.model.journey import Routed
from natscope.model.packet import Packet, Question
from natscope.model.prefilter import KernelFilter
from natscope.model.tuples import Address, FlowTuple
from natscope.rehearse.private import Private
from natscope.sources.lookup import entry_of
from natscope.table.flowtable import FlowTable

_AT_ONCE = 256
"""Flows that are inserted with one send(2)."""


class Lookups:
    """Asks a twin.

    Args:
        private: its namespaces.
        names: of its interfaces, by index.
    """

    def __init__(self, private: Private, names: dict[int, str]) -> None:
        self._names = names
        self._indices = {name: index for index, name in names.items()}
        self.is_zoned = False
        """Its rules may put flows into zones."""
        self._zones = {0}
        """Met so far: a tuple names an entry only in its zone."""
        self._flows = private.netlink(uapi.NETLINK_NETFILTER)
        self._routes = private.netlink(uapi.NETLINK_ROUTE)

    def close(self) -> None:
        """Let go of the sockets."""
        self._flows.close()
        self._routes.close()

    def entries(self, key: FlowTuple, known: int | None = None) -> list[Flow]:
        """The entries of a tuple, of either direction, in every zone there is.

        Args:
            key: the tuple.
            known: an id; where it is of a zone not met before, the zone is found.
        """
        found = self._of(key)
        is_there = known is None or any(flow.id == known for flow in found)
        if self.is_zoned and known is not None and not is_there:
            self._zones |= self._zone_of(known)
            found = self._of(key)
        return found

    def _of(self, key: FlowTuple) -> list[Flow]:
        found: dict[int | None, Flow] = {}
        for zone in sorted(self._zones):
            with suppress(KernelError):  # no connection tracking
                flow = entry_of(self._flows, key, zone=zone or None)
                if flow is not None:
                    found[flow.id] = flow
        return list(found.values())

    def _zone_of(self, known: int) -> set[int]:
        """The zone of an entry, by its id: nothing but a dump tells it."""
        asked = encode.dump_request(KernelFilter(), seq=self._flows.next_seq())
        for message in self._flows.ask(asked, "listing flows"):
            flow = decode_flow(message)
            if flow.id == known:
                zones = (flow.zone, flow.orig.zone, flow.reply.zone)
                return {zone for zone in zones if zone is not None}
        return set()

    def forget(self, flow: Flow) -> None:
        """Take an entry out again."""
        cells = encode.cells_of(Flow(flow.orig, flow.reply, zone=flow.zone, id=flow.id))
        asked = request.delete(cells, seq=self._flows.next_seq())
        with suppress(KernelError):
            self._flows.ask(asked, "deleting a flow")

    def insert(self, table: FlowTable) -> int:
        """Put flows in; how many the kernel did not take."""
        refused = 0
        for batch in requests.insertions(table):
            for at in range(0, len(batch.messages), _AT_ONCE):
                part = batch.messages[at : at + _AT_ONCE].tobytes()
                refused += len(self._flows.exchange(part, "inserting flows"))
        return refused

    def route(self, question: Question) -> Routed:
        """Where a packet goes, and by which route."""
        index = None if question.iif is None else self._indices.get(question.iif)
        try:
            way = self._ask(question, index, matched=False)
        except KernelError as error:
            found = routes.no_route(error)
            if found.kind != "blackhole" or index is None:
                return found
            return replace(found, kind=self._refused(question.packet))
        try:
            route = self._ask(question, index, matched=True)
        except KernelError:
            # no table has it: the limited broadcast, a group (ip_route_input_rcu)
            return replace(way, prefix=None, table=None)
        return replace(
            way, prefix=route.prefix, table=route.table, has_ways=route.has_ways
        )

    def origin(self, packet: Packet) -> str | None:
        """Where a packet with this source comes in; None: it is the box's own.

        Raises:
            NatscopeError: no route leads to its source.
        """
        back = replace(packet, src=packet.dst, dst=packet.src, sport=None, dport=None)
        try:
            found = self._ask(Question(back), None, matched=False, is_from=False)
        except KernelError as error:
            raise NatscopeError(
                f"no route leads to {packet.src}: which way does it come in?",
                hint="say so: in INTERFACE, or out",
            ) from error
        return None if found.kind == "local" else found.interface

    def _refused(self, packet: Packet) -> str:
        """What EINVAL stands for, of a packet that comes in (ip_route_input_slow)."""
        if packet.dst.is_multicast:
            return "multicast"
        if packet.src.version == 6:
            return "blackhole"
        if any(_is_nowhere(one) for one in (packet.src, packet.dst)):
            return "martian"
        back = Question(replace(packet, dst=packet.src, sport=None, dport=None))
        try:
            found = self._ask(back, None, matched=False, is_from=False)
        except KernelError:
            return "blackhole"
        return "blackhole" if found.kind == "unicast" else "martian"

    def _ask(
        self,
        question: Question,
        index: int | None,
        *,
        matched: bool,
        is_from: bool = True,
    ) -> Routed:
        asked = routes.route_request(
            question,
            index=index,
            matched=matched,
            is_from=is_from,
            seq=self._routes.next_seq(),
        )
        (message,) = self._routes.ask(asked, "asking for a route")
        return routes.decode_route(message, self._names)


def _is_nowhere(address: Address) -> bool:
    """No host's, by its number alone."""
    is_zero = address.packed[0] == 0
    return is_zero or address.is_loopback or address.is_multicast
