"""The words of the filter language: the data, one entry a word."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from natscope import uapi
from natscope.filter.syntax import (
    Bits,
    Changed,
    Kinds,
    Number,
    Span,
    Status,
    Translated,
)
from natscope.filter.word import (
    AMOUNTS,
    COLUMN,
    MARKS,
    PORTS,
    PROTOCOL,
    STATE,
    STATUS,
    TRANSLATION,
    WHERE,
    Takes,
    Word,
    key,
)
from natscope.model.nat import Kind
from natscope.table.columns import COLUMNS, Column

_QUALIFIERS = (
    Word("src", WHERE, "source of the original direction", aliases=("orig-src",)),
    Word("dst", WHERE, "destination of the original direction", aliases=("orig-dst",)),
    Word("reply-src", WHERE, "source of the reply direction: who answers"),
    Word("reply-dst", WHERE, "destination of the reply direction: to whom"),
    Word("inside", WHERE, "the host on our side"),
    Word("public", WHERE, "the address and port the world sees"),
    Word("outside", WHERE, "the remote end"),
    Word("target", WHERE, "the host behind a translated destination"),
    Word("master", WHERE, "either end of the flow that expected this one"),
)
_ENDS = {
    "src": ("orig_src",),
    "dst": ("orig_dst",),
    "reply-src": ("reply_src",),
    "reply-dst": ("reply_dst",),
    "master": ("master_src", "master_dst"),
}

_TYPES = (
    Word("host", PORTS, "an address, network or range of addresses", Takes.HOST),
    Word(
        "net", PORTS, "a network: 10.0.0.0/8, or 10 and 192.168 for short", Takes.HOST
    ),
    Word("port", PORTS, "a port, a service name or a range of ports", Takes.PORT),
    Word("portrange", PORTS, "the same as port, for pcap's habit", Takes.PORT),
)


def _protocols() -> Iterator[Word]:
    aliases = {uapi.IPPROTO_ICMPV6: ("icmp6",)}
    for name, number in sorted(uapi.PROTOCOL_NUMBERS.items(), key=itemgetter(1)):
        if name != "ipv6":  # the word for the family; proto 41 means 6in4
            yield Word(
                name,
                PROTOCOL,
                f"IP protocol {number}",
                aliases=aliases.get(number, ()),
                term=Number("proto", (Span(number, number),)),
            )


_FAMILIES = (
    Word(
        "proto",
        PROTOCOL,
        "IP protocol by name or number",
        Takes.PROTOCOL,
        columns=("proto",),
        limit=255,
    ),
    Word(
        "ip",
        PROTOCOL,
        "IPv4",
        aliases=("ipv4",),
        term=Number("family", (Span(uapi.AF_INET, uapi.AF_INET),)),
    ),
    Word(
        "ip6",
        PROTOCOL,
        "IPv6",
        aliases=("ipv6",),
        term=Number("family", (Span(uapi.AF_INET6, uapi.AF_INET6),)),
    ),
    Word("family", PROTOCOL, "ipv4 or ipv6", Takes.FAMILY, columns=("family",)),
    Word(
        "icmp-type",
        PROTOCOL,
        "ICMP or ICMPv6 type of the original direction, by number or name",
        Takes.ICMP_TYPE,
        columns=("orig_icmp_type",),
        limit=255,
    ),
    Word(
        "icmp-code",
        PROTOCOL,
        "ICMP or ICMPv6 code of the original direction",
        Takes.COUNT,
        columns=("orig_icmp_code",),
        limit=255,
    ),
    Word(
        "icmp-id",
        PROTOCOL,
        "ICMP or ICMPv6 id of either direction",
        Takes.COUNT,
        columns=("orig_icmp_id", "reply_icmp_id"),
        limit=0xFFFF,
    ),
    Word(
        "gre-key",
        PROTOCOL,
        "GRE key of either direction",
        Takes.COUNT,
        columns=("orig_sport", "orig_dport", "reply_sport", "reply_dport"),
        limit=0xFFFF,
        protocols=(uapi.IPPROTO_GRE,),
    ),
)

_TRANSLATIONS = (
    Word(
        "nat",
        TRANSLATION,
        "translated in any way",
        term=Kinds(tuple(kind for kind in Kind if kind)),
    ),
    Word(
        "snat",
        TRANSLATION,
        "source address, port or ICMP id translated; hairpins too",
        term=Translated(source=True),
    ),
    Word(
        "dnat",
        TRANSLATION,
        "destination address or port translated; hairpins and redirects too",
        term=Translated(source=False),
    ),
    Word(
        "hairpin",
        TRANSLATION,
        "both ends translated, both hosts in one subnet",
        term=Kinds((Kind.HAIRPIN,)),
    ),
    Word(
        "redirect",
        TRANSLATION,
        "destination translated to the box itself",
        term=Kinds((Kind.REDIRECT,)),
    ),
    Word(
        "portonly",
        TRANSLATION,
        "a port or ICMP id translated, no address",
        term=Kinds((Kind.PORT,)),
    ),
    *(
        Word(
            f"changed-{part}",
            TRANSLATION,
            f"{meaning} is another in reply, whatever the status bits say",
            term=Changed(part),
        )
        for part, meaning in (
            ("src", "source address"),
            ("dst", "destination address"),
            ("sport", "source port, ICMP id or GRE key"),
            ("dport", "destination port or GRE key"),
        )
    ),
    Word(
        "kind",
        TRANSLATION,
        "the letters of listings: s d h r p sd, and - for none",
        Takes.KIND,
    ),
)

_STATES = (
    Word(
        "state",
        STATE,
        "TCP, SCTP or DCCP state, or the name of a status bit",
        Takes.STATE,
        needs=("state",),
    ),
)

_STATUS_MEANING = {
    uapi.Status.EXPECTED: "expected by a helper on another flow",
    uapi.Status.SEEN_REPLY: "packets seen in both directions",
    uapi.Status.ASSURED: "not dropped early when the table is full",
    uapi.Status.CONFIRMED: "in the table: its first packet left the box",
    uapi.Status.SRC_NAT: "the kernel's bit for source translation",
    uapi.Status.DST_NAT: "the kernel's bit for destination translation",
    uapi.Status.SEQ_ADJUST: "sequence numbers are adjusted",
    uapi.Status.SRC_NAT_DONE: "source translation was decided",
    uapi.Status.DST_NAT_DONE: "destination translation was decided",
    uapi.Status.DYING: "being removed",
    uapi.Status.FIXED_TIMEOUT: "packets do not renew the timeout",
    uapi.Status.TEMPLATE: "a template (target CT)",
    uapi.Status.UNTRACKED: "untracked (no longer used)",
    uapi.Status.HELPER: "a helper was set by rule or request",
    uapi.Status.OFFLOAD: "in a flowtable",
    uapi.Status.HW_OFFLOAD: "in hardware",
}
_STATUS_ALIASES = {uapi.Status.SEEN_REPLY: ("replied",)}


def _status() -> Iterator[Word]:
    yield Word(
        "status",
        STATUS,
        "status bits by name or as VALUE/MASK: (status & MASK) == VALUE",
        Takes.STATUS,
        needs=("status",),
    )
    for bit, meaning in _STATUS_MEANING.items():
        # "helper" is the helper's name
        (told,) = uapi.status_names(bit)
        name = "helper-bit" if bit == uapi.Status.HELPER else told.lower()
        aliases = _STATUS_ALIASES.get(bit, ())
        term = Status((Bits(bit, bit),))
        yield Word(name, STATUS, meaning, aliases=aliases, term=term)
    unreplied = Status((Bits(0, uapi.Status.SEEN_REPLY),))
    yield Word("unreplied", STATUS, "no packet seen in reply", term=unreplied)


_U16, _U32, _U128 = (1 << 16) - 1, (1 << 32) - 1, (1 << 128) - 1

_MARKS = (
    Word(
        "mark",
        MARKS,
        "connection mark; with a mask, only its bits count",
        Takes.BITS,
        columns=("mark",),
        limit=_U32,
    ),
    Word(
        "zone",
        MARKS,
        "zone, of both directions or of one; 0 where none is told",
        Takes.COUNT,
        limit=_U16,
    ),
    Word(
        "orig-zone",
        MARKS,
        "zone of the original direction alone",
        Takes.COUNT,
        columns=("orig_zone",),
        limit=_U16,
    ),
    Word(
        "reply-zone",
        MARKS,
        "zone of the reply direction alone",
        Takes.COUNT,
        columns=("reply_zone",),
        limit=_U16,
    ),
    Word(
        "label",
        MARKS,
        "a label: its bit number, or its name in a saved listing",
        Takes.LABEL,
        columns=("label_names",),
        limit=127,
    ),
    Word(
        "labels",
        MARKS,
        "all label bits as one number; with a mask, only its bits count",
        Takes.BITS,
        columns=("labels",),
        limit=_U128,
    ),
    Word("helper", MARKS, "name of the helper", Takes.TEXT, columns=("helper",)),
    Word("secctx", MARKS, "security context", Takes.TEXT, columns=("secctx",)),
    Word("netns", MARKS, "network namespace", Takes.TEXT, columns=("netns",)),
    Word(
        "id",
        MARKS,
        "the kernel's id of the entry",
        Takes.COUNT,
        columns=("id",),
        limit=_U32,
    ),
    Word("use", MARKS, "reference count", Takes.COUNT, columns=("use",), limit=_U32),
)

_AMOUNTS = (
    Word(
        "timeout",
        AMOUNTS,
        "time left before the entry expires",
        Takes.DURATION,
        columns=("timeout",),
    ),
    Word("age", AMOUNTS, "time since the flow began", Takes.DURATION, needs=("start",)),
    Word(
        "idle",
        AMOUNTS,
        "time since its last packet, estimated from the configured timeout",
        Takes.DURATION,
        needs=("timeout", "timeouts"),
    ),
    Word("bytes", AMOUNTS, "both directions", Takes.SIZE, needs=("bytes",)),
    Word("packets", AMOUNTS, "both directions", Takes.COUNT, needs=("packets",)),
    *(
        Word(
            f"{way}-{what}",
            AMOUNTS,
            f"{way_meaning} direction",
            takes,
            columns=(f"{way}_{what}",),
            needs=(what,),
        )
        for what, takes in (("bytes", Takes.SIZE), ("packets", Takes.COUNT))
        for way, way_meaning in (("orig", "original"), ("reply", "reply"))
    ),
    Word(
        "rate",
        AMOUNTS,
        "both directions, where a source measures it",
        Takes.RATE,
        columns=("rate",),
    ),
)

_OWN = (
    *(
        Word(
            q.word,
            q.group,
            q.meaning,
            Takes.WHERE,
            aliases=q.aliases,
            ends=_ENDS.get(q.word, ()),
        )
        for q in _QUALIFIERS
    ),
    *_TYPES,
    *_FAMILIES,
    *_protocols(),
    *_TRANSLATIONS,
    *_STATES,
    *_status(),
    *_MARKS,
    *_AMOUNTS,
)


def spellings(word: Word) -> Iterator[str]:
    """Every way to write a word, as :func:`key` looks it up."""
    yield key(word.word)
    yield from map(key, word.aliases)


def _of_column(column: Column) -> Word:
    bits = 8 * int(column.dtype[1])
    signed = column.dtype[0] == "i"
    return Word(
        column.name,
        COLUMN,
        column.meaning,
        Takes.COUNT,
        columns=(column.name,),
        limit=(1 << bits - signed) - 1,
        least=-(1 << bits - 1) if signed else 0,
    )


_TAKEN = {spelling for word in _OWN for spelling in spellings(word)}
_MORE = tuple(
    _of_column(column)
    for column in COLUMNS
    if column.name not in _TAKEN and column.dtype[0] in "ui" and column.width == 1
)

WORDS: tuple[Word, ...] = (*_OWN, *_MORE)
