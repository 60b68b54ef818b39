"""What ``-o save`` lines are made of, as tables for ``bulk_save``.

Words have codes, their places in a vocabulary; the arrays ``…_OF`` are indexed
by code, NEEDS and ALLOWED by protocol number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.cells import STATE_TABLES
from natscope.codec.text.lines import U32
from natscope.codec.text.save import ADDRESSES, COMMANDS, NUMBERS, TAGS
from natscope.codec.text.words import Vocabulary
from natscope.uapi import Status

Array = NDArray[Any]

COMMAND_WORDS = Vocabulary(COMMANDS)
ADD, INSERT = (
    [COMMANDS.index(word) for word in words]
    for words in (("-A", "--add"), ("-I", "--create"))
)

ENDS = ("orig_src", "orig_dst", "reply_src", "reply_dst")
_PORTS = ("orig_sport", "orig_dport", "reply_sport", "reply_dport")
ICMP = ("orig_icmp_type", "orig_icmp_code", "orig_icmp_id")
VTAGS = tuple(TAGS.values())
_OTHERS = ("timeout", "mark", "zone", "orig_zone", "reply_zone")
SLOTS = (*ENDS, *_PORTS, *ICMP, *VTAGS, *_OTHERS, "proto", "status", "state")
"""What a line can tell once; all but the last are columns."""
SLOT = {name: slot for slot, name in enumerate(SLOTS)}
SRC_NAT_BIT, DST_NAT_BIT, UNKNOWN_BIT = 1 << 61, 1 << 62, 1 << 63
"""Said beside the slots: ``-n``, ``-g``, and what no option is."""
_NAT_BITS = {
    **dict.fromkeys(("-n", "--src-nat"), SRC_NAT_BIT),
    **dict.fromkeys(("-g", "--dst-nat"), DST_NAT_BIT),
}

ANY, _PORT, _KEY, _ICMP4, _ICMP6, _VTAG, _STATE = range(7)
"""Whose options they are: every flow's, or those of some protocols."""


def _owner(word: str) -> int:
    """Whose option this is, by its name."""
    owners = {"key": _KEY, "icmpv6": _ICMP6, "icmp": _ICMP4, "vtag": _VTAG}
    owners |= {"port": _PORT, "state": _STATE}
    return next((owner for part, owner in owners.items() if part in word), ANY)


_MEANING: dict[str, tuple[str, int]] = {
    **{word: (f"{side}_{end}", 0) for word, (side, end) in ADDRESSES.items()},
    **{word: meant for word, meant in NUMBERS.items() if meant[0] != "secmark"},
    **{word: (column, U32) for word, column in TAGS.items()},
    **dict.fromkeys(("-p", "--protonum"), ("proto", 0)),
    **dict.fromkeys(("-u", "--status"), ("status", 0)),
    "--state": ("state", 0),
}
"""Option: what it tells, and the greatest number it takes.

``-c`` is none of them: conntrack(8) prints it and takes it from nobody.
"""
OPTIONS = Vocabulary(tuple(_MEANING))
SLOT_OF = np.array([SLOT[name] for name, _ in _MEANING.values()], np.int8)
MOST_OF = np.array([most for _, most in _MEANING.values()], np.uint64)
OWNER_OF = np.array([_owner(word) for word in _MEANING], np.uint8)
BITS_OF = np.array(
    [
        *(1 << SLOT[n] | _NAT_BITS.get(word, 0) for word, (n, _) in _MEANING.items()),
        UNKNOWN_BIT,  # the last one: what code -1 finds
    ],
    np.uint64,
)

_NAMES = ("tcp", "udp", "udplite", "sctp", "icmp", "icmpv6", "gre", "dccp")
PROTOCOLS = Vocabulary(_NAMES)
NUMBER_OF = np.array([uapi.PROTOCOL_NUMBERS[name] for name in _NAMES], np.uint8)
_OWNS = {
    uapi.IPPROTO_TCP: (_PORT, _STATE),
    uapi.IPPROTO_UDP: (_PORT,),
    uapi.IPPROTO_UDPLITE: (_PORT,),
    uapi.IPPROTO_SCTP: (_PORT, _STATE, _VTAG),
    uapi.IPPROTO_ICMP: (_ICMP4,),
    uapi.IPPROTO_ICMPV6: (_ICMP6,),
    uapi.IPPROTO_GRE: (_KEY,),
}
_TELLS = {
    **dict.fromkeys((_PORT, _KEY), _PORTS),
    **dict.fromkeys((_ICMP4, _ICMP6), ICMP),
    _VTAG: VTAGS,
    _STATE: ("state",),
}


def _bits(names: Sequence[str]) -> int:
    return sum(1 << SLOT[name] for name in names)


def _needs() -> Array:
    """By protocol, the bits of what a line must tell."""
    needs = np.full(256, _bits((*ENDS, "timeout", "proto")), np.uint64)
    for proto, owners in _OWNS.items():
        for owner in owners:
            needs[proto] |= np.uint64(_bits(_TELLS[owner]))
    needs[uapi.IPPROTO_DCCP] = UNKNOWN_BIT  # printed without its role: a puzzle
    return needs


def _allowed() -> Array:
    """By protocol and owner, whether the protocol has its options."""
    allowed = np.zeros((256, _STATE + 1), np.bool_)
    allowed[:, ANY] = True
    for proto, owners in _OWNS.items():
        allowed[proto, list(owners)] = True
    return allowed


NEEDS, ALLOWED = _needs(), _allowed()
NAMED = np.isin(np.arange(256), NUMBER_OF)

_PRINTED = ("SEEN_REPLY", "ASSURED", "FIXED_TIMEOUT", "EXPECTED")
"""Status bits in the order of print_status_in_ct_save()."""
_CHOSEN = [some for n in range(1, 5) for some in combinations(_PRINTED, n)]
STATUSES = Vocabulary(("UNSET", *map(",".join, _CHOSEN)))
STATUS_OF = np.array(
    [0, *(sum(getattr(Status, name) for name in some) for some in _CHOSEN)], np.uint32
)
STATES = Vocabulary(
    sorted({name for _, names in STATE_TABLES.values() for name in names})
)


def _state_codes(names: Sequence[str]) -> Array:
    """For each word of STATES its number in one protocol's table, or -1."""
    return np.array([names.index(w) if w in names else -1 for w in STATES.words])


STATE_OF = {
    proto: (column, _state_codes(names))
    for proto, (column, names) in STATE_TABLES.items()
    if _STATE in _OWNS.get(proto, ())
}
