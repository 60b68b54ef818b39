"""Words of a listing as cells of a table row.

A row is a dict of column name to value; addresses are integers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from natscope import uapi
from natscope.uapi import Status

Cells = dict[str, Any]

LINE_STATUS = Status.SEEN_REPLY | Status.ASSURED | Status.OFFLOAD | Status.HW_OFFLOAD
"""The status bits a plain line tells, set or not."""

_CTIME = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})", re.A
)
_MONTHS = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]
_DECIMAL = re.compile(r"[0-9]{1,20}")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_NS = 10**9


class Unreadable(ValueError):
    """A word that is not what its place asks for."""


@lru_cache(maxsize=1 << 14)
def address(text: str) -> tuple[int, int]:
    """Family and number of an address.

    Raises:
        Unreadable: it is none.
    """
    try:
        if ":" not in text:
            return uapi.AF_INET, int(IPv4Address(text))
        found = IPv6Address(text)
    except ValueError as error:
        msg = f"{text!r} is no address"
        raise Unreadable(msg) from error
    if found.scope_id is not None:
        msg = f"{text!r} has a scope, which no tuple has"
        raise Unreadable(msg)
    return uapi.AF_INET6, int(found)


def number(text: str, most: int, what: str) -> int:
    """A whole number from 0 up to ``most``, decimal or 0x hexadecimal.

    Raises:
        Unreadable: it is none.
    """
    # int() would also take blanks, signs, underscores and foreign digits
    if _DECIMAL.fullmatch(text):
        value = int(text)
    elif _HEXADECIMAL.fullmatch(text):
        value = int(text, 16)
    else:
        msg = f"{what} {text!r} is no number"
        raise Unreadable(msg)
    if value > most:
        msg = f"{what} {text} is beyond {most}"
        raise Unreadable(msg)
    return value


def ctime_ns(text: str, zone: tzinfo | None) -> int:
    """A time as ctime(3) prints it, in English everywhere; see :func:`clock_ns`.

    Raises:
        Unreadable: it is none.
    """
    found = _CTIME.fullmatch(text)
    if found is None or found[1] not in _MONTHS:
        msg = f"time {text!r} is not as ctime(3) prints it"
        raise Unreadable(msg)
    day, hour, minute, second, year = map(int, found.groups()[1:])
    month = _MONTHS.index(found[1]) + 1
    return clock_ns((year, month, day, hour, minute, second), zone)


def clock_ns(fields: Sequence[int], zone: tzinfo | None) -> int:
    """A wall clock time of the box, year to second, as nanoseconds since 1970.

    Args:
        fields: year, month, day, hour, minute, second.
        zone: the box's; None is that of this machine.

    Raises:
        Unreadable: the calendar has no such time, or it is before 1970.
    """
    try:
        year, month, day, hour, minute, second = fields
        moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError, OSError):
        seconds = -1
    if seconds < 0:
        msg = f"the calendar has no {'-'.join(map(str, fields))} after 1970"
        raise Unreadable(msg)
    return seconds * _NS


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
    """One end of one tuple; both ends must be of one family.

    Raises:
        Unreadable: it is no address, of another family, or told twice.
    """
    family, value = address(text)
    if cells.setdefault(f"{side}_family", family) != family:
        msg = "IPv4 and IPv6 in one tuple"
        raise Unreadable(msg)
    column = f"{side}_{end}"
    if column in cells:
        msg = f"{column} is told twice"
        raise Unreadable(msg)
    cells[column] = value
