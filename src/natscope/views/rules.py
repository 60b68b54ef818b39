"""The NAT rules of a box, and the flows that are there by each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from natscope import uapi
from natscope.codec.text.natrules import NatRule
from natscope.model.flow import Flow
from natscope.model.nat import End, endpoint
from natscope.table.attribution import Attribution, Making, Origin
from natscope.table.flowtable import FlowTable
from natscope.views.who import show


@dataclass(slots=True)
class RuleUse:
    """A rule, and the flows that are there by it."""

    nat: NatRule
    flows: int | None = None
    """None: not known."""
    uncertain: int = 0
    """Of these, flows another rule could have made."""
    example: Flow | None = None

    @property
    def is_unused(self) -> bool:
        """Whether a rule that translates is known to have no flow and no hit."""
        return self.nat.gives is not None and self.flows == 0 and not self.nat.packets


@dataclass(frozen=True, slots=True)
class RuleUses:
    """All rules of a box, in the order packets meet them."""

    rules: tuple[RuleUse, ...]
    flows: int | None
    """Translated flows; None: there is no table."""
    stale: int = 0
    unknown: int = 0
    """Flows of which the rule could not be found."""


def uses(
    rules: Sequence[NatRule],
    flows: tuple[FlowTable, Attribution] | None,
) -> RuleUses:
    """Count the flows of each rule.

    Args:
        rules: of the box, as the attribution tells them.
        flows: its translated flows, and what made them; None: there is no table.
    """
    found = {nat.rule: RuleUse(nat) for nat in rules}
    if flows is None:
        return RuleUses(tuple(found.values()), None)
    table, attribution = flows
    for use in found.values():
        if use.nat.gives is not None:
            use.flows = 0
    totals = dict.fromkeys(Origin, 0)
    counts = np.bincount(attribution.of_row, minlength=len(attribution.makings))
    for code, (making, count) in enumerate(
        zip(attribution.makings, counts.tolist(), strict=True)
    ):
        totals[making.origin] += count
        if making.origin == Origin.RULE and count:
            for rule in making.rules:
                if rule in found:
                    _count(found[rule], making, count)
                    if found[rule].example is None:
                        row = int(np.argmax(attribution.of_row == code))
                        (found[rule].example,) = table.take(slice(row, row + 1))
    stale, unknown = totals[Origin.STALE], totals[Origin.UNKNOWN]
    return RuleUses(tuple(found.values()), len(table), stale, unknown)


def _count(use: RuleUse, making: Making, count: int) -> None:
    use.flows = (use.flows or 0) + count
    if not making.is_certain:
        use.uncertain += count


def note(use: RuleUse, *, is_whole: bool) -> str:
    """What a person should know of a rule: an example, or that it is not used.

    Args:
        use: of the rule.
        is_whole: whether the rule of every flow is known.
    """
    if use.example is not None:
        return example(use.example)
    if use.nat.gives is None or use.flows is None:
        return ""
    if not is_whole:
        return "no flow, as far as is known"
    if use.nat.packets is None:
        return "no flow, no counter"
    if use.nat.packets == 0:
        return "no flow; 0 hits since it was loaded"
    return "no flow now"


def example(flow: Flow) -> str:
    """A flow as its rule turned it: ``tcp A:1 to B:80 is C:1 to D:8080``."""
    ends = (End.ORIG_SRC, End.ORIG_DST, End.REPLY_DST, End.REPLY_SRC)
    source, destination, new_source, new_destination = (
        "" if found is None else show(found, flow.proto)
        for found in (endpoint(flow, end) for end in ends)
    )
    proto = uapi.protocol_name(flow.proto)
    text = f"{proto} {source} to {destination}"
    if new_destination != destination:
        text += f" now {new_destination}"
    return text if new_source == source else f"{text} as {new_source}"


def shown_rules(found: RuleUses, *, everything: bool) -> list[RuleUse]:
    """The rules that translate; with ``everything`` all of their chains."""
    return [use for use in found.rules if everything or use.nat.gives is not None]


def record(use: RuleUse) -> dict[str, Any]:
    """A rule for programs; what is not known is left out."""
    rule, gives = use.nat.rule, use.nat.gives
    known: dict[str, Any] = {
        "family": rule.family,
        "table": rule.table,
        "chain": rule.chain,
        "handle": rule.handle,
        "number": rule.number,
        "tool": rule.tool,
        "kind": None if gives is None else gives.kind,
        "text": rule.text,
        "flows": use.flows,
        "uncertain_flows": use.uncertain or None,
        "hits": use.nat.packets,
        "bytes": use.nat.bytes,
        "unused": use.is_unused or None,
        "example": None if use.example is None else example(use.example),
    }
    return {key: value for key, value in known.items() if value is not None}


def document(found: RuleUses, rows: Iterable[RuleUse]) -> dict[str, Any]:
    """All rules for programs."""
    made: dict[str, Any] = {"schema": "natscope.rules/1"}
    if found.flows is not None:
        made |= {"flows": found.flows, "stale_flows": found.stale}
        made |= {"unknown_flows": found.unknown}
    return made | {"rules": [record(use) for use in rows]}
