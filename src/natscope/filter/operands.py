"""Terms made of a word and its values: ``state established``, ``bytes > 10MB``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from natscope import uapi
from natscope.filter.reader import Reader
from natscope.filter.syntax import (
    Bits,
    Kinds,
    Number,
    Span,
    State,
    Status,
    Text,
    Tree,
    all_of,
    any_of,
)
from natscope.filter.values import BadValue, compared, numbers, whole
from natscope.filter.vocabulary import (
    BY_NAME,
    FAMILIES,
    STATE_ALIASES,
    STATE_NAMES,
    Takes,
    Word,
    key,
)
from natscope.model.names import ICMP_TYPES
from natscope.model.nat import KIND_LETTERS, Kind

_ALL_STATUS = (1 << 32) - 1
_PROTOCOL_WORDS = {
    name: word.term.items[0]
    for name, word in BY_NAME.items()
    if isinstance(word.term, Number) and word.term.word == "proto"
}
_KINDS = {letter: Kind(number) for number, letter in enumerate(KIND_LETTERS)}


def read(reader: Reader, word: Word) -> Tree:
    """The term of a word that was just taken and wants a value."""
    special = _SPECIAL.get(word.takes)
    if special is not None:
        return special(reader, word)
    operator = reader.comparison(word)
    token = reader.value(_expected(word))
    if operator is None:
        return Number(word.word, reader.each(token, lambda text: numbers(text, word)))
    items = reader.each(token, lambda text: compared(operator, text, word))
    return Number(word.word, items)


def _expected(word: Word) -> str:
    names = {
        Takes.DURATION: "a time such as 5m",
        Takes.SIZE: "a size such as 10MB",
        Takes.RATE: "a rate such as 1Mbit",
        Takes.BITS: "a number such as 0x1/0xff",
    }
    return names.get(word.takes, "a number")


def _choice(text: str, what: str, known: Iterable[str]) -> BadValue:
    """What to say about a name that is not one of these."""
    names = [name.lower() for name in known]
    near = get_close_matches(text.lower(), names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(names)}"
    return BadValue(f"{text!r} is no {what}", hint)


def _protocol(reader: Reader, word: Word) -> Tree:
    def one(text: str) -> Span | Bits:
        name = text.lower()
        number = uapi.PROTOCOL_NUMBERS.get(name)
        if number is not None:
            return Span(number, number)
        if key(text) in _PROTOCOL_WORDS:
            return _PROTOCOL_WORDS[key(text)]
        if not text[:1].isdigit():
            raise _choice(text, "protocol", uapi.PROTOCOL_NUMBERS)
        return numbers(text, word)

    return Number(word.word, reader.each(reader.value("a protocol"), one))


def _family(reader: Reader, word: Word) -> Tree:
    def one(text: str) -> Span:
        family = FAMILIES.get(text.lower())
        if family is None:
            raise _choice(text, "address family", ("ipv4", "ipv6"))
        return Span(family, family)

    return Number(word.word, reader.each(reader.value("ipv4 or ipv6"), one))


def _icmp_type(reader: Reader, word: Word) -> Tree:
    """Types by number; a name means another number in ICMP than in ICMPv6."""
    found: list[Span | Bits] = []
    trees: list[Tree] = []
    for element in reader.value("an ICMP type").elements():
        by_protocol = ICMP_TYPES.get(element.text.lower())
        if by_protocol is None:
            found.append(reader.one(element, lambda text: _icmp_number(text, word)))
            continue
        for proto, number in by_protocol.items():
            of_proto = Number("proto", (Span(proto, proto),))
            trees.append(all_of([of_proto, Number(word.word, (Span(number, number),))]))
    return any_of([Number(word.word, tuple(found)), *trees] if found else trees)


def _icmp_number(text: str, word: Word) -> Span | Bits:
    if not text[:1].isdigit():
        raise _choice(text, "ICMP type", ICMP_TYPES)
    return numbers(text, word)


def _state(reader: Reader, word: Word) -> Tree:
    names: list[str] = []
    bits: list[Bits] = []
    for element in reader.value("a state").elements():
        status = BY_NAME.get(key(element.text))
        if status is not None and isinstance(status.term, Status):
            bits += status.term.items
        else:
            names.append(reader.one(element, _state_name))
    trees: list[Tree] = [State(tuple(names))] if names else []
    return any_of([*trees, Status(tuple(bits))] if bits else trees)


def _state_name(text: str) -> str:
    name = text.upper().replace("-", "_")
    name = STATE_ALIASES.get(name, name)
    if name not in STATE_NAMES:
        raise _choice(text, "state", STATE_NAMES)
    return name


def _status(reader: Reader, word: Word) -> Tree:
    def one(text: str) -> Bits:
        named = BY_NAME.get(key(text))
        if named is not None and isinstance(named.term, Status):
            return named.term.items[0]
        if not text[:1].isdigit():
            terms = [w.word for w in BY_NAME.values() if isinstance(w.term, Status)]
            raise _choice(text, "status bit", terms)
        if "/" in text:
            bits = numbers(text, word)
            assert isinstance(bits, Bits)
            return bits
        return Bits(whole(text, word), _ALL_STATUS)

    return Status(reader.each(reader.value("a status bit"), one))


def _kind(reader: Reader, word: Word) -> Tree:
    def one(text: str) -> Kind:
        kind = _KINDS.get(text.lower())
        if kind is None:
            raise BadValue(
                f"{text!r} is no kind of translation", f"one of {' '.join(_KINDS)}"
            )
        return kind

    del word
    return Kinds(reader.each(reader.value("a kind such as s"), one))


def _text(reader: Reader, word: Word) -> Tree:
    return Text(word.word, reader.each(reader.value("a text"), str))


def _label(reader: Reader, word: Word) -> Tree:
    bits: list[Span | Bits] = []
    names: list[str] = []
    for element in reader.value("a label's bit number or name").elements():
        if element.text.isdigit():
            bit = 1 << reader.one(element, lambda text: whole(text, word))
            bits.append(Bits(bit, bit))
        else:
            names.append(element.text)
    trees: list[Tree] = [Number("labels", tuple(bits))] if bits else []
    return any_of([*trees, Text(word.word, tuple(names))] if names else trees)


_SPECIAL: dict[Takes, Callable[[Reader, Word], Tree]] = {
    Takes.PROTOCOL: _protocol,
    Takes.FAMILY: _family,
    Takes.ICMP_TYPE: _icmp_type,
    Takes.STATE: _state,
    Takes.STATUS: _status,
    Takes.KIND: _kind,
    Takes.TEXT: _text,
    Takes.LABEL: _label,
}
