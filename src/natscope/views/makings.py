"""What made each translation, told to people and to programs."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.printable import printable
from natscope.model.journey import Rule
from natscope.table.attribution import Attribution, Making, Origin
from natscope.views import values as v

LONGEST, LONGEST_OF_TWO = 72, 48
"""Characters of a rule's text in a listing, alone and beside another."""
_APPEND = re.compile(r"^-A \S+ ")
_ASIDE = re.compile(
    r"\s*(?:\bcounter(?: name \S+| packets \d+ bytes \d+)?(?=\s|$)"
    r'|-m comment --comment (?:"[^"]*"|\S+)|\bcomment "[^"]*"$)'
)
MEMBERS = ("family", "table", "chain", "handle", "number", "tool", "text")
"""Of a rule, as columns."""
_NUMBERS = ("handle", "number")
STATES = ("exact", "uncertain", "none", "stale", "unknown")
"""Words for programs: what is known of the rule behind a flow."""


def state(making: Making) -> str:
    """The word for programs."""
    match making.origin:
        case Origin.RULE:
            return "exact" if making.is_certain else "uncertain"
        case Origin.NONE:
            return "none"
        case Origin.STALE:
            return "stale"
        case Origin.UNKNOWN:
            return "unknown"


def name(rule: Rule) -> str:
    """``ip nat postrouting #8`` by nft's handle; else the place in the chain."""
    chain = f"{rule.family} {rule.table} {rule.chain}"
    if rule.tool == "nft" and rule.handle is not None:
        return f"{chain} #{rule.handle}"
    return chain if rule.number is None else f"{chain} rule {rule.number}"


def brief(rule: Rule, longest: int = LONGEST) -> str:
    """A rule's text without its chain, counter and comment.

    Of a long one the middle is left out: what it does stands at the end.
    """
    text = printable(_ASIDE.sub("", _APPEND.sub("", rule.text)).strip())
    if len(text) <= longest:
        return text
    tail = longest // 2
    return f"{text[: longest - tail - 1].rstrip()}…{text[-tail:].lstrip()}"


def said(making: Making) -> str:
    """What made a translation, for people; empty where nothing need be said."""
    doubt = "" if making.is_certain else "~ "
    match making.origin:
        case Origin.RULE:
            longest = LONGEST if len(making.rules) == 1 else LONGEST_OF_TWO
            texts = (f"{name(r)}: {brief(r, longest)}" for r in making.rules)
            return doubt + " + ".join(texts)
        case Origin.NONE:
            return f"{doubt}no rule: {making.why}" if making.why else ""
        case Origin.UNKNOWN:
            return f"not known: {making.why}"
    if making.would:
        return f"{doubt}no rule now (would be {', '.join(making.would)})"
    return f"{doubt}no rule now" + (f" ({making.why})" if making.why else "")


def told(attribution: Attribution | None, rows: int) -> v.Names:
    """What made each row, for people."""
    return _names(attribution, rows, said)


def states(attribution: Attribution | None, rows: int) -> v.Names:
    """What is known of the rule of each row, for programs."""
    return _names(attribution, rows, state)


def part(
    attribution: Attribution | None, rows: int, which: str, member: str
) -> v.Values:
    """One member of a rule of each row.

    Args:
        attribution: of the rows; None: nobody asked.
        rows: how many.
        which: ``dnat`` or ``snat``.
        member: a field of model.journey.Rule.
    """
    makings = () if attribution is None else attribution.makings
    rules = [getattr(making, which) for making in makings]
    members = [None if rule is None else getattr(rule, member) for rule in rules]
    if member not in _NUMBERS:
        found = dict(zip(makings, members, strict=True))
        return _names(attribution, rows, lambda making: found[making] or "")
    numbers = np.array([number or 0 for number in members] or [0], np.uint64)
    valid = np.array([n is not None for n in members] or [False], np.bool_)
    codes = _codes(attribution, rows)
    return v.Numbers(numbers[codes], valid[codes])


def _codes(attribution: Attribution | None, rows: int) -> NDArray[np.intp]:
    return np.zeros(rows, np.intp) if attribution is None else attribution.of_row


def _names(
    attribution: Attribution | None, rows: int, word: Callable[[Making], str]
) -> v.Names:
    makings = () if attribution is None else attribution.makings
    words = tuple(word(making) for making in makings) or ("",)
    codes = _codes(attribution, rows)
    valid = np.array([bool(text) for text in words], np.bool_)
    return v.Names(codes, words, valid[codes])
