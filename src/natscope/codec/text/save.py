"""Lines of ``conntrack -L -o save``: the command that would make each flow."""

from __future__ import annotations

from collections.abc import Iterator

from natscope import uapi
from natscope.codec.text.cells import (
    Cells,
    Unreadable,
    finish,
    number,
    put_address,
    state,
)
from natscope.codec.text.lines import U8, U16, U32
from natscope.uapi import Status

COMMANDS = ("-A", "-I", "-U", "-D", "--add", "--create", "--update", "--delete")
TOLD = Status.SEEN_REPLY | Status.ASSURED | Status.FIXED_TIMEOUT | Status.EXPECTED

ADDRESSES = {
    "-s": ("orig", "src"),
    "--src": ("orig", "src"),
    "--orig-src": ("orig", "src"),
    "-d": ("orig", "dst"),
    "--dst": ("orig", "dst"),
    "--orig-dst": ("orig", "dst"),
    "-r": ("reply", "src"),
    "--reply-src": ("reply", "src"),
    "-g": ("reply", "src"),
    "--dst-nat": ("reply", "src"),
    "-q": ("reply", "dst"),
    "--reply-dst": ("reply", "dst"),
    "-n": ("reply", "dst"),
    "--src-nat": ("reply", "dst"),
}
NUMBERS = {
    "-t": ("timeout", U32),
    "--timeout": ("timeout", U32),
    "-m": ("mark", U32),
    "--mark": ("mark", U32),
    "-c": ("secmark", U32),
    "--secmark": ("secmark", U32),
    "-w": ("zone", U16),
    "--zone": ("zone", U16),
    "--orig-zone": ("orig_zone", U16),
    "--reply-zone": ("reply_zone", U16),
    "--sport": ("orig_sport", U16),
    "--orig-port-src": ("orig_sport", U16),
    "--dport": ("orig_dport", U16),
    "--orig-port-dst": ("orig_dport", U16),
    "--reply-port-src": ("reply_sport", U16),
    "--reply-port-dst": ("reply_dport", U16),
    "--srckey": ("orig_sport", U16),
    "--dstkey": ("orig_dport", U16),
    "--reply-key-src": ("reply_sport", U16),
    "--reply-key-dst": ("reply_dport", U16),
    **{
        f"--{icmp}-{part}": (f"orig_icmp_{part}", U16 if part == "id" else U8)
        for icmp in ("icmp", "icmpv6")
        for part in ("type", "code", "id")
    },
}
TAGS = {"--orig-vtag": "sctp_vtag_orig", "--reply-vtag": "sctp_vtag_reply"}
"""Printed with their bytes turned round by a little-endian machine, such as
nearly all are: conntrack(8) takes what the library gives it for big-endian."""
_OPPOSITE = {
    "reply_src": "orig_dst",
    "reply_dst": "orig_src",
    "reply_sport": "orig_dport",
    "reply_dport": "orig_sport",
    "reply_icmp_code": "orig_icmp_code",
    "reply_icmp_id": "orig_icmp_id",
}


def looks_like(line: str) -> bool:
    """Whether a line begins as these lines do."""
    return line.partition(" ")[0] in COMMANDS


def parse_line(line: str) -> Cells:
    """One line as a row; what is not said of the reply is the original's.

    Raises:
        Unreadable: what is wrong with it.
    """
    cells: Cells = {}
    words = iter(line.partition(" [USERSPACE]")[0].split()[1:])
    status: int | None = None
    word_of_state: str | None = None
    for option in words:
        if option in ADDRESSES:
            side, end = ADDRESSES[option]
            put_address(cells, side, end, _argument(words, option))
        elif option in NUMBERS:
            column, most = NUMBERS[option]
            cells[column] = number(_argument(words, option), most, option)
        elif option in TAGS:
            tag = number(_argument(words, option), U32, option)
            cells[TAGS[option]] = int.from_bytes(tag.to_bytes(4, "little"))
        elif option in ("-p", "--protonum"):
            cells["proto"] = _protocol(_argument(words, option))
        elif option in ("-u", "--status"):
            status = _status(_argument(words, option))
        elif option == "--state":
            word_of_state = _argument(words, option)
        else:
            msg = f"option {option} is not one of -o save"
            raise Unreadable(msg)
    if word_of_state is not None:
        column, value = state(cells.get("proto", 0), word_of_state)
        cells[column] = value
    if status is not None:
        cells |= {"status": status, "status_mask": int(TOLD)}
    _fill_reply(cells)
    return finish(cells)


def _argument(words: Iterator[str], option: str) -> str:
    try:
        return next(words)
    except StopIteration:
        msg = f"option {option} lacks its argument"
        raise Unreadable(msg) from None


def _protocol(text: str) -> int:
    found = uapi.PROTOCOL_NUMBERS.get(text)
    return number(text, U8, "protocol") if found is None else found


_STATUS_BITS = {name: bit for bit, name in uapi.names(Status).items()}


def _status(text: str) -> int:
    bits = 0
    for name in text.split(","):
        if name == "UNSET":
            continue
        if name not in _STATUS_BITS:
            msg = f"status {name!r} is none"
            raise Unreadable(msg)
        bits |= _STATUS_BITS[name]
    return bits


def _fill_reply(cells: Cells) -> None:
    """The reply tuple is the original turned round, unless a line says more."""
    if "orig_family" in cells:
        cells.setdefault("reply_family", cells["orig_family"])
    for reply, orig in _OPPOSITE.items():
        if orig in cells:
            cells.setdefault(reply, cells[orig])
    if "orig_icmp_type" in cells:
        v6 = cells.get("proto") == uapi.IPPROTO_ICMPV6
        pairs = uapi.ICMPV6_REPLY_TYPE if v6 else uapi.ICMP_REPLY_TYPE
        kind = cells["orig_icmp_type"]
        cells.setdefault("reply_icmp_type", pairs.get(kind, kind))
