"""Words of a listing as cells of a table row.

A row is a dict of column name to value; addresses are integers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from natscope import uapi
from natscope.uapi import Status

Cells = dict[str, Any]

LINE_STATUS = Status.SEEN_REPLY | Status.ASSURED | Status.OFFLOAD | Status.HW_OFFLOAD
"""The status bits a plain line tells, set or not."""

_REMEMBERED = 100_000
_known: dict[str, tuple[int, int]] = {}


class Unreadable(ValueError):
    """A word that is not what its place asks for."""


def address(text: str) -> tuple[int, int]:
    """Family and number of an address.

    Raises:
        Unreadable: it is none.
    """
    found = _known.get(text)
    if found is None:
        found = _parse_address(text)
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[text] = found
    return found


def _parse_address(text: str) -> tuple[int, int]:
    try:
        if ":" in text:
            return uapi.AF_INET6, int(IPv6Address(text))
        return uapi.AF_INET, int(IPv4Address(text))
    except ValueError as error:
        msg = f"{text!r} is no address"
        raise Unreadable(msg) from error


def number(text: str, most: int, what: str) -> int:
    """A whole number from 0 up to ``most``, decimal or 0x hexadecimal.

    Raises:
        Unreadable: it is none.
    """
    try:
        value = int(text, 16) if text[:2] == "0x" else int(text)
    except ValueError as error:
        msg = f"{what} {text!r} is no number"
        raise Unreadable(msg) from error
    if not 0 <= value <= most:
        msg = f"{what} {text} is beyond {most}"
        raise Unreadable(msg)
    return value


STATE_TABLES = {
    uapi.IPPROTO_TCP: ("tcp_state", uapi.TCP_STATES),
    uapi.IPPROTO_SCTP: ("sctp_state", uapi.SCTP_STATES),
    uapi.IPPROTO_DCCP: ("dccp_state", uapi.DCCP_STATES),
}


def state(proto: int, word: str) -> tuple[str, int]:
    """The column and number of a state word; LISTEN is the old SYN_SENT2.

    Raises:
        Unreadable: the protocol has no such state.
    """
    column, names = STATE_TABLES.get(proto, ("", ()))
    if word in names:
        return column, names.index(word)
    if column == "tcp_state" and word == "LISTEN":
        return column, names.index("SYN_SENT2")
    msg = f"{word!r} is no state of protocol {proto}"
    raise Unreadable(msg)


def finish(cells: Cells) -> Cells:
    """A complete row, the family checked.

    Raises:
        Unreadable: a tuple is missing, or the families differ.
    """
    families = {cells.pop(f"{side}_family", 0) for side in ("orig", "reply")}
    if 0 in families or "proto" not in cells:
        missing = "an address" if 0 in families else "the protocol"
        msg = f"{missing} is missing: a flow has two tuples"
        raise Unreadable(msg)
    for name in ("orig_src", "orig_dst", "reply_src", "reply_dst"):
        if name not in cells:
            msg = f"{name} is missing: a flow has two tuples"
            raise Unreadable(msg)
    if len(families) > 1:
        msg = "IPv4 and IPv6 in one flow"
        raise Unreadable(msg)
    cells["family"] = families.pop()
    cells["reply_proto"] = cells["proto"]
    return cells


def put_address(cells: Cells, side: str, end: str, text: str) -> None:
    """One end of one tuple; both ends must be of one family."""
    family, value = address(text)
    if cells.setdefault(f"{side}_family", family) != family:
        msg = "IPv4 and IPv6 in one tuple"
        raise Unreadable(msg)
    cells[f"{side}_{end}"] = value
