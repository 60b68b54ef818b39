"""A tuple as an object."""

from __future__ import annotations

from natscope.model.tuples import FlowTuple


def tuple_object(one: FlowTuple) -> dict[str, str | int | None]:
    """Who to whom; null is what the protocol does not have."""
    return {
        "src": str(one.src),
        "dst": str(one.dst),
        "proto": one.proto,
        "sport": one.sport,
        "dport": one.dport,
        "icmp_id": one.icmp_id,
    }
