"""The words of a question: each with its value, its bounds and its protocols."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NoReturn

from natscope import uapi
from natscope.codec.packetline import SCTP_CHUNKS, TCP_FLAGS
from natscope.errors import FilterError
from natscope.model.names import ICMP_TYPES, SERVICES
from natscope.model.tuples import Address

Value = int | str | bytes
ICMPS = frozenset({uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6})
_TCP = frozenset({uapi.IPPROTO_TCP})
_SCTP = frozenset({uapi.IPPROTO_SCTP})
_IPSEC = frozenset({uapi.IPPROTO_ESP, uapi.IPPROTO_AH})
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAME = re.compile(r"[^\s/]{1,15}")
"""dev_valid_name(): IFNAMSIZ less its zero byte."""
_TOKEN = re.compile(r'(?:"[^"]*"|[^\s"])+')


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a question, and where it stands."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Text:
    """The whole question, to point at a word of it."""

    text: str

    def end(self) -> Token:
        """Where a word is missing."""
        return Token("", len(self.text), len(self.text))

    def fail(self, token: Token, reason: str, hint: str | None = None) -> NoReturn:
        """Refuse the question because of one word."""
        raise FilterError(
            reason, text=self.text, start=token.start, end=token.end, hint=hint
        )


class Unreadable(ValueError):
    """A value that cannot be read; ``hint`` says what was expected."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Word:
    """A word with a value after it."""

    name: str
    read: Callable[[str], Value]
    protocols: frozenset[int] | None = None
    """Where it means something; None: in every packet."""
    of_packet: bool = True
    """False: it tells where the packet comes from."""


def tokens(text: str) -> list[Token]:
    """The words of a text; quotation marks keep spaces in one.

    Raises:
        FilterError: a quotation mark is not closed.
    """
    found = [
        Token(one[0].replace('"', ""), one.start(), one.end())
        for one in _TOKEN.finditer(text)
    ]
    if text.count('"') % 2:
        at = text.rindex('"')
        Text(text).fail(Token('"', at, at + 1), "the quotation mark is not closed")
    return found


def joined(words: list[str]) -> tuple[str, list[Token]]:
    """The text of words a shell has already split, and the same words as tokens."""
    found, at = [], 0
    for word in words:
        found.append(Token(word, at, at + len(word)))
        at += len(word) + 1
    return " ".join(words), found


def _number(limit: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if re.fullmatch(r"\d{1,10}|0[xX][0-9a-fA-F]{1,8}", text) is None:
            raise Unreadable(f"{text!r} is no number", "write 7 or 0x7")
        number = int(text, 16 if text[1:2] in ("x", "X") else 10)
        if number > limit:
            raise Unreadable(f"{text} is too great", f"the greatest is {limit}")
        return number

    return read


U8, U16, U32 = _number(0xFF), _number(0xFFFF), _number(0xFFFF_FFFF)


def flags(text: str) -> int:
    """``syn``, ``syn,ack``, ``fin/ack``, ``none`` or a number."""
    if text.lower() == "none":
        return 0
    if text[:1].isdigit():
        return U8(text)
    bits = 0
    for name in re.split(r"[,/+|]", text.upper()):
        if name not in TCP_FLAGS:
            known = " ".join(TCP_FLAGS).lower()
            raise Unreadable(f"{name.lower()!r} is no TCP flag", f"there are {known}")
        bits |= TCP_FLAGS[name]
    return bits


def is_flags(text: str) -> bool:
    """Whether a word alone names TCP flags."""
    return set(re.split(r"[,/]", text.upper())) <= TCP_FLAGS.keys()


def is_chunk(text: str) -> bool:
    """Whether a word alone names an SCTP chunk."""
    return text.upper().replace("-", "_") in SCTP_CHUNKS.values()


def chunk(text: str) -> int:
    """An SCTP chunk by name or number."""
    name = text.upper().replace("-", "_")
    for number, known in SCTP_CHUNKS.items():
        if name == known:
            return number
    if not text[:1].isdigit():
        names = " ".join(SCTP_CHUNKS.values()).lower()
        raise Unreadable(f"{text!r} is no SCTP chunk", f"there are {names}")
    return U8(text)


def _icmp_type(text: str) -> Value:
    """A number, or a name: its number depends on the IP version."""
    if text[:1].isdigit():
        return U8(text)
    name = text.lower()
    if name not in ICMP_TYPES:
        raise Unreadable(f"{text!r} is no ICMP type", _nearest(name, ICMP_TYPES))
    return name


def _nearest(text: str, names: dict[str, dict[int, int]]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(text, names, 1)
    return f"did you mean {near[0]}?" if near else "write echo-request or a number"


def _payload(text: str) -> bytes:
    """``0x`` and hexadecimal digits, or the text itself."""
    if text[:2].lower() != "0x":
        return text.encode()
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        hint = "write an even number of digits: 0x00ff"
        raise Unreadable(f"{text!r} is not hexadecimal", hint) from None


def _mac(text: str) -> str:
    if _MAC.fullmatch(text.lower()) is None:
        raise Unreadable(f"{text!r} is no MAC address", "write 02:00:00:00:00:01")
    return text.lower()


def _interface(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise Unreadable(f"{text!r} is no interface", "a name has 1 to 15 characters")
    return text


WORDS = {
    word.name: word
    for word in (
        Word("in", _interface, of_packet=False),
        Word("mark", U32, of_packet=False),
        Word("mac", _mac, of_packet=False),
        Word("ttl", U8),
        Word("tos", U8),
        Word("payload", _payload),
        Word("flags", flags, _TCP),
        Word("seq", U32, _TCP | _IPSEC | ICMPS),
        Word("ack", U32, _TCP),
        Word("window", U16, _TCP),
        Word("type", _icmp_type, ICMPS),
        Word("code", U8, ICMPS),
        Word("id", U16, ICMPS),
        Word("mtu", U32, ICMPS),
        Word("chunk", chunk, _SCTP),
        Word("vtag", U32, _SCTP),
        Word("spi", U32, _IPSEC),
        Word("key", U32, frozenset({uapi.IPPROTO_GRE})),
    )
}
"""In the order they are written."""

PROTOCOLS = uapi.PROTOCOL_NUMBERS | {"icmp6": uapi.IPPROTO_ICMPV6}


def protocol(text: str) -> int:
    """A protocol by name or number."""
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    if not text.isdigit():
        raise Unreadable(f"{text!r} is no protocol", "write tcp, udp, icmp or a number")
    return U8(text)


def endpoint(text: str) -> tuple[Address, int | None]:
    """``10.0.0.5``, ``10.0.0.5:443``, ``2001:db8::1``, ``[2001:db8::1]:https``."""
    host, colon, port = text, "", ""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not closed or colon not in ("", ":"):
            raise Unreadable(f"{text!r} is no address", "write [2001:db8::1]:443")
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    try:
        if "%" in host:
            raise ValueError
        address = ip_address(host)
    except ValueError:
        hint = "write 10.0.0.5:443 or [2001:db8::1]:443; names are not looked up"
        raise Unreadable(f"{host!r} is no IP address", hint) from None
    return address, _port(port) if colon else None


def _port(text: str) -> int:
    number = SERVICES.get(text.lower())
    if number is not None:
        return number
    if re.fullmatch(r"\d{1,5}", text) is None or int(text) > 0xFFFF:
        raise Unreadable(f"{text!r} is no port", "a number up to 65535, or a service")
    return int(text)
