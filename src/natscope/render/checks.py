"""Checked cases, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from natscope.codec.text.printable import printable
from natscope.model.cases import Checked
from natscope.render import journey as journeys

SCHEMA = "natscope.checks/1"
_INDENT = " " * 8
_RESET, _BOLD, _RED, _GREEN = "\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"


@dataclass(frozen=True, slots=True)
class Style:
    """How cases are written."""

    colour: bool = False
    signs: bool = False
    """✓ and ✗, where they can be shown; else ok and FAILED."""
    verbose: bool = False
    """The way of the packets of good cases too."""


def text(checked: Checked, style: Style) -> str:
    """One line; of a case that is not as expected, what is not, and the way."""
    good = checked.is_good
    sign = ("✓" if good else "✗") if style.signs else ("ok" if good else "FAILED")
    width = 1 if style.signs else len("FAILED")
    painted = f"{sign:<{width}}"
    if style.colour:
        painted = f"{_GREEN if good else _BOLD + _RED}{painted}{_RESET}"
    lines = [f"{painted}  {checked.case.name}", *different(checked)]
    if checked.journeys and (style.verbose or not good):
        for one in checked.journeys:
            shown = journeys.text(one, colour=style.colour)
            lines += ["", *(f"{_INDENT}{line}".rstrip() for line in shown.splitlines())]
        lines.append("")
    return "".join(f"{line}\n" for line in lines)


def different(checked: Checked) -> list[str]:
    """What was expected, beside what was got, in columns."""
    found = checked.differences
    keys = max((len(one.key) for one in found), default=0)
    wanted = max((len(one.expected) for one in found), default=0)
    return [
        f"{_INDENT}{one.key:<{keys}}  expected {one.expected:<{wanted}}  "
        f"got {printable(one.got)}"
        for one in found
    ]


def total(good: int, bad: int, seconds: float) -> str:
    """The last line: how many, and how long it took."""
    count = good + bad
    cases = "1 case" if count == 1 else f"{count} cases"
    took = f"{seconds:.2f} s"
    if bad == 0:
        return f"{cases}, all as expected, {took}\n"
    return f"{cases}: {bad} not as expected, {good} as expected, {took}\n"


def document(checked: Sequence[Checked], seconds: float) -> dict[str, Any]:
    """The same as one object: natscope.checks/1."""
    return {
        "schema": SCHEMA,
        "good": sum(one.is_good for one in checked),
        "bad": sum(not one.is_good for one in checked),
        "seconds": round(seconds, 3),
        "cases": [
            {
                "name": one.case.name,
                "good": one.is_good,
                "differences": [
                    {"key": d.key, "expected": d.expected, "got": d.got}
                    for d in one.differences
                ],
                "journeys": [journeys.document(j) for j in one.journeys],
            }
            for one in checked
        ],
    }
