"""Requests about many entries: the layouts of ``request`` filled with columns.

Flows of one shape make one matrix, a message a row, so that a hundred thousand
requests cost a few array operations.  The sequence number of a message is its
row in the table (plus what the caller adds), so that what the kernel refuses
can be told by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec import request
from natscope.codec.layout import SEQ_AT, Layout, Shape, Slot
from natscope.codec.schema import BE32S, IP4, IP6, LABELS
from natscope.table.columns import BY_NAME, COLUMNS
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_ICMP = ("icmp_type", "icmp_code", "icmp_id")
_TUPLE = ("src", "dst", "sport", "dport", *_ICMP, "zone")
KEY = (*(f"orig_{name}" for name in _TUPLE), "zone")
"""Columns that name an entry."""
SETTABLE = (
    *("status", "timeout", "mark", "helper", "labels"),
    *("tcp_state", "tcp_wscale_orig", "tcp_wscale_reply"),
    *("tcp_flags_orig", "tcp_flags_reply"),
    *("sctp_state", "sctp_vtag_orig", "sctp_vtag_reply"),
    *("dccp_state", "dccp_role", "dccp_handshake_seq"),
    *(c.name for c in COLUMNS if c.name.startswith(("seqadj_", "synproxy_"))),
)
"""Columns the kernel takes at an insert, beside tuples, zone and master."""
_MASTER = tuple(c.name for c in COLUMNS if c.name.startswith("master_"))


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of one length, one a row, and the table rows they are about."""

    messages: NDArray[np.uint8]
    rows: NDArray[np.intp]


class Columns:
    """Columns of a table under the names of cells, some computed."""

    def __init__(self, table: FlowTable, names: tuple[str, ...]) -> None:
        self.n = len(table)
        self.family = table["family"]
        self.proto = table["proto"]
        self.values: dict[str, Array] = {"proto": table["proto"]}
        self.has: dict[str, Mask] = {}
        for name in names:
            here = table.has(name)
            if here.any():
                self.values[name] = table[name]
                self.has[name] = here

    def put(self, name: str, values: Array, has: Mask) -> None:
        """Set a column where ``has``; elsewhere it is absent."""
        if has.any():
            self.values[name] = values
            self.has[name] = has
        else:
            self.values.pop(name, None)
            self.has.pop(name, None)

    def constant(self, name: str, value: Any) -> None:
        """The same value in every row."""
        column = BY_NAME.get(name)
        if isinstance(value, str):
            array: Array = np.full(self.n, value.encode())
        elif name in ("labels", request.LABELS_MASK):
            array = np.empty((self.n, 2), np.uint64)
            array[:] = value >> 64, value & (1 << 64) - 1
        else:
            array = np.full(self.n, value, column.dtype if column else np.uint32)
        self.put(name, array, np.ones(self.n, np.bool_))

    def shapes(self) -> Iterator[tuple[Shape, NDArray[np.intp]]]:
        """The distinct shapes, each with its rows."""
        if self.n == 0:
            return
        key = (self.family == uapi.AF_INET6).astype(np.uint64)
        key |= (self.proto == uapi.IPPROTO_ICMPV6).astype(np.uint64) << np.uint64(1)
        for bit, name in enumerate(sorted(self.has), 2):
            key |= self.has[name].astype(np.uint64) << np.uint64(bit)
        _, first, group = np.unique(key, return_index=True, return_inverse=True)
        for number, start in enumerate(first.tolist()):
            rows = np.flatnonzero(group.ravel() == number)
            yield from self._by_text(start, rows)

    def _by_text(
        self, start: int, rows: NDArray[np.intp]
    ) -> Iterator[tuple[Shape, NDArray[np.intp]]]:
        columns = {name for name, has in self.has.items() if has[start]} | {"proto"}
        family, proto = int(self.family[start]), int(self.proto[start])
        if "helper" not in columns:
            yield Shape(family, proto, columns, {}), rows
            return
        names, of_row = np.unique(self.values["helper"][rows], return_inverse=True)
        for number, name in enumerate(names.tolist()):
            texts = {"helper": name.decode("utf-8", "surrogateescape")}
            yield Shape(family, proto, columns, texts), rows[of_row.ravel() == number]


def deletions(table: FlowTable, *, seq: int = 0) -> Iterator[Batch]:
    """Delete each entry, if it still has its id."""
    columns = Columns(table, (*KEY, "id"))
    yield from _batches(columns, (request.deletion,), seq)


def lookups(table: FlowTable, *, seq: int = 0) -> Iterator[Batch]:
    """Ask for each entry."""
    yield from _batches(Columns(table, KEY), (request.lookup,), seq)


def updates(
    table: FlowTable, columns: Columns, *, seq: int = 0, then_get: bool = False
) -> Iterator[Batch]:
    """Change each entry to what ``columns`` holds beside its key.

    With ``then_get`` each is asked for in the same breath.
    """
    for name in KEY:
        columns.put(name, table[name], table.has(name))
    after = (request.lookup,) if then_get else ()
    yield from _batches(columns, (request.change, *after), seq)


def insertions(
    table: FlowTable, *, seq: int = 0, then_get: bool = False
) -> Iterator[Batch]:
    """Put each flow into the table, translated as its tuples say.

    With ``then_get`` each is asked for in the same breath.
    """
    after = (request.lookup,) if then_get else ()
    yield from _batches(insertable(table), (request.insertion, *after), seq)


def insertable(table: FlowTable) -> Columns:
    """A table as ``request.insert`` takes it: the reply's difference as NAT.

    Status bits the kernel sets itself, or refuses, are left out.
    """
    columns = Columns(table, (*KEY, "reply_zone", *SETTABLE, *_MASTER))
    everywhere = np.ones(len(table), np.bool_)
    nothing = np.zeros(len(table), np.bool_)
    differs = {"s": nothing.copy(), "d": nothing.copy()}
    for orig, reply, which in _TURNED:
        told = table.has(f"orig_{orig}") & table.has(f"reply_{reply}")
        changed = table[f"reply_{reply}"] != table[f"orig_{orig}"]
        if which is not None:
            changed = changed.any(axis=1) if changed.ndim == 2 else changed
            differs[which] |= changed & told
    snat = differs["s"] & _may(table, uapi.Status.SRC_NAT)
    dnat = differs["d"] & _may(table, uapi.Status.DST_NAT)
    for orig, reply, which in _TURNED:
        plain = _reply_values(table, orig, table[f"orig_{orig}"])
        as_is = differs[which] & ~(snat if which == "s" else dnat) if which else nothing
        rows = as_is[:, None] if plain.ndim == 2 else as_is
        values = np.where(rows, table[f"reply_{reply}"], plain)
        columns.put(f"reply_{reply}", values, table.has(f"orig_{orig}"))
    columns.put("reply_proto", table["proto"], everywhere)
    columns.put(request.SNAT_ADDRESS, table["reply_dst"], snat)
    columns.put(request.DNAT_ADDRESS, table["reply_src"], dnat)
    icmp = table.has("reply_icmp_id")
    port = np.where(icmp, table["reply_icmp_id"], table["reply_dport"])
    columns.put(request.SNAT_PORT, port, snat & (icmp | table.has("reply_dport")))
    has_port = table.has("reply_sport")
    columns.put(request.DNAT_PORT, table["reply_sport"], dnat & has_port)
    settable = np.uint32(request.SETTABLE_STATUS)
    status = table["status"] & settable | np.uint32(uapi.Status.CONFIRMED)
    columns.put("status", status, everywhere)
    for name in request.TCP_FLAGS:
        flags = table[name] | np.uint16(request.ALL_TCP_FLAGS)
        columns.put(name, flags, table.has(name))
    return columns


def _may(table: FlowTable, bit: int) -> Mask:
    """Whether entries are translated so, or their source does not tell.

    A reply tuple can differ without: an entry made by request alone.  That the
    bit is not set tells so where the status is the kernel's own, which every
    entry of its table has as CONFIRMED, or where ``status_mask`` names it.
    """
    own = table["status"] & np.uint32(uapi.Status.CONFIRMED) != 0
    named = table["status_mask"] & np.uint32(bit) != 0
    told = table.has("status") & np.where(table.has("status_mask"), named, own)
    may: Mask = ~told | (table["status"] & np.uint32(bit) != 0)
    return may


_TURNED = (
    ("src", "dst", "s"),
    ("dst", "src", "d"),
    ("sport", "dport", "s"),
    ("dport", "sport", "d"),
    ("icmp_id", "icmp_id", "s"),
    ("icmp_code", "icmp_code", None),
    ("icmp_type", "icmp_type", None),
)
"""Original end, its place in a reply, and which translation a change there is."""


def _reply_values(table: FlowTable, orig: str, values: Array) -> Array:
    if orig != "icmp_type":
        return values
    answers = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    for row, pairs in enumerate((uapi.ICMP_REPLY_TYPE, uapi.ICMPV6_REPLY_TYPE)):
        answers[row, list(pairs)] = list(pairs.values())
    v6 = (table["proto"] == uapi.IPPROTO_ICMPV6).astype(np.intp)
    answered: Array = answers[v6, values]
    return answered


def replacement(table: FlowTable, there: FlowTable) -> Columns:
    """What of a table the entries that are there can be changed to, row by row.

    The status bits they have are kept; a translation cannot be changed.
    """
    inserted = insertable(table)
    columns = Columns(table, ())
    for name in SETTABLE:
        if name in inserted.has:
            columns.put(name, inserted.values[name], inserted.has[name])
    columns.put(
        "status", inserted.values["status"] | there["status"], there.has("status")
    )
    return columns


def taking_any_window(table: FlowTable) -> FlowTable:
    """The table, its TCP flows as ``request.window_flags`` has them."""
    tcp = table["proto"] == uapi.IPPROTO_TCP
    of_state = np.array([request.window_flags(state) for state in range(256)])
    flags = of_state[table["tcp_state"]].astype(np.uint16) << 8
    for name in request.TCP_FLAGS:
        table = table.with_column(name, flags, tcp)
    return table


def _batches(
    columns: Columns, layouts: Sequence[Callable[[Shape], Layout]], seq: int
) -> Iterator[Batch]:
    for shape, rows in columns.shapes():
        parts = [_fill(layout(shape), columns, rows, seq) for layout in layouts]
        yield Batch(np.concatenate(parts, axis=1), rows)


def _fill(
    layout: Layout, columns: Columns, rows: NDArray[np.intp], seq: int
) -> NDArray[np.uint8]:
    template = np.frombuffer(layout.template, np.uint8)
    messages = np.tile(template, (len(rows), 1))
    _place(messages, SEQ_AT, (rows + seq).astype(np.uint32))
    for slot in layout.slots:
        _place(messages, slot.at, _packed(slot, columns.values, rows))
    return messages


def _place(messages: NDArray[np.uint8], at: int, values: Array) -> None:
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    messages[:, at : at + octets.shape[1]] = octets


def _packed(slot: Slot, values: Mapping[str, Array], rows: NDArray[np.intp]) -> Array:
    chosen: Array = values[slot.column][rows]
    if slot.kind == IP4:
        return chosen[:, 1].astype(">u4")
    if slot.kind == IP6:
        return chosen.astype(">u8")
    if slot.kind == LABELS:
        return chosen[:, ::-1].astype("=u8")
    sign = "i" if slot.kind == BE32S else "u"
    return chosen.astype(f">{sign}{slot.size}")
