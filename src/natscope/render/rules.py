"""The NAT rules of a box as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from natscope.views.makings import brief, name
from natscope.views.rules import RuleUse, RuleUses, note

_HEADINGS = ("RULE", "NAT", "FLOWS", "HITS", "BYTES")
_LONGEST = 120
ABSENT = "-"


def text(found: RuleUses, rows: Sequence[RuleUse], *, heading: bool) -> str:
    """A line a rule with its counts and its text, and below it what to know of it."""
    is_whole = not found.unknown
    cells = [_cells(use) for use in rows]
    table = [_HEADINGS, *cells] if heading else cells
    if not table:
        return ""
    widths = [max(len(row[at]) for row in table) for at in range(len(_HEADINGS))]
    lines = [_line(_HEADINGS, widths, "TEXT")] if heading else []
    for use, row in zip(rows, cells, strict=True):
        lines.append(_line(row, widths, brief(use.nat.rule, _LONGEST)))
        if said := note(use, is_whole=is_whole):
            lines.append(_line(("",) * len(row), widths, f"  {said}"))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _cells(use: RuleUse) -> tuple[str, ...]:
    gives = use.nat.gives
    flows = _number(use.flows)
    if use.uncertain:
        flows = f"~{flows}"
    return (
        name(use.nat.rule),
        ABSENT if gives is None else gives.kind,
        flows,
        _number(use.nat.packets),
        _number(use.nat.bytes),
    )


def _number(value: int | None) -> str:
    return ABSENT if value is None else str(value)


def _line(row: Iterable[str], widths: Sequence[int], last: str) -> str:
    """The first two to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if at < 2 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join([*padded, last])
