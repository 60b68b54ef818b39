"""A question about a packet in words, after pcap-filter(7).

::

    tcp 10.0.0.5:51000 to 93.184.216.34:443 in eth0 flags syn mark 7 ttl 64
    ping fd00::5 to 2001:db8::1 out
    icmp 192.0.2.1 to 203.0.113.7 in eth1 type time-exceeded
        about tcp 203.0.113.7:51000 to 93.184.216.34:443

``docs/reference/packets`` is the language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from natscope import uapi
from natscope.codec.packetline import (
    SCTP_CHUNKS,
    TELL_MTU,
    endpoint_text,
    flags_text,
    icmp_type_text,
    protocol_text,
)
from natscope.codec.text.question_meaning import (
    CHUNK_BODIES,
    SHAPE,
    Said,
    default_of,
    meant,
)
from natscope.codec.text.question_words import (
    PROTOCOLS,
    WORDS,
    Text,
    Token,
    Unreadable,
    Value,
    Word,
    endpoint,
    is_chunk,
    is_flags,
    joined,
    protocol,
    tokens,
)
from natscope.model.names import ICMP_TYPES
from natscope.model.packet import GRE_INNER, ICV, Packet, Question

_TO = frozenset({"to", ">", "->"})
_ALONE = frozenset({"out", "about", "badsum", "ping", "from", "proto"}) | _TO
"""Words that are no word with a value of their own."""


def parse(words: Sequence[str] | str) -> Question:
    """The question some words ask.

    Args:
        words: a text, or its words as a shell has split them.

    Raises:
        FilterError: with the place of the offending word.
    """
    return _reader(words).question()


def says_way(words: Sequence[str] | str) -> bool:
    """Whether words :func:`parse` reads tell the way: ``in INTERFACE`` or ``out``.

    Raises:
        FilterError: as :func:`parse`.
    """
    reader = _reader(words)
    reader.question()
    return reader.says_way


def _reader(words: Sequence[str] | str) -> _Reader:
    if isinstance(words, str):
        return _Reader(Text(words), tokens(words))
    text, found = joined(list(words))
    return _Reader(Text(text), found)


class _Reader:
    """Takes the words one by one; what they mean together is told at the end."""

    def __init__(self, text: Text, found: list[Token], *, quoted: bool = False) -> None:
        self._text = text
        self._tokens = found
        self._quoted = quoted
        self._at = 0
        self._said = Said()

    @property
    def says_way(self) -> bool:
        """Whether the words taken told the way."""
        return self._said.is_out or "in" in self._said.values

    def question(self) -> Question:
        packet = self.packet()
        values = self._said.values
        iif, mark, mac = (values.get(name) for name in ("in", "mark", "mac"))
        if iif is not None and self._said.is_out:
            self._text.fail(iif[0], "a packet that comes in is not the box's own")
        return Question(
            packet,
            None if iif is None else str(iif[1]),
            0 if mark is None else int(mark[1]),
            None if mac is None else str(mac[1]),
        )

    def packet(self) -> Packet:
        while self._at < len(self._tokens):
            self._word(self._take())
        return meant(self._text, self._said)

    def _take(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _word(self, token: Token) -> None:
        said, name = self._said, token.text.lower()
        if is_flags(name) and not self._is_number_next():
            self._keep("flags", token, WORDS["flags"].read(name))
        elif name in WORDS:
            self._value(token, WORDS[name])
        elif name in _ALONE:
            self._lone(token, name)
        elif name in PROTOCOLS or (said.proto is None and name.isdigit()):
            self._protocol(token)
        elif name in ICMP_TYPES:
            self._keep("type", token, name)
        elif is_chunk(name):
            self._keep("chunk", token, WORDS["chunk"].read(name))
        elif re.search(r"[.:\[]", name):
            self._endpoint(token)
        else:
            self._text.fail(token, f"{token.text!r} is no word here", _nearest(name))

    def _is_number_next(self) -> bool:
        """``ack 7`` is a number of TCP, ``ack`` alone a flag."""
        following = self._tokens[self._at :][:1]
        return any(token.text[:1].isdigit() for token in following)

    def _lone(self, token: Token, name: str) -> None:
        """A word without a value, or one that says what the next is."""
        said = self._said
        match name:
            case "out" if not self._quoted:
                said.is_out = True
            case "badsum":
                said.bad_checksum = True
            case "ping":
                if said.proto is not None:
                    self._text.fail(token, "a packet has one protocol")
                said.is_ping = True
            case "proto":
                self._protocol(self._next(token, "a protocol"))
            case "about" if not self._quoted:
                said.about = token
                rest = self._tokens[self._at :]
                self._at = len(self._tokens)
                said.quoted = _Reader(self._text, rest, quoted=True).packet()
            case "from" | "to" | ">" | "->":
                if len(said.ends) != (name != "from"):
                    which = "first" if name == "from" else "second"
                    reason = f"{name!r} stands before the {which} address"
                    self._text.fail(token, reason, SHAPE)
                self._endpoint(self._next(token, "an address"))
            case _:
                self._text.fail(token, f"{name!r} says nothing of a quoted packet")

    def _next(self, before: Token, expected: str) -> Token:
        if self._at == len(self._tokens):
            self._text.fail(
                self._text.end(), f"{expected} was expected after {before.text!r}"
            )
        return self._take()

    def _value(self, token: Token, word: Word) -> None:
        if self._quoted and not word.of_packet:
            self._text.fail(token, f"{word.name!r} says nothing of a quoted packet")
        value = self._next(token, "a value")
        try:
            read = word.read(value.text)
        except Unreadable as bad:
            self._text.fail(value, bad.reason, bad.hint)
        self._keep(word.name, token, read)

    def _keep(self, name: str, token: Token, value: Value) -> None:
        if name in self._said.values:
            self._text.fail(token, f"{name!r} is said twice")
        self._said.values[name] = token, value

    def _protocol(self, token: Token) -> None:
        if self._said.proto is not None or self._said.is_ping:
            self._text.fail(token, "a packet has one protocol")
        try:
            self._said.proto = protocol(token.text)
        except Unreadable as bad:
            self._text.fail(token, bad.reason, bad.hint)

    def _endpoint(self, token: Token) -> None:
        if len(self._said.ends) == 2:
            self._text.fail(token, "a packet has two addresses", SHAPE)
        try:
            address, port = endpoint(token.text)
        except Unreadable as bad:
            self._text.fail(token, bad.reason, bad.hint)
        self._said.ends.append((token, address, port))


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    known = [*WORDS, *_ALONE, *PROTOCOLS, *ICMP_TYPES]
    near = get_close_matches(name, known, 1)
    return f"did you mean '{near[0]}'?" if near else SHAPE


def unparse(question: Question) -> str:
    """A question as :func:`parse` reads it, defaults left out.

    What the language has no word for (TCP options, fragments, IP options) is left
    out too.
    """
    packet = question.packet
    words = _packet_words(packet)
    words += ["out"] if question.iif is None else ["in", question.iif]
    words += ["mark", str(question.mark)] if question.mark else []
    words += ["mac", question.mac] if question.mac else []
    if packet.quoted is not None:
        words += ["about", *_packet_words(packet.quoted)]
    return " ".join(words)


def _packet_words(packet: Packet) -> list[str]:
    source = endpoint_text(packet.src, packet.sport)
    target = endpoint_text(packet.dst, packet.dport)
    words = [protocol_text(packet.proto), source, "to", target]
    chunk = packet.chunks[0].type if packet.chunks else None
    for name, value, written in _values(packet):
        if value is not None and value != default_of(name, packet.proto, chunk):
            words += [name, written]
    return [*words, "badsum"] if packet.bad_checksum else words


def _values(packet: Packet) -> Iterator[tuple[str, Value | None, str]]:
    """Words of a packet: their names, their values, and those as written."""
    tells_mtu = (packet.proto, packet.icmp_type) in TELL_MTU
    numbers = {
        "ttl": packet.ttl,
        "tos": packet.tos,
        "seq": packet.seq if packet.icmp_seq is None else packet.icmp_seq,
        "ack": packet.ack,
        "window": packet.window,
        "code": packet.icmp_code,
        "id": packet.icmp_id,
        "mtu": packet.icmp_rest if tells_mtu else None,
        "vtag": packet.vtag,
        "spi": packet.spi,
        "key": packet.gre_key,
    }
    if packet.tcp_flags is not None:
        yield "flags", packet.tcp_flags, flags_text(packet.tcp_flags).lower()
    if packet.icmp_type is not None:
        shown = icmp_type_text(packet.proto, packet.icmp_type).removeprefix("type ")
        yield "type", packet.icmp_type, shown
    for chunk in packet.chunks[:1]:
        name = SCTP_CHUNKS.get(chunk.type, str(chunk.type))
        yield "chunk", chunk.type, name.lower()
    for name, value in numbers.items():
        yield name, value, str(value)
    payload = _payload(packet)
    yield "payload", payload, _written(payload)


def _payload(packet: Packet) -> bytes:
    """What the word ``payload`` would have said."""
    if packet.chunks:
        chunk = packet.chunks[0]
        return chunk.body[len(CHUNK_BODIES.get(chunk.type, b"")) :]
    if packet.proto == uapi.IPPROTO_AH:
        return packet.payload[len(ICV) :]
    if packet.proto == uapi.IPPROTO_GRE and packet.payload == GRE_INNER:
        return b""
    return packet.payload


def _written(payload: bytes) -> str:
    shown = payload.decode("ascii", "replace")
    if not re.fullmatch(r"[ !#-~]+", shown) or shown[:2].lower() == "0x":
        return f"0x{payload.hex()}"
    return f'"{shown}"'
