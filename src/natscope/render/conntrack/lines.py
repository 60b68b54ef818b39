"""Many flows as conntrack(8) prints them: ``line`` by columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.render.conntrack import forms
from natscope.render.conntrack import line as one
from natscope.render.conntrack.forms import Piece
from natscope.render.conntrack.style import Style
from natscope.table.flowtable import FlowTable

Array = NDArray[Any]
Mask = NDArray[np.bool_]

ROWS_AT_ONCE = 4096
"""What fits the processor's cache."""
_NS = np.uint64(10**9)


def lines(
    table: FlowTable, style: Style, events: NDArray[np.uint8] | None = None
) -> bytes:
    """Every flow of a table, each with its newline.

    Args:
        table: the flows.
        style: how to show them.
        events: for each what happened, by its place in forms.EVENTS.
    """
    pieces = forms.FORMS[style.format](style)
    out = []
    for start in range(0, len(table), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        part = table.take(rows) if len(table) > ROWS_AT_ONCE else table
        told = None if events is None else events[rows]
        out.append(_Rows(part, style, told).write(pieces))
    return b"".join(out)


class _Rows:
    """Some rows with what is derived of them."""

    def __init__(
        self, table: FlowTable, style: Style, events: NDArray[np.uint8] | None
    ) -> None:
        self._table = table
        self._style = style
        self._n = len(table)
        self._all = np.ones(self._n, np.bool_)
        self._derived: dict[str, tuple[Array, Mask]] = {}
        if events is not None:
            self._derived["event"] = events, events != 0
        self._derive_status()
        self._derive_times()
        self._derive_texts()
        self._conditions = self._find_conditions()

    def write(self, pieces: list[Piece]) -> bytes:
        """The lines."""
        if self._n == 0:
            return b""
        parts: list[Cell] = []
        text = b""  # what stands in every row is put together first
        for piece in pieces:
            shown = self._shown(piece)
            if shown is None:
                continue
            value = self._value(piece, shown)
            if value is None:
                text += piece.before + piece.after
                continue
            if isinstance(value, bytes):
                text += piece.before + value + piece.after
                continue
            if shown.all():
                parts += self._literal(text + piece.before)
                parts.append(value)
                text = piece.after
                continue
            parts += self._literal(text)
            text = b""
            around = [*self._literal(piece.before), value, *self._literal(piece.after)]
            parts.append(cells.concat(around).only(shown))
        parts += self._literal(text + b"\n")
        return cells.lines(parts)

    def _literal(self, text: bytes) -> list[Cell]:
        return [cells.literal(text, self._n)] if text else []

    def _shown(self, piece: Piece) -> Mask | None:
        """The rows that show a piece; None if none does."""
        shown = self._all
        if piece.when:
            shown = self._conditions[piece.when]
        if piece.column and not piece.always:
            shown = shown & self._column(piece.column)[1]
        return shown if shown.any() else None

    def _value(self, piece: Piece, shown: Mask) -> Cell | bytes | None:
        """The value cells; bytes if the same in every row, None if there is none."""
        if not piece.column or piece.kind == forms.NOTHING:
            return None if shown.all() else cells.literal(b"", self._n)
        values, _ = self._column(piece.column)
        if piece.kind == forms.ADDRESS:
            return cells.addresses(self._table["family"], values)
        if piece.kind == forms.TEXT:
            return _texts(values)
        if shown.all() and (values == values[0]).all():
            return one.write(piece, int(values[0]))
        if piece.kind == forms.WORD:
            codes = np.where(values < len(piece.words), values, 0)
            return cells.lookup(codes.astype(np.intp), piece.words)
        if piece.kind == forms.TAG:
            return cells.decimal(values.astype(np.uint32).byteswap())
        if piece.kind == forms.HEX:
            return cells.hexadecimal(values)
        return cells.decimal(values)

    def _column(self, name: str) -> tuple[Array, Mask]:
        if name in self._derived:
            return self._derived[name]
        if name in forms.DERIVED:
            return np.zeros(self._n, np.uint8), ~self._all
        return self._table[name], self._table.has(name)

    def _derive_status(self) -> None:
        table = self._table
        told = table.has("status")
        status = table["status"]
        seen = status & np.uint32(uapi.Status.SEEN_REPLY) != 0
        assured = status & np.uint32(uapi.Status.ASSURED) != 0
        offload = status & np.uint32(uapi.Status.OFFLOAD) != 0
        hardware = status & np.uint32(uapi.Status.HW_OFFLOAD) != 0
        flag = np.where(hardware, 3, np.where(offload, 2, assured)).astype(np.uint8)
        self._derived["unreplied"] = flag, told & ~seen
        self._derived["assured"] = flag, told & assured
        self._derived["flag"] = flag, told & (flag != 0)

    def _derive_times(self) -> None:
        table, style = self._table, self._style
        started = table.has("start_ns")
        if started.any():
            start, stop = table["start_ns"], table["stop_ns"]
            end = np.where(table.has("stop_ns"), stop // _NS, np.uint64(style.now_s))
            # unsigned: a flow born after now_s, during the dump, has lived 0
            delta = np.maximum(end, start // _NS) - start // _NS
            if style.format == "xml":
                lived = (np.maximum(stop, start) - start) // _NS
                delta = np.where(table.has("stop_ns"), lived, delta)
            self._derived["delta"] = delta, started
        if style.ktimestamp:
            for name in ("start", "stop"):
                column = f"{name}_ns"
                self._put_each(
                    f"{name}_text", column, lambda ns: one.calendar(ns // 10**9)
                )
        if style.timestamp:
            self._put_each("when_text", "event_ns", one.seconds)
            self._put_each(
                "when_xml", "event_ns", lambda ns: one.calendar_xml(ns // 10**9)
            )

    def _put_each(self, name: str, column: str, text: Callable[[int], bytes]) -> None:
        """A text for each distinct value of a column of numbers."""
        has = self._table.has(column)
        if has.any():
            distinct, codes = np.unique(self._table[column], return_inverse=True)
            texts = np.array([text(value) for value in distinct.tolist()], np.bytes_)
            self._derived[name] = texts[codes.ravel()], has

    def _derive_texts(self) -> None:
        style, table = self._style, self._table
        if style.format == "save":
            self._put_each("status_text", "status", one.status_text)
        if style.format == "xml":
            for name in ("helper", "secctx"):
                if table.has(name).any():
                    distinct, codes = np.unique(table[name], return_inverse=True)
                    texts = [one.escaped(text) for text in distinct.tolist()]
                    escaped = np.array(texts, np.bytes_)[codes.ravel()]
                    self._derived[name] = escaped, table.has(name)
        if style.labels is not None and table.has("labels").any():
            self._derive_labels()

    def _derive_labels(self) -> None:
        labels = self._style.labels
        assert labels is not None
        distinct, codes = np.unique(self._table["labels"], axis=0, return_inverse=True)
        names = [labels.names(high << 64 | low) for high, low in distinct.tolist()]
        plain = np.array([one.labels_text(some) for some in names], np.bytes_)
        markup = np.array([one.labels_xml(some) for some in names], np.bytes_)
        told = self._table.has("labels")
        self._derived["label_text"] = plain[codes.ravel()], told
        self._derived["label_xml"] = markup[codes.ravel()], told

    def _find_conditions(self) -> dict[str, Mask]:
        proto = self._table["proto"]
        found = {}
        for name, protos in forms.CONDITIONS.items():
            member = np.zeros(256, np.bool_)
            member[list(protos)] = True
            found[name] = member[proto]
        if self._style.format == "save":
            snat = self._translated(uapi.Status.SRC_NAT_DONE, "reply_dst", "orig_src")
            dnat = self._translated(uapi.Status.DST_NAT_DONE, "reply_src", "orig_dst")
            found |= {"snat": snat, "dnat": dnat}
            found |= {"plain src": ~snat, "plain dst": ~dnat}
        return found

    def _translated(self, bit: int, reply: str, orig: str) -> Mask:
        table = self._table
        may = ~table.has("status") | (table["status"] & np.uint32(bit) != 0)
        translated: Mask = may & (table[reply] != table[orig]).any(axis=1)
        return translated


def _texts(values: Array) -> Cell:
    if values.dtype.kind != "S":
        values = values.astype(np.bytes_)
    return cells.strings(values)
