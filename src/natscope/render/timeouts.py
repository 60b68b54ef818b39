"""Timeouts as a table for people, with what each means below it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from natscope.render.columns import ABSENT, Row, aligned, count, span
from natscope.views.timeouts import Timeout

_HEADINGS = ("TIMEOUT", "SECONDS", "", "FLOWS", "RFC", "")
_RIGHT = (1, 2, 3, 4)
_WIDTH, _INDENT = 78, " " * 4


def text(found: Sequence[Timeout], *, heading: bool, meanings: bool) -> list[str]:
    """A line a timeout.

    Args:
        found: in their order.
        heading: a line before them.
        meanings: also what each means, and where it hurts.
    """
    lines = aligned(
        [_row(one) for one in found], _HEADINGS if heading else None, right=_RIGHT
    )
    if not meanings:
        return lines
    head, rows = (lines[:1], lines[1:]) if heading else ([], lines)
    return head + [
        line
        for row, one in zip(rows, found, strict=True)
        for line in (row, *_meaning(one))
    ]


def _row(timeout: Timeout) -> Row:
    advice, changed = timeout.advice, "*" if timeout.is_changed else ""
    least, word = ABSENT, ""
    if advice is not None:
        least = str(advice.least_s)
        word = f"{'below' if timeout.is_below else 'met'}: {advice.rfc}"
    long = span(timeout.seconds) if timeout.seconds >= 60 else ""
    cells = (timeout.name, f"{changed}{timeout.seconds}", long)
    return (*cells, count(timeout.flows), least, word)


def _meaning(timeout: Timeout) -> Iterable[str]:
    fact = timeout.fact
    if fact is None:
        return ()
    parts = [fact.meaning]
    parts += [f"too long: {fact.too_long}"] if fact.too_long else []
    parts += [f"too short: {fact.too_short}"] if fact.too_short else []
    if timeout.is_below and fact.advice is not None:
        parts.append(f"{fact.advice.rfc}: {fact.advice.says}")
    return [
        line
        for part in parts
        for line in textwrap.wrap(
            part,
            _WIDTH,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT + "  ",
            break_on_hyphens=False,
        )
    ]
