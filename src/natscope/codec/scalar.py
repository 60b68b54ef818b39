"""The reference decoder: one conntrack message to one Flow.  Clear, not fast.

Used for single replies and as the oracle of ``vector``.  Any bytes give a Flow
or a DecodeError, nothing else; an attribute given twice counts the last time,
as nla_parse() has it.
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from natscope.codec import nla, nlmsg
from natscope.codec.schema import (
    BE32S,
    FLOW,
    IP4,
    IP6,
    LABELS,
    PAD,
    SIZES,
    STRING,
    Leaf,
    Nest,
    address_family,
)
from natscope.errors import DecodeError
from natscope.model.flow import Flow, Unknown
from natscope.model.tuples import FlowTuple

_TUPLE_FIELDS = ("sport", "dport", "icmp_type", "icmp_code", "icmp_id", "zone")


def decode_flow(message: nlmsg.Bytes) -> Flow:
    """Decode one whole netlink message that describes a flow.

    Raises:
        DecodeError: with the attribute path and the byte offset.
    """
    if len(message) < nlmsg.ATTRIBUTES_AT:
        reason = f"needs {nlmsg.ATTRIBUTES_AT} bytes, has {len(message)}"
        raise DecodeError(reason, path=("nfgenmsg",), offset=len(message))
    reading = _Reading(message)
    reading.walk(FLOW, nlmsg.ATTRIBUTES_AT, len(message), ())
    return reading.flow()


class _Reading:
    """The values of one message as they are found, by column."""

    def __init__(self, message: nlmsg.Bytes) -> None:
        self.message = message
        self.values: dict[str, Any] = {}
        self.kinds: dict[str, str] = {}
        self.extra: list[Unknown] = []

    def walk(self, nest: Nest, start: int, end: int, path: tuple[str, ...]) -> None:
        for attribute in nla.walk(self.message, start, end, path or (nest.name,)):
            child = nest.children.get(attribute.type)
            here = (*path, child.name if child else nest.child_name(attribute.type))
            if isinstance(child, Nest):
                self.walk(child, attribute.start, attribute.end, here)
            else:
                self.leaf(child, attribute, here)

    def leaf(
        self, leaf: Leaf | None, attribute: nla.Attribute, path: tuple[str, ...]
    ) -> None:
        payload = bytes(self.message[attribute.start : attribute.end])
        if leaf is None:
            self.extra.append(Unknown(".".join(path), payload))
            return
        size = SIZES.get(leaf.kind, len(payload))
        if len(payload) < size:
            reason = f"needs {size} bytes, has {len(payload)}"
            raise DecodeError(reason, path=path, offset=attribute.start)
        if len(payload) > size:
            self.extra.append(Unknown(".".join(path), payload))
        elif leaf.kind != PAD:
            self.values[leaf.column] = _value(leaf.kind, payload)
            self.kinds[leaf.column] = leaf.kind

    def flow(self) -> Flow:
        address_family(self.kinds, nlmsg.ATTRIBUTES_AT)
        orig, reply = self.tuple("orig"), self.tuple("reply")
        master = self.tuple("master") if "master_src" in self.values else None
        extra = tuple(self.extra) or None
        return Flow(orig, reply, master, extra=extra, **self.values)

    def tuple(self, side: str) -> FlowTuple:
        take = self.values.pop
        return FlowTuple(
            src=take(f"{side}_src"),
            dst=take(f"{side}_dst"),
            proto=take("proto" if side == "orig" else f"{side}_proto"),
            **{field: take(f"{side}_{field}", None) for field in _TUPLE_FIELDS},
        )


def _value(kind: str, payload: bytes) -> Any:
    if kind == IP4:
        return IPv4Address(payload)
    if kind == IP6:
        return IPv6Address(payload)
    if kind == STRING:
        return payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    if kind == LABELS:
        # unsigned long[]: lowest word first, each in the host's order
        words = (payload[:8], payload[8:])
        low, high = (int.from_bytes(word, sys.byteorder) for word in words)
        return high << 64 | low
    return int.from_bytes(payload, "big", signed=kind == BE32S)
