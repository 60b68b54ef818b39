"""One entry of the table, by a tuple of either direction."""

from __future__ import annotations

import errno

from natscope.codec import encode, request
from natscope.codec.scalar import decode_flow
from natscope.errors import KernelError
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources.nlsocket import NetlinkSocket

_NONE = (errno.ENOENT, errno.EINVAL)
"""No such entry; or no entry can have such a tuple, as of an unknown ICMP type."""


def entry_of(
    socket: NetlinkSocket, key: FlowTuple, *, zone: int | None = None
) -> Flow | None:
    """The entry a packet with this tuple would find; None if there is none.

    Raises:
        KernelError: not permitted, or no connection tracking.
    """
    cells = encode.cells_of(Flow(key, key.reversed(), zone=zone))
    asked = request.get(cells, seq=socket.next_seq())
    try:
        for message in socket.ask(asked, "looking up a flow"):
            return decode_flow(message)
    except KernelError as error:
        if error.errno not in _NONE:
            raise
    return None
