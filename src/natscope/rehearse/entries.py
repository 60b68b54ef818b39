"""The entries packets leave in a twin's table, taken out again one by one.

A flush would walk the whole hash table of the machine (nf_ct_iterate_cleanup); what
the kernel says of an entry when it is made is enough to name it.
"""

from __future__ import annotations

from contextlib import suppress

from natscope import uapi
from natscope.codec import nlmsg
from natscope.rehearse.private import BOX, Private
from natscope.sources import nlsocket
from natscope.sources.nlsocket import NetlinkSocket

_DELETE = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.DELETE
_NEW = uapi.NFNL_SUBSYS_CTNETLINK << 8 | uapi.CtMsg.NEW
_EVENTS = "net/netfilter/nf_conntrack_events"
_BUFFER = 4 << 20
_LARGEST = 1 << 16


class Made:
    """The entries made since it was opened, or since they were last forgotten."""

    def __init__(self, private: Private) -> None:
        with suppress(OSError):  # a kernel without conntrack, or without its events
            private.write(_EVENTS, "1")
        self._socket = private.socket(BOX, *nlsocket.KIND, uapi.NETLINK_NETFILTER)
        listening = NetlinkSocket.of(self._socket)
        listening.listen([uapi.Group.CONNTRACK_NEW], _BUFFER)
        self._socket.setblocking(False)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def forget(self) -> None:
        """Delete them.

        An entry that is gone already is refused by the kernel, and that is no error.
        """
        while True:
            try:
                data = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            for message in nlmsg.split(data):
                if message.type == _NEW:
                    # tuple, zone and id are in it; the kernel skips the rest
                    named = data[message.payload_at : message.end]
                    asked = nlmsg.build(_DELETE, uapi.NLM_F_REQUEST, 0, named)
                    self._socket.sendto(asked, (0, 0))
