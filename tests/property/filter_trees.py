"""Syntax trees of filters in normal form, over the values ``strategies`` uses."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st

from natscope.filter.syntax import (
    EVERYTHING,
    AddressBits,
    AddressSpan,
    Beside,
    Bits,
    Changed,
    Hosts,
    Kinds,
    Not,
    Number,
    Ports,
    Span,
    Spot,
    State,
    Status,
    Text,
    Translated,
    Tree,
    Where,
    all_of,
    any_of,
)
from natscope.filter.values import masked
from natscope.filter.vocabulary import STATE_NAMES, WORDS, Takes, Word
from natscope.model.nat import Kind
from natscope.table.columns import BY_NAME as COLUMNS
from natscope.uapi import AF_INET, AF_INET6
from strategies import PORTS, addresses, ports, protocols, values, versions

NUMERIC = frozenset(
    {
        *(Takes.COUNT, Takes.BITS, Takes.DURATION, Takes.SIZE, Takes.RATE),
        *(Takes.PROTOCOL, Takes.ICMP_TYPE, Takes.FAMILY),
    }
)
QUALIFIERS = [word.word for word in WORDS if word.takes is Takes.WHERE]


@st.composite
def address_spans(draw: st.DrawFn) -> AddressSpan | AddressBits:
    """Single addresses, networks, ranges, and masks with holes."""
    version = draw(versions())
    one = draw(addresses(version))
    low = high = int(one)
    match draw(st.integers(0, 3)):
        case 1:
            prefix = draw(st.integers(0, 32 if version == 4 else 128))
            network = ip_network((one, prefix), strict=False)
            low, high = int(network[0]), int(network[-1])
        case 2:
            low, high = sorted((low, int(draw(addresses(version)))))
        case 3:
            bits = draw(st.integers(0, (1 << one.max_prefixlen) - 1))
            return masked(version, low, bits)
    return AddressSpan(version, low, high)


def closed(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Span]:
    """A number or a range."""
    pair = st.tuples(numbers, numbers).map(sorted)
    return numbers.map(lambda n: Span(n, n)) | pair.map(lambda ends: Span(*ends))


def lists_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Comma lists."""
    return st.lists(items, min_size=1, max_size=3).map(tuple)


def wheres() -> st.SearchStrategy[Where]:
    """Qualifiers, none to three."""
    one = st.lists(st.sampled_from(QUALIFIERS), max_size=1).map(
        lambda names: Where(tuple(names))
    )
    several = st.lists(st.sampled_from(QUALIFIERS), min_size=2, max_size=3)
    return one | st.builds(Where, several.map(tuple), st.booleans())


def _known(word: Word) -> st.SearchStrategy[int]:
    """Numbers a quantity may well have."""
    if word.takes is Takes.FAMILY:
        return st.sampled_from((AF_INET, AF_INET6))
    if word.takes is Takes.PROTOCOL:
        return protocols(4)
    if word.columns and COLUMNS[word.columns[0]].width == 1:
        return values(COLUMNS[word.columns[0]])
    top = (1 << 70) if word.limit is None else word.limit
    return st.sampled_from((0, 1, 5)) | st.integers(0, top)


@st.composite
def numbers(draw: st.DrawFn) -> Number:
    """Quantities with values, ranges, bounds or masks."""
    word = draw(st.sampled_from([word for word in WORDS if word.takes in NUMERIC]))
    number = _known(word)
    single = number.map(lambda n: Span(n, n))
    forms = [lists_of(single if word.takes is Takes.FAMILY else closed(number))]
    if word.takes not in (Takes.FAMILY, Takes.PROTOCOL, Takes.ICMP_TYPE):
        forms.append(number.map(lambda n: (Span(n, None),)))
        forms.append(number.map(lambda n: (Span(None, n),)))
    if word.takes is Takes.BITS:
        forms.append(lists_of(bits(word.limit or 0)))
    return Number(word.word, draw(st.one_of(forms)))


@st.composite
def bits(draw: st.DrawFn, limit: int) -> Bits:
    """Bits within a mask; often a single one."""
    one = 1 << draw(st.integers(0, limit.bit_length() - 1))
    mask = draw(st.sampled_from((one, limit)) | st.integers(0, limit))
    value = draw(st.sampled_from((0, mask)) | st.integers(0, limit))
    return Bits(value & mask, mask)


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """Texts the flows have, beginnings of them, and others."""
    word = draw(st.sampled_from([w for w in WORDS if w.takes is Takes.TEXT]))
    column = COLUMNS[word.columns[0]]
    whole = values(column)
    start = whole.map(lambda text: f"{text[:3]}*")
    return Text(word.word, draw(lists_of(whole | start | st.just("*"))))


def label_names() -> st.SearchStrategy[Text]:
    """Labels by name; a number is a bit."""
    some = st.sampled_from(("eth0-in", "eth1-out", "vpn", "eth*", "*", "and"))
    return st.builds(Text, st.just("label"), lists_of(some))


def terms() -> st.SearchStrategy[Tree]:
    """Single terms of every sort."""
    spots = st.builds(Spot, address_spans()) | st.builds(
        Spot, address_spans(), closed(ports()), st.sampled_from(Beside)
    )
    near = st.sampled_from(PORTS).map(lambda n: Span(n, n))
    return st.one_of(
        st.builds(Hosts, wheres(), lists_of(spots)),
        st.builds(Ports, wheres(), lists_of(closed(ports()) | near)),
        numbers(),
        st.builds(Status, lists_of(bits((1 << 32) - 1))),
        st.builds(State, lists_of(st.sampled_from(STATE_NAMES))),
        st.builds(Kinds, lists_of(st.sampled_from(Kind))),
        st.builds(Translated, st.booleans()),
        st.builds(Changed, st.sampled_from(("src", "dst", "sport", "dport"))),
        texts(),
        label_names(),
        st.sampled_from([word.term for word in WORDS if word.term is not None]),
    )


def trees() -> st.SearchStrategy[Tree]:
    """Whole filters."""
    return st.just(EVERYTHING) | st.recursive(
        terms(),
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(all_of)
            | st.lists(inner, min_size=2, max_size=3).map(any_of)
            | inner.map(Not)
        ),
        max_leaves=6,
    )
