"""A flow as one record: what a row of a FlowTable says, for people and tests."""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.ipversion import family_of
from natscope.model.tuples import FlowTuple


@dataclass(frozen=True, slots=True)
class Unknown:
    """An attribute this version has no column for, kept as it came.

    ``path`` joins attribute names (numbers where unknown) with dots.
    """

    path: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry of the connection tracking table.

    Field names and units are those of the columns (``docs/reference/columns``);
    ``None`` means the source did not say.
    """

    orig: FlowTuple
    reply: FlowTuple
    master: FlowTuple | None = None
    zone: int | None = None
    status: int | None = None
    status_mask: int | None = None
    """Status bits the source could tell; ``None`` when it told them all."""
    timeout: int | None = None
    mark: int | None = None
    orig_packets: int | None = None
    orig_bytes: int | None = None
    reply_packets: int | None = None
    reply_bytes: int | None = None
    tcp_state: int | None = None
    tcp_wscale_orig: int | None = None
    tcp_wscale_reply: int | None = None
    tcp_flags_orig: int | None = None
    tcp_flags_reply: int | None = None
    sctp_state: int | None = None
    sctp_vtag_orig: int | None = None
    sctp_vtag_reply: int | None = None
    dccp_state: int | None = None
    dccp_role: int | None = None
    dccp_handshake_seq: int | None = None
    helper: str | None = None
    secctx: str | None = None
    secmark: int | None = None
    labels: int | None = None
    label_names: str | None = None
    id: int | None = None
    use: int | None = None
    start_ns: int | None = None
    stop_ns: int | None = None
    event_ns: int | None = None
    delta_time: int | None = None
    seqadj_orig_pos: int | None = None
    seqadj_orig_before: int | None = None
    seqadj_orig_after: int | None = None
    seqadj_reply_pos: int | None = None
    seqadj_reply_before: int | None = None
    seqadj_reply_after: int | None = None
    synproxy_isn: int | None = None
    synproxy_its: int | None = None
    synproxy_tsoff: int | None = None
    rate: int | None = None
    netns: str | None = None
    extra: tuple[Unknown, ...] | None = None

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return family_of(self.orig.src)

    @property
    def proto(self) -> int:
        """IP protocol number."""
        return self.orig.proto

    def knows_status(self, bit: int) -> bool:
        """Whether the source told this status bit, set or not."""
        if self.status is None:
            return False
        return self.status_mask is None or bool(self.status_mask & bit)
