"""Terms about ends of a flow: ``src or dst net 10.0.0.0/8``, ``public port 443``."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NoReturn

from natscope.filter.reader import Head, Reader
from natscope.filter.syntax import Hosts, Ports, Span, Spot, Tree, Where
from natscope.filter.tokens import Kind, Token
from natscope.filter.values import (
    PLAIN_U16,
    PORT_LIMIT,
    BadValue,
    compared,
    looks_like_address,
    port_span,
    short_network,
    spot,
)
from natscope.filter.vocabulary import BY_NAME, Takes, Word

HOST, NET, PORT = (BY_NAME[name] for name in ("host", "net", "port"))


def read(reader: Reader) -> Tree:
    """A term that begins with a qualifier or with host, net or port."""
    where = _where(reader)
    word = reader.word()
    if word is not None and word.takes in (Takes.HOST, Takes.PORT):
        reader.take()
        head = Head(where, word)
    else:
        head = Head(where, HOST)
    reader.last = head
    return _values(reader, head)


def bare(reader: Reader) -> Tree:
    """A value alone: it stands under the words of the last one, else host.

    pcap-filter(7): without a keyword, the most recent keyword is assumed.
    """
    token = reader.peek()
    address = looks_like_address(token.text)
    last = reader.last
    follows = reader.previous()
    if last is None:
        if not address:
            hint = f"did you mean 'port {token.text}'?"
            reader.fail(token, f"what is {token.text}?", hint)
        return _values(reader, Head(Where(), HOST))
    if follows is not None and follows.kind is Kind.WORD:
        hint = "join alternatives with a comma, 'or' or 'and'"
        reader.fail(token, f"{token.text!r} follows a value", hint)
    if address != (last.type.takes is Takes.HOST):
        _unsaid(reader, token)
    return _values(reader, last)


def _unsaid(reader: Reader, token: Token) -> NoReturn:
    want = "host, src or dst" if looks_like_address(token.text) else "port"
    reader.fail(token, f"{token.text!r} of which end?", f"write {want} before it")


def _where(reader: Reader) -> Where:
    """``src``, ``src or dst``, ``inside and public``."""
    qualifiers: list[str] = []
    joined: set[str] = set()
    while (word := reader.word()) is not None and word.takes is Takes.WHERE:
        qualifiers.append(word.word)
        reader.take()
        following = reader.word(1)
        connective = reader.connective()
        if connective not in ("and", "or") or following is None:
            break
        if following.takes is not Takes.WHERE:
            break
        joined.add(connective)
        if len(joined) > 1:
            reader.fail(reader.peek(), "either 'and' or 'or' joins all qualifiers")
        reader.take()
    return Where(tuple(qualifiers), every="and" in joined)


_AFTER_AN_END = ("host", "net", "port", "portrange")
"""Words that may follow src, inside and the like."""


def _values(reader: Reader, head: Head) -> Tree:
    if head.type.takes is Takes.PORT:
        return Ports(head.where, _ports(reader, head.type))
    token = reader.value("an address")
    net = head.type is NET

    def one(text: str) -> Spot:
        if net and ":" not in text:
            return Spot(short_network(text))
        if text.isdigit():
            words = " ".join((*head.where.qualifiers, "port"))
            raise BadValue(
                f"{text!r} is no IP address", f"did you mean '{words} {text}'?"
            )
        near = get_close_matches(text.lower(), _AFTER_AN_END, 1, 0.7)
        if near:
            words = " ".join((*head.where.qualifiers, near[0]))
            raise BadValue(f"{text!r} is no IP address", f"did you mean '{words}'?")
        return spot(text)

    return Hosts(head.where, reader.each(token, one))


def _ports(reader: Reader, word: Word) -> tuple[Span, ...]:
    operator = reader.comparison(word)
    token = reader.value("a port")
    if operator is None:
        return reader.each(token, port_span)

    def one(text: str) -> Span:
        low = port_span(text).low
        span = compared(operator, str(low), PLAIN_U16)
        return Span(span.low or 0, PORT_LIMIT if span.high is None else span.high)

    return reader.each(token, one)
