"""The options that follow ``-p PROTOCOL``, as data, and how a protocol is found."""

from __future__ import annotations

from _socket import getprotobyname

from natscope import uapi
from natscope.cli.conntrack.getopt import ARGUMENT
from natscope.cli.conntrack.grammar import Option
from natscope.cli.conntrack.values import U8, U16, U32, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from natscope.cli.conntrack.getopt import Longs

PORT, KEY, NUMBER, STATE, ROLE, TAG = range(6)
"""A port, a GRE key, another number, a state, a DCCP role, an SCTP tag."""
FLOW, EXPECTED, MASK = range(3)
"""What a value belongs to: the flow, the expected tuple, its mask."""
_METAVARS = {
    PORT: "PORT[,...]",
    KEY: "KEY[,...]",
    NUMBER: "NUMBER",
    TAG: "NUMBER",
    STATE: "STATE[,...]",
    ROLE: "client|server",
}


class ProtocolOption(Option):
    """An option of a protocol: which cell of what it gives a value.

    ``most`` is the greatest value; ``what`` is what messages call it.
    """

    __slots__ = ("column", "kind", "most", "of", "what")

    def __init__(
        self,
        longs: str,
        column: str,
        kind: int,
        help: str,
        may: str = "",
        must: str = "",
        pair: str = "",
        of: int = FLOW,
        most: int = U16,
        what: str = "",
    ) -> None:
        Option.__init__(self, "", longs, _METAVARS[kind], help, may, must, pair)
        self.column = column
        self.kind = kind
        self.of = of
        self.most = most
        self.what = what or ("key" if kind == KEY else "port")


class Protocol:
    """A protocol conntrack has options for, and its states.

    ``pairs`` of options are required by twos where they are PAIRED, and
    ``pair_names`` is what conntrack's message calls them.
    """

    __slots__ = (
        "name",
        "number",
        "options",
        "pair_names",
        "pairs",
        "state_aliases",
        "state_column",
        "states",
        "unknown_state",
    )

    def __init__(
        self,
        name: str,
        number: int,
        options: tuple[ProtocolOption, ...] = (),
        pairs: tuple[tuple[str, str], ...] = (),
        pair_names: tuple[tuple[str, str], ...] = (),
        states: tuple[str, ...] = (),
        unknown_state: str = "",
    ) -> None:
        self.name = name
        self.number = number
        self.options = options
        self.pairs = pairs
        self.pair_names = pair_names or pairs
        self.states = states
        # TCP's value 9 had this name before Linux 2.6.31
        self.state_aliases = {"LISTEN": "SYN_SENT2"} if name == "tcp" else {}
        self.state_column = f"{name}_state" if states else ""
        self.unknown_state = unknown_state

    def longs(self) -> Longs:
        """The long options, each with its name as key."""
        return {
            long: (ARGUMENT, one.name) for one in self.options for long in one.longs
        }

    def option(self, name: str) -> ProtocolOption | None:
        """The option of a name."""
        for one in self.options:
            if one.name == name:
                return one
        return None


_MAY, _PAIR, _EXPECT = "L U D E", "I A G", "Ix Dx Gx"


def _ends(
    kind: int, what: str, src: str, dst: str, reply_must: str
) -> tuple[ProtocolOption, ...]:
    """Ports or keys of the flow, and of the mask of an expectation."""

    def option(
        longs: str,
        column: str,
        help: str,
        may: str = _MAY,
        must: str = reply_must,
        pair: str = _PAIR,
        of: int = FLOW,
    ) -> ProtocolOption:
        help = f"{help} {what}"
        return ProtocolOption(longs, column, kind, help, may, must, pair, of)

    return (
        option(f"orig-{what}-src {src}", "orig_sport", "original source", must=_EXPECT),
        option(
            f"orig-{what}-dst {dst}", "orig_dport", "original destination", must=_EXPECT
        ),
        option(f"reply-{what}-src", "reply_sport", "reply source"),
        option(f"reply-{what}-dst", "reply_dport", "reply destination"),
        option(f"mask-{what}-src", "orig_sport", "mask source", "", "Ix", "", MASK),
        option(
            f"mask-{what}-dst", "orig_dport", "mask destination", "", "Ix", "", MASK
        ),
    )


def _expected(kind: int, what: str) -> tuple[ProtocolOption, ...]:
    """Ports or keys of an expected tuple."""
    ends = (("src", "orig_sport", "source"), ("dst", "orig_dport", "destination"))
    return tuple(
        ProtocolOption(
            f"tuple-{what}-{end}",
            column,
            kind,
            f"{meaning} {what} that is expected",
            must="Ix",
            of=EXPECTED,
        )
        for end, column, meaning in ends
    )


def _state(name: str) -> ProtocolOption:
    help = f"{name.upper()} state to match, several by comma; or to set"
    return ProtocolOption(
        "state", f"{name}_state", STATE, help, may="L U D G E", must="I A"
    )


def _vtag(way: str, meaning: str) -> ProtocolOption:
    return ProtocolOption(
        f"{way}-vtag",
        f"sctp_vtag_{way}",
        TAG,
        f"{meaning} verification tag",
        may="U G",
        must="I A Ix",
        most=U32,
        what="verification tag",
    )


def _icmp(name: str) -> tuple[ProtocolOption, ...]:
    return (
        ProtocolOption(
            f"{name}-type",
            "orig_icmp_type",
            NUMBER,
            "type of the original direction",
            may=_MAY,
            must=_PAIR,
            most=U8,
            what="ICMP type",
        ),
        ProtocolOption(
            f"{name}-code",
            "orig_icmp_code",
            NUMBER,
            "code of the original direction",
            may=_MAY,
            must=_PAIR,
            most=U8,
            what="ICMP code",
        ),
        ProtocolOption(
            f"{name}-id",
            "orig_icmp_id",
            NUMBER,
            "id of the original direction",
            may=f"{_MAY} {_PAIR}",
            what="ICMP id",
        ),
    )


_PORTS = _ends(PORT, "port", "sport", "dport", "Dx Gx")
_KEYS = _ends(KEY, "key", "srckey", "dstkey", _EXPECT)
_EXPECTED_PORTS = _expected(PORT, "port")
_ROLE = ProtocolOption("role", "dccp_role", ROLE, "who opened it", must="I A Ix")

_PORT_PAIRS = (("sport", "dport"), ("reply-port-src", "reply-port-dst"))
_PORT_NAMES = (("sport", "dport"), ("reply-src-port", "reply-dst-port"))
# sic, as conntrack 1.4.7 to 1.4.9 say it
_DCCP_NAMES = (("sport", "dport"), ("reply-port-src", "report-port-dst"))
_KEY_PAIRS = (("srckey", "dstkey"), ("reply-key-src", "reply-key-dst"))
_KEY_NAMES = (("srckey", "dstkey"), ("reply-src-key", "reply-dst-key"))

PROTOCOLS = (
    Protocol(
        "tcp",
        uapi.IPPROTO_TCP,
        (*_PORTS, _state("tcp"), *_EXPECTED_PORTS),
        _PORT_PAIRS,
        _PORT_NAMES,
        uapi.TCP_STATES,
        "unknown TCP state",
    ),
    Protocol(
        "udp",
        uapi.IPPROTO_UDP,
        (*_PORTS, *_EXPECTED_PORTS),
        _PORT_PAIRS,
        _PORT_NAMES,
    ),
    Protocol(
        "udplite",
        uapi.IPPROTO_UDPLITE,
        (*_PORTS, *_EXPECTED_PORTS),
        _PORT_PAIRS,
        _PORT_NAMES,
    ),
    Protocol(
        "sctp",
        uapi.IPPROTO_SCTP,
        (
            *_PORTS,
            _state("sctp"),
            *_EXPECTED_PORTS,
            _vtag("orig", "original"),
            _vtag("reply", "reply"),
        ),
        _PORT_PAIRS,
        _PORT_NAMES,
        uapi.SCTP_STATES,
        "unknown SCTP state",
    ),
    Protocol(
        "dccp",
        uapi.IPPROTO_DCCP,
        (*_PORTS, _state("dccp"), *_EXPECTED_PORTS, _ROLE),
        _PORT_PAIRS,
        _DCCP_NAMES,
        uapi.DCCP_STATES,
        "Unknown DCCP state",
    ),
    Protocol("icmp", uapi.IPPROTO_ICMP, _icmp("icmp")),
    Protocol("icmpv6", uapi.IPPROTO_ICMPV6, _icmp("icmpv6")),
    Protocol(
        "gre",
        uapi.IPPROTO_GRE,
        (*_KEYS, *_expected(KEY, "key")),
        _KEY_PAIRS,
        _KEY_NAMES,
    ),
)
ROLES = ("client", "server")
UNKNOWN = "unknown"
"""What conntrack calls a protocol it has no options for."""


def find(text: str) -> Protocol | None:
    """A protocol by conntrack's name, one of /etc/protocols, or number."""
    for known in PROTOCOLS:
        if known.name == text.lower():
            return known
    try:
        # a name of /etc/protocols gets no options, whatever its number
        return Protocol(UNKNOWN, getprotobyname(text))
    except (OSError, ValueError):
        pass
    number = whole(text, U8)
    if number is None:
        return None
    for known in PROTOCOLS:
        if known.number == number:
            return known
    return Protocol(UNKNOWN, number)
