"""Which flows ``netstat-nat`` shows, and what stands in its columns.

netstat-nat 1.4.10 compares the addresses of the two tuples.  Here a flow is
classified by ports and status bits as well (``table.nat``), so that hairpins,
redirects and port-only translations are found; for every other flow the
columns hold what 1.4.10 prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntFlag
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.evidence import Evidence
from natscope.model.ipversion import VERSIONS
from natscope.table.flowtable import FlowTable
from natscope.table.grouping import group_rows
from natscope.table.nat import in_network, is_local, translations
from natscope.table.records import address_at

Network = IPv4Network | IPv6Network
Networks = tuple[Network, ...]
Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Rows = NDArray[np.intp]


class Show(IntFlag):
    """The classes of flows: options ``-S -D -L -R``."""

    SOURCE = 1
    """The source is translated, its address or its port."""
    DESTINATION = 2
    """The destination is translated: a forward or a redirect."""
    LOCAL = 4
    """Not translated, to or from the box itself."""
    ROUTED = 8
    """Not translated, through the box."""
    NAT = SOURCE | DESTINATION


@dataclass(frozen=True, slots=True)
class Question:
    """The flows to show; None sets no condition."""

    show: Show = Show.NAT
    protocols: frozenset[int] | None = None
    sources: Networks | None = None
    destinations: Networks | None = None
    gateways: Networks | None = None


@dataclass(frozen=True, slots=True)
class Hosts:
    """One address column: words as a FlowTable's, port (0 where there is none)."""

    words: Words
    port: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines to show, unsorted: some 75 bytes for each."""

    proto: NDArray[np.uint8]
    family: NDArray[np.uint8]
    source: Hosts
    gateway: Hosts
    """The address the flow borrows; meaningless where nothing is translated."""
    destination: Hosts
    has_port: Mask
    state: NDArray[np.uint16]
    """What :func:`state_word` names."""

    def __len__(self) -> int:
        return len(self.proto)

    def take(self, rows: Rows | Mask | slice) -> Lines:
        """Some of the lines, in that order."""
        return Lines(*(_take(getattr(self, f.name), rows) for f in fields(self)))


def concat(parts: Sequence[Lines]) -> Lines:
    """Lines under each other."""
    if not parts:
        return lines(FlowTable.empty(), Evidence(), Question())
    if len(parts) == 1:
        return parts[0]
    names = [f.name for f in fields(Lines)]
    return Lines(*(_concat([getattr(part, name) for part in parts]) for name in names))


def _take(values: Any, rows: Rows | Mask | slice) -> Any:
    if isinstance(values, Hosts):
        return Hosts(values.words[rows], values.port[rows])
    return values[rows]


def _concat(values: list[Any]) -> Any:
    if not isinstance(values[0], Hosts):
        return np.concatenate(values)
    words = np.concatenate([hosts.words for hosts in values])
    return Hosts(words, np.concatenate([hosts.port for hosts in values]))


def lines(table: FlowTable, evidence: Evidence, question: Question) -> Lines:
    """The lines of the flows asked for, in the order of the table."""
    if question.protocols is not None:
        wanted = np.array(sorted(question.protocols), np.uint8)
        table = table.mask(np.isin(table["proto"], wanted))
    found = translations(table, evidence)
    to = found.dnat | found.dpat
    translated = found.snat | found.spat | to
    keep = np.zeros(len(table), np.bool_)
    if question.show & Show.SOURCE:
        keep |= found.snat | found.spat
    if question.show & Show.DESTINATION:
        keep |= to
    if question.show & (Show.LOCAL | Show.ROUTED):
        here = _local(table, evidence)
        if question.show & Show.LOCAL:
            keep |= ~translated & here
        if question.show & Show.ROUTED:
            keep |= ~translated & ~here
    # one line has one gateway: the address the source borrows, unless the
    # destination's is all that is asked for, or all there is
    forward = to if question.show == Show.DESTINATION else to & ~found.snat
    rows = np.flatnonzero(keep)
    made = _lines(table.take(rows), to[rows], forward[rows])
    return _among(made, question)


def _local(table: FlowTable, evidence: Evidence) -> Mask:
    family = table["family"]
    own = evidence.addresses
    return is_local(family, table["orig_src"], own) | is_local(
        family, table["orig_dst"], own
    )


def _lines(table: FlowTable, to: Mask, forward: Mask) -> Lines:
    has_port = table.has("orig_sport") & np.isin(table["proto"], _WITH_PORTS)
    return Lines(
        proto=table["proto"],
        family=table["family"],
        source=Hosts(table["orig_src"], table["orig_sport"]),
        gateway=_either(
            forward,
            Hosts(table["orig_dst"], table["orig_dport"]),
            Hosts(table["reply_dst"], table["reply_dport"]),
        ),
        destination=_either(
            to,
            Hosts(table["reply_src"], table["reply_sport"]),
            Hosts(table["orig_dst"], table["orig_dport"]),
        ),
        has_port=has_port,
        state=_state(table),
    )


_WITH_PORTS = np.array(sorted(uapi.PORT_PROTOCOLS), np.uint8)


def _either(which: Mask, one: Hosts, other: Hosts) -> Hosts:
    words = np.where(which[:, None], one.words, other.words)
    return Hosts(words, np.where(which, one.port, other.port))


def _among(found: Lines, question: Question) -> Lines:
    """The lines whose addresses lie in the networks asked for."""
    keep = np.ones(len(found), np.bool_)
    for hosts, networks in (
        (found.source, question.sources),
        (found.destination, question.destinations),
        (found.gateway, question.gateways),
    ):
        if networks is None:
            continue
        inside = np.zeros(len(found), np.bool_)
        for network in networks:
            family = VERSIONS[network.version].family
            value, prefix = int(network.network_address), network.prefixlen
            inside |= in_network(found.family, hosts.words, family, value, prefix)
        keep &= inside
    return found if keep.all() else found.take(keep)


_NO_STATE, _ASSURED, _UNREPLIED, _OFFLOAD, _HW_OFFLOAD = range(5)
_STATUS_WORDS = ("", "ASSURED", "UNREPLIED", "OFFLOAD", "HW_OFFLOAD")
_STATES = {
    1: ("tcp_state", uapi.TCP_STATES),
    2: ("sctp_state", uapi.SCTP_STATES),
    3: ("dccp_state", uapi.DCCP_STATES),
}
_SHIFT = 8
_TCP_NONE = 1 << _SHIFT | uapi.TCP_STATES.index("NONE")
_TCP_CLOSE = 1 << _SHIFT | uapi.TCP_STATES.index("CLOSE")


def state_word(code: int) -> str:
    """The word in the state column."""
    if code < 1 << _SHIFT:
        return _STATUS_WORDS[code]
    _, states = _STATES[code >> _SHIFT]
    return uapi.state_name(states, code & (1 << _SHIFT) - 1)


def _state(table: FlowTable) -> NDArray[np.uint16]:
    """The protocol's state; else what the status bits say of replies.

    TCP's NONE says nothing, and of a CLOSE without a reply 1.4.10 says
    UNREPLIED; both are kept.
    """
    from_status = np.zeros(len(table), np.uint16)
    unreplied = _known(table, uapi.Status.SEEN_REPLY) & ~_set(
        table, uapi.Status.SEEN_REPLY
    )
    from_status[unreplied] = _UNREPLIED
    from_status[_set(table, uapi.Status.ASSURED)] = _ASSURED
    state = from_status.copy()
    for code, (name, _) in _STATES.items():
        if name in table.columns:
            values = table[name].astype(np.uint16) | code << _SHIFT
            state = np.where(table.has(name), values, state)
    silent = (state == _TCP_NONE) | (state == _TCP_CLOSE) & unreplied
    state = np.where(silent, from_status, state)
    state[_set(table, uapi.Status.OFFLOAD)] = _OFFLOAD
    state[_set(table, uapi.Status.HW_OFFLOAD)] = _HW_OFFLOAD
    return state


def _set(table: FlowTable, bit: int) -> Mask:
    is_set: Mask = _known(table, bit) & (table["status"] & np.uint32(bit) != 0)
    return is_set


def _known(table: FlowTable, bit: int) -> Mask:
    """Rows whose source told this status bit, set or not."""
    known = table.has("status")
    if "status_mask" in table.columns:
        told = table["status_mask"] & np.uint32(bit) != 0
        known = known & (told | ~table.has("status_mask"))
    return known


def addresses(found: Lines, *, gateway: bool) -> dict[tuple[int, int, int], str]:
    """Every distinct address shown, by family and words, as text."""
    columns = [found.source, found.destination, *([found.gateway] if gateway else [])]
    words = np.concatenate([hosts.words for hosts in columns])
    family = np.tile(found.family, len(columns))
    first, _ = group_rows([family, words[:, 0], words[:, 1]], len(family))
    keys = zip(family[first].tolist(), *words[first].T.tolist(), strict=True)
    return {key: str(address_at(*key)) for key in keys}


def services(found: Lines, *, gateway: bool) -> list[tuple[int, int]]:
    """Every distinct protocol and port shown."""
    columns = [found.source, found.destination, *([found.gateway] if gateway else [])]
    ports = np.concatenate([hosts.port[found.has_port] for hosts in columns])
    proto = np.tile(found.proto[found.has_port], len(columns))
    used = np.unique(proto.astype(np.uint32) << 16 | ports)
    return [(pair >> 16, pair & 0xFFFF) for pair in used.tolist()]
