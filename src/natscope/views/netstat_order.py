"""The order in which ``netstat-nat`` shows lines.

netstat-nat 1.4.10 sorts by protocol name, then by one column, both as text,
with an exchange sort: for every pair i < j, swap when the one is greater.
That sort is not stable, and takes time in the square of the lines.  Here the
same order, ties included, comes out of what such a sort does to equals:

    the pairs may be visited by j; then line j is inserted into i lines already
    sorted.  It stands behind its equals and pushes the first of the next
    greater class out, which goes to the end of its own class, pushing the first
    of the next one, and so on.

So every line turns each greater class by one place: the first becomes the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.views.netstat import Hosts, Lines, state_word

Rows = NDArray[np.intp]
Keys = list[NDArray[Any]]

SORT_KEYS = ("src", "dst", "src-port", "dst-port", "state", "gate", "gate-port")
TIES_LIKE_STOCK = 1 << 15
"""More lines than this keep the table's order where they are equal: 1.4.10
would need a quarter of a minute for them, and the emulation a second."""


def order(lines: Lines, by: str, protocol_names: Sequence[str]) -> Rows:
    """Line positions by protocol name, then by one of ``SORT_KEYS``, as text.

    ``protocol_names`` has the name of each protocol number.  Needs some 40
    bytes a line while it works.
    """
    keys = [_protocol_rank(protocol_names)[lines.proto], *_keys(lines, by)]
    sorted_rows = np.lexsort(keys[::-1])
    if len(lines) > TIES_LIKE_STOCK:
        return sorted_rows
    return exchange_sorted(_classes(keys, sorted_rows))


def exchange_sorted(rank: Rows) -> Rows:
    """Positions as an exchange sort leaves them.

    ``rank`` numbers the classes of equal lines from 0 in the order wanted.
    """
    rings: list[list[int]] = [[] for _ in range(int(rank.max(initial=-1)) + 1)]
    heads, turned = [0] * len(rings), [0] * len(rings)
    pairs = zip(rank.tolist(), _smaller_before(rank).tolist(), strict=True)
    for row, (own, smaller) in enumerate(pairs):
        ring = rings[own]
        # the class has turned once for each smaller line since the last of its own
        head = (heads[own] + smaller - turned[own]) % len(ring) if ring else 0
        ring.insert(head, row)
        heads[own], turned[own] = head + 1, smaller
    placed: list[int] = []
    for ring, head, turns in zip(rings, heads, turned, strict=True):
        first = (head + len(placed) - turns) % len(ring)
        placed += ring[first:] + ring[:first]
    return np.array(placed, np.intp)


def _smaller_before(rank: Rows) -> Rows:
    """For each position, how many earlier ones have a smaller rank.

    Ranks differ first in one bit: counted bit by bit from the highest, among
    the positions that agree in all bits above it.
    """
    count = np.zeros(len(rank), np.intp)
    rows = np.arange(len(rank))
    for bit in reversed(range(int(rank.max(initial=0)).bit_length())):
        above, digit = rank[rows] >> (bit + 1), rank[rows] >> bit & 1
        zeros = np.cumsum(digit == 0)
        begins = np.searchsorted(above, above)
        before = zeros - (zeros - (digit == 0))[begins]
        count[rows] += np.where(digit == 1, before, 0)
        rows = rows[np.argsort(rank[rows] >> bit, kind="stable")]
    return count


def _classes(keys: Keys, sorted_rows: Rows) -> Rows:
    """The rank of each line; equal lines have one rank."""
    new = np.zeros(len(sorted_rows), np.bool_)
    for key in keys:
        ordered = key[sorted_rows]
        new[1:] |= ordered[1:] != ordered[:-1]
    rank = np.empty(len(sorted_rows), np.intp)
    rank[sorted_rows] = np.cumsum(new)
    return rank


def _keys(lines: Lines, by: str) -> Keys:
    """Numbers that sort as the text of a column does, the weightiest first."""
    columns = {"src": lines.source, "dst": lines.destination, "gate": lines.gateway}
    name, _, port = by.partition("-")
    if by == "state":
        return [_text_rank(lines.state, state_word)]
    if port:
        # a line without a port has an empty text there, the least
        rank = _text_rank(columns[name].port, str) + 1
        return [np.where(lines.has_port, rank, 0)]
    return _address_keys(lines.family, columns[name])


def _address_keys(family: NDArray[np.uint8], hosts: Hosts) -> Keys:
    """Dotted text by its octets as text; IPv6 as 1.4.10 sees it, in full.

    A dot and the end of text are both less than any digit, so octets compare
    one by one.  Between the families the first group decides.
    """
    v6 = family == uapi.AF_INET6
    low = hosts.words[:, 1]
    octets = _octet_rank()
    dotted = np.zeros(len(low), np.uint32)
    for shift in (24, 16, 8, 0):
        index = (low >> np.uint64(shift) & np.uint64(0xFF)).astype(np.intp)
        dotted = dotted << np.uint32(8) | octets[index]
    if not v6.any():
        return [dotted]
    group = hosts.words[:, 0] >> np.uint64(48) | np.uint64(_V6_GROUP)
    first = np.where(v6, group, low >> np.uint64(24)).astype(np.uint32)
    return [
        _text_rank(first, _first_text),
        hosts.words[:, 0],
        np.where(v6, low, dotted),
    ]


_V6_GROUP = 1 << 16


def _first_text(code: int) -> str:
    """``10.`` of an IPv4 address, ``2001`` of an IPv6 address."""
    return f"{code - _V6_GROUP:04x}" if code >= _V6_GROUP else f"{code}."


def _text_rank(codes: NDArray[Any], text: Callable[[int], str]) -> Rows:
    """A number for each code that sorts as its text does."""
    used, index = np.unique(codes, return_inverse=True)
    return _ranks([text(code) for code in used.tolist()])[index]


def _ranks(texts: Sequence[str]) -> Rows:
    """The place of each text among all, sorted."""
    return np.unique(np.array(texts, np.str_), return_inverse=True)[1]


def _protocol_rank(names: Sequence[str]) -> NDArray[np.uint8]:
    return _ranks(names).astype(np.uint8)


@cache
def _octet_rank() -> NDArray[np.uint32]:
    return _ranks([str(value) for value in range(256)]).astype(np.uint32)
