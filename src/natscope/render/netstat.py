"""Lines as ``netstat-nat`` 1.4.10 prints them.

Protocol, addresses and state are padded with blanks: ``%-6s``, ``%-31s`` (or
the width asked for and one) and ``%-11s``.  What is too long pushes the rest
of its line to the right; host names alone are cut, as 1.4.10 cuts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.render import cells
from natscope.render.cells import Cell
from natscope.table.grouping import group_rows
from natscope.table.records import address_at
from natscope.views.netstat import Hosts, Lines, state_word

PROTOCOL_WIDTH, STATE_WIDTH = 5, 11
WIDTH, EXTENDED_WIDTH = 30, 40
IPV6_WIDTH = 47
"""``[xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:xxxx]:65535``."""


@dataclass(frozen=True, slots=True)
class Names:
    """What stands in place of numbers: without it, numbers do."""

    hosts: Mapping[tuple[int, int, int], str]
    """By family, high and low word of the address."""
    services: Mapping[tuple[int, int], str]
    """By protocol number and port."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How lines look."""

    width: int = WIDTH
    """Of an address column, without the blank that ends it."""
    gateway: str | None = None
    """Heading of the gateway column, None to leave it out."""
    source: str = "NATed Address"
    """Heading of the first address column."""
    protocols: Sequence[str] = field(
        default_factory=lambda: [uapi.protocol_name(n) for n in range(256)]
    )
    """Name of each protocol number."""
    names: Names | None = None


def heading(layout: Layout) -> bytes:
    """The heading line."""
    headings = [layout.source, layout.gateway, "Destination Address"]
    columns = [text.ljust(layout.width) for text in headings if text is not None]
    return " ".join(["Proto", *columns, "State \n"]).encode()


def text(lines: Lines, layout: Layout) -> bytes:
    """The lines; some thousand at a time fit the cache."""
    if len(lines) == 0:
        return b""
    n = len(lines)
    row = [_column(_words(lines.proto, layout.protocols), PROTOCOL_WIDTH)]
    columns = [lines.source, lines.gateway, lines.destination]
    if layout.gateway is None:
        del columns[1]
    row += [_column(_endpoint(lines, hosts, layout), layout.width) for hosts in columns]
    used, codes = np.unique(lines.state, return_inverse=True)
    states = cells.lookup(codes, [state_word(c).encode() for c in used.tolist()])
    row += [cells.ljust(states, STATE_WIDTH), cells.literal(b"\n", n)]
    return cells.lines(row)


def _column(cell: Cell, width: int) -> Cell:
    """Padded, with at least one blank behind it."""
    blank = cells.literal(b" ", len(cell.length))
    return cells.ljust(cells.concat([cell, blank]), width + 1)


def _words(codes: NDArray[np.uint8], words: Sequence[str]) -> Cell:
    used, index = np.unique(codes, return_inverse=True)
    return cells.lookup(index, [words[code].encode() for code in used.tolist()])


def _endpoint(lines: Lines, hosts: Hosts, layout: Layout) -> Cell:
    if layout.names is None:
        port = cells.ports(hosts.port).only(lines.has_port)
        address = cells.addresses(lines.family, hosts.words)
        bracketed = lines.has_port & (lines.family == uapi.AF_INET6)
        return cells.concat([*_bracketed(address, bracketed), port])
    port = _service(lines, hosts, layout.names)
    # 1.4.10 keeps the place of the colon even where no port follows
    room = layout.width - np.maximum(port.length, 1)
    host = _host(lines, hosts, layout.names, room)
    return cells.concat([host, port])


def _bracketed(address: Cell, rows: NDArray[np.bool_]) -> list[Cell]:
    """``[2001:db8::1]``, where a port follows."""
    if not rows.any():
        return [address]
    n = len(rows)
    opening, closing = cells.literal(b"[", n), cells.literal(b"]", n)
    return [opening.only(rows), address, closing.only(rows)]


def _service(lines: Lines, hosts: Hosts, names: Names) -> Cell:
    """``:https``, ``:40001``, or nothing."""
    pairs = lines.proto.astype(np.uint32) << 16 | hosts.port
    used, codes = np.unique(pairs, return_inverse=True)
    found = [(pair >> 16, pair & 0xFFFF) for pair in used.tolist()]
    texts = [f":{names.services.get(pair, pair[1])}".encode() for pair in found]
    return cells.lookup(codes, texts).only(lines.has_port)


def _host(lines: Lines, hosts: Hosts, names: Names, room: NDArray[np.intp]) -> Cell:
    """A name, cut to the room its port leaves, or the address in full."""
    n = len(lines)
    high, low = hosts.words[:, 0], hosts.words[:, 1]
    with_port = lines.has_port
    first, of_row = group_rows([lines.family, high, low, with_port], n)
    texts, named = [], []
    for at in first.tolist():
        key = (int(lines.family[at]), int(high[at]), int(low[at]))
        name = names.hosts.get(key)
        number = str(address_at(*key))
        if key[0] == uapi.AF_INET6 and with_port[at]:
            number = f"[{number}]"
        texts.append((name or number).encode())
        named.append(name is not None)
    cell = cells.lookup(of_row, texts)
    longest = cell.parts[0].shape[1]
    limit = np.where(np.array(named, np.bool_)[of_row], np.maximum(room, 0), longest)
    (whole,) = cell.parts
    cut = whole * (np.arange(longest) < limit[:, None])
    return Cell((cut,), np.minimum(cell.length, limit))
