"""What events say, in words: a flow opened, replied, was closed after 3m12s.

The words follow the kernel's states one to one, so that none is lost:
``docs/guide/watching`` has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.event import EventKind
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views import remembered as r
from natscope.views.remembered import Facts, Remembered

Mask = NDArray[np.bool_]


class Word(IntEnum):
    """What happened; ``WORDS`` has the text of each."""

    NONE = 0
    OPENED = 1
    EXPECTED = 2
    PICKED_UP = 3
    REPLIED = 4
    ESTABLISHED = 5
    STEADY = 6
    OFFLOADED = 7
    CLOSING = 8
    HALF_CLOSED = 9
    LAST_ACK = 10
    TIME_WAIT = 11
    SIMULTANEOUS = 12
    UPDATED = 13
    CLOSED = 14
    RESET = 15
    EXPIRED = 16
    UNANSWERED = 17
    DELETED = 18
    REMOVED = 19
    GONE = 20
    REFUSED = 21


WORDS = (
    "",
    "opened",
    "opened, expected",
    "picked up",
    "replied",
    "established",
    "steady",
    "offloaded",
    "closing",
    "half closed",
    "last ack",
    "time wait",
    "opened both ways",
    "updated",
    "closed",
    "reset",
    "expired",
    "unanswered",
    "deleted",
    "removed",
    "gone",
    "refused",
)
"""The text of each Word.  NONE stands where a change of mark or labels is all."""

_BY_STATE = {
    uapi.IPPROTO_TCP: {
        "SYN_SENT": Word.OPENED,
        "SYN_RECV": Word.REPLIED,
        "ESTABLISHED": Word.ESTABLISHED,
        "FIN_WAIT": Word.CLOSING,
        "CLOSE_WAIT": Word.HALF_CLOSED,
        "LAST_ACK": Word.LAST_ACK,
        "TIME_WAIT": Word.TIME_WAIT,
        "CLOSE": Word.RESET,
        "SYN_SENT2": Word.SIMULTANEOUS,
    },
    uapi.IPPROTO_SCTP: {
        "COOKIE_WAIT": Word.OPENED,
        "COOKIE_ECHOED": Word.REPLIED,
        "ESTABLISHED": Word.ESTABLISHED,
        "SHUTDOWN_SENT": Word.CLOSING,
        "SHUTDOWN_RECD": Word.HALF_CLOSED,
        "SHUTDOWN_ACK_SENT": Word.LAST_ACK,
        "CLOSED": Word.CLOSED,
    },
    uapi.IPPROTO_DCCP: {
        "REQUEST": Word.OPENED,
        "RESPOND": Word.REPLIED,
        "OPEN": Word.ESTABLISHED,
        "CLOSEREQ": Word.CLOSING,
        "CLOSING": Word.HALF_CLOSED,
        "TIMEWAIT": Word.TIME_WAIT,
    },
}
_STATE_NAMES = {
    uapi.IPPROTO_TCP: uapi.TCP_STATES,
    uapi.IPPROTO_SCTP: uapi.SCTP_STATES,
    uapi.IPPROTO_DCCP: uapi.DCCP_STATES,
}
_CLOSED_BY = {
    Word.TIME_WAIT: Word.CLOSED,
    Word.CLOSED: Word.CLOSED,
    Word.RESET: Word.RESET,
}
"""How a flow ended whose last state has this word."""


def _state_words() -> NDArray[np.uint8]:
    """The Word of a state: ``[protocol, state]``."""
    table = np.full((256, 256), Word.UPDATED, np.uint8)
    for proto, words in _BY_STATE.items():
        for state, name in enumerate(_STATE_NAMES[proto]):
            table[proto, state] = words.get(name, Word.UPDATED)
    return table


_STATE_WORDS = _state_words()
_ENDS = np.zeros(len(WORDS), np.uint8)
for _word, _end in _CLOSED_BY.items():
    _ENDS[_word] = _end


@dataclass(frozen=True, slots=True)
class Told:
    """A batch of events and what each says.

    Attributes:
        events: the batch.
        words: Word of each row, uint8.
        marked: the mark changed.
        labelled: the labels changed.
        lasted_ns: how long a flow that ended had lasted: from its first packet to
            when it was seen closed, else to its end; UNKNOWN (-1) where not known.
        began_ns: when the flow began, or UNKNOWN.
    """

    events: Events
    words: NDArray[np.uint8]
    marked: Mask
    labelled: Mask
    lasted_ns: NDArray[np.int64]
    began_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.events)

    def take(self, rows: NDArray[np.intp] | slice) -> Told:
        """Some of the rows."""
        return Told(
            self.events.take(rows),
            self.words[rows],
            self.marked[rows],
            self.labelled[rows],
            self.lasted_ns[rows],
            self.began_ns[rows],
        )

    def mask(self, keep: Mask) -> Told:
        """The rows where ``keep`` is true."""
        return self if keep.all() else self.take(np.flatnonzero(keep))


class Lifecycle:
    """Follows flows from event to event, to say what each event means.

    Works on events of every source; the more an event leaves out, the more the
    ones before it are needed.
    """

    def __init__(self) -> None:
        self._remembered = Remembered()

    def __len__(self) -> int:
        """Flows known to be open."""
        return len(self._remembered)

    def learn(self, table: FlowTable) -> None:
        """Know the flows of a table, that what changes them be told right."""
        if len(table):
            self._remembered.learn(table)

    def tell(self, events: Events) -> Told:
        """Say what a batch means; batches must come in their order."""
        told = _state_word(events.flows, r.facts_of(events.flows)[:, r.STATE])
        closes = (_ENDS[told] != 0) & (events.kinds == EventKind.UPDATE)
        before, after = self._remembered.follow(events, closes)
        words = np.zeros(len(events), np.uint8)
        new, update, destroy = (events.kinds == kind for kind in EventKind)
        words[new] = _born(events, after)[new]
        words[destroy] = _ended(events, after)[destroy]
        marked = _differs(before, after, r.MARK) & update
        labelled = _differs(before, after, r.LABELS) & update
        changed = _changed(events, before, after)
        plain = (changed == Word.UPDATED) & (marked | labelled)
        words[update] = np.where(plain, Word.NONE, changed)[update]
        return Told(events, words, marked, labelled, *_lasted(events, after, destroy))


def _state_word(flows: FlowTable, states: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The Word of each row's protocol state; NONE where it has none."""
    words = _STATE_WORDS[flows["proto"], states & 0xFF]
    found: NDArray[np.uint8] = np.where(states == r.UNKNOWN, Word.NONE, words).astype(
        np.uint8
    )
    return found


def _differs(before: Facts, after: Facts, fact: int) -> Mask:
    """Where a fact is another one than was known before.

    A mark of 0 is not told (ctnetlink_dump_mark), so one that appears is a change
    where the flow itself was known.
    """
    known = before[:, r.STATUS] != r.UNKNOWN
    then = np.where(before[:, fact] == r.UNKNOWN, 0, before[:, fact])
    changed: Mask = known & (after[:, fact] != r.UNKNOWN) & (after[:, fact] != then)
    return changed


def _bit(facts: Facts, bit: int) -> Mask:
    status = facts[:, r.STATUS]
    there: Mask = (status != r.UNKNOWN) & (status & bit != 0)
    return there


def _born(events: Events, after: Facts) -> NDArray[np.uint8]:
    """Words of NEW events."""
    words = np.full(len(events), Word.OPENED, np.uint8)
    state = _state_word(events.flows, after[:, r.STATE])
    # a connection that was running when tracking began: nf_conntrack_tcp_loose
    late = (state > Word.REPLIED) & (state < Word.UPDATED)
    words[late & (events.portids == 0) & (not events.repaired)] = Word.PICKED_UP
    words[_bit(after, uapi.Status.EXPECTED)] = Word.EXPECTED
    return words


def _changed(events: Events, before: Facts, after: Facts) -> NDArray[np.uint8]:
    """Words of UPDATE events; UPDATED where neither state nor status changed."""
    words = np.full(len(events), Word.UPDATED, np.uint8)
    for bit, word in (
        (uapi.Status.SEEN_REPLY, Word.REPLIED),
        (uapi.Status.ASSURED, Word.STEADY),
        (uapi.Status.OFFLOAD, Word.OFFLOADED),
    ):
        words[_bit(after, bit) & ~_bit(before, bit)] = word
    state = _state_word(events.flows, after[:, r.STATE])
    moved = (after[:, r.STATE] != before[:, r.STATE]) & (state != Word.NONE)
    return np.where(moved, state, words)


def _ended(events: Events, after: Facts) -> NDArray[np.uint8]:
    """Words of DESTROY events.

    An entry whose time had come tells no timeout, one that was taken out tells
    what it had left (ctnetlink_dump_timeout with skip_zero, since Linux 5.11).
    """
    words = np.full(len(events), Word.EXPIRED, np.uint8)
    told = after[:, r.STATUS] != r.UNKNOWN
    words[told & ~_bit(after, uapi.Status.SEEN_REPLY)] = Word.UNANSWERED
    end = _ENDS[_state_word(events.flows, after[:, r.STATE])]
    words[end != 0] = end[end != 0]
    left = events.flows.has("timeout") & (events.flows["timeout"] != 0)
    words[left] = Word.REMOVED
    # a reset before any reply has the entry killed at once (nf_conntrack_tcp_packet)
    words[told & (end == Word.RESET) & ~_bit(after, uapi.Status.SEEN_REPLY)] = (
        Word.REFUSED
    )
    words[events.portids != 0] = Word.DELETED
    if events.repaired:
        words[:] = Word.GONE
    return words


def _lasted(
    events: Events, after: Facts, ended: Mask
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How long flows that ended had lasted, and when each began."""
    flows, began = events.flows, after[:, r.START]
    # the kernel's own stop: it may tell of the end a minute late
    end = np.where(flows.has("stop_ns"), flows["stop_ns"], events.times_ns())
    closed = after[:, r.CLOSED]
    end = np.where(closed != r.UNKNOWN, closed, end.astype(np.int64))
    known = ended & (began != r.UNKNOWN) & (not events.repaired)
    return np.where(known, np.maximum(end - began, 0), r.UNKNOWN), began
