"""The reference decoder: one conntrack message to its cells, or to a Flow.

Used for single replies and as the oracle of ``vector``.  Any bytes give a flow
or a DecodeError, nothing else; an attribute given twice counts the last time,
as nla_parse() has it.
"""

from __future__ import annotations

import sys

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from natscope.model.flow import Flow

    Cells = dict[str, Any]
    """One flow, column name to value: addresses packed, numbers as int, texts
    as str; ``extra`` as (path, payload) pairs.  What was not told is not there."""

_TUPLE_FIELDS = ("sport", "dport", "icmp_type", "icmp_code", "icmp_id", "zone")


def decode_cells(message: nlmsg.Bytes) -> Cells:
    """Decode one whole netlink message that describes a flow, lightly.

    Raises:
        DecodeError: with the attribute path and the byte offset.
    """
    nlmsg.see_header(message)
    reading = Reading(message)
    reading.walk(FLOW, nlmsg.ATTRIBUTES_AT, len(message), ())
    return reading.cells()


def decode_flow(message: nlmsg.Bytes) -> Flow:
    """Decode one whole netlink message that describes a flow.

    Raises:
        DecodeError: with the attribute path and the byte offset.
    """
    return flow_of(decode_cells(message))


def flow_of(cells: Cells) -> Flow:
    """The record of a flow's cells."""
    from ipaddress import ip_address

    from natscope.model.flow import Flow, Unknown
    from natscope.model.tuples import FlowTuple

    rest = dict(cells)

    def end(side: str) -> FlowTuple:
        return FlowTuple(
            src=ip_address(rest.pop(f"{side}_src")),
            dst=ip_address(rest.pop(f"{side}_dst")),
            proto=rest.pop("proto" if side == "orig" else f"{side}_proto"),
            **{field: rest.pop(f"{side}_{field}", None) for field in _TUPLE_FIELDS},
        )

    orig, reply = end("orig"), end("reply")
    master = end("master") if "master_src" in rest else None
    extra = tuple(Unknown(*pair) for pair in rest.pop("extra", ()))
    del rest["family"]
    return Flow(orig, reply, master, extra=extra or None, **rest)


class Reading:
    """The values of one message as they are found, by column."""

    def __init__(self, message: nlmsg.Bytes) -> None:
        self.message = message
        self.values: Cells = {}
        self.kinds: dict[str, str] = {}
        self.extra: list[tuple[str, bytes]] = []

    def walk(self, nest: Nest, start: int, end: int, path: tuple[str, ...]) -> None:
        """Read the attributes between two offsets.

        Raises:
            DecodeError: one of them is cut off.
        """
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
        """Read one attribute that has a value."""
        payload = bytes(self.message[attribute.start : attribute.end])
        if leaf is None:
            self.extra.append((".".join(path), payload))
            return
        size = SIZES.get(leaf.kind, len(payload))
        if len(payload) < size:
            reason = f"needs {size} bytes, has {len(payload)}"
            raise DecodeError(reason, path=path, offset=attribute.start)
        if len(payload) > size:
            self.extra.append((".".join(path), payload))
        elif leaf.kind != PAD:
            self.values[leaf.column] = _value(leaf.kind, payload)
            self.kinds[leaf.column] = leaf.kind

    def cells(self) -> Cells:
        """What was read, as the cells of a flow."""
        self.values["family"] = address_family(self.kinds, nlmsg.ATTRIBUTES_AT)
        if self.extra:
            self.values["extra"] = tuple(self.extra)
        return self.values


def _value(kind: str, payload: bytes) -> Any:
    if kind in (IP4, IP6):
        return payload
    if kind == STRING:
        return payload.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    if kind == LABELS:
        # unsigned long[]: lowest word first, each in the host's order
        words = (payload[:8], payload[8:])
        low, high = (int.from_bytes(word, sys.byteorder) for word in words)
        return high << 64 | low
    return int.from_bytes(payload, "big", signed=kind == BE32S)
