"""Memory that programs and this process share: a ring buffer, a few counters.

Documentation/bpf/ringbuf.rst; both are maps, read through mmap(2).
"""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections.abc import Iterator

from natscope.trace.bpf import loader

_PAGE = mmap.PAGESIZE
_POSITION = struct.Struct("<Q")
_RECORD_HEADER = struct.Struct("<II")
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_WORD = 8


class Ring:
    """A BPF ring buffer (BPF_MAP_TYPE_RINGBUF), read by this process alone.

    Args:
        size: in bytes, a power of two and at least a page.

    Raises:
        KernelError: refused.
    """

    def __init__(self, size: int) -> None:
        self.fd = loader.create_map(loader.MAP_RINGBUF, 0, 0, size)
        self._size = size
        self._consumer = mmap.mmap(self.fd, _PAGE)
        # the data stands twice, so that a record never wraps
        self._producer = mmap.mmap(
            self.fd, _PAGE + 2 * size, prot=mmap.PROT_READ, offset=_PAGE
        )
        self._position = 0

    def close(self) -> None:
        """Let go; the map lives on while programs use it."""
        self._consumer.close()
        self._producer.close()
        os.close(self.fd)

    def wait(self, timeout: float | None) -> bool:
        """Wait until something is there; false after ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))

    def read(self) -> Iterator[bytes]:
        """The records that are there, each once; does not wait."""
        (end,) = _POSITION.unpack_from(self._producer)
        while self._position < end:
            at = _PAGE + self._position % self._size
            length, _ = _RECORD_HEADER.unpack_from(self._producer, at)
            if length & _BUSY:
                break  # a program is just writing it
            start = at + _RECORD_HEADER.size
            size = length & _LENGTH
            record = self._producer[start : start + size]
            self._position += -(-(size + _RECORD_HEADER.size) // _WORD) * _WORD
            _POSITION.pack_into(self._consumer, 0, self._position)
            if not length & _DISCARDED:
                yield record


class Counters:
    """64-bit numbers programs and this process may both change.

    Raises:
        KernelError: refused.
    """

    def __init__(self, count: int) -> None:
        flags = loader.F_MMAPABLE
        self.fd = loader.create_map(loader.MAP_ARRAY, 4, _WORD * count, 1, flags)
        self._memory = mmap.mmap(self.fd, -(-_WORD * count // _PAGE) * _PAGE)

    def close(self) -> None:
        """Let go; the map lives on while programs use it."""
        self._memory.close()
        os.close(self.fd)

    def __getitem__(self, index: int) -> int:
        return int(_POSITION.unpack_from(self._memory, _WORD * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        _POSITION.pack_into(self._memory, _WORD * index, value)
