"""Values as people type them: addresses, ports, times, sizes, rates.

Every reader takes one element of a comma list and raises :class:`BadValue`; the
parser knows where the element stands.
"""

from __future__ import annotations

import re
from fractions import Fraction
from ipaddress import ip_address, ip_network
from math import ceil, floor

from natscope.filter.syntax import (
    AddressBits,
    AddressSpan,
    Beside,
    Bits,
    Span,
    Spot,
)
from natscope.filter.vocabulary import Takes, Word
from natscope.model.names import SERVICES

PORT_LIMIT = 0xFFFF
PLAIN_U16 = Word("number", "", "", Takes.COUNT, limit=PORT_LIMIT)
"""Ports, ids and keys, where they are numbers alone."""
_BITS = {4: 32, 6: 128}


class BadValue(ValueError):
    """A value that cannot be read; ``hint`` says what was expected."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def looks_like_address(text: str) -> bool:
    """Whether a word can only be an address: dots and digits, colons, brackets."""
    return re.fullmatch(r"\[.*|[0-9a-fA-F]*:.*|\d+\.[\d.:/-].*", text) is not None


def spot(text: str) -> Spot:
    """``ADDRESS``, ``ADDRESS:PORT``, ``ADDRESS:id=N``, ``ADDRESS:key=N``.

    The address may be a network or a range; IPv6 stands in brackets before a
    port, an ICMP id or a GRE key.
    """
    if text.startswith("["):
        inner, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise BadValue(f"{text!r} is no address", "write [2001:db8::1]:443")
        return (
            _with(address_span(inner), rest[1:]) if rest else Spot(address_span(inner))
        )
    if text.count(":") == 1:
        address, _, number = text.partition(":")
        return _with(address_span(address), number)
    return Spot(address_span(text))


def _with(address: AddressSpan | AddressBits, text: str) -> Spot:
    """An address with the port, id or key written after the colon."""
    for beside in (Beside.ICMP_ID, Beside.GRE_KEY):
        if text.startswith(beside.value):
            number = numbers(text.removeprefix(beside.value), PLAIN_U16)
            assert isinstance(number, Span)
            return Spot(address, number, beside)
    return Spot(address, port_span(text))


def address_span(text: str) -> AddressSpan | AddressBits:
    """An address, a network (with prefix length or mask) or a range ``a-b``.

    A mask may have holes when it is written in hexadecimal.
    """
    low, dash, high = text.partition("-")
    if dash:
        first, last = _one_address(low), _one_address(high)
        if first.version != last.version:
            raise BadValue(f"{text!r} mixes IPv4 and IPv6", "both of one family")
        if last.high < first.low:
            raise BadValue(f"{text!r} is an empty range", f"write {high}-{low}")
        return AddressSpan(first.version, first.low, last.high)
    address, slash, mask = text.partition("/")
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,32}", mask):
        one = _one_address(address)
        if int(mask, 16) >= 1 << _BITS[one.version]:
            raise BadValue(f"{mask} is too long", f"IPv{one.version} has fewer bits")
        return masked(one.version, one.low, int(mask, 16))
    if slash:
        return _network(text)
    return _one_address(text)


def masked(version: int, value: int, mask: int) -> AddressSpan | AddressBits:
    """Addresses that are ``value`` in the bits of ``mask``."""
    free = (1 << _BITS[version]) - 1 & ~mask
    if free & (free + 1) == 0:
        return AddressSpan(version, value & mask, value & mask | free)
    return AddressBits(version, value & mask, mask)


def short_network(text: str) -> AddressSpan | AddressBits:
    """As :func:`address_span`; ``10`` and ``192.168`` are networks too, as in pcap."""
    if re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,2}", text):
        octets = text.split(".")
        padded = ".".join([*octets, "0", "0", "0"][:4])
        return _network(f"{padded}/{8 * len(octets)}")
    return address_span(text)


def _one_address(text: str) -> AddressSpan:
    try:
        address = ip_address(text)
    except ValueError:
        raise _no_address(text) from None
    if "%" in text:
        raise BadValue(
            f"{text!r} names an interface", "conntrack does not know it: leave %… out"
        )
    return AddressSpan(address.version, int(address), int(address))


def _network(text: str) -> AddressSpan:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise _no_address(text) from None
    low, high = int(network.network_address), int(network.broadcast_address)
    return AddressSpan(network.version, low, high)


def _no_address(text: str) -> BadValue:
    return BadValue(
        f"{text!r} is no IP address",
        "write 10.0.0.5, 10.0.0.0/8, 10.0.0.1-10.0.0.9, 2001:db8::1 or [::1]:443; "
        "names are not looked up",
    )


def write_address(span: AddressSpan | AddressBits) -> str:
    """A span of addresses, so that :func:`address_span` reads it back."""
    if isinstance(span, AddressBits):
        return f"{_address(span.version, span.value)}/{span.mask:#x}"
    low, high = span.low, span.high
    first = str(_address(span.version, low))
    if low == high:
        return first
    size = high - low + 1
    if size & (size - 1) == 0 and low % size == 0:
        return f"{first}/{_BITS[span.version] - size.bit_length() + 1}"
    return f"{first}-{_address(span.version, high)}"


def _address(version: int, number: int) -> object:
    return ip_address(number.to_bytes(_BITS[version] // 8, "big"))


def port_span(text: str) -> Span:
    """A port by number or service name, or a range of them."""
    number = SERVICES.get(text.lower())
    if number is not None:
        return Span(number, number)
    low, dash, high = text.partition("-")
    if not dash:
        port = _port(text)
        return Span(port, port)
    return _ordered(Span(_port(low), _port(high)), text)


def _port(text: str) -> int:
    number = SERVICES.get(text.lower())
    if number is None and not re.fullmatch(r"\d{1,30}", text):
        raise _no_port(text)
    port = int(text) if number is None else number
    if port > PORT_LIMIT:
        raise BadValue(f"{text} is no port", f"the greatest is {PORT_LIMIT}")
    return port


def _no_port(text: str) -> BadValue:
    from difflib import get_close_matches

    near = get_close_matches(text.lower(), SERVICES, 1)
    hint = f"did you mean {near[0]}?" if near else "write a number or a range: 443"
    if ":" in text:
        hint = f"write a range as {text.replace(':', '-')}"
    return BadValue(f"{text!r} is no port and no service natscope knows", hint)


def numbers(text: str, word: Word) -> Span | Bits:
    """A number, a range ``a-b`` or, where the word takes one, ``VALUE/MASK``."""
    if word.takes in (Takes.BITS, Takes.STATUS) and "/" in text:
        value, _, mask = text.partition("/")
        bits = Bits(whole(value, word), whole(mask, word))
        if bits.value & ~bits.mask:
            raise BadValue(
                f"{text}: the value has bits outside the mask",
                f"no flow could match; the mask must cover {value}",
            )
        return bits
    low, high = _ends(text)
    if high is None:
        value_ = whole(low, word)
        return Span(value_, value_)
    return _ordered(Span(whole(low, word), whole(high, word)), text)


def compared(operator: str, text: str, word: Word) -> Span:
    """The numbers ``operator VALUE`` allows."""
    value = quantity(text, word)
    match operator:
        case ">":
            span = Span(floor(value) + 1, None)
        case ">=":
            span = Span(ceil(value), None)
        case "<":
            span = Span(None, ceil(value) - 1)
        case "<=":
            span = Span(None, floor(value))
        case _:
            number = whole(text, word)
            return Span(number, number)
    low, high = span.low, span.high
    if high is not None and high < word.least:
        raise BadValue("no flow could match", f"the least is {word.least}")
    if low is not None and word.limit is not None and low > word.limit:
        raise BadValue("no flow could match", f"the greatest is {word.limit}")
    return span


def whole(text: str, word: Word) -> int:
    """A value in the word's unit that is a whole number within its bounds."""
    value = quantity(text, word)
    if value.denominator != 1:
        unit = {Takes.DURATION: "seconds", Takes.COUNT: ""}.get(word.takes, "bytes")
        raise BadValue(
            f"{text} is no whole number {f'of {unit}' if unit else ''}".rstrip(),
            "compare with > or <",
        )
    limit = word.limit
    if limit is not None and value > limit:
        raise BadValue(f"{text} is too great", f"the greatest {word.word} is {limit}")
    if value < word.least:
        raise BadValue(f"{text} is too small", f"the least is {word.least}")
    return int(value)


def quantity(text: str, word: Word) -> Fraction:
    """A value in the word's unit: seconds, bytes, bytes per second or a count."""
    match word.takes:
        case Takes.DURATION:
            return duration(text)
        case Takes.SIZE:
            return _scaled(text, _SIZES, "10MB, 64KiB or 1500")
        case Takes.RATE:
            return _rate(text)
        case _:
            return _count(text)


def _ends(text: str) -> tuple[str, str | None]:
    """The two ends of a range; the first may be negative."""
    dash = text.find("-", 1)
    return (text, None) if dash < 0 else (text[:dash], text[dash + 1 :])


def _ordered(span: Span, text: str) -> Span:
    if span.low is not None and span.high is not None and span.high < span.low:
        raise BadValue(f"{text} is an empty range", "the smaller number comes first")
    return span


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SECONDS |= {"sec": 1, "min": 60, "day": 86_400, "days": 86_400}
_NUMBER = r"\d{1,30}(?:\.\d{1,9})?"
_STEP = re.compile(rf"({_NUMBER})([a-z]+)")
_PREFIXES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def _multiples(unit: str) -> dict[str, int]:
    """Every multiple of a unit: k is 1000, Ki is 1024."""
    decimal = {f"{p}{unit}": 1000**power for p, power in _PREFIXES.items()}
    binary = {f"{p}i{unit}": 1024**power for p, power in _PREFIXES.items() if p}
    return decimal | binary


_PLAIN = {p: 1000**power for p, power in _PREFIXES.items()}
_SIZES = _PLAIN | _multiples("b")
_RATES = {
    **{unit: Fraction(scale) for unit, scale in _multiples("B/s").items()},
    **{unit: Fraction(scale, 8) for unit, scale in _multiples("bit").items()},
    **{unit: Fraction(scale, 8) for unit, scale in _multiples("bit/s").items()},
    "": Fraction(1),
}


def duration(text: str) -> Fraction:
    """Seconds: ``90``, ``1.5h``, ``1h30m``."""
    if re.fullmatch(_NUMBER, text):
        return Fraction(text)
    lower = text.lower()
    steps = _STEP.findall(lower)
    known = all(unit in _SECONDS for _, unit in steps)
    if not steps or not known or "".join(map("".join, steps)) != lower:
        raise BadValue(f"{text!r} is no time", "write 90, 5m, 1h30m, 2d or 1w")
    return sum((Fraction(n) * _SECONDS[unit] for n, unit in steps), Fraction(0))


def _scaled(text: str, scales: dict[str, int], example: str) -> Fraction:
    number, unit = _split_unit(text)
    scale = scales.get(unit.lower())
    if number is None or scale is None:
        raise BadValue(f"{text!r} is no amount", f"write {example}")
    return number * scale


def _rate(text: str) -> Fraction:
    number, unit = _split_unit(text)
    # only the prefix may be of either case: B is bytes
    scale = _RATES.get(unit if unit[:1] == "B" else unit[:1].lower() + unit[1:])
    if number is None or scale is None:
        raise BadValue(
            f"{text!r} is no rate", "write 1Mbit (bits per second) or 1MB/s (bytes)"
        )
    return number * scale


def _split_unit(text: str) -> tuple[Fraction | None, str]:
    found = re.fullmatch(rf"({_NUMBER})([A-Za-z/]*)", text)
    return (Fraction(found[1]), found[2]) if found else (None, "")


def _count(text: str) -> Fraction:
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return Fraction(int(text, 16))
    if re.fullmatch(r"-\d{1,30}", text):
        return Fraction(int(text))
    return _scaled(text, _PLAIN, "a number such as 5, 0x1f or 10k")
