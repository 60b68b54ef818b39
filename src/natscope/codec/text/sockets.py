"""Sockets that wait for strangers, from net/tcp, net/udp and their IPv6 kin.

proc(5) has the columns.  An address is written as words of 32 bits, each as a number
of the box's own byte order (tcp4_seq_show()).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Literal

from natscope.model.measured import Listener

PROTOCOLS: dict[str, Literal["tcp", "udp"]] = {
    "net/tcp": "tcp",
    "net/tcp6": "tcp",
    "net/udp": "udp",
    "net/udp6": "udp",
}
_LISTEN = "0A"
_CLOSE = "07"
"""Of UDP: not connected (udp4_format_sock())."""


def listeners(path: str, lines: Iterable[str]) -> Iterator[Listener]:
    """The sockets of one file that wait for strangers.

    Args:
        path: one of PROTOCOLS.
        lines: of the file, without its heading.  Of TCP they are read as far as
            listening sockets go, which come first (tcp_get_idx()): a busy box has a
            hundred thousand others.
    """
    proto = PROTOCOLS[path]
    for line in lines:
        _, local, _, state, *_ = line.split()
        if proto == "tcp" and state != _LISTEN:
            return
        if proto == "udp" and state != _CLOSE:
            continue
        address, _, port = local.partition(":")
        words = (address[at : at + 8] for at in range(0, len(address), 8))
        packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
        yield Listener(proto, ip_address(packed), int(port, 16))
