"""Events as rows for programs: JSON, JSON lines, CSV and TSV.

The schema is natscope.event/1 in ``docs/reference/formats``: what happened, then
all that is known of the flow, under the names every listing has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.model.event import EventKind
from natscope.model.evidence import Evidence
from natscope.render.records import JsonLines
from natscope.table.events import Events
from natscope.table.flowtable import FlowTable
from natscope.views import values as v
from natscope.views.fields import Field, Reading, fields
from natscope.views.lifecycle import WORDS, Told
from natscope.views.listing import Page, everything
from natscope.views.query import CSV_FIELDS
from natscope.views.remembered import UNKNOWN

NO_PROGRAMS: Mapping[int, str] = {}
KIND_WORDS = ("", *(kind.name.lower() for kind in EventKind), "loss")
_LOSS = len(KIND_WORDS) - 1
_COUNTERS = tuple(
    f"{way}_{what}" for way in ("orig", "reply") for what in ("packets", "bytes")
)
_MARKED, _LABELLED = len(WORDS), 2 * len(WORDS)


def _change_words() -> tuple[str, ...]:
    """``established``, ``established, mark``, ``mark, label`` and so on."""
    found = []
    for more in ((), ("mark",), ("label",), ("mark", "label")):
        found += [", ".join(filter(None, (word, *more))) for word in WORDS]
    return tuple(found)


_CHANGE_WORDS = _change_words()


def rows(
    told: Told,
    evidence: Evidence,
    programs: Mapping[int, str] = NO_PROGRAMS,
    *,
    fixed: bool = False,
) -> Page:
    """A page of events: what happened, and everything known of each flow.

    Args:
        told: the events, as ``views.lifecycle.Lifecycle`` tells them.
        evidence: of the box; its time is taken from the batch.
        programs: names of programs by netlink port.
        fixed: the same columns whatever the batch holds, for CSV.
    """
    events = told.events
    flows = as_read(events)
    reading = Reading(flows, replace(evidence, now_ns=events.received_ns))
    names = CSV_FIELDS if fixed else everything(flows)
    chosen = fields([name for name in names if name not in ("event_ns",)])
    own = _own_columns(told, programs)
    columns = (*own.values(), *(field.values(reading) for field in chosen))
    return Page((*map(_field, own), *chosen), columns, len(told))


def objects(
    told: Told, evidence: Evidence, programs: Mapping[int, str] = NO_PROGRAMS
) -> bytes:
    """A batch as JSON lines, the loss before it first: natscope.event/1."""
    lines = JsonLines()
    loss = lines.write(loss_row(told.events)) if told.events.lost else b""
    return loss + (lines.write(rows(told, evidence, programs)) if len(told) else b"")


def loss_row(events: Events, *, fixed: bool = False) -> Page:
    """A row that says how many events were lost before these.

    Args:
        events: the batch that tells of it.
        fixed: with the columns of CSV, where ``event`` is ``loss``.
    """
    lost = {"loss": events.lost, "time_ns": events.received_ns}
    if not fixed:
        numbers = tuple(_one(value) for value in lost.values())
        return Page(tuple(map(_field, lost)), numbers, 1)
    nothing = v.Numbers(np.zeros(1, np.uint64), np.zeros(1, np.bool_))
    own: dict[str, v.Values] = dict.fromkeys(_OWN, nothing)
    own["event"] = v.Names(np.array([_LOSS]), KIND_WORDS, np.ones(1, np.bool_))
    own["loss"], own["time_ns"] = _one(events.lost), _one(events.received_ns)
    chosen = fields(CSV_FIELDS)
    columns = (*own.values(), *[nothing] * len(chosen))
    return Page((*map(_field, own), *chosen), columns, 1)


def as_read(events: Events) -> FlowTable:
    """The flows with the counters that the events themselves told: a DESTROY's.

    Others may hold what an earlier dump counted.
    """
    flows = events.flows
    counted = (events.kinds == EventKind.DESTROY) & (not events.repaired)
    if counted.all():
        return flows
    for name in _COUNTERS:
        if name in flows.columns:
            flows = flows.with_column(name, flows[name], flows.has(name) & counted)
    return flows


_OWN = {
    "time_ns": "when it happened",
    "event": "new, update or destroy; loss where events were lost",
    "what": "what happened, in words",
    "duration_ns": "how long a flow that ended had lasted",
    "portid": "netlink port of the program that made the change",
    "program": "its name",
    "repaired": "1: found by a dump, not sent as an event",
    "loss": "events lost before this",
}


def _field(name: str) -> Field:
    return Field(name, name.upper(), _OWN[name], _not_of_a_table)


def _not_of_a_table(reading: Reading) -> v.Values:
    raise NotImplementedError


def _one(value: int) -> v.Numbers:
    return v.Numbers(np.array([value], np.uint64), np.ones(1, np.bool_))


def _own_columns(told: Told, programs: Mapping[int, str]) -> dict[str, v.Values]:
    """What an event has and a flow has not, in the order of ``_OWN``."""
    events, n = told.events, len(told)
    every, none = np.ones(n, np.bool_), np.zeros(n, np.bool_)
    what = told.words + _MARKED * told.marked + _LABELLED * told.labelled
    lasted = np.where(told.lasted_ns == UNKNOWN, 0, told.lasted_ns).astype(np.uint64)
    port, named = events.portids, program_names(events.portids, programs)
    ones = np.ones(n, np.uint64)
    return {
        "time_ns": v.Numbers(events.times_ns(), every),
        "event": v.Names(events.kinds, KIND_WORDS, every),
        "what": v.Names(what, _CHANGE_WORDS, every),
        "duration_ns": v.Numbers(lasted, told.lasted_ns != UNKNOWN),
        "portid": v.Numbers(port, port != 0),
        "program": v.Texts(named, named != b""),
        "repaired": v.Numbers(ones, every if events.repaired else none),
        "loss": v.Numbers(ones, none),
    }


def program_names(
    portids: NDArray[np.uint32], programs: Mapping[int, str]
) -> NDArray[np.bytes_]:
    """The name of the program behind each port; empty if not known."""
    if not portids.any():
        return np.zeros(len(portids), "S1")
    distinct, codes = np.unique(portids, return_inverse=True)
    texts = [programs.get(port, "").encode() for port in distinct.tolist()]
    named: NDArray[Any] = np.array(texts, np.bytes_)[codes]
    return named
