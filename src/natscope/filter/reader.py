"""A cursor over the tokens of a filter that knows how to refuse them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from natscope.errors import FilterError
from natscope.filter.syntax import Where
from natscope.filter.tokens import Kind, Token, tokens
from natscope.filter.values import BadValue
from natscope.filter.vocabulary import BY_NAME, CONNECTIVES, Takes, Word, key

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Head:
    """The words before a value: which end, and host, net or port."""

    where: Where
    type: Word


class Reader:
    """The tokens of one text, taken one by one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokens(text)
        self._at = 0
        self.last: Head | None = None
        """What a bare value after "or" stands under, as in pcap-filter."""

    def peek(self, ahead: int = 0) -> Token:
        """A token not yet taken; END again and again."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token."""
        token = self.peek()
        self._at += 1
        return token

    def previous(self) -> Token | None:
        """The token taken last."""
        return self._tokens[self._at - 1] if self._at else None

    def word(self, ahead: int = 0) -> Word | None:
        """The word of the vocabulary that a token not yet taken is."""
        token = self.peek(ahead)
        return BY_NAME.get(key(token.text)) if token.kind is Kind.WORD else None

    def connective(self, ahead: int = 0) -> str | None:
        """``and``, ``or`` or ``not``, when a token not yet taken is one."""
        token = self.peek(ahead)
        if token.kind is not Kind.CONNECTIVE:
            return None
        return CONNECTIVES[token.text.lower()]

    def value(self, expected: str) -> Token:
        """Take a value."""
        token = self.peek()
        if token.kind is not Kind.WORD:
            self.missing(expected)
        return self.take()

    def missing(self, expected: str, hint: str | None = None) -> NoReturn:
        """Refuse the next token: something else was expected."""
        token = self.peek()
        at_end = token.kind is Kind.END
        place = "at the end" if at_end else f"instead of {token.text!r}"
        self.fail(token, f"{expected} was expected {place}", hint)

    def comparison(self, word: Word) -> str | None:
        """Take a comparison operator, if there is one, in front of one value."""
        if self.peek().kind is not Kind.COMPARISON:
            return None
        operator = self.take().text
        if len(list(self.peek().elements())) > 1:
            hint = f"write {word.word} {self.peek().text}, or join with 'or'"
            self.fail(self.peek(), "a comparison takes one value", hint)
        return operator

    def each(self, token: Token, read: Callable[[str], Read]) -> tuple[Read, ...]:
        """Every element of a comma list, read; errors point at the element."""
        return tuple(self.one(element, read) for element in token.elements())

    def one(self, element: Token, read: Callable[[str], Read]) -> Read:
        """One element, read."""
        try:
            return read(element.text)
        except BadValue as bad:
            self.fail(element, bad.reason, bad.hint)

    def fail(self, token: Token, reason: str, hint: str | None = None) -> NoReturn:
        """Refuse the filter because of one token."""
        raise FilterError(
            reason, text=self.text, start=token.start, end=token.end, hint=hint
        )


BEGIN_LOCATED = frozenset({Takes.WHERE, Takes.HOST, Takes.PORT})
"""What the first word of a term about addresses and ports takes."""
