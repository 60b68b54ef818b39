"""From the words of a filter to its syntax tree.

::

    either   = all { "or" all }
    all      = together { "and" together }
    together = negation { negation }          words side by side are an "and"
    negation = "not" negation | primary
    primary  = "(" either ")" | [protocol] located | term | bare value

``a or b and c`` is refused: pcap-filter reads it from left to right, most
languages read "and" first, and a filter may decide what is deleted.
"""

from __future__ import annotations

from natscope.filter import located, operands
from natscope.filter.reader import BEGIN_LOCATED, Reader
from natscope.filter.syntax import EVERYTHING, Not, Tree, all_of, any_of
from natscope.filter.tokens import Kind, Token
from natscope.filter.values import looks_like_address
from natscope.filter.vocabulary import (
    BY_NAME,
    CONNECTIVES,
    ELSEWHERE,
    PROTOCOL,
    STATE_NAMES,
    Word,
    key,
)
from natscope.model.names import SERVICES

MOST_NESTED = 100
"""Parentheses and nots inside each other; far below Python's own limit."""


def parse_tree(text: str) -> Tree:
    """The syntax tree of a filter; empty text is every flow.

    Raises:
        FilterError: with the place of the offending word.
    """
    return _Parser(text).whole()


def is_word(text: str) -> bool:
    """Whether a word can begin a filter, so that it names no file."""
    known = key(text) in BY_NAME or text.lower() in CONNECTIVES
    return known or text[:1] in ("(", "!") or looks_like_address(text)


class _Parser(Reader):
    """The grammar; ``located`` and ``operands`` read the single terms."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def whole(self) -> Tree:
        if self.peek().kind is Kind.END:
            return EVERYTHING
        tree = self._either()
        left = self.peek()
        if left.kind is not Kind.END:
            self.fail(left, f"unexpected {left.text!r}")
        return tree

    def _either(self) -> Tree:
        parts = [self._all(first=True)]
        while self.connective() == "or":
            self.take()
            parts.append(self._all(first=False))
        return any_of(parts)

    def _all(self, *, first: bool) -> Tree:
        parts = [self._together()]
        while self.connective() == "and":
            token = self.take()
            if not first:
                self.fail(
                    token,
                    "'and' after 'or' can be read in two ways",
                    "put parentheses: (a or b) and c, or a or (b and c)",
                )
            parts.append(self._together())
        return all_of(parts)

    def _together(self) -> Tree:
        parts = [self._negation()]
        while self.peek().kind in (Kind.WORD, Kind.OPEN) or self.connective() == "not":
            parts.append(self._negation())
        return all_of(parts)

    def _negation(self) -> Tree:
        if self.connective() != "not":
            return self._primary()
        self._deeper(self.take())
        inner = self._negation()
        self._depth -= 1
        return Not(inner)

    def _primary(self) -> Tree:
        token = self.peek()
        if token.kind is Kind.OPEN:
            return self._parenthesised()
        if token.kind is not Kind.WORD:
            self.missing("a filter word")
        word = self.word()
        if word is None:
            return self._bare(token)
        if word.takes in BEGIN_LOCATED:
            return located.read(self)
        self.take()
        return operands.read(self, word) if word.term is None else self._alone(word)

    def _alone(self, word: Word) -> Tree:
        """A word by itself; a protocol and what it qualifies are one, as in pcap."""
        assert word.term is not None
        following = self.word()
        if (
            word.group == PROTOCOL
            and following is not None
            and following.takes in BEGIN_LOCATED
        ):
            return all_of([word.term, located.read(self)])
        return word.term

    def _parenthesised(self) -> Tree:
        opened = self.take()
        self._deeper(opened)
        tree = self._either()
        self._depth -= 1
        if self.peek().kind is not Kind.CLOSE:
            self.fail(opened, "this parenthesis is not closed")
        self.take()
        return tree

    def _bare(self, token: Token) -> Tree:
        """A value without a word before it."""
        if looks_like_address(token.text) or token.text.isdigit():
            return located.bare(self)
        reason = f"{token.text!r} is no filter word"
        self.fail(token, reason, _nearest(token.text))

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MOST_NESTED:
            self.fail(token, "nested too deeply", "use a comma list")


def _nearest(text: str) -> str:
    """What may have been meant by a word nobody knows."""
    from difflib import get_close_matches

    word = key(text)
    if word.upper() in STATE_NAMES:
        return f"did you mean 'state {word}'?"
    if word in ELSEWHERE:
        return f"did you mean '{ELSEWHERE[word]}'?"
    if text.lower() in SERVICES:
        return f"did you mean 'port {text.lower()}'?"
    near = get_close_matches(word, BY_NAME, 1)
    if near:
        return f"did you mean '{BY_NAME[near[0]].word}'?"
    near = get_close_matches(word, [name.lower() for name in STATE_NAMES], 1)
    if near:
        return f"did you mean 'state {near[0]}'?"
    return "natscope help filter lists every word"
