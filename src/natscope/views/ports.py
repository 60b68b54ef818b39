"""The source ports NAT has in use: for each public address, and each destination.

A public port is taken for one destination, not for all: the kernel asks only that the
reply tuple be nobody else's.  So a range is used up toward one address and port at a
time, and that is what is counted: the distinct public ports of each destination, in the
range a new flow to it would get its port from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.tuples import Address
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.nat import translations
from natscope.views.pools import Hosts, Pool, PortUse, address_of
from natscope.views.portranges import PortRange, PortRanges
from natscope.views.portsearch import loss

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_ICMP = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6)
_CLOSING = (uapi.TCP_STATES.index("TIME_WAIT"), uapi.TCP_STATES.index("CLOSE"))
_ADDRESS_BITS = np.uint64(32)
_MOST_PACKED = 1 << 16
"""Pools and ranges whose number fits one word beside an address and a port."""


def port_use(table: FlowTable, ranges: PortRanges, *, evicts: bool) -> PortUse:
    """Count the ports in use.

    The box's own flows count too, where they take ports of an address that NAT gives.

    Args:
        table: each flow once.
        ranges: in force on the box.
        evicts: whether its kernel lets new connections evict closing ones (since
            6.5); where that is not known, say no.
    """
    port, takes, translated = _ports(table)
    word = _pool_words(table)
    taking = np.flatnonzero(takes & np.isin(word, np.unique(word[translated])))
    first, of_taking = _numbered(word[taking])
    names = _names(table, taking[first])
    slots = [(pool, r) for pool, name in enumerate(names) for r in name.ranges(ranges)]
    takers = _in_slots(table, port, (taking, of_taking), slots)
    rows = takers.rows
    begins, of_row = _destinations(table, takers)
    pool = takers.slot[begins]
    held = (_closing(table) & translated)[rows]
    group, taken, hard = _distinct(of_row, takers.port, held)
    used = np.bincount(group, minlength=len(begins))
    closing = np.bincount(group[~hard], minlength=len(begins))
    size, base = _sizes([r for _, r in slots], pool)
    lost = loss(group, taken - base[group], hard | (not evicts), size)
    hosts = _hosts(table, takers)
    pools = _pools(table, [(names[p], r) for p, r in slots], takers, pool, hosts)
    return PortUse(
        *(table, pools, hosts, evicts, rows, of_row, rows[begins], pool),
        *(size, used, closing, lost),
    )


@dataclass(frozen=True, slots=True)
class _Takers:
    """Flows that take a port, once for each range it lies in."""

    rows: Rows
    slot: Rows
    """Pool and range of each."""
    port: Numbers


@dataclass(frozen=True, slots=True)
class _PoolName:
    """What the flows of a pool have in common."""

    public: Address
    proto: int
    zone: int

    def ranges(self, ranges: PortRanges) -> tuple[PortRange, ...]:
        """The ranges its flows get their ports from."""
        return ranges.of(self.public.version, int(self.public), self.proto)


def _names(table: FlowTable, rows: Rows) -> list[_PoolName]:
    """The pools some rows are of."""
    some = table.take(rows)
    protos, zones = some["proto"].tolist(), _reply_zone(some).tolist()
    addresses = (address_of(some, "reply_dst", row) for row in range(len(some)))
    return [_PoolName(*name) for name in zip(addresses, protos, zones, strict=True)]


def _ports(table: FlowTable) -> tuple[Numbers, Mask, Mask]:
    """The public port (or ICMP id) of each row, whether it takes one, and whether the
    row's source is translated."""
    is_icmp = _is_icmp(table)
    port = np.where(is_icmp, table["reply_icmp_id"], table["reply_dport"])
    with_ports = np.zeros(256, np.bool_)
    with_ports[list(uapi.PORT_PROTOCOLS)] = True
    takes = table.has("reply_dport") & with_ports[table["proto"]]
    takes |= table.has("reply_icmp_id") & is_icmp
    found = translations(table, Evidence())
    return port.astype(np.int64), takes, takes & (found.snat | found.spat)


def _is_icmp(table: FlowTable) -> Mask:
    found: Mask = np.isin(table["proto"], _ICMP)
    return found


def _closing(table: FlowTable) -> Mask:
    """Rows a new connection may evict, as nf_nat_may_kill() judges."""
    states = np.zeros(256, np.bool_)
    states[list(_CLOSING)] = True
    found = table.has("tcp_state") & states[table["tcp_state"]]
    stuck = uapi.Status.FIXED_TIMEOUT | uapi.Status.DYING
    stays: Mask = table["status"] & np.uint32(stuck) != 0
    return found & ~stays


def _reply_zone(table: FlowTable) -> NDArray[np.uint16]:
    """The zone in which a reply tuple must be nobody else's."""
    zones: NDArray[np.uint16] = table["zone"]
    if "reply_zone" in table.columns:
        zones = np.where(table.has("reply_zone"), table["reply_zone"], zones)
    return zones


def _codes(family: NDArray[np.uint8], words: Words) -> Words:
    """Each address as 32 bits: itself, or its number among those of IPv6."""
    codes = words[:, 1].copy()
    v6 = np.flatnonzero(family == uapi.AF_INET6)
    if len(v6):
        _, codes[v6] = group_rows(list(words[v6].T), len(v6))
    return codes


def _pool_words(table: FlowTable) -> Words:
    """Public address, protocol, zone and family of each row in one word."""
    word = _codes(table["family"], table["reply_dst"])
    for column, bits in ((table["proto"], 32), (_reply_zone(table), 40)):
        word |= column.astype(np.uint64) << np.uint64(bits)
    word |= (table["family"] == uapi.AF_INET6).astype(np.uint64) << np.uint64(56)
    return word


def _numbered(key: Words) -> tuple[Rows, Rows]:
    """A row of each distinct key, and the number of each row's key."""
    order = np.argsort(key)  # not stable, and thrice as fast
    ordered = key[order]
    new = np.ones(len(key), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    of_row = np.empty(len(key), np.intp)
    of_row[order] = np.cumsum(new) - 1
    return order[new], of_row


def _destinations(table: FlowTable, takers: _Takers) -> tuple[Rows, Rows]:
    """A taker of each destination, as its position, and which each taker goes to."""
    rows, slot = takers.rows, takers.slot
    remote = _codes(table["family"], table["reply_src"])[rows]
    ports = np.where(_is_icmp(table), np.uint16(0), table["reply_sport"])[rows]
    if slot.max(initial=0) >= _MOST_PACKED:
        return group_rows([ports, remote, slot], len(rows))
    key: Words = slot.astype(np.uint64) << np.uint64(48)
    key |= remote << np.uint64(16)
    key |= ports
    return _numbered(key)


def _in_slots(
    table: FlowTable,
    port: Numbers,
    taking: tuple[Rows, Rows],
    slots: Sequence[tuple[int, PortRange]],
) -> _Takers:
    """The rows whose port lies in a range of their pool.

    One pass for each distinct range: they are few, pools may be many.
    """
    taken, of_taken = taking
    by_range: dict[PortRange, list[tuple[int, int]]] = {}
    for slot, (pool, r) in enumerate(slots):
        by_range.setdefault(r, []).append((pool, slot))
    ports = port[taken]
    rows, found = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for r, members in by_range.items():
        slot_of = np.full(int(of_taken.max()) + 1, -1, np.intp)
        slot_of[[pool for pool, _ in members]] = [slot for _, slot in members]
        slot_of_row = slot_of[of_taken]
        within = (slot_of_row >= 0) & (ports >= r.first) & (ports <= r.last)
        if not r.is_for_all:
            within &= _is_for(table, r)[taken]
        rows.append(taken[within])
        found.append(slot_of_row[within])
    every = np.concatenate(rows)
    return _Takers(every, np.concatenate(found), port[every])


def _is_for(table: FlowTable, r: PortRange) -> Mask:
    """Rows that go where the rule of a range asks for."""
    found = np.ones(len(table), np.bool_)
    if r.to_ports:
        ports = table["reply_sport"]
        found &= _any(len(table), ((ports >= a) & (ports <= b) for a, b in r.to_ports))
    if r.to:
        words = table["reply_src"]
        ends = ((_not_below(words, a), ~_not_below(words, b + 1)) for a, b in r.to)
        found &= _any(len(table), (low & high for low, high in ends))
    return found


def _any(n: int, masks: Iterable[Mask]) -> Mask:
    found = np.zeros(n, np.bool_)
    for mask in masks:
        found |= mask
    return found


def _not_below(words: Words, bound: int) -> Mask:
    """Rows of 128-bit numbers that are not less than a bound."""
    if bound >> 128:
        return np.zeros(len(words), np.bool_)
    high, low = np.uint64(bound >> 64), np.uint64(bound & (1 << 64) - 1)
    found: Mask = (words[:, 0] == high) & (words[:, 1] >= low)
    found |= words[:, 0] > high
    return found


def _distinct(of: Rows, port: Numbers, held: Mask) -> tuple[Numbers, Numbers, Mask]:
    """Each port of a group once, in order, and whether any flow holds it hard."""
    key = (of.astype(np.int64) << 17) | (port << 1) | held
    key.sort()
    new = np.ones(len(key), np.bool_)
    new[1:] = key[1:] >> 1 != key[:-1] >> 1
    key = key[new]
    return key >> 17, key >> 1 & 0xFFFF, key & 1 == 0


def _sizes(ranges: Sequence[PortRange], of: Rows) -> tuple[Numbers, Numbers]:
    """How large each range is, and where it begins."""
    size = np.array([r.size for r in ranges], np.int64)
    return size[of], np.array([r.first for r in ranges], np.int64)[of]


def _pools(
    table: FlowTable,
    slots: Sequence[tuple[_PoolName, PortRange]],
    takers: _Takers,
    pool: Rows,
    hosts: Hosts,
) -> tuple[Pool, ...]:
    flows = np.bincount(takers.slot, minlength=len(slots)).tolist()
    ports = _distinct_in(takers.slot, takers.port, len(slots)).tolist()
    destinations = np.bincount(pool, minlength=len(slots)).tolist()
    bounds = np.searchsorted(hosts.pool, np.arange(len(slots) + 1)).tolist()
    return tuple(
        Pool(
            *(name.public, name.proto, name.zone, r),
            *(flows[at], ports[at], bounds[at + 1] - bounds[at], destinations[at]),
            hosts.most(table, bounds[at], bounds[at + 1]),
        )
        for at, (name, r) in enumerate(slots)
    )


def _hosts(table: FlowTable, takers: _Takers) -> Hosts:
    codes = _codes(table["family"], table["orig_src"])[takers.rows]
    slot = takers.slot
    first, of_host = _numbered(slot.astype(np.uint64) << _ADDRESS_BITS | codes)
    ports = _distinct_in(of_host, takers.port, len(first))
    order = np.lexsort((-ports, slot[first]))
    first = first[order]
    return Hosts(takers.rows[first], slot[first], ports[order])


def _distinct_in(group: Rows, values: Numbers, groups: int) -> Numbers:
    """How many values each group has; values of 32 bits."""
    key = (group.astype(np.uint64) << _ADDRESS_BITS) | values.astype(np.uint64)
    key.sort()
    new = np.ones(len(key), np.bool_)
    new[1:] = key[1:] != key[:-1]
    of = (key[new] >> _ADDRESS_BITS).astype(np.intp)
    counts: Numbers = np.bincount(of, minlength=groups)
    return counts
