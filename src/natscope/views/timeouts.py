"""The timeouts in force: what each means, where it hurts, what the RFCs ask for.

A timeout is how long a flow may be silent.  The kernel reads the sysctl with each
packet: what is changed counts for packets to come, flows that are silent keep what
they have left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.model.age import BY_PROTOCOL, BY_STATE, BY_STREAM, NO_CLOCK, STREAM
from natscope.model.evidence import Evidence
from natscope.table.age import configured_timeout_s
from natscope.table.flowtable import FlowTable
from natscope.views.timeoutfacts import FACTS, Advice, Fact

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Timeout:
    """One timeout of the box."""

    name: str
    """The sysctl, after net.netfilter.nf_conntrack_."""
    seconds: int
    flows: int | None
    """Those that end by it, as they are now; None: not known, or by no state."""
    fact: Fact | None
    """None: not known to this version."""

    @property
    def advice(self) -> Advice | None:
        """What an RFC asks for."""
        return None if self.fact is None else self.fact.advice

    @property
    def is_below(self) -> bool:
        """Whether it is shorter than an RFC asks for."""
        return self.advice is not None and self.seconds < self.advice.least_s

    @property
    def is_changed(self) -> bool:
        """Whether it is not what the kernel begins with."""
        return self.fact is not None and self.seconds != self.fact.default_s


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All timeouts of a box, those of a protocol together."""

    found: tuple[Timeout, ...]
    flows: int | None
    """In all; None: the table was not read."""
    overlong: int = 0
    """Flows with more time left than their timeout allows."""


def timeouts(values: Mapping[str, int], table: FlowTable | None) -> Timeouts:
    """What each timeout is, and how many flows end by it.

    Args:
        values: model.evidence.Evidence.timeouts.
        table: the flows; None: not known.
    """
    held = None if table is None else flows_by_timeout(table)
    names = [name for name in FACTS if name in values]
    names += sorted(values.keys() - FACTS.keys())
    found = tuple(
        Timeout(name, values[name], _held(name, held), FACTS.get(name))
        for name in names
    )
    if table is None:
        return Timeouts(found, None)
    return Timeouts(found, len(table), _overlong(table, values))


def flows_by_timeout(table: FlowTable) -> dict[str, int]:
    """How many flows each timeout holds, by its name; 0 where there is none.

    Flows whose timeout does not start again with every packet count nowhere.
    """
    proto, status = table["proto"], table["status"]
    clocked = status & np.uint32(NO_CLOCK) == 0
    held: dict[str, int] = {}
    for number, (column, prefix, states) in BY_STATE.items():
        mine = clocked & (proto == number) & table.has(column)
        counts = np.bincount(table[column][mine], minlength=len(states))
        for state, count in zip(states, counts.tolist(), strict=False):
            held[prefix + state.lower()] = count
    known = clocked & _tells_stream(table)
    streaming = status & np.uint32(STREAM) == np.uint32(STREAM)
    for number, (once, stream) in BY_STREAM.items():
        mine = known & (proto == number)
        held[once] = held.get(once, 0) + _count(mine & ~streaming)
        held[stream] = held.get(stream, 0) + _count(mine & streaming)
    other = clocked.copy()
    for number in (*BY_STATE, *BY_STREAM):
        other &= proto != number
    for number, name in BY_PROTOCOL.items():
        held[name] = _count(other & (proto == number))
        other &= proto != number
    held["generic_timeout"] = _count(other)
    return held


def record(timeout: Timeout) -> dict[str, Any]:
    """A timeout for programs; what is not known is left out."""
    fact, advice = timeout.fact, timeout.advice
    known: dict[str, Any] = {
        "name": timeout.name,
        "sysctl": f"net.netfilter.nf_conntrack_{timeout.name}",
        "seconds": timeout.seconds,
        "flows": timeout.flows,
    }
    if fact is not None:
        known |= {"default": fact.default_s, "meaning": fact.meaning}
        known |= {"too_long": fact.too_long, "too_short": fact.too_short}
    if advice is not None:
        known |= {"rfc": advice.rfc, "rfc_least": advice.least_s}
        known |= {"below_rfc": timeout.is_below, "rfc_says": advice.says}
    return {name: value for name, value in known.items() if value not in (None, "")}


COLUMNS = ("name", "seconds", "default", "flows", "rfc", "rfc_least", "below_rfc")
"""Of a timeout, in the order CSV has them."""


def document(found: Timeouts, shown: Iterable[Timeout]) -> dict[str, Any]:
    """All of them for programs."""
    made: dict[str, Any] = {"schema": "natscope.timeouts/1"}
    if found.flows is not None:
        made |= {"flows": found.flows, "overlong_flows": found.overlong}
    return made | {"timeouts": [record(timeout) for timeout in shown]}


def deviating(found: Sequence[Timeout]) -> list[Timeout]:
    """Those shorter than an RFC asks for."""
    return [timeout for timeout in found if timeout.is_below]


def _held(name: str, held: Mapping[str, int] | None) -> int | None:
    return None if held is None else held.get(name)


def _tells_stream(table: FlowTable) -> Mask:
    """Rows whose source told both bits a stream is known by."""
    told = table.has("status")
    if "status_mask" in table.columns:
        both = table["status_mask"] & np.uint32(STREAM) == np.uint32(STREAM)
        told = told & (~table.has("status_mask") | both)
    return told


def _overlong(table: FlowTable, values: Mapping[str, int]) -> int:
    configured = configured_timeout_s(table, Evidence(timeouts=values))
    left = table["timeout"].astype(np.int64)
    return _count(table.has("timeout") & (configured >= 0) & (left > configured))


def _count(rows: Mask) -> int:
    return int(np.count_nonzero(rows))


def protocol(name: str) -> str:
    """The protocol a timeout is of: the word before its first underscore."""
    word = name.partition("_")[0]
    return word if word in uapi.PROTOCOL_NUMBERS else "other"
