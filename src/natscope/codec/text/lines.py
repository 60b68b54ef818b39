"""Lines of ``conntrack -L`` and ``-E`` and of /proc/net/nf_conntrack.

``proto number [timeout] [STATE] src= dst= … [FLAGS] src= dst= … key=value …``,
as nfct_snprintf (snprintf_default.c) and ct_seq_show print it.
"""

from __future__ import annotations

import re
from datetime import tzinfo

from natscope.codec.text.cells import (
    LINE_STATUS,
    Cells,
    Unreadable,
    ctime_ns,
    finish,
    number,
    put_address,
    state,
)
from natscope.model.flow import Unknown
from natscope.uapi import Status

U8, U16, U32, U64 = 0xFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

_HEAD = re.compile(
    r"(?:\[(?P<when>\d+\.\d+)\]\s+)?"
    r"(?:\[(?P<event>NEW|UPDATE|DESTROY)\]\s+)?"
    r"(?:(?P<family>ipv4|ipv6)\s+\d+\s+)?"
    r"(?P<name>[\w.+-]+)\s+(?P<proto>\d+)"
    r"(?:\s+(?P<timeout>\d+))?"
    r"(?:\s+(?P<state>[A-Z][A-Z_0-9]*))?"
    r"(?:\s+timeout=\d+, stream_timeout=\d+)?"  # gre_print_conntrack, in /proc
    r"\s+(?=src=)",
    re.A,
)
_STAMP = re.compile(r"\[(start|stop)=([^\]]*)\]")
_TAIL = re.compile(r"\s*\[USERSPACE\]")  # who asked for the event, not the flow
_LABELS = re.compile(r"\slabels=(.*)$")

_SIDED = {
    "sport": ("sport", U16),
    "dport": ("dport", U16),
    "srckey": ("sport", U16),
    "dstkey": ("dport", U16),
    "type": ("icmp_type", U8),
    "code": ("icmp_code", U8),
    "packets": ("packets", U64),
    "bytes": ("bytes", U64),
}
_WHOLE = {
    "mark": ("mark", U32),
    "secmark": ("secmark", U32),
    "zone": ("zone", U16),
    "zone-orig": ("orig_zone", U16),
    "zone-reply": ("reply_zone", U16),
    "delta-time": ("delta_time", U32),
    "use": ("use", U32),
}
_TEXTS = ("helper", "secctx")
FLAGS = {
    "[ASSURED]": int(Status.ASSURED),
    "[OFFLOAD]": int(Status.OFFLOAD),
    "[HW_OFFLOAD]": int(Status.HW_OFFLOAD),
}


def looks_like(line: str) -> bool:
    """Whether a line begins as these lines do."""
    return _HEAD.match(line) is not None


def is_event(line: str) -> bool:
    """Whether a line says what happened to its flow, as ``-E`` prints it."""
    head = _HEAD.match(line)
    return head is not None and head["event"] is not None


def parse_line(line: str, zone: tzinfo | None = None) -> Cells:
    """One line as a row.

    Args:
        line: without its newline.
        zone: the time zone of ``[start=…]``, which conntrack prints as
            ctime(3); None is that of this machine.

    Raises:
        Unreadable: what is wrong with it.
    """
    head = _HEAD.match(line)
    if head is None:
        msg = "not 'PROTOCOL NUMBER … src=… dst=…'"
        raise Unreadable(msg)
    cells: Cells = {"proto": number(head["proto"], U8, "protocol")}
    if head["timeout"] is not None:
        cells["timeout"] = number(head["timeout"], U32, "timeout")
    if head["state"] is not None:
        column, value = state(cells["proto"], head["state"])
        cells[column] = value
    if head["when"] is not None:
        seconds, _, fraction = head["when"].partition(".")
        cells["event_ns"] = number(seconds + fraction.ljust(9, "0")[:9], U64, "time")
    rest = _TAIL.split(line[head.end() :], maxsplit=1)[0]
    rest = _take_times(cells, rest, zone)
    _take_words(cells, _take_labels(cells, rest).split())
    return finish(cells)


def _take_times(cells: Cells, rest: str, zone: tzinfo | None) -> str:
    if "[st" not in rest:
        return rest
    for which, text in _STAMP.findall(rest):
        cells[f"{which}_ns"] = ctime_ns(text, zone)
    return _STAMP.sub("", rest)


def _take_labels(cells: Cells, rest: str) -> str:
    """Labels come last, and their names may hold blanks."""
    found = _LABELS.search(rest)
    if found is None:
        return rest
    cells["label_names"] = found[1].strip()
    return rest[: found.start()]


def _take_words(cells: Cells, words: list[str]) -> None:
    side = ""
    flags = 0
    extra: list[Unknown] = []
    replied = True
    for word in words:
        key, equals, value = word.partition("=")
        if key == "src":
            side = "reply" if side else "orig"  # a third one is told twice
            put_address(cells, side, "src", value)
        elif key == "dst":
            put_address(cells, side, "dst", value)
        elif key in _SIDED:
            column, most = _SIDED[key]
            cells[f"{side}_{column}"] = number(value, most, key)
        elif key in _WHOLE:
            column, most = _WHOLE[key]
            cells[column] = number(value, most, key)
        elif key == "id":
            _take_id(cells, side, value)
        elif key in _TEXTS:
            cells[key] = value
        elif word == "[UNREPLIED]":
            replied = False
        elif word in FLAGS:
            flags |= FLAGS[word]
        elif equals or word.startswith("["):
            extra.append(Unknown(f"text.{key}", value.encode()))
        else:
            msg = f"{word!r} is neither KEY=VALUE nor a [FLAG]"
            raise Unreadable(msg)
    cells["status"] = flags | (int(Status.SEEN_REPLY) if replied else 0)
    cells["status_mask"] = told(flags)
    if extra:
        cells["extra"] = tuple(extra)


def told(flags: int) -> int:
    """The status bits a line with these flags tells, set or not.

    One flag of three is printed: HW_OFFLOAD hides OFFLOAD hides ASSURED.
    """
    if flags & Status.HW_OFFLOAD:
        return int(LINE_STATUS & ~(Status.OFFLOAD | Status.ASSURED))
    if flags & Status.OFFLOAD:
        return int(LINE_STATUS & ~Status.ASSURED)
    return int(LINE_STATUS)


def _take_id(cells: Cells, side: str, value: str) -> None:
    """``id=`` is the ICMP id inside a tuple, the entry's own after them."""
    column = f"{side}_icmp_id"
    if f"{side}_icmp_type" in cells and column not in cells:
        cells[column] = number(value, U16, "id")
    else:
        cells["id"] = number(value, U32, "id")
