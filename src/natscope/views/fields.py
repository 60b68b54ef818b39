"""Every field a listing can show: its name, heading, meaning and values.

The NAT fields come first, in the words of the NAT view; after them every table
column can be shown under its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.errors import UnknownColumn
from natscope.model.evidence import Evidence
from natscope.model.nat import INWARD, KIND_LETTERS, End
from natscope.table import age
from natscope.table.attribution import Attribute, Attribution
from natscope.table.columns import BY_NAME, COLUMNS
from natscope.table.flowtable import FlowTable
from natscope.table.nat import Translations, endpoints, translations
from natscope.views import makings
from natscope.views.values import (
    BYTES,
    GRE_KEY,
    HEX,
    ICMP_ID,
    PLAIN,
    PORT,
    RATE,
    SECONDS,
    TIME_NS,
    Addresses,
    Endpoints,
    Mask,
    Names,
    Numbers,
    Texts,
    Values,
)


class Reading:
    """A table with its evidence, and what is derived from both, once.

    Args:
        table: the flows.
        evidence: what their own box told.
        attribute: asks which rules made them; None: nobody does.
    """

    def __init__(
        self,
        table: FlowTable,
        evidence: Evidence,
        attribute: Attribute | None = None,
    ) -> None:
        self.table = table
        self.evidence = evidence
        self.attribute = attribute

    def of(self, table: FlowTable) -> Reading:
        """The same of some of its flows."""
        return Reading(table, self.evidence, self.attribute)

    @cached_property
    def attribution(self) -> Attribution | None:
        """Which rules made them, if anybody asks."""
        return None if self.attribute is None else self.attribute(self.table)

    @cached_property
    def nat(self) -> Translations:
        """Kinds and parts of every row."""
        return translations(self.table, self.evidence)

    def part(self, name: str) -> Endpoints:
        """The inside, public, outside or target endpoint."""
        found = self.nat.part(name)
        return self._endpoints(
            found.address, found.has_address, found.port, found.has_port
        )

    def end(self, end: NDArray[np.uint8]) -> Endpoints:
        """The endpoint each row names by a model.nat.End."""
        found = endpoints(self.table, end)
        return self._endpoints(
            found.address, found.has_address, found.port, found.has_port
        )

    def _endpoints(
        self,
        words: NDArray[np.uint64],
        valid: Mask,
        port: NDArray[np.uint16],
        has_port: Mask,
    ) -> Endpoints:
        proto = self.table["proto"]
        meaning = np.full(len(proto), PORT, np.uint8)
        icmp = (proto == uapi.IPPROTO_ICMP) | (proto == uapi.IPPROTO_ICMPV6)
        meaning[icmp] = ICMP_ID
        meaning[proto == uapi.IPPROTO_GRE] = GRE_KEY
        return Endpoints(self.table["family"], words, valid, port, has_port, meaning)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``values`` reads it off a table."""

    name: str
    heading: str
    meaning: str
    values: Callable[[Reading], Values]


_STATE_TABLES = (
    (uapi.TCP_STATES, "tcp_state"),
    (uapi.SCTP_STATES, "sctp_state"),
    (uapi.DCCP_STATES, "dccp_state"),
)
_STATE_WORDS = (
    *("", "UNREPLIED", "REPLIED", "ASSURED", "OFFLOAD", "HW_OFFLOAD"),
    *(uapi.state_name(names, v) for names, _ in _STATE_TABLES for v in range(256)),
)
_UNREPLIED, _REPLIED, _ASSURED, _OFFLOAD, _HW_OFFLOAD, _FIRST_STATE = range(1, 7)


def state(reading: Reading) -> Values:
    """The protocol's state; without one, what the status bits say."""
    table = reading.table
    codes = np.zeros(len(table), np.intp)
    if "status" in table.columns:
        _status_states(table, codes)
    for position, (_, column) in enumerate(_STATE_TABLES):
        if column in table.columns:
            rows = table.has(column)
            base = _FIRST_STATE + 256 * position
            codes[rows] = base + table[column][rows].astype(np.intp)
    return Names(codes, _STATE_WORDS, codes != 0)


def _status_states(table: FlowTable, codes: NDArray[np.intp]) -> None:
    bits = table["status"]
    told = np.full(len(table), 0xFFFF_FFFF, np.uint32)
    if "status_mask" in table.columns:
        told = np.where(table.has("status_mask"), table["status_mask"], told)
    told[~table.has("status")] = 0
    seen = told & np.uint32(uapi.Status.SEEN_REPLY) != 0
    replied = bits & np.uint32(uapi.Status.SEEN_REPLY) != 0
    codes[seen & ~replied] = _UNREPLIED
    codes[seen & replied] = _REPLIED
    for bit, code in (
        (uapi.Status.ASSURED, _ASSURED),
        (uapi.Status.OFFLOAD, _OFFLOAD),
        (uapi.Status.HW_OFFLOAD, _HW_OFFLOAD),
    ):
        codes[told & bits & np.uint32(bit) != 0] = code


def _proto(reading: Reading) -> Values:
    proto = reading.table["proto"]
    return Names(proto, _PROTOCOLS, np.ones(len(proto), np.bool_))


_PROTOCOLS = tuple(uapi.protocol_name(number) for number in range(256))


def _kind(reading: Reading) -> Values:
    kind = reading.nat.kind
    return Names(kind, KIND_LETTERS, kind != 0)


def _age(reading: Reading) -> Values:
    return Numbers(*age.age_s(reading.table, reading.evidence), SECONDS)


def _idle(reading: Reading) -> Values:
    """The silence, which no flow can have kept for longer than it lives."""
    idle, known = age.idle_s(reading.table, reading.evidence)
    lived, told = age.age_s(reading.table, reading.evidence)
    # the kernel rounds the time left down, so the silence seems a second longer
    return Numbers(np.where(told, np.minimum(idle, lived), idle), known, SECONDS)


def _both_ways(what: str, unit: str) -> Callable[[Reading], Values]:
    def values(reading: Reading) -> Values:
        table = reading.table
        valid = table.has(f"orig_{what}") & table.has(f"reply_{what}")
        total = table[f"orig_{what}"] + table[f"reply_{what}"]
        return Numbers(total, valid, unit)

    return values


def _flags(reading: Reading) -> Values:
    bits = reading.table["status"]
    used, codes = np.unique(bits, return_inverse=True)
    words = tuple(",".join(uapi.status_names(value)) for value in used.tolist())
    return Names(codes, words or ("",), reading.table.has("status") & (bits != 0))


def _family(reading: Reading) -> Values:
    v6 = reading.table["family"] == uapi.AF_INET6
    return Names(v6.astype(np.uint8), ("ipv4", "ipv6"), np.ones(len(v6), np.bool_))


def _part(name: str) -> Callable[[Reading], Values]:
    return lambda reading: reading.part(name)


def _part_address(name: str) -> Field:
    def values(reading: Reading) -> Values:
        end = reading.part(name)
        return Addresses(end.family, end.words, end.valid)

    heading = f"{name.upper()}-ADDRESS"
    return Field(f"{name}_address", heading, f"{name}, without the port", values)


def _rule_part(which: str, member: str) -> Field:
    side = {"dnat": "destination", "snat": "source"}[which]

    def values(reading: Reading) -> Values:
        rows = len(reading.table)
        return makings.part(reading.attribution, rows, which, member)

    name = f"{which}_rule_{member}"
    heading = name.upper().replace("_", "-")
    return Field(name, heading, f"{member} of the rule for the {side}", values)


def _ios(outward: End, inward: End) -> Callable[[Reading], Values]:
    """One of the four IOS columns: another end when the flow came from outside."""

    def values(reading: Reading) -> Values:
        came_in = reading.nat.role == INWARD
        return reading.end(np.where(came_in, inward, outward).astype(np.uint8))

    return values


_UNITS = {
    "bytes": BYTES,
    "s": SECONDS,
    "bytes per s": RATE,
    "ns since 1970": TIME_NS,
}


def _column(name: str) -> Field:
    column = BY_NAME[name]

    def values(reading: Reading) -> Values:
        stored, valid = reading.table[name], reading.table.has(name)
        if column.dtype == "S":
            return Texts(stored, valid)
        if name == "labels":
            return Texts(_label_hex(stored), valid)
        if column.width == 2:
            return Addresses(reading.table["family"], stored, valid)
        unit = HEX if name in ("status", "status_mask") else PLAIN
        return Numbers(stored, valid, _UNITS.get(column.unit, unit))

    heading = name.removesuffix("_ns").upper().replace("_", "-")
    return Field(name, heading, column.meaning, values)


def _label_hex(words: NDArray[np.uint64]) -> NDArray[np.bytes_]:
    distinct, index = np.unique(words, axis=0, return_inverse=True)
    texts = [b"0x%x" % (high << 64 | low) for high, low in distinct.tolist()]
    return np.array(texts or [b""], np.bytes_)[index.ravel()]


_DERIVED = (
    Field("proto", "PROTO", "protocol", _proto),
    Field("inside", "INSIDE", "the host on our side", _part("inside")),
    Field("public", "PUBLIC", "the address and port the world sees", _part("public")),
    Field("outside", "OUTSIDE", "the remote end", _part("outside")),
    Field("target", "TARGET", "behind a translated destination", _part("target")),
    Field("kind", "NAT", "kind of translation: s d h r p sd", _kind),
    Field("state", "STATE", "protocol state, else UNREPLIED/REPLIED/ASSURED", state),
    Field("family", "FAMILY", "ipv4 or ipv6", _family),
    Field("flags", "FLAGS", "status bits by their kernel names", _flags),
    Field("age", "AGE", "time since the flow began", _age),
    Field("idle", "IDLE", "time since its last packet", _idle),
    Field("bytes", "BYTES", "bytes, both directions", _both_ways("bytes", BYTES)),
    Field("packets", "PKTS", "packets, both directions", _both_ways("packets", PLAIN)),
    *(_part_address(name) for name in ("inside", "public", "outside", "target")),
    Field(
        "inside_global",
        "Inside global",
        "IOS: our host as the world sees it",
        _ios(End.REPLY_DST, End.ORIG_DST),
    ),
    Field(
        "inside_local",
        "Inside local",
        "IOS: our host as it is",
        _ios(End.ORIG_SRC, End.REPLY_SRC),
    ),
    Field(
        "outside_local",
        "Outside local",
        "IOS: the remote end as our host sees it",
        _ios(End.ORIG_DST, End.REPLY_DST),
    ),
    Field(
        "outside_global",
        "Outside global",
        "IOS: the remote end as it is",
        _ios(End.REPLY_SRC, End.ORIG_SRC),
    ),
)
_RULES = (
    Field(
        "rule",
        "RULE",
        "the NAT rules behind it (--rule)",
        lambda reading: makings.told(reading.attribution, len(reading.table)),
    ),
    Field(
        "rule_state",
        "RULE-STATE",
        f"of the rule: {' '.join(makings.STATES)}",
        lambda reading: makings.states(reading.attribution, len(reading.table)),
    ),
    *(_rule_part(w, member) for w in ("dnat", "snat") for member in makings.MEMBERS),
)
_RAW = tuple(
    _column(c.name)
    for c in COLUMNS
    if c.dtype != "O" and c.name not in ("family", "proto")
)

FIELDS: dict[str, Field] = {field.name: field for field in (*_DERIVED, *_RULES, *_RAW)}


def fields(names: Sequence[str]) -> list[Field]:
    """The fields of these names; dashes may stand for underscores.

    Raises:
        UnknownColumn: no such field; the hint names the nearest.
    """
    found = []
    for name in names:
        field = FIELDS.get(name.strip().lower().replace("-", "_"))
        if field is None:
            from difflib import get_close_matches

            near = get_close_matches(name, FIELDS, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else None
            raise UnknownColumn(
                f"no column {name!r}",
                hint=hint or "natscope help columns lists them all",
            )
        found.append(field)
    return found
