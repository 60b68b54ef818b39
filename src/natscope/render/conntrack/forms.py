"""What the lines of each format are made of, piece by piece.

A piece is a text around the value of a column, shown where a flow has that
column and the piece's condition holds.  Some columns are derived: what they are
stands in DERIVED; ``line`` and ``lines`` each compute them.  The order and the
conditions are those of libnetfilter_conntrack: snprintf_default.c,
snprintf_xml.c, and ct_save_snprintf() of conntrack-tools.
"""

from __future__ import annotations

from natscope import uapi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from natscope.render.conntrack.style import Style

NUMBER, HEX, ADDRESS, WORD, TEXT, TAG, NOTHING = range(7)
"""How a value is written: decimal, hexadecimal, an address, a word looked up by
it, itself a text, a tag, or not at all.  A tag is 32 bits in decimal with their
bytes turned round, as conntrack prints and takes them on little-endian machines."""

DERIVED = {
    "event": "what happened: 1 new, 2 update, 3 destroy",
    "unreplied": "there, whatever its value, if no reply was seen",
    "flag": "1 ASSURED, 2 OFFLOAD, 3 HW_OFFLOAD: the last that holds",
    "assured": "there if assured",
    "delta": "seconds since the flow began, or that it lived",
    "start_text": "when it began, as ctime(3) has it",
    "stop_text": "when it ended",
    "when_text": "the time of an event, in seconds and microseconds",
    "when_xml": "the same on a calendar, as XML",
    "label_text": "names of its labels, an = before the first, a comma between two",
    "label_xml": "the same as XML",
    "status_text": "status bits as -u takes them",
}

EVENTS = (None, "new", "update", "destroy")


class Piece:
    """A value of a column between two texts.

    ``when`` is a condition of CONDITIONS.  ``words`` are those a WORD looks up,
    the first for a value beyond them.  With ``always``, a flow without the
    column has 0 there.
    """

    __slots__ = ("after", "always", "before", "column", "kind", "when", "words")

    def __init__(
        self,
        before: bytes,
        column: str = "",
        kind: int = NOTHING,
        after: bytes = b"",
        *,
        when: str = "",
        words: Sequence[bytes] = (),
        always: bool = False,
    ) -> None:
        self.before = before
        self.column = column
        self.kind = kind
        self.after = after
        self.when = when
        self.words = words
        self.always = always


PROTOCOLS = {
    uapi.IPPROTO_ICMP: b"icmp",
    uapi.IPPROTO_TCP: b"tcp",
    uapi.IPPROTO_UDP: b"udp",
    uapi.IPPROTO_DCCP: b"dccp",
    uapi.IPPROTO_GRE: b"gre",
    uapi.IPPROTO_ICMPV6: b"icmpv6",
    uapi.IPPROTO_SCTP: b"sctp",
    uapi.IPPROTO_UDPLITE: b"udplite",
}
"""The protocols conntrack names (__proto2str)."""

CONDITIONS = {
    "ports": uapi.PORT_PROTOCOLS,
    "gre": frozenset({uapi.IPPROTO_GRE}),
    "icmp": frozenset({uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6}),
    "icmp4": frozenset({uapi.IPPROTO_ICMP}),
    "icmp6": frozenset({uapi.IPPROTO_ICMPV6}),
}
"""Conditions that are of protocols.  Beside them: ``snat`` and ``dnat``, whether
the source and the destination are translated (NFCT_GOPT_IS_SNAT, _IS_DNAT), and
``plain src``, ``plain dst``, whether they are not."""


def plain(style: Style) -> list[Piece]:
    """A line of ``conntrack -L`` or ``-E``."""
    pieces = []
    if style.timestamp:
        pieces.append(Piece(b"[", "when_text", TEXT, b"]\t"))
    pieces.append(Piece(b"", "event", WORD, words=_TAGS))
    if style.extended:
        pieces.append(Piece(b"", "family", WORD, words=_FAMILIES))
    pieces += [
        Piece(b"", "proto", WORD, words=_PADDED),
        Piece(b" ", "timeout", NUMBER),
        *(Piece(b" ", name, WORD, words=words) for name, words in _STATES),
        *_plain_side("orig"),
        Piece(b" [UNREPLIED]", "unreplied"),
        *_plain_side("reply"),
        Piece(b" [", "flag", WORD, b"]", words=_FLAGS),
        Piece(b" mark=", "mark", NUMBER),
        Piece(b" secmark=", "secmark", NUMBER),
        Piece(b" secctx=", "secctx", TEXT),
        Piece(b" zone=", "zone", NUMBER),
        Piece(b" delta-time=", "delta", NUMBER),
    ]
    if style.ktimestamp:
        pieces.append(Piece(b" [start=", "start_text", TEXT, b"]"))
        pieces.append(Piece(b" [stop=", "stop_text", TEXT, b"]"))
    pieces.append(Piece(b" helper=", "helper", TEXT))
    pieces.append(Piece(b" use=", "use", NUMBER))
    if style.id:
        pieces.append(Piece(b" id=", "id", NUMBER))
    if style.labels is not None:
        pieces.append(Piece(b" labels", "label_text", TEXT))
    return pieces


def _plain_side(side: str) -> list[Piece]:
    return [
        Piece(b" src=", f"{side}_src", ADDRESS),
        Piece(b" dst=", f"{side}_dst", ADDRESS),
        Piece(b" sport=", f"{side}_sport", NUMBER, when="ports", always=True),
        Piece(b" dport=", f"{side}_dport", NUMBER, when="ports", always=True),
        Piece(b" srckey=0x", f"{side}_sport", HEX, when="gre", always=True),
        Piece(b" dstkey=0x", f"{side}_dport", HEX, when="gre", always=True),
        Piece(b" type=", f"{side}_icmp_type", NUMBER, when="icmp", always=True),
        Piece(b" code=", f"{side}_icmp_code", NUMBER, when="icmp", always=True),
        Piece(b" id=", f"{side}_icmp_id", NUMBER, when="icmp", always=True),
        Piece(b" zone-%s=" % side.encode(), f"{side}_zone", NUMBER),
        Piece(b" packets=", f"{side}_packets", NUMBER),
        Piece(b" bytes=", f"{side}_bytes", NUMBER),
    ]


_TAGS = (b"", b"    [NEW] ", b" [UPDATE] ", b"[DESTROY] ")
_FLAGS = (b"", b"ASSURED", b"OFFLOAD", b"HW_OFFLOAD")
_FAMILIES = tuple(
    {uapi.AF_INET: b"ipv4     2 ", uapi.AF_INET6: b"ipv6     10 "}.get(n, b"")
    for n in range(11)
)
_PADDED = tuple(
    b"%-8s %d" % (PROTOCOLS.get(number, b"unknown"), number) for number in range(256)
)


def _words(names: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(name.encode() for name in names)


_STATES = (
    ("tcp_state", _words(uapi.TCP_STATES)),
    ("sctp_state", _words(uapi.SCTP_STATES)),
    ("dccp_state", _words(uapi.DCCP_STATES)),
)


def xml(style: Style) -> list[Piece]:
    """A ``<flow>`` element and its newline."""
    pieces = [
        Piece(b"<flow", "event", WORD, b">", words=_TYPES, always=True),
        *_xml_side("orig", b"original"),
        *_xml_side("reply", b"reply"),
        Piece(b'<meta direction="independent">'),
        *(_element(b"state", name, WORD, words=words) for name, words in _STATES),
        _element(b"timeout", "timeout"),
        _element(b"mark", "mark"),
    ]
    if style.labels is not None:
        pieces.append(Piece(b"<labels>", "label_xml", TEXT, b"</labels>"))
    pieces += [
        _element(b"secmark", "secmark"),
        _element(b"secctx", "secctx", TEXT),
        _element(b"zone", "zone"),
        _element(b"use", "use"),
        _element(b"id", "id"),
        Piece(b"<assured/>", "assured"),
        Piece(b"<unreplied/>", "unreplied"),
    ]
    if style.ktimestamp:
        pieces += [
            Piece(b"<timestamp><start>", "start_ns", NUMBER, b"</start>"),
            _element(b"stop", "stop_ns"),
            Piece(b"</timestamp>", "start_ns"),
        ]
    pieces += [_element(b"deltatime", "delta"), Piece(b"</meta>")]
    if style.timestamp:
        pieces.append(Piece(b"<when>", "when_xml", TEXT, b"</when>"))
    pieces.append(_element(b"helper", "helper", TEXT))
    pieces.append(Piece(b"</flow>"))
    return pieces


PROLOG = b'<?xml version="1.0" encoding="utf-8"?>\n<conntrack>\n'
END = b"</conntrack>\n"

_TYPES = (b"", b' type="new"', b' type="update"', b' type="destroy"')
_LAYER3 = tuple(
    {
        uapi.AF_INET: b'<layer3 protonum="2" protoname="ipv4">',
        uapi.AF_INET6: b'<layer3 protonum="10" protoname="ipv6">',
    }.get(number, b"")
    for number in range(11)
)
_LAYER4 = tuple(
    b'</layer3><layer4 protonum="%d" protoname="%s">'
    % (number, PROTOCOLS.get(number, b"unknown"))
    for number in range(256)
)


def _xml_side(side: str, direction: bytes) -> list[Piece]:
    open_meta = b'<meta direction="%s">' % direction
    return [
        Piece(open_meta, "family", WORD, words=_LAYER3),
        _element(b"src", f"{side}_src", ADDRESS),
        _element(b"dst", f"{side}_dst", ADDRESS),
        Piece(b"", "proto", WORD, words=_LAYER4),
        _element(b"sport", f"{side}_sport", when="ports", always=True),
        _element(b"dport", f"{side}_dport", when="ports", always=True),
        *(
            Piece(b"<%s>0x" % tag, f"{side}_{end}", HEX, b"</%s>" % tag, when="gre",
                  always=True)
            for tag, end in ((b"srckey", "sport"), (b"dstkey", "dport"))
        ),
        Piece(b"</layer4>"),
        Piece(b"<zone>", f"{side}_zone", NUMBER, b"</zone>"),
        Piece(b"<counters><packets>", f"{side}_packets", NUMBER, b"</packets>"),
        Piece(b"<bytes>", f"{side}_bytes", NUMBER, b"</bytes></counters>"),
        Piece(b"</meta>"),
    ]  # fmt: skip


def _element(
    tag: bytes,
    column: str,
    kind: int = NUMBER,
    *,
    when: str = "",
    words: Sequence[bytes] = (),
    always: bool = False,
) -> Piece:
    return Piece(
        b"<%s>" % tag, column, kind, b"</%s>" % tag, when=when, words=words,
        always=always,
    )  # fmt: skip


def save(_: Style) -> list[Piece]:
    """A line of ``-o save``, which conntrack takes as a command line."""
    return [
        Piece(b"", "event", WORD, words=_COMMANDS, always=True),
        Piece(b" -t ", "timeout", NUMBER),
        Piece(b" -u ", "status_text", TEXT),
        Piece(b" -c ", "secmark", NUMBER),
        Piece(b" -w ", "zone", NUMBER),
        Piece(b" --orig-zone ", "orig_zone", NUMBER),
        Piece(b" --reply-zone ", "reply_zone", NUMBER),
        Piece(b" -s ", "orig_src", ADDRESS),
        Piece(b" -d ", "orig_dst", ADDRESS),
        Piece(b" -g ", "reply_src", ADDRESS, when="dnat"),
        Piece(b" -r ", "reply_src", ADDRESS, when="plain dst"),
        Piece(b" -n ", "reply_dst", ADDRESS, when="snat"),
        Piece(b" -q ", "reply_dst", ADDRESS, when="plain src"),
        Piece(b" -p ", "proto", WORD, words=_SAVED),
        *_saved_ends("ports", b"sport", b"dport", b"port"),
        *_saved_ends("gre", b"srckey", b"dstkey", b"key"),
        *_saved_icmp("icmp4", b"icmp"),
        *_saved_icmp("icmp6", b"icmpv6"),
        *(Piece(b" --state ", name, WORD, words=words) for name, words in _STATES),
        Piece(b" --orig-vtag ", "sctp_vtag_orig", TAG),
        Piece(b" --reply-vtag ", "sctp_vtag_reply", TAG),
        Piece(b" --role ", "dccp_role", WORD, words=(b"client", b"server")),
    ]


_COMMANDS = (b"-A", b"-A", b"-U", b"-D")
_SAVED = tuple(PROTOCOLS.get(number, b"%d" % number) for number in range(256))
SAVED_STATUS = (
    (uapi.Status.EXPECTED, "EXPECTED"),
    (uapi.Status.SEEN_REPLY, "SEEN_REPLY"),
    (uapi.Status.ASSURED, "ASSURED"),
    (uapi.Status.FIXED_TIMEOUT, "FIXED_TIMEOUT"),
)
"""The status bits ``-u`` can say, in the order of -o save."""


def _saved_ends(when: str, src: bytes, dst: bytes, kind: bytes) -> list[Piece]:
    options = (
        (src, "orig_sport"),
        (dst, "orig_dport"),
        (b"reply-%s-src" % kind, "reply_sport"),
        (b"reply-%s-dst" % kind, "reply_dport"),
    )
    return [
        Piece(b" --%s " % name, column, NUMBER, when=when) for name, column in options
    ]


def _saved_icmp(when: str, name: bytes) -> list[Piece]:
    return [
        Piece(b" --%s-%s " % (name, part), f"orig_icmp_{part.decode()}", NUMBER,
              when=when)
        for part in (b"type", b"code", b"id")
    ]  # fmt: skip


FORMS = {"plain": plain, "xml": xml, "save": save}
