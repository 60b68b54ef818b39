"""Packets conntrack complained of, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from natscope import uapi
from natscope.codec import packetline
from natscope.model.flow import Flow
from natscope.views.invalid import Invalid, by_peer, by_reason

SCHEMA = "natscope.invalid/1"
_PEERS = 10
"""As many are named in the summary."""
_INDENT = " " * 14


def lines(one: Invalid, moment: str) -> Iterator[str]:
    """A packet: what it was, why, and the entry beside it."""
    what = "no IP packet" if one.packet is None else packetline.text(one.packet)
    way = f", in {one.iif}" if one.iif else ""
    yield f"{moment}  {what}{way}"
    verdict = "INVALID" if one.complaint.reason.is_invalid else "let through"
    yield f"{_INDENT}{verdict}: {one.complaint.words}"
    if one.entry is not None:
        yield f"{_INDENT}entry: {_entry_line(one.entry)}"


def summary(packets: Sequence[Invalid], silent: int) -> Iterator[str]:
    """Counts by reason, with what to do, and by peer.

    Args:
        packets: all that were shown.
        silent: INVALID packets without a message.
    """
    for reason, count in by_reason(packets):
        verdict = "" if reason.is_invalid else " (let through)"
        yield f"{count:6}  {reason.key}{verdict}"
        yield f"        {reason.advice}"
    if silent > 0:
        yield f"{silent:6}  without a message"
        yield (
            "        too short, an answer nobody asked for, or an ICMP error about an "
            "unknown flow"
        )
    peers = by_peer(packets)
    if peers:
        named = ", ".join(f"{peer} ({count})" for peer, count in peers[:_PEERS])
        more = f", {len(peers) - _PEERS} more" if len(peers) > _PEERS else ""
        yield f"from    {named}{more}"


def document(one: Invalid) -> dict[str, Any]:
    """A packet as one object."""
    packet, complaint = one.packet, one.complaint
    return {
        "time_ns": one.time_ns,
        "packet": None if packet is None else packetline.text(packet),
        "src": None if packet is None else str(packet.src),
        "dst": None if packet is None else str(packet.dst),
        "iif": one.iif,
        "invalid": complaint.reason.is_invalid,
        "reason": complaint.reason.key,
        "words": complaint.words,
        "advice": complaint.reason.advice,
        "kernel": complaint.said,
        "entry": None if one.entry is None else _entry(one.entry),
    }


def _entry(entry: Flow) -> dict[str, Any]:
    state = entry.tcp_state
    return {
        "id": entry.id,
        "orig": packetline.ends_text(entry.orig),
        "reply": packetline.ends_text(entry.reply),
        "tcp_state": None if state is None else _state(state),
        "timeout": entry.timeout,
    }


def _entry_line(entry: Flow) -> str:
    state = "" if entry.tcp_state is None else f" {_state(entry.tcp_state)}"
    left = "" if entry.timeout is None else f", {entry.timeout} s left"
    name = packetline.protocol_text(entry.proto)
    ends = (
        f"{packetline.ends_text(entry.orig)}, reply {packetline.ends_text(entry.reply)}"
    )
    return f"{name}{state} {ends}{left}"


def _state(number: int) -> str:
    return uapi.state_name(uapi.TCP_STATES, number)
