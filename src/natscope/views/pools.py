"""What is known of ports in use: pools, destinations, and who holds their ports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.portranges import PortRange
from natscope.views.portsearch import trouble_at

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

TOP_HOSTS = 5
"""Inside hosts named for a pool, and for a destination."""
_ICMP = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)


@dataclass(frozen=True, slots=True)
class HostUse:
    """The ports an inside host has of a pool, or of one destination."""

    address: Address
    ports: int
    """Distinct ones."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A public address as the users of one range of one protocol share it."""

    public: Address
    proto: int
    zone: int
    range: PortRange
    flows: int
    ports: int
    """Distinct ports in use, toward all destinations together."""
    hosts: int
    destinations: int
    top: tuple[HostUse, ...] = ()

    @property
    def fair(self) -> int:
        """The ports each host may have for its own if all that are here share alike."""
        return self.range.size // max(self.hosts, 1)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Inside hosts as columns: those of a pool together, who has most ports first."""

    row: Rows
    """One of the flows of each."""
    pool: Rows
    ports: Numbers

    def most(self, table: FlowTable, begin: int, end: int) -> tuple[HostUse, ...]:
        """The first few from here to there."""
        return tuple(
            self.use(table, at) for at in range(begin, min(end, begin + TOP_HOSTS))
        )

    def use(self, table: FlowTable, at: int) -> HostUse:
        """One of them."""
        address = address_of(table, "orig_src", int(self.row[at]))
        return HostUse(address, int(self.ports[at]))


@dataclass(frozen=True, slots=True)
class Destination:
    """An address and port that flows share a range of ports for."""

    public: Address
    proto: int
    zone: int
    range: PortRange
    address: Address
    port: int | None
    """None of ICMP."""
    used: int
    """Distinct ports taken."""
    closing: int
    """Of these, held by TCP connections in TIME_WAIT or CLOSE alone, which a new one
    may evict where the kernel does so (since 6.5)."""
    loss: float
    """The chance that a new flow that needs another port is dropped."""
    evicts: bool
    hosts: int
    top: tuple[HostUse, ...]

    @property
    def hard(self) -> int:
        """Ports no new flow can get."""
        return self.used - self.closing if self.evicts else self.used

    @property
    def occupancy(self) -> float:
        """Ports no new flow can get, of all; 1.0 is full."""
        return self.hard / self.range.size

    @property
    def fair(self) -> int:
        """The ports each host may have if all that are here share alike."""
        return self.range.size // max(self.hosts, 1)

    @property
    def trouble(self) -> int:
        """The ports in use at which new flows begin to be lost."""
        return round(trouble_at(self.range.size) * self.range.size)

    @property
    def key(self) -> DestinationKey:
        """What makes it the same in another reading."""
        return (
            *(self.public, self.proto, self.zone, self.range),
            *(self.address, self.port),
        )


DestinationKey = tuple[Address, int, int, PortRange, Address, int | None]
"""Public address, protocol, zone and range; destination and its port."""


@dataclass(frozen=True, slots=True)
class PortUse:
    """All pools and destinations of a table; destinations as columns, in step.

    ``rows`` of ``table`` take a port each, of the destination ``of_row`` says; a row
    stands once for every range its port lies in.
    """

    table: FlowTable
    pools: tuple[Pool, ...]
    hosts: Hosts
    evicts: bool
    rows: Rows
    of_row: Rows
    first: Rows
    """A row of each destination."""
    pool: Rows
    """Index into ``pools`` of each destination."""
    size: Numbers
    used: Numbers
    closing: Numbers
    loss: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def occupancy(self) -> NDArray[np.float64]:
        """Ports no new flow can get, of all, for each destination."""
        hard = self.used - self.closing if self.evicts else self.used
        return hard / np.maximum(self.size, 1)

    def busiest(
        self, limit: int, *, shown: Mask | None = None, occupancy: float = 0.0
    ) -> list[Destination]:
        """The destinations nearest to trouble, first.

        Args:
            limit: at most so many.
            shown: for each row of ``table``, whether its destination is asked for.
            occupancy: those below are left out, unless new flows may be lost there.
        """
        wanted = (self.occupancy >= occupancy) | (self.loss > 0)
        if shown is not None:
            there = np.bincount(self.of_row[shown[self.rows]], minlength=len(self))
            wanted &= there > 0
        order = np.lexsort((-self.used, -self.occupancy, -self.loss))
        chosen = order[wanted[order]][:limit]
        return [
            self._destination(at, rows)
            for at, rows in zip(chosen.tolist(), self._rows_of(chosen), strict=True)
        ]

    def hosts_over(self, ports: int, limit: int) -> list[tuple[Pool, HostUse]]:
        """Inside hosts that have more ports of a pool, the largest first.

        Args:
            ports: that a host may have.
            limit: at most so many hosts.
        """
        over = np.flatnonzero(self.hosts.ports > ports)
        order = np.argsort(-self.hosts.ports[over], kind="stable")[:limit]
        return [
            (self.pools[self.hosts.pool[at]], self.hosts.use(self.table, at))
            for at in over[order].tolist()
        ]

    def _rows_of(self, chosen: Rows) -> list[Rows]:
        """The rows of some destinations."""
        number = np.full(len(self), -1, np.intp)
        number[chosen] = np.arange(len(chosen))
        of = number[self.of_row]
        theirs = np.flatnonzero(of >= 0)
        return [self.rows[theirs[of[theirs] == at]] for at in range(len(chosen))]

    def _destination(self, at: int, rows: Rows) -> Destination:
        pool, row, table = self.pools[self.pool[at]], int(self.first[at]), self.table
        first, of_host = group_rows(list(table["orig_src"][rows].T), len(rows))
        ports = np.bincount(of_host, minlength=len(first))
        order = np.argsort(-ports, kind="stable")[:TOP_HOSTS]
        top = tuple(
            HostUse(address_of(table, "orig_src", int(rows[first[i]])), int(ports[i]))
            for i in order.tolist()
        )
        return Destination(
            *(pool.public, pool.proto, pool.zone, pool.range),
            address=address_of(table, "reply_src", row),
            port=None if pool.proto in _ICMP else int(table["reply_sport"][row]),
            used=int(self.used[at]),
            closing=int(self.closing[at]),
            loss=float(self.loss[at]),
            evicts=self.evicts,
            hosts=len(first),
            top=top,
        )

    def hard_of(self, key: DestinationKey) -> int:
        """Ports no new flow to a destination can get; 0 where there is no flow."""
        *pool_key, address, port = key
        pools = [
            at
            for at, pool in enumerate(self.pools)
            if [pool.public, pool.proto, pool.zone, pool.range] == pool_key
        ]
        same = np.isin(self.pool, pools)
        words, number = self.table["reply_src"][self.first], int(address)
        same &= words[:, 0] == np.uint64(number >> 64)
        same &= words[:, 1] == np.uint64(number & (1 << 64) - 1)
        if port is not None:
            same &= self.table["reply_sport"][self.first] == port
        hard = self.used - self.closing if self.evicts else self.used
        return int(hard[same].sum())


def address_of(table: FlowTable, column: str, row: int) -> Address:
    """The address a column has in a row."""
    return address_at(int(table["family"][row]), *table[column][row].tolist())
