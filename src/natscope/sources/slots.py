"""Many datagrams with one system call: recvmmsg(2) into a reused buffer."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

_MSG_TRUNC = 0x20


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("header", _Msghdr), ("length", ctypes.c_uint)]


_WORDS = ctypes.sizeof(_Mmsghdr) // 4
_FLAGS = _Msghdr.flags.offset // 4
_LENGTH = _Mmsghdr.length.offset // 4


class Slots:
    """A buffer of equally large slots, each for one datagram.

    ``buffer`` holds what was received last; slot i begins at ``i * size``.
    """

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        # pages of a map cost nothing until the kernel writes to them
        self.buffer = memoryview(mmap.mmap(-1, count * size))
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        self._places = (_Iovec * count)()
        self._vector = (_Mmsghdr * count)()
        for slot, (place, entry) in enumerate(
            zip(self._places, self._vector, strict=True)
        ):
            place.base, place.length = base + slot * size, size
            entry.header.iov = ctypes.addressof(place)
            entry.header.iovlen = 1
        told = memoryview(self._vector).cast("B").cast("I")
        self._lengths, self._flags = told[_LENGTH::_WORDS], told[_FLAGS::_WORDS]
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg

    def receive(self, fd: int, options: int) -> list[int]:
        """Fill the slots; how long each datagram is, as many as there were.

        Raises:
            OSError: as recvmmsg(2); EMSGSIZE when a datagram did not fit.
        """
        count = self._recvmmsg(fd, self._vector, self.count, options, None)
        if count < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        told = self._flags[:count].tolist()
        if any(told) and any(flags & _MSG_TRUNC for flags in told):
            raise OSError(errno.EMSGSIZE, f"a datagram is larger than {self.size}")
        return self._lengths[:count].tolist()
