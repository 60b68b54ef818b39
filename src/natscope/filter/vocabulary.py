"""Every word a filter may hold, looked up: what it means, takes and is compiled to.

The one table (``words``) is behind the parser, its errors, ``natscope help filter``
and ``docs/reference/filters.md``.
"""

from __future__ import annotations

from natscope import uapi
from natscope.filter.syntax import Term
from natscope.filter.word import PROTOCOL, Takes, Word, key
from natscope.filter.words import WORDS, spellings

__all__ = [
    "BARE",
    "BY_NAME",
    "CHANGED",
    "CONNECTIVES",
    "ELSEWHERE",
    "FAMILIES",
    "FAMILY_NAMES",
    "PARTS",
    "PORTLESS",
    "PROTOCOL",
    "SENDS_REQUESTS",
    "STATES",
    "STATE_ALIASES",
    "STATE_NAMES",
    "TUPLE_ENDS",
    "WORDS",
    "Takes",
    "Word",
    "key",
]

TUPLE_ENDS = ("orig_src", "orig_dst", "reply_src", "reply_dst")
PARTS = ("inside", "public", "outside", "target")
PORTLESS = (uapi.IPPROTO_ICMP, uapi.IPPROTO_ICMPV6, uapi.IPPROTO_GRE)
"""Protocols whose ids and keys stand where ports do, but are none."""
SENDS_REQUESTS = {"orig_src": "orig_icmp_id", "reply_dst": "reply_icmp_id"}
"""The ends an ICMP id stands at, as in model.nat.endpoint, and its columns."""

CHANGED = {
    "sport": (("orig_sport", "reply_dport"), ("orig_icmp_id", "reply_icmp_id")),
    "dport": (("orig_dport", "reply_sport"),),
}
"""Columns that are equal unless a port, GRE key or ICMP id is translated."""

BY_NAME: dict[str, Word] = {
    spelling: word for word in WORDS for spelling in spellings(word)
}
"""Words by every spelling, as :func:`key` writes it."""
BARE: dict[Term, str] = {
    word.term: word.word for word in WORDS if word.term is not None
}
"""The word that says a term by itself."""

CONNECTIVES = {
    "and": "and",
    "&&": "and",
    "or": "or",
    "||": "or",
    "not": "not",
    "!": "not",
}

STATES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tcp_state", uapi.TCP_STATES),
    ("sctp_state", uapi.SCTP_STATES),
    ("dccp_state", uapi.DCCP_STATES),
)
"""Columns that hold a protocol state, with its names."""
STATE_NAMES = tuple(dict.fromkeys(name for _, names in STATES for name in names))
STATE_ALIASES = {"LISTEN": "SYN_SENT2"}  # TCP's value 9 had this name before 2.6.31

FAMILIES = {
    **dict.fromkeys(("ipv4", "ip", "ip4", "inet"), uapi.AF_INET),
    **dict.fromkeys(("ipv6", "ip6", "inet6"), uapi.AF_INET6),
}
FAMILY_NAMES = {uapi.AF_INET: "ipv4", uapi.AF_INET6: "ipv6"}

ELSEWHERE = {
    **{"sport": "src port", "dport": "dst port", "saddr": "src", "daddr": "dst"},
    **{"protocol": "proto", "l4proto": "proto", "masquerade": "snat"},
    **{"source": "src", "destination": "dst", "portforward": "dnat"},
    **{"new": "unreplied", "ctmark": "mark", "connmark": "mark", "any": "host"},
    **{"ttl": "timeout", "less": "bytes < N", "greater": "bytes > N"},
    **{"local": "inside", "global": "public", "remote": "outside"},
}
"""Words of other tools, and what to write here."""
