"""A filter's text as tokens that know where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from natscope.errors import FilterError
from natscope.filter.vocabulary import CONNECTIVES


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    COMPARISON = auto()
    CONNECTIVE = auto()
    OPEN = auto()
    CLOSE = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A token; a comma list is one word."""

    kind: Kind
    text: str
    start: int
    end: int

    def elements(self) -> Iterator[Token]:
        """The elements of a comma list, quotes taken off."""
        for found in _ELEMENT.finditer(self.text):
            start = self.start + found.start()
            text = found[0].strip('"')
            yield Token(Kind.WORD, text, start, self.start + found.end())


# an equals sign compares, but in 203.0.113.7:id=77 it belongs to the word
_ATOM = r"""(?:"[^"]*"|(?:[^\s()!<>=&|,"]|(?<=:id)=|(?<=:key)=)+)"""
_ELEMENT = re.compile(_ATOM)
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<OPEN>\() | (?P<CLOSE>\))
    | (?P<COMPARISON>>=|<=|==|[<>=])
    | (?P<CONNECTIVE>&&|\|\||!(?!=))
    | (?P<WORD>{_ATOM}(?:\s*,\s*{_ATOM})*)
    )""",
    re.VERBOSE,
)
_STRAY = {
    "&": "write && or and",
    "|": "write || or or",
    ",": "a comma stands between two values",
    '"': "the quotation mark is not closed",
    "!": "there is no !=: write not mark 5 (flows without a mark match that too)",
}


def tokens(text: str) -> list[Token]:
    """The tokens of a filter; the last is END.

    Raises:
        FilterError: a character that belongs to no token.
    """
    found: list[Token] = []
    at = 0
    rest = len(text.rstrip())
    while at < rest:
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise FilterError(
                f"unexpected {text[at]!r}",
                text=text,
                start=at,
                end=at + 1,
                hint=_STRAY.get(text[at]),
            )
        name = match.lastgroup or "END"
        kind, word = Kind[name], match[name]
        if kind is Kind.WORD and word.lower() in CONNECTIVES:
            kind = Kind.CONNECTIVE
        found.append(Token(kind, word, *match.span(name)))
        at = match.end()
    found.append(Token(Kind.END, "", len(text), len(text)))
    return found
