"""Texts as filters compare them: whole, with ``*`` for anything."""

from __future__ import annotations

import re
from functools import lru_cache

from natscope.filter.syntax import Text


def is_plain(pattern: str) -> bool:
    """Whether a pattern can be compared byte by byte."""
    return pattern.isascii() and not set(pattern) & set("*\\\0")


def says(term: Text, text: str) -> bool:
    """Whether a text matches; label names are matched one by one."""
    wanted = _expression(term.patterns)
    parts = text.split(",") if term.word == "label" else (text,)
    return any(wanted.fullmatch(part) for part in parts)


@lru_cache(maxsize=64)
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    each = (".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    return re.compile("|".join(each), re.DOTALL)
