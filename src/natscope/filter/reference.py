"""The filter language for people, made from the vocabulary.

``natscope help filter`` prints :func:`reference_text`;
``docs/reference/filters.md`` holds :func:`reference_tables`.
"""

from __future__ import annotations

from collections.abc import Iterator

from natscope.filter.syntax import Number, Span
from natscope.filter.vocabulary import STATES, Takes, Word
from natscope.filter.word import COLUMN, GROUPS
from natscope.filter.words import WORDS
from natscope.model.names import SERVICES

EXAMPLES: tuple[tuple[str, str], ...] = (
    ("inside 10.0.0.5", "everything one inside host talks to"),
    ("inside net 10.0.0.0/8 and not assured", "a network's half-open flows"),
    ("public 203.0.113.7:41234", "who is behind this public address and port"),
    ("dst port 443,8443 and state established", "open HTTPS"),
    ("tcp dst port 1-1023", "a range; side by side is an and"),
    ("src or dst net 10.0.0.0/8,fd00::/8", "either end, IPv4 and IPv6"),
    ("dnat and target 10.0.0.80", "a port forward's clients"),
    ("hairpin or redirect", "two kinds of translation"),
    ("udp and unreplied and age > 1m", "asked and never answered"),
    ("state established and idle > 1h", "long silent"),
    ("bytes > 10MB or rate > 1Mbit", "heavy flows"),
    ("mark 0x1/0xff and zone 5", "a mark under a mask, in one zone"),
    ("icmp-type echo-request", "pings, IPv4 and IPv6"),
    ("helper ftp or master port 21", "FTP, control and data"),
    ("not (dst port 53 or dst port 123)", "all but DNS and NTP"),
)
"""Filters that parse, and what they find."""

JOINING: tuple[tuple[str, str], ...] = (
    ("A and B, A && B, A B", "both; side by side binds most tightly"),
    ("A or B, A || B", "one of them"),
    ("not A, ! A", "what A does not match, flows without the field too"),
    (
        "( A )",
        "grouping; needed in A or B and C, which pcap reads unlike others",
    ),
    ("W V1,V2", "one of the values: port 80,443"),
    ("W V1-V2", "a range, both ends included: port 8000-8100"),
    ("W > V", "also >= < <= = (==) where the value is a number"),
)
"""How words and values are put together."""

VALUES: tuple[tuple[Takes, str], ...] = (
    (
        Takes.HOST,
        "10.0.0.5, 10.0.0.0/8, 10.0.0.1-10.0.0.9, fd00::/8; with what stands beside "
        "it: 10.0.0.5:443, [fd00::5]:443, 10.0.0.5:id=77 (ICMP), 10.0.0.5:key=5 (GRE); "
        "with a mask that has holes: 10.0.0.5/0xff0000ff",
    ),
    (Takes.PORT, f"443, https, 8000-8100; names: {', '.join(SERVICES)}"),
    (Takes.WHERE, "ADDRESS by itself, or the type first: host, net or port"),
    (Takes.COUNT, "5, 0x1f, 5-9; 10k, 1M and 1G are thousands, millions, ..."),
    (Takes.BITS, "5, or 0x1/0xff: the bits of the mask 0xff are 0x01"),
    (Takes.DURATION, "seconds, or with s m h d w: 90, 5m, 1h30m, 2d"),
    (Takes.SIZE, "bytes; kB MB GB TB are powers of 1000, KiB MiB GiB of 1024"),
    (
        Takes.RATE,
        "bytes per second, or 1Mbit (kbit Mbit Gbit: bits per second), 1MB/s, 1MiB/s",
    ),
    (Takes.TEXT, 'the whole text; * is anything; "in quotes" with blanks'),
    (Takes.PROTOCOL, "tcp, 47, tcp,udp"),
    (Takes.FAMILY, "ipv4, ipv6"),
    (
        Takes.STATE,
        "; ".join(
            f"{column.partition('_')[0].upper()}: {', '.join(names).lower()}"
            for column, names in STATES
        ),
    ),
    (Takes.STATUS, "assured, or 0x8/0x8: bits of a mask; 0x18e alone is all bits"),
    (Takes.KIND, "letters of the NAT column: s,d"),
    (Takes.ICMP_TYPE, "8, or a name as iptables and nft have it: echo-request"),
    (Takes.LABEL, "5, or a name where a saved listing has names"),
)
"""How each kind of value is written."""

_WIDTH = 79


def reference_text() -> str:
    """The whole language for a terminal, 79 columns wide."""
    return "\n".join(_lines()) + "\n"


def reference_tables() -> str:
    """Every word as Markdown tables, one for each group."""
    parts = []
    for group in GROUPS:
        rows = [
            f"| {_spelled(word)} | {_cell(word.takes.value)} | {_cell(word.meaning)} |"
            for word in WORDS
            if word.group == group
        ]
        heading = f"### {group}\n\n| word | takes | meaning |\n|---|---|---|\n"
        parts.append(heading + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _lines() -> Iterator[str]:
    yield "A filter says which flows are meant, in the words of pcap-filter(7)."
    yield "\nExamples\n"
    yield from _pairs(EXAMPLES)
    yield "\nJoining\n"
    yield from _pairs(JOINING)
    for group in GROUPS:
        words = [word for word in WORDS if word.group == group]
        yield f"\n{group}\n"
        if group == COLUMN:
            yield from _wrapped(", ".join(word.word for word in words), 2)
            continue
        protocols = [word for word in words if _number(word) is not None]
        others = [word for word in words if word not in protocols]
        yield from _pairs(tuple((_usage(w), _meaning(w)) for w in others))
        if protocols:
            names = (f"{_usage(w)} ({_number(w)})" for w in protocols)
            yield from _wrapped(f"by name: {', '.join(names)}", 2)
    yield "\nValues\n"
    yield from _pairs(tuple((takes.value, how) for takes, how in VALUES))
    yield ""
    yield from _wrapped(
        "src and dst are those of the original direction. host and port without a "
        "qualifier look at all four ends of both tuples. A port is never an ICMP id "
        "or a GRE key. A field that a flow does not have matches nothing.",
        0,
    )


def _number(word: Word) -> int | None:
    """The protocol number of a word that is a protocol's name."""
    match word.term:
        case Number("proto", (Span(number, _),)):
            return number
        case _:
            return None


def _usage(word: Word) -> str:
    return f"{word.word} {word.takes.value}".rstrip()


def _meaning(word: Word) -> str:
    also = f" (also: {', '.join(word.aliases)})" if word.aliases else ""
    return word.meaning + also


def _pairs(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Two columns; a long first one has a line to itself."""
    margin = 2 + min(28, max(len(left) for left, _ in pairs)) + 2
    for left, right in pairs:
        first, *rest = _wrapped(right, margin)
        if len(left) + 4 > margin:
            yield f"  {left}"
            yield first
        else:
            yield f"  {left}".ljust(margin) + first.lstrip()
        yield from rest


def _wrapped(text: str, margin: int) -> list[str]:
    lines = [" " * margin]
    for word in text.split():
        if len(lines[-1]) + len(word) > _WIDTH and lines[-1].strip():
            lines.append(" " * margin)
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


def _spelled(word: Word) -> str:
    return ", ".join(f"`{spelling}`" for spelling in (word.word, *word.aliases))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
