"""What the words of a question mean together: the packet, its defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from natscope import uapi
from natscope.codec.packetline import TELL_MTU
from natscope.codec.text.question_words import ICMPS, WORDS, Text, Token, Value
from natscope.codec.transport import Fields
from natscope.model.names import ICMP_TYPES
from natscope.model.packet import (
    GRE_INNER,
    GRE_IPV4,
    GRE_KEY,
    ICMP_ERRORS,
    ICMP_REPLIES,
    ICV,
    INIT_BODY,
    SPI,
    TAG,
    WINDOW,
    Chunk,
    Packet,
)
from natscope.model.tuples import Address
from natscope.uapi import SctpChunk, TcpFlag

SHAPE = "write tcp 10.0.0.5:51000 to 93.184.216.34:443 in eth0"
SOURCE_PORT = 40_000
"""The source port of a packet that says none."""
_DATA = b"".join(number.to_bytes(4, "big") for number in (1, 0, 0))
"""TSN, stream and its sequence number, payload protocol."""
CHUNK_BODIES = {
    SctpChunk.INIT: INIT_BODY,
    SctpChunk.INIT_ACK: INIT_BODY,
    SctpChunk.DATA: _DATA,
}
"""What stands in a chunk before its payload."""
_WHOLE_MESSAGE = 3
"""The B and E bits of a DATA chunk."""
_IN_THE_WAY = frozenset(
    {uapi.IPPROTO_HOPOPTS, uapi.IPPROTO_ROUTING, uapi.IPPROTO_FRAGMENT}
    | {uapi.IPPROTO_AH, uapi.IPPROTO_DSTOPTS}
)
"""Extension headers over IPv6."""


@dataclass(slots=True)
class Said:
    """What the words said, each thing once."""

    proto: int | None = None
    is_ping: bool = False
    ends: list[tuple[Token, Address, int | None]] = field(default_factory=list)
    values: dict[str, tuple[Token, Value]] = field(default_factory=dict)
    is_out: bool = False
    bad_checksum: bool = False
    quoted: Packet | None = None
    about: Token | None = None


_DEFAULTS: dict[str, Value] = {
    **{"ttl": 64, "tos": 0, "payload": b"", "flags": TcpFlag.SYN, "window": WINDOW},
    **{"ack": 0, "code": 0, "id": 1, "mtu": 0, "spi": SPI, "chunk": SctpChunk.INIT},
}


def default_of(name: str, proto: int, chunk: int | None = None) -> Value | None:
    """What a packet has where its question does not say ``name``.

    Args:
        name: a word of the language.
        proto: the packet's protocol.
        chunk: of SCTP, the type of its first chunk.
    """
    match name:
        case "seq":
            return 0 if proto == uapi.IPPROTO_TCP else 1
        case "type":
            return ICMP_TYPES["echo-request"].get(proto)
        case "vtag":
            return 0 if chunk == SctpChunk.INIT else TAG
    return _DEFAULTS.get(name)


def meant(text: Text, said: Said) -> Packet:
    """The packet.

    Raises:
        FilterError: something is missing, or the protocol has no such thing.
    """
    return _Meaning(text, said).packet()


class _Meaning:
    def __init__(self, text: Text, said: Said) -> None:
        self._text = text
        self._said = said
        self._proto = -1

    def packet(self) -> Packet:
        said = self._said
        if len(said.ends) < 2:
            what = "an address to go to" if said.ends else "an address to come from"
            self._text.fail(self._text.end(), f"{what} was expected", SHAPE)
        (_, src, _), (token, dst, _) = said.ends
        if src.version != dst.version:
            self._text.fail(token, f"{src} and {dst} are of two IP versions")
        self._proto = self._protocol(src.version)
        self._fit()
        fields = {name: self._value(name) for name in ("payload", "ttl", "tos")}
        fields |= self._ports() | self._rest()
        bad = said.bad_checksum
        return Packet(src, dst, self._proto, **fields, bad_checksum=bad)

    def _protocol(self, version: int) -> int:
        said = self._said
        start = said.ends[0][0]
        icmp = uapi.IPPROTO_ICMP if version == 4 else uapi.IPPROTO_ICMPV6
        if said.is_ping:
            return icmp
        if said.proto is None:
            hint = "write tcp, udp, icmp or a number before the addresses"
            self._text.fail(start, "a protocol was expected", hint)
        if said.proto == uapi.IPPROTO_ICMPV6 and version == 4:
            self._text.fail(start, "ICMPv6 goes over IPv6 alone", "write icmp")
        if version == 6 and said.proto in _IN_THE_WAY:
            name = uapi.protocol_name(said.proto)
            hint = "conntrack looks past it: name the protocol behind it"
            self._text.fail(start, f"over IPv6, {name} is an extension header", hint)
        return icmp if said.proto == uapi.IPPROTO_ICMP else said.proto

    def _fit(self) -> None:
        """Refuse what the protocol does not have."""
        said, name = self._said, uapi.protocol_name(self._proto)
        for word, (token, _) in said.values.items():
            protocols = WORDS[word].protocols
            if protocols is not None and self._proto not in protocols:
                known = ", ".join(sorted(map(uapi.protocol_name, protocols)))
                self._text.fail(token, f"{name} has no {word}", f"it is of {known}")
        for token, _, port in said.ends:
            if port is not None and self._proto not in uapi.PORT_PROTOCOLS:
                self._text.fail(token, f"{name} has no ports")
        if said.about is not None and self._proto not in ICMPS:
            self._text.fail(said.about, "an ICMP error alone is about a packet")

    def _ports(self) -> Fields:
        if self._proto not in uapi.PORT_PROTOCOLS:
            return {}
        (_, _, sport), (token, dst, dport) = self._said.ends
        if dport is None:
            self._text.fail(token, "a port to go to was expected", _with_port(dst))
        return {"sport": SOURCE_PORT if sport is None else sport, "dport": dport}

    def _rest(self) -> Fields:
        """The fields of one protocol's header."""
        value = self._value
        match self._proto:
            case uapi.IPPROTO_TCP:
                numbers = {name: value(name) for name in ("seq", "ack", "window")}
                return numbers | {"tcp_flags": value("flags")}
            case uapi.IPPROTO_ICMP | uapi.IPPROTO_ICMPV6:
                return self._icmp()
            case uapi.IPPROTO_SCTP:
                return self._sctp()
            case uapi.IPPROTO_GRE:
                key = value("key")
                flags = 0 if key is None else GRE_KEY
                fields = {"gre_flags": flags, "gre_protocol": GRE_IPV4, "gre_key": key}
                return fields | {"payload": value("payload") or GRE_INNER}
            case uapi.IPPROTO_ESP:
                return {"spi": value("spi"), "seq": value("seq")}
            case uapi.IPPROTO_AH:
                fields = {"spi": value("spi"), "seq": value("seq")}
                fields["ah_next"] = uapi.IPPROTO_NONE
                return fields | {"payload": ICV + value("payload")}
        return {}

    def _icmp(self) -> Fields:
        number, about = self._icmp_type(), self._said.about
        if about is not None:
            if number not in ICMP_ERRORS[self._proto]:
                self._text.fail(about, "only an ICMP error is about a packet")
            self._refuse("payload", "the packet it is about is the payload")
        fields: Fields = {"icmp_type": number, "icmp_code": self._value("code")}
        if number in ICMP_REPLIES[self._proto]:
            self._refuse("mtu", "only an ICMP error tells an MTU")
            numbers = {"icmp_id": self._value("id"), "icmp_seq": self._value("seq")}
            return fields | numbers
        for name in ("id", "seq"):
            self._refuse(name, f"an ICMP packet of type {number} has no {name}")
        if (self._proto, number) not in TELL_MTU:
            self._refuse("mtu", f"an ICMP packet of type {number} tells no MTU")
        return fields | {"icmp_rest": self._value("mtu"), "quoted": self._said.quoted}

    def _icmp_type(self) -> int:
        told = self._value("type")
        number: int | None = told
        if isinstance(told, str):
            number = ICMP_TYPES[told].get(self._proto)
        if number is None:
            token, _ = self._said.values["type"]
            name = uapi.protocol_name(self._proto)
            self._text.fail(token, f"{name} has no type {told}")
        return number

    def _refuse(self, name: str, reason: str) -> None:
        if name in self._said.values:
            self._text.fail(self._said.values[name][0], reason)

    def _sctp(self) -> Fields:
        kind = self._value("chunk")
        flags = _WHOLE_MESSAGE if kind == SctpChunk.DATA else 0
        body = CHUNK_BODIES.get(kind, b"") + self._value("payload")
        vtag = self._value("vtag", kind)
        return {"vtag": vtag, "chunks": (Chunk(kind, flags, body),), "payload": b""}

    def _value(self, name: str, chunk: int | None = None) -> Any:
        """What a word said, or its default."""
        if name in self._said.values:
            return self._said.values[name][1]
        return default_of(name, self._proto, chunk)


def _with_port(address: Address) -> str:
    """How to write an end; the last group of ``2001:db8::1:443`` was meant as one."""
    if address.version == 4:
        return f"write {address}:443"
    before, _, last = str(address).rpartition(":")
    if last.isdecimal() and "::" in before and not before.endswith(":"):
        return f"write [{before}]:{last}, or [{address}]:443"
    return f"write [{address}]:443"
