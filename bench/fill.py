"""Fill a connection tracking table with many flows, fast.

One insert request is encoded for each kind of flow; its addresses and ports,
recognised by marker values, are then overwritten in as many copies as needed.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from natscope.codec import requests
from natscope.model.flow import Flow
from natscope.model.tuples import FlowTuple
from natscope.sources.nlsocket import NetlinkSocket
from natscope.table.flowtable import FlowTable
from natscope.uapi import IPPROTO_TCP, IPPROTO_UDP, Status

MESSAGES_PER_SEND = 128
TIMEOUT_S = 36_000
_PUBLIC = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
_INSIDE = {4: "10.161.162.163", 6: "fd00::a1a2:a3a4:a5a6:a7a8"}
_OUTSIDE = {4: "203.0.113.167", 6: "2001:db8::b1b2:b3b4:b5b6:b7b8"}
_SPORT, _DPORT, _PUBLIC_PORT = 0xC1C2, 0xD1D2, 0xE1E2


@dataclass(frozen=True)
class Share:
    """One kind of flow and how many of twelve are of it."""

    version: int
    proto: int
    replied: bool
    twelfths: int


MIX = (
    Share(4, IPPROTO_TCP, replied=True, twelfths=4),
    Share(4, IPPROTO_TCP, replied=False, twelfths=2),
    Share(4, IPPROTO_UDP, replied=True, twelfths=2),
    Share(4, IPPROTO_UDP, replied=False, twelfths=1),
    Share(6, IPPROTO_TCP, replied=True, twelfths=1),
    Share(6, IPPROTO_TCP, replied=False, twelfths=1),
    Share(6, IPPROTO_UDP, replied=True, twelfths=1),
)
"""Mixed IPv4 and IPv6, TCP and UDP, a third of the flows without a reply."""


def fill(count: int, mix: tuple[Share, ...] = MIX) -> None:
    """Put ``count`` source-translated flows into this namespace's table."""
    made = 0
    for position, share in enumerate(mix):
        last = position == len(mix) - 1
        wanted = count - made if last else count * share.twelfths // 12
        _fill_share(share, wanted)
        made += wanted


def _fill_share(share: Share, count: int) -> None:
    template = np.frombuffer(_request(share), np.uint8)
    with closing(NetlinkSocket()) as sock:
        for start in range(0, count, MESSAGES_PER_SEND):
            rows = np.arange(start, min(count, start + MESSAGES_PER_SEND))
            messages = np.tile(template, (len(rows), 1))
            _vary(messages, template, share, rows)
            refused = sock.exchange(messages.tobytes(), "filling the table")
            if refused:
                msg = f"{len(refused)} flows refused: {refused[0].hex()}"
                raise RuntimeError(msg)


def _request(share: Share) -> bytes:
    inside, outside = (
        ip_address(_INSIDE[share.version]),
        ip_address(_OUTSIDE[share.version]),
    )
    public = ip_address(_PUBLIC[share.version])
    tcp = share.proto == IPPROTO_TCP
    seen = Status.SEEN_REPLY | Status.ASSURED if share.replied else 0
    seen |= Status.SRC_NAT
    flow = Flow(
        orig=FlowTuple(inside, outside, share.proto, _SPORT, _DPORT),
        reply=FlowTuple(outside, public, share.proto, _DPORT, _PUBLIC_PORT),
        status=seen,
        timeout=TIMEOUT_S,
        tcp_state=(3 if share.replied else 1) if tcp else None,
        mark=0,
    )
    (batch,) = requests.insertions(FlowTable.from_flows([flow]))
    return bytes(batch.messages[0])


def _vary(
    messages: NDArray[np.uint8],
    template: NDArray[np.uint8],
    share: Share,
    rows: NDArray[np.intp],
) -> None:
    inside = ip_address(_INSIDE[share.version]).packed[-4:]
    outside = ip_address(_OUTSIDE[share.version]).packed[-4:]
    # 60,000 flows an outside address; ports spread as clients choose them
    host, port = rows % 60_000 >> 4, rows % 60_000
    replied = int(share.replied) << 20
    _put(messages, template, inside, (10 << 24) + replied + host, ">u4")
    _put(messages, template, outside, (203 << 24) + replied + rows // 60_000, ">u4")
    _put(messages, template, _SPORT.to_bytes(2, "big"), 5000 + port, ">u2")
    _put(messages, template, _DPORT.to_bytes(2, "big"), 443 + rows % 2 * 8000, ">u2")
    _put(messages, template, _PUBLIC_PORT.to_bytes(2, "big"), 5000 + port, ">u2")


def _put(
    messages: NDArray[np.uint8],
    template: NDArray[np.uint8],
    marker: bytes,
    values: NDArray[np.intp],
    dtype: str,
) -> None:
    """Overwrite every occurrence of a marker with a value of each row."""
    data = values.astype(dtype).view(np.uint8).reshape(len(values), len(marker))
    whole = template.tobytes()
    at = whole.find(marker)
    if at < 0:
        msg = f"marker {marker.hex()} is not in the request"
        raise RuntimeError(msg)
    while at >= 0:
        messages[:, at : at + len(marker)] = data
        at = whole.find(marker, at + 1)
