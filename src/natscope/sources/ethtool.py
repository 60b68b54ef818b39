"""An interface's own statistics, as ``ethtool -S`` shows them: ioctl SIOCETHTOOL.

Done here, for ethtool(8) is on few boxes.  linux/ethtool.h has the structures.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from contextlib import closing

SIOCETHTOOL = 0x8946
GSTRINGS, GSTATS, GSSET_INFO = 0x1B, 0x1D, 0x37
SS_STATS = 1
"""enum ethtool_stringset."""
NAME = 32
"""ETH_GSTRING_LEN."""
_HEAD = struct.Struct("=III")
_COUNT = struct.Struct("=II")
_IFREQ = struct.Struct("16sP16x")
_SET = struct.Struct("=IIQI")


def statistics(interface: str) -> dict[str, int]:
    """The statistics a driver keeps, by its own names; of a driver with none, none.

    Of the calling thread's namespace.

    Raises:
        OSError: no such interface, or the driver does not tell (EOPNOTSUPP).
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        asked = _asked(sock, interface, _SET.pack(GSSET_INFO, 0, 1 << SS_STATS, 0))
        count = _SET.unpack(asked)[3]
        head = _HEAD.pack(GSTRINGS, SS_STATS, count)
        names = _asked(sock, interface, head + bytes(NAME * count))
        head = _COUNT.pack(GSTATS, count)
        values = _asked(sock, interface, head + bytes(8 * count))
    told = struct.unpack_from(f"={count}Q", values, _COUNT.size)
    starts = range(_HEAD.size, _HEAD.size + NAME * count, NAME)
    found = (names[at : at + NAME].partition(b"\0")[0].decode() for at in starts)
    return dict(zip(found, told, strict=True))


def _asked(sock: socket.socket, interface: str, request: bytes) -> bytes:
    buffer = array.array("B", request)
    address, _ = buffer.buffer_info()
    fcntl.ioctl(sock, SIOCETHTOOL, _IFREQ.pack(interface.encode(), address))
    return buffer.tobytes()
