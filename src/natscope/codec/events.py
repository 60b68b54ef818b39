"""Event messages to columns.

What happened is told as event_cb() of conntrack(8) has it: by the message type
and NLM_F_CREATE, which ctnetlink_conntrack_event() sets for a new entry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec import nlmsg
from natscope.codec.vector import Decoder
from natscope.model.event import EventKind
from natscope.table.events import Events

_NEW = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
_DELETE = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.DELETE


class EventDecoder:
    """Decodes buffers of event messages; remembers the layouts it has met."""

    def __init__(self) -> None:
        self._decoder = Decoder()

    def decode(
        self,
        buffer: nlmsg.Bytes,
        starts: NDArray[np.intp],
        *,
        received_ns: int,
        lost: int = 0,
    ) -> Events:
        """Decode the messages that start at these offsets, multiples of four.

        Messages that are no events of flows are left out.

        Raises:
            DecodeError: of the first bad message.
        """
        words = np.frombuffer(buffer, np.uint32)
        first = starts >> 2
        kinds_and_flags = words[first + 1]
        types = kinds_and_flags & 0xFFFF
        known = (types == _NEW) | (types == _DELETE)
        if not known.all():
            starts, first = starts[known], first[known]
            types, kinds_and_flags = types[known], kinds_and_flags[known]
        created = kinds_and_flags >> 16 & uapi.NLM_F_CREATE != 0
        kinds = np.where(created, EventKind.NEW, EventKind.UPDATE).astype(np.uint8)
        kinds[types == _DELETE] = EventKind.DESTROY
        return Events(
            self._decoder.decode_at(buffer, starts),
            kinds,
            words[first + 3],
            received_ns=received_ns,
            lost=lost,
        )


def kind_of(message: nlmsg.Bytes) -> EventKind:
    """What one event message tells of."""
    _, kind, flags, _, _ = nlmsg.HEADER.unpack_from(message)
    if kind & 0xFF == uapi.CtMsg.DELETE:
        return EventKind.DESTROY
    return EventKind.NEW if flags & uapi.NLM_F_CREATE else EventKind.UPDATE


def decode_events(buffer: nlmsg.Bytes, *, received_ns: int) -> Events:
    """Decode a buffer of event messages once.

    Raises:
        DecodeError: of the first bad message.
    """
    starts = np.array([message.start for message in nlmsg.split(buffer)], np.intp)
    padded = bytes(buffer) + bytes(-len(buffer) & 3)
    if len(starts) == 0:
        return Events.none(received_ns=received_ns)
    return EventDecoder().decode(padded, starts, received_ns=received_ns)
