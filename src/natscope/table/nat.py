"""The NAT view of a table: ``model.nat`` said of columns.

Everything here is pure; a property test holds it equal to the scalar form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.evidence import Evidence, Interface
from natscope.model.nat import (
    DIVERTED,
    INWARD,
    OUTWARD,
    PRIVATE,
    ROLES,
    SUBNET_V4,
    TURNED,
    TWICE,
    UNTRANSLATED,
    End,
    Kind,
)
from natscope.table.flowtable import FlowTable

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.uint8]

_FULL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_PARTS = ("inside", "public", "outside", "target")
_CAST = {
    part: np.array([getattr(role, part) for role in ROLES], np.uint8) for part in _PARTS
}
_COLUMNS = {
    End.ORIG_SRC: ("orig_src", "orig_sport", "orig_icmp_id"),
    End.ORIG_DST: ("orig_dst", "orig_dport", None),
    End.REPLY_SRC: ("reply_src", "reply_sport", None),
    End.REPLY_DST: ("reply_dst", "reply_dport", "reply_icmp_id"),
}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """One part of every flow: address words, port (or key or id), presence."""

    address: Words
    port: NDArray[np.uint16]
    has_address: Mask
    has_port: Mask


@dataclass(frozen=True, slots=True)
class Translations:
    """Kind and cast of every row; the changes it was decided by."""

    table: FlowTable
    kind: Codes
    """model.nat.Kind of each row."""
    role: Codes
    """Index into model.nat.ROLES of each row."""
    snat: Mask
    dnat: Mask
    spat: Mask
    dpat: Mask

    def part(self, name: str) -> Endpoints:
        """The ``inside``, ``public``, ``outside`` or ``target`` of every row."""
        return endpoints(self.table, _CAST[name][self.role])


def translations(table: FlowTable, evidence: Evidence) -> Translations:
    """Classify every row; ``model.nat.classify`` states the rules."""
    may_src = _may(table, uapi.Status.SRC_NAT)
    may_dst = _may(table, uapi.Status.DST_NAT)
    snat = may_src & _unequal(table["reply_dst"], table["orig_src"])
    dnat = may_dst & _unequal(table["reply_src"], table["orig_dst"])
    spat = _differ(table, "orig_sport", "reply_dport")
    spat |= _differ(table, "orig_icmp_id", "reply_icmp_id")
    spat &= may_src
    dpat = may_dst & _differ(table, "orig_dport", "reply_sport")
    to = dnat | dpat

    kind = np.zeros(len(table), np.uint8)
    role = np.full(len(table), UNTRANSLATED, np.uint8)

    def cast(rows: Mask, as_kind: Kind, as_role: int) -> None:
        kind[rows] = as_kind
        role[rows] = as_role

    cast(snat & ~to, Kind.SOURCE, OUTWARD)
    cast(spat & ~snat & ~to, Kind.PORT, OUTWARD)
    cast(dpat & ~dnat & ~snat, Kind.PORT, INWARD)
    cast(dnat & ~snat, Kind.DESTINATION, INWARD)
    inward = to & ~snat
    if inward.any():
        here = is_local(table["family"], table["reply_src"], evidence.addresses)
        cast(inward & here, Kind.REDIRECT, INWARD)
        role[inward & _leaves(table, evidence)] = DIVERTED
    both = snat & to
    if both.any():
        _cast_both(table, evidence, both, kind, role)
    return Translations(table, kind, role, snat, dnat, spat, dpat)


def _cast_both(
    table: FlowTable, evidence: Evidence, both: Mask, kind: Codes, role: Codes
) -> None:
    family, source, target = table["family"], table["orig_src"], table["reply_src"]
    kind[both] = Kind.BOTH
    role[both] = TWICE
    target_private = both & is_private(family, target)
    source_private = is_private(family, source)
    role[target_private & source_private] = TURNED
    role[target_private & ~source_private] = INWARD
    hairpin = both & same_subnet(family, source, target, evidence.addresses)
    kind[hairpin] = Kind.HAIRPIN
    role[hairpin] = TURNED


def endpoints(table: FlowTable, end: Codes) -> Endpoints:
    """The address and port of the end each row names (model.nat.End)."""
    n = len(table)
    address = np.zeros((n, 2), np.uint64)
    port = np.zeros(n, np.uint16)
    has_port = np.zeros(n, np.bool_)
    for code, (address_name, port_name, id_name) in _COLUMNS.items():
        rows = np.flatnonzero(end == code)
        if len(rows) == 0:
            continue
        address[rows] = table[address_name][rows]
        for name in (id_name, port_name):
            if name is None or name not in table.columns:
                continue
            there = rows[table.has(name)[rows]]
            port[there] = table[name][there]
            has_port[there] = True
    return Endpoints(address, port, end != End.NONE, has_port)


def in_network(
    family: Codes, address: Words, network_family: int, value: int, prefix: int
) -> Mask:
    """Rows whose address lies in a network given as number and prefix length."""
    bits = 32 if network_family == uapi.AF_INET else 128
    mask = ((1 << prefix) - 1) << (bits - prefix)
    if network_family == uapi.AF_INET:
        mask |= ((1 << 96) - 1) << 32
    same: Mask = family == network_family
    for word, shift in ((0, 64), (1, 0)):
        part = (mask >> shift) & int(_FULL)
        if part:
            wanted = np.uint64((value & mask) >> shift & int(_FULL))
            same = same & (address[:, word] & np.uint64(part) == wanted)
    return same


def is_private(family: Codes, address: Words) -> Mask:
    """Rows whose address the world cannot reach."""
    return _any_network(
        family,
        address,
        ((n.version, int(n.network_address), n.prefixlen) for n in PRIVATE),
    )


def is_local(family: Codes, address: Words, interfaces: tuple[Interface, ...]) -> Mask:
    """Rows whose address the box itself has."""
    nets = [(4, 127 << 24, 8), (6, 1, 128)]
    nets += [(i.version, int(i.ip), 32 if i.version == 4 else 128) for i in interfaces]
    return _any_network(family, address, nets)


def same_subnet(
    family: Codes, one: Words, other: Words, interfaces: tuple[Interface, ...]
) -> Mask:
    """Rows whose two addresses share a subnet."""
    v4 = family == uapi.AF_INET
    shift = np.uint64(32 - SUBNET_V4)
    near: Mask = np.where(
        v4, one[:, 1] >> shift == other[:, 1] >> shift, one[:, 0] == other[:, 0]
    )
    near = near & is_private(family, one) & is_private(family, other)
    together, settled = np.zeros((2, len(one)), np.bool_)
    for own in interfaces:
        net = (_FAMILY[own.version], int(own.network.network_address))
        first = in_network(family, one, *net, own.network.prefixlen)
        second = in_network(family, other, *net, own.network.prefixlen)
        together |= first & second
        settled |= first | second
    same: Mask = np.where(settled, together, near)
    return same


_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}


def _leaves(table: FlowTable, evidence: Evidence) -> Mask:
    """Rows that go from our side to the world, as their sender sees it."""
    family, to = table["family"], table["orig_dst"]
    to_us = is_private(family, to) | is_local(family, to, evidence.addresses)
    return is_private(family, table["orig_src"]) & ~to_us


def _any_network(family: Codes, address: Words, nets: Any) -> Mask:
    found = np.zeros(len(address), np.bool_)
    for version, value, prefix in nets:
        found |= in_network(family, address, _FAMILY[version], value, prefix)
    return found


def _may(table: FlowTable, bit: int) -> Mask:
    """Rows whose status bit is set, or that do not tell it."""
    known = table.has("status")
    wanted = np.uint32(bit)
    if "status_mask" in table.columns:
        told = table["status_mask"] & wanted != 0
        known &= ~table.has("status_mask") | told
    may: Mask = ~known | (table["status"] & wanted != 0)
    return may


def _unequal(one: Words, other: Words) -> Mask:
    changed: Mask = one[:, 1] != other[:, 1]
    if one[:, 0].any() or other[:, 0].any():
        changed |= one[:, 0] != other[:, 0]
    return changed


def _differ(table: FlowTable, one: str, other: str) -> Mask:
    if one not in table.columns or other not in table.columns:
        return np.zeros(len(table), np.bool_)
    both = table.has(one) & table.has(other)
    changed: Mask = both & (table[one] != table[other])
    return changed
