"""Changes to many entries: sent together, refused one by one.

No acknowledgements are asked for.  The kernel answers only what it refuses and
what it was asked to show, and each answer carries the row it is about.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.actions.settings import Settings, words
from natscope.codec import nlmsg, request, requests
from natscope.codec.vector import decode_flows
from natscope.errors import KernelError
from natscope.model.expectation import Expectation
from natscope.table.flowtable import FlowTable

if TYPE_CHECKING:
    from natscope.sources.nlsocket import NetlinkSocket

Progress = Callable[[int], None]
"""Called with how many entries were dealt with since the last call."""

MESSAGES_PER_SEND = 128
"""As many answers must fit the receive buffer."""
LARGEST_SEND = 32 << 10
LOOKED_AT = 2048
"""Entries looked at before they are changed: a few milliseconds' work."""
IN_THE_WAY = "another flow has one of its tuples, as an original or as a reply"
OTHERWISE = "it is there, but translated otherwise: natscope delete it first"
_TRANSLATION = ("reply_src", "reply_dst", "reply_sport", "reply_dport", "reply_icmp_id")
"""Columns that tell what became of an original tuple."""


@dataclass(slots=True)
class Outcome:
    """What became of a change; rows are those of the table it was made of."""

    done: int = 0
    begun: bool = False
    """Something was sent that may have changed the table."""
    vanished: list[int] = field(default_factory=list)
    """Rows whose entry was gone, or another's, when its turn came."""
    present: list[int] = field(default_factory=list)
    """Rows that were not inserted because they are there."""
    refused: dict[int, nlmsg.Ack] = field(default_factory=dict)
    """Rows the kernel refused, with its verdict."""
    answers: dict[int, bytes] = field(default_factory=dict)
    """Rows with the message the kernel sent about them, after the change."""
    replaced: list[int] = field(default_factory=list)
    """Rows of an insert that were there and were changed: they are done too."""
    previous: FlowTable = field(default_factory=FlowTable.empty)
    """Their entries before, row for row, of what was changed."""
    expectations: list[Expectation] = field(default_factory=list)
    """Those that were made, or deleted."""
    expectations_present: int = 0
    """How many were not made because they are there."""
    expectations_refused: list[tuple[Expectation, KernelError]] = field(
        default_factory=list
    )

    def undone(self) -> set[int]:
        """The rows that were not changed."""
        return {*self.vanished, *self.present, *self.refused}

    def settled(self) -> bool:
        """Whether nothing is left to do: all that is not done is gone or there."""
        return not self.refused and not self.expectations_refused

    def add(self, part: Outcome, rows: NDArray[np.intp]) -> None:
        """Take in what became of some rows."""
        self.vanished += rows[part.vanished].tolist()
        self.present += rows[part.present].tolist()
        self.refused |= {int(rows[row]): why for row, why in part.refused.items()}
        self.answers |= {int(rows[row]): told for row, told in part.answers.items()}


def delete(
    sock: NetlinkSocket,
    table: FlowTable,
    *,
    at_once: bool = False,
    progress: Progress | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Delete the entries of a listing, each only if it is still the same.

    The kernel compares the ids.  It makes them of an entry's tuple and its place
    in memory, so that a successor can have the same: where start times are told
    (nf_conntrack_timestamp) they are compared as well, just before.

    Args:
        sock: of the namespace the listing is from.
        table: the entries.
        at_once: the listing is as new as a look would be: do without.
        progress: see Progress.
        outcome: is filled in as it happens, here and below: what was done until
            an error is in it.
    """
    at_once = at_once or not table.has("start_ns").any()
    return _change(
        sock, table, requests.deletions, at_once, progress, outcome or Outcome()
    )


def insert(
    sock: NetlinkSocket,
    table: FlowTable,
    *,
    replace: bool = False,
    show: bool = False,
    progress: Progress | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Put flows into the table; with ``replace``, change those that are there.

    Args:
        sock: of the namespace in question.
        table: the flows.
        replace: see above; what they were before is in ``Outcome.previous``.
        show: ask for each entry that was made: ``Outcome.answers``.
        progress: see Progress.
        outcome: see ``delete``.
    """
    outcome = outcome or Outcome()
    _send(sock, requests.insertions(table, then_get=show), outcome, progress)
    has_master = table.has("master_src")
    for row in [row for row in outcome.vanished if has_master[row]]:
        # ENOENT of an insert: ctnetlink_create_conntrack() found no master
        outcome.refused.setdefault(row, nlmsg.Ack(errno.ENOENT))
    outcome.vanished = [row for row in outcome.vanished if row not in outcome.refused]
    present = np.array(sorted(outcome.present), np.intp)
    outcome.present = []
    for row in present.tolist():
        outcome.answers.pop(row, None)
    for rows in _steps(present):
        _settle(sock, table, rows, outcome, replace=replace)
    return _counted(outcome, table)


def _settle(
    sock: NetlinkSocket,
    table: FlowTable,
    rows: NDArray[np.intp],
    outcome: Outcome,
    *,
    replace: bool,
) -> None:
    """Tell what is there from what another flow is in the way of; change the former."""
    places, there = look(sock, table.take(rows))
    others = np.setdiff1d(np.arange(len(rows)), places)
    verdict = nlmsg.Ack(errno.EEXIST, IN_THE_WAY)
    outcome.refused |= dict.fromkeys(rows[others].tolist(), verdict)
    rows = rows[places]
    same = _equal(table.take(rows), there, _TRANSLATION)
    verdict = nlmsg.Ack(errno.EEXIST, OTHERWISE)
    outcome.refused |= dict.fromkeys(rows[~same].tolist(), verdict)
    rows, there = rows[same], there.mask(same)
    if not replace or not len(rows):
        outcome.present += rows.tolist()
        return
    wanted = table.take(rows)
    columns = requests.replacement(wanted, there)
    before = as_before(there, wanted)
    changed = Outcome()
    _send(sock, requests.updates(wanted, columns), changed)
    outcome.add(changed, rows)
    done = np.setdiff1d(np.arange(len(rows)), list(changed.undone()))
    outcome.replaced += rows[done].tolist()
    outcome.previous = _with(outcome.previous, before.take(done))


def as_before(there: FlowTable, wanted: FlowTable) -> FlowTable:
    """Entries with what is to be set back once they are made like ``wanted``.

    No mark and no labels are a mark and labels of zero; what ``wanted`` does not
    tell will not change, and is left out.
    """
    for name in requests.SETTABLE:
        told = wanted.has(name) & (there.has(name) | (name in ZERO_IF_ABSENT))
        if told.any() or there.has(name).any():
            there = there.with_column(name, there[name], told)
    return there


ZERO_IF_ABSENT = ("mark", "labels")
"""Columns the kernel leaves out where they are zero."""


def _with(table: FlowTable, more: FlowTable) -> FlowTable:
    return FlowTable.concat([table, more]) if len(table) else more


def look(sock: NetlinkSocket, table: FlowTable) -> tuple[NDArray[np.intp], FlowTable]:
    """The entries there are with the original tuples of a table, in their zones.

    Returns:
        The rows of the table that have one, ascending, and those entries.
    """
    found = Outcome()
    _send(sock, requests.lookups(table), found)
    rows = np.array(sorted(found.answers), np.intp)
    if not len(rows):
        return rows, FlowTable.empty()
    there = decode_flows(b"".join(found.answers[row] for row in rows.tolist()))
    same = _same_entry(table.take(rows), there)  # the kernel takes a reply as well
    return rows[same], there.take(same)


def _same_entry(one: FlowTable, other: FlowTable) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = one["proto"] == other["proto"]
    same &= one["zone"] == other["zone"]
    return same & _equal(one, other, requests.KEY)


def _equal(
    one: FlowTable, other: FlowTable, columns: Iterable[str]
) -> NDArray[np.bool_]:
    """Whether rows have the same in columns both tell.

    The kernel has no ports of what it tracks without, and a program may tell some.
    """
    same = np.ones(len(one), np.bool_)
    for name in columns:
        differs = one[name] != other[name]
        if differs.ndim == 2:
            differs = differs.any(axis=1)
        same &= ~(differs & one.has(name) & other.has(name))
    return same


def update(
    sock: NetlinkSocket,
    table: FlowTable,
    settings: Settings,
    *,
    show: bool = False,
    at_once: bool = False,
    progress: Progress | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Change the entries of a listing, each only if it is still the same.

    The kernel takes no id with a change (ctnetlink_new_conntrack), so each entry
    is looked at just before.

    Args:
        sock: of the namespace the listing is from.
        table: the entries.
        settings: what to set.
        show: ask for each entry after its change: ``Outcome.answers``.
        at_once: the listing is as new as a look would be: do without.
        progress: see Progress.
        outcome: see ``delete``.
    """

    def batches_of(part: FlowTable) -> Iterator[requests.Batch]:
        columns = requests.Columns(part, ())
        for name, value in settings.values.items():
            if name == "status":
                # bits are only ever added; what the kernel set itself stays said
                kept = part["status"] | value | uapi.Status.CONFIRMED
                columns.put("status", kept, part.has("status"))
            else:
                columns.constant(name, value)
        _put_masks(columns, settings.mark_mask, settings.labels_mask)
        return requests.updates(part, columns, then_get=show)

    return _change(sock, table, batches_of, at_once, progress, outcome or Outcome())


def set_columns(
    sock: NetlinkSocket,
    table: FlowTable,
    names: tuple[str, ...],
    *,
    mark_mask: int | None = None,
    labels_mask: int | None = None,
    progress: Progress | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Set columns of each entry to what its own row says, if it is still the same.

    What a row does not tell stays, and so do the bits a mask does not name.
    """

    def batches_of(part: FlowTable) -> Iterator[requests.Batch]:
        columns = requests.Columns(part, names)
        if mark_mask is not None and "mark" in columns.has:
            columns.values["mark"] = columns.values["mark"] & np.uint32(mark_mask)
        if labels_mask is not None and "labels" in columns.has:
            columns.values["labels"] = columns.values["labels"] & words(labels_mask)
        _put_masks(columns, mark_mask, labels_mask)
        return requests.updates(part, columns)

    return _change(sock, table, batches_of, False, progress, outcome or Outcome())


def _put_masks(
    columns: requests.Columns, mark_mask: int | None, labels_mask: int | None
) -> None:
    masks = (
        ("mark", request.MARK_MASK, mark_mask),
        ("labels", request.LABELS_MASK, labels_mask),
    )
    for name, cell, mask in masks:
        if mask is not None and name in columns.has:
            columns.constant(cell, mask)


def _change(
    sock: NetlinkSocket,
    table: FlowTable,
    batches_of: Callable[[FlowTable], Iterator[requests.Batch]],
    at_once: bool,
    progress: Progress | None,
    outcome: Outcome,
) -> Outcome:
    for rows in _steps(np.arange(len(table))):
        left = rows if at_once else rows[_unchanged(sock, table.take(rows))]
        outcome.vanished += np.setdiff1d(rows, left).tolist()
        part, changed = table.take(left), Outcome()
        outcome.begun = True
        _send(sock, batches_of(part), changed)
        outcome.add(changed, left)
        if progress is not None:
            progress(len(rows))
    return _counted(outcome, table)


def _unchanged(sock: NetlinkSocket, table: FlowTable) -> NDArray[np.intp]:
    """The rows whose entry is there, and the same if they tell which it was."""
    rows, there = look(sock, table)
    listed = table.take(rows)
    other = np.zeros(len(rows), np.bool_)
    for name in ("id", "start_ns"):
        told = listed.has(name) & there.has(name)
        other |= (listed[name] != there[name]) & told
    return np.delete(rows, np.flatnonzero(other))


def _steps(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(rows), LOOKED_AT):
        yield rows[start : start + LOOKED_AT]


def _counted(outcome: Outcome, table: FlowTable) -> Outcome:
    outcome.done = len(table) - len(outcome.undone())
    return outcome


def _send(
    sock: NetlinkSocket,
    batches: Iterable[requests.Batch],
    outcome: Outcome,
    progress: Progress | None = None,
) -> None:
    for part, rows in _parts(batches):
        outcome.begun = True
        for message in sock.exchange(part, "changing the table"):
            _note(outcome, message)
        if progress is not None:
            progress(rows)


def _parts(batches: Iterable[requests.Batch]) -> Iterator[tuple[bytes, int]]:
    for batch in batches:
        length = max(1, batch.messages.shape[1])
        step = max(1, min(MESSAGES_PER_SEND, LARGEST_SEND // length))
        for start in range(0, len(batch.messages), step):
            part = batch.messages[start : start + step]
            yield part.tobytes(), len(part)


def _note(outcome: Outcome, message: bytes) -> None:
    _, kind, _, seq, _ = nlmsg.HEADER.unpack_from(message)
    if kind != uapi.NLMSG_ERROR:
        outcome.answers[seq] = message
        return
    (header,) = nlmsg.split(message)
    verdict = nlmsg.ack(message, header)
    if verdict.errno == errno.ENOENT:
        # an update and the look-up after it both say so
        if not outcome.vanished or outcome.vanished[-1] != header.seq:
            outcome.vanished.append(header.seq)
    elif verdict.errno == errno.EEXIST:
        outcome.present.append(header.seq)
    elif verdict.errno:
        outcome.refused[header.seq] = verdict
