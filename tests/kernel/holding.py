"""Packets held between the choice of their tuple and its entry: races without chance.

NAT chooses a tuple at priority 100 of postrouting, conntrack enters it at the end.  A
queue of nfnetlink_queue between them makes first packets wait, so that each chooses
before any is entered; let go together, they have raced.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from natscope import uapi
from natscope.codec import nla, nlmsg
from natscope.sources import tools
from natscope.sources.netns import Namespace
from natscope.sources.nlsocket import NetlinkSocket

# linux/netfilter/nfnetlink_queue.h
_SUBSYSTEM = 3  # NFNL_SUBSYS_QUEUE
_PACKET, _CONFIG, _VERDICT_BATCH = 0, 2, 3
_CFG_CMD, _CFG_PARAMS = 1, 2
_BIND = struct.pack(">BxH", 1, 0)
_COPY_META = struct.pack(">IB", 0, 1)
_PACKET_HDR, _VERDICT_HDR = 1, 2
_ACCEPT = 1
_PATIENCE_S = 5.0
_BEHIND_NAT = """\
add chain ip mangle behind_nat {{ type filter hook postrouting priority 200; }}
add rule ip mangle behind_nat {match} jump HOLD
"""
"""nft writes no queue where the kernel lacks its own; it may jump to iptables' chain."""


class Held:
    """A queue, and the packets that wait in it."""

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._tell(_CONFIG, nla.build(_CFG_CMD, _BIND))
        self._tell(_CONFIG, nla.build(_CFG_PARAMS, _COPY_META))

    def let_go(self, packets: int) -> None:
        """Wait until so many are held, and let them go, the first to come first."""
        ids: list[int] = []
        while len(ids) < packets:
            assert self._socket.wait(_PATIENCE_S), f"{len(ids)} packets came"
            for datagram in self._socket.drain("waiting for packets"):
                ids += map(_id, _packets(datagram))
        verdict = struct.pack(">II", _ACCEPT, ids[-1])  # and all before it
        self._tell(_VERDICT_BATCH, nla.build(_VERDICT_HDR, verdict))

    def _tell(self, command: int, attributes: bytes) -> None:
        request = nlmsg.build_netfilter(
            _SUBSYSTEM, command, uapi.NLM_F_ACK, 0, uapi.AF_UNSPEC, attributes
        )
        self._socket.ask(request, "holding packets")


@contextmanager
def holding(router: Namespace, match: str) -> Iterator[Held]:
    """Hold the packets of new and old flows that match, behind NAT.

    Args:
        router: where; it has no rule in iptables' mangle table.
        match: of nft(8): ``udp dport 53``.
    """
    if tools.find("iptables-nft") is None:
        pytest.skip("needs iptables-nft")
    with router.enter():
        for words in ("-N HOLD", "-A HOLD -j NFQUEUE --queue-num 0"):
            tools.run(["iptables-nft", "-t", "mangle", *words.split()])
        tools.run(["nft", "-f", "-"], stdin=_BEHIND_NAT.format(match=match))
    with NetlinkSocket(namespace=router) as sock:
        yield Held(sock)


def _packets(datagram: bytes) -> Iterator[bytes]:
    for message in nlmsg.split(datagram):
        if message.type == _SUBSYSTEM << 8 | _PACKET:
            yield datagram[message.start : message.end]


def _id(message: bytes) -> int:
    for one in nla.walk(message, nlmsg.ATTRIBUTES_AT, len(message), ("NFQA",)):
        if one.type == _PACKET_HDR:
            return int.from_bytes(message[one.start : one.start + 4], "big")
    raise AssertionError("a packet without a header")
