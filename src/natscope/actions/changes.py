"""Changes to many entries: sent together, refused one by one.

No acknowledgements are asked for.  The kernel answers only what it refuses and
what it was asked to show, and each answer carries the row it is about.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec import nlmsg, request, requests
from natscope.codec.scalar import decode_cells
from natscope.errors import NatscopeError
from natscope.table.columns import BY_NAME

if TYPE_CHECKING:
    from natscope.sources.nlsocket import NetlinkSocket
    from natscope.table.flowtable import FlowTable

Progress = Callable[[int], None]
"""Called with how many entries were dealt with since the last call."""

MESSAGES_PER_SEND = 128
"""As many answers must fit the receive buffer."""
LARGEST_SEND = 32 << 10


@dataclass(slots=True)
class Outcome:
    """What became of a change; rows are those of the table it was made of."""

    done: int = 0
    vanished: list[int] = field(default_factory=list)
    """Rows whose entry was gone, or another's, when its turn came."""
    present: list[int] = field(default_factory=list)
    """Rows that could not be inserted because there is such an entry."""
    refused: dict[int, nlmsg.Ack] = field(default_factory=dict)
    """Rows the kernel refused, with its verdict."""
    answers: dict[int, bytes] = field(default_factory=dict)
    """Rows with the message the kernel sent about them."""

    def undone(self) -> set[int]:
        """The rows that were not changed."""
        return {*self.vanished, *self.present, *self.refused}


@dataclass(frozen=True, slots=True)
class Settings:
    """What an update sets: columns and their values.

    ``mark_mask`` and ``labels_mask`` name the bits that change; without them
    all do.  Status bits can only be set, never cleared.

    Raises:
        NatscopeError: a column the kernel does not let change, or a value that
            does not fit it.
    """

    values: Mapping[str, Any]
    mark_mask: int | None = None
    labels_mask: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if name not in requests.SETTABLE:
                raise NatscopeError(
                    f"{name} cannot be changed",
                    hint=f"what can: {', '.join(requests.SETTABLE)}",
                )
            if isinstance(value, int) and not _fits(name, value):
                msg = f"{name}: {value} does not fit"
                raise NatscopeError(msg)


def _fits(name: str, value: int) -> bool:
    if name == "labels":
        return 0 <= value < 1 << 128
    dtype = BY_NAME[name].dtype
    bits = 8 * int(dtype[1:])
    signed = dtype[0] == "i"
    return -(signed << bits - 1) <= value < 1 << bits - signed


def differing(table: FlowTable, settings: Settings) -> FlowTable:
    """The entries that the settings would change."""
    differs = np.zeros(len(table), np.bool_)
    for name, value in settings.values.items():
        column = table[name]
        if name == "status":
            differs |= column & np.uint32(value) != np.uint32(value)
        elif name == "mark" and settings.mark_mask is not None:
            mask = settings.mark_mask
            after = column & np.uint32(~mask & 0xFFFF_FFFF) ^ np.uint32(value)
            differs |= after != column
        elif name == "labels":
            differs |= _labels_differ(table, value, settings.labels_mask)
        elif isinstance(value, str):
            differs |= column != value.encode()
        else:
            differs |= column != value
    return table.mask(differs)


def _labels_differ(table: FlowTable, value: int, mask: int | None) -> NDArray[np.bool_]:
    every = (1 << 128) - 1
    mask = every if mask is None else mask
    halves = [(n >> 64, n & (1 << 64) - 1) for n in (value & mask, mask)]
    wanted, told = (np.array(half, np.uint64) for half in halves)
    differ: NDArray[np.bool_] = ((table["labels"] & told) != wanted).any(axis=1)
    return differ


def delete(
    sock: NetlinkSocket, table: FlowTable, progress: Progress | None = None
) -> Outcome:
    """Delete the entries of a listing, each only if it is still the same."""
    return _carry_out(sock, requests.deletions(table), len(table), progress)


def insert(
    sock: NetlinkSocket,
    table: FlowTable,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Put flows into the table; with ``replace``, change those that are there."""
    outcome = _carry_out(sock, requests.insertions(table), len(table), progress)
    if replace and outcome.present:
        _replace(sock, table, outcome)
    return outcome


def _replace(sock: NetlinkSocket, table: FlowTable, outcome: Outcome) -> None:
    """Change the entries that are there to what they should have been.

    An entry's translation cannot be changed (EOPNOTSUPP), so it is not sent.
    """
    rows = np.array(sorted(outcome.present), np.intp)
    there = table.take(rows)
    found = _carry_out(sock, requests.lookups(there), len(there), None)
    status, has = np.zeros(len(rows), np.uint32), np.zeros(len(rows), np.bool_)
    for row, message in found.answers.items():
        status[row] = decode_cells(message).get("status", 0)
        has[row] = True
    columns = requests.replacement(there, status, has)
    changed = _carry_out(sock, requests.updates(there, columns), len(there), None)
    outcome.present = []
    outcome.vanished += [int(rows[row]) for row in changed.vanished]
    refused = {int(rows[row]): why for row, why in changed.refused.items()}
    outcome.refused |= refused
    outcome.done = len(table) - len(outcome.undone())


def update(
    sock: NetlinkSocket,
    table: FlowTable,
    settings: Settings,
    *,
    show: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Change the entries of a listing.

    Args:
        sock: of the namespace the listing is from.
        table: the entries.
        settings: what to set.
        show: ask for each entry after its change: ``Outcome.answers``.
        progress: see Progress.
    """
    columns = requests.Columns(table, ())
    for name, value in settings.values.items():
        if name == "status":
            # bits are only ever added; what the kernel set itself must stay said
            kept = table["status"] | value | uapi.Status.CONFIRMED
            columns.put("status", kept, table.has("status"))
        else:
            columns.constant(name, value)
    if settings.mark_mask is not None:
        columns.constant(request.MARK_MASK, settings.mark_mask)
    if settings.labels_mask is not None:
        columns.constant(request.LABELS_MASK, settings.labels_mask)
    batches = requests.updates(table, columns, then_get=show)
    return _carry_out(sock, batches, len(table), progress)


def set_columns(
    sock: NetlinkSocket,
    table: FlowTable,
    names: tuple[str, ...],
    progress: Progress | None = None,
) -> Outcome:
    """Set columns of each entry to what its own row says."""
    columns = requests.Columns(table, names)
    batches = requests.updates(table, columns)
    return _carry_out(sock, batches, len(table), progress)


def _carry_out(
    sock: NetlinkSocket,
    batches: Iterable[requests.Batch],
    total: int,
    progress: Progress | None,
) -> Outcome:
    outcome = Outcome()
    for part, rows in _parts(batches):
        for message in sock.exchange(part, "changing the table"):
            _note(outcome, message)
        if progress is not None:
            progress(rows)
    outcome.done = total - len(outcome.undone())
    return outcome


def _parts(batches: Iterable[requests.Batch]) -> Iterator[tuple[bytes, int]]:
    for batch in batches:
        length = max(1, batch.messages.shape[1])
        step = max(1, min(MESSAGES_PER_SEND, LARGEST_SEND // length))
        for start in range(0, len(batch.messages), step):
            part = batch.messages[start : start + step]
            yield part.tobytes(), len(part)


def _note(outcome: Outcome, message: bytes) -> None:
    (header,) = nlmsg.split(message)
    if header.type != uapi.NLMSG_ERROR:
        outcome.answers[header.seq] = message
        return
    verdict = nlmsg.ack(message, header)
    if verdict.errno == errno.ENOENT:
        # an update and the look-up after it both say so
        if not outcome.vanished or outcome.vanished[-1] != header.seq:
            outcome.vanished.append(header.seq)
    elif verdict.errno == errno.EEXIST:
        outcome.present.append(header.seq)
    elif verdict.errno:
        outcome.refused[header.seq] = verdict
