"""Values of conntrack's options: what can be read, and None for what cannot.

Where the C library's atoi() would make a number of anything, here only numbers
are numbers: a filter that says something else than was meant deletes the wrong
flows.
"""

from __future__ import annotations

# the module under ``socket``, which would cost a short command a third of its time
from _socket import AF_INET6, inet_aton, inet_pton

from natscope import uapi
from natscope.cli.conntrack.request import EVENT_DESTROY, EVENT_NEW, EVENT_UPDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from natscope.cli.conntrack.request import Spans

U8, U16, U32, INT = 0xFF, 0xFFFF, 0xFFFF_FFFF, 0x7FFF_FFFF

STATUS_BITS = {
    "ASSURED": uapi.Status.ASSURED,
    "SEEN_REPLY": uapi.Status.SEEN_REPLY,
    "UNSET": 0,
    "FIXED_TIMEOUT": uapi.Status.FIXED_TIMEOUT,
    "EXPECTED": uapi.Status.EXPECTED,
    "OFFLOAD": uapi.Status.OFFLOAD,
    "HW_OFFLOAD": uapi.Status.HW_OFFLOAD,
}
"""Words of ``--status``, in the order in which beginnings of them are tried."""
EVENTS = {
    "ALL": EVENT_NEW | EVENT_UPDATE | EVENT_DESTROY,
    "NEW": EVENT_NEW,
    "UPDATES": EVENT_UPDATE,
    "DESTROY": EVENT_DESTROY,
}
"""Words of ``--event-mask``."""
OUTPUTS = (
    "xml",
    "extended",
    "timestamp",
    "id",
    "ktimestamp",
    "labels",
    "userspace",
    "save",
    "json",
)
"""Words of ``--output``; the last is natscope's, and no beginning of it is new."""
UNREPLIED = "UNREPLIED"
NAT_WORDS = ("SRC_NAT", "DST_NAT")
"""Tried before any other word of any list, and only ever warned of."""


def decimal(text: str, most: int) -> int | None:
    """A number written in decimal, as atoi() and atol() read it."""
    digits = text.strip(" \t\n").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 30:
        return None
    return _within(int(digits), most)


def whole(text: str, most: int) -> int | None:
    """A number as strtoul() with base 0 reads it: 0x is hexadecimal, 0 octal."""
    digits = text.strip(" \t\n").removeprefix("+").lower()
    base, allowed = 10, "0123456789"
    if digits.startswith("0x"):
        digits, base, allowed = digits[2:], 16, "0123456789abcdef"
    elif digits.startswith("0"):
        base, allowed = 8, "01234567"
    if not digits or len(digits) > 30 or digits.strip(allowed):
        return None
    return _within(int(digits, base), most)


def _within(number: int, most: int) -> int | None:
    return number if number <= most else None


def spans(text: str, most: int, *, keys: bool = False) -> Spans | None:
    """Numbers and ranges by comma: ``80,443``, ``1000:2000`` or ``1000-2000``.

    Args:
        text: the list.
        most: the greatest number.
        keys: numbers are written as GRE keys, in any base.
    """
    read = whole if keys else decimal
    found: list[tuple[int, int]] = []
    for element in text.split(","):
        low, colon, high = element.partition(":" if ":" in element else "-")
        first = read(low, most)
        last = read(high, most) if colon else first
        if first is None or last is None or last < first:
            return None
        found.append((first, last))
    return tuple(found)


def mark(text: str) -> tuple[int, int] | None:
    """``VALUE`` or ``VALUE/MASK``."""
    value, slash, mask = text.partition("/")
    number = whole(value, U32)
    bits = whole(mask, U32) if slash else U32
    return None if number is None or bits is None else (number, bits)


def address(text: str) -> bytes | None:
    """An address as inet_aton() or inet_pton() read it, packed."""
    text = text.rstrip(" \t\n")
    if not text or " " in text or "\t" in text:
        return None  # inet_aton() would stop there
    try:
        return inet_aton(text)
    except (OSError, ValueError):
        try:
            return inet_pton(AF_INET6, text)
        except (OSError, ValueError):
            return None


def netmask(prefix: str, size: int) -> bytes | None:
    """The mask of a prefix length, for addresses of ``size`` bytes."""
    length = decimal(prefix, 8 * size)
    if length is None:
        return None
    bits = (1 << 8 * size) - (1 << 8 * size - length)
    return bits.to_bytes(size, "big")


def masked(packed: bytes, mask: bytes) -> bytes:
    """The bits of an address that a mask leaves."""
    return bytes(one & other for one, other in zip(packed, mask, strict=True))


def family_of(packed: bytes) -> int:
    """The family of a packed address."""
    return uapi.AF_INET if len(packed) == 4 else uapi.AF_INET6


class BadWord(Exception):
    """A list holds what is none of its words; ``rest`` is the list from there."""

    def __init__(self, rest: str) -> None:
        super().__init__(rest)
        self.rest = rest


def chosen(
    text: str, words: Collection[str], *, negatable: bool = False
) -> Iterator[tuple[bool, str]]:
    """The words a comma list names, each with whether it is negated by ``!``.

    Beginnings of words name them, in either case, the first that fits; NAT_WORDS
    come as they are, and UNREPLIED where words are ``negatable``.

    Raises:
        BadWord: at the first that is none.
    """
    rest, comma = text, ","
    while comma:
        not_ = negatable and rest.startswith("!")
        rest = rest.removeprefix("!") if not_ else rest
        element, comma, after = rest.partition(",")
        begun = element.upper()
        if negatable and not not_ and element == UNREPLIED:
            yield False, UNREPLIED
        else:
            for word in (*NAT_WORDS, *words):
                if begun and word.upper().startswith(begun):
                    yield not_, word
                    break
            else:
                raise BadWord(rest)
        rest = after
