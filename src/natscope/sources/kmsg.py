"""The kernel's log, of the last hour: /dev/kmsg.

A record is ``prio,sequence,microseconds,flags;text`` (Documentation/ABI/testing/
dev-kmsg); one read gives one record.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, suppress

DEVICE = "/dev/kmsg"
RECENT_S = 3600
"""Older lines tell of troubles that may be over."""
_LONGEST = 8192
"""CONSOLE_EXT_LOG_MAX."""
_RECORD = re.compile(rb"\d+,\d+,(\d+),[^;]*;([^\n]*)")
_WANTED = re.compile(
    rb"conntrack|table full|netfilter|nf_|martian|neighbour|neighbor|"
    rb"dropping packet|possible SYN flooding|allowance",
    re.IGNORECASE,
)


def recent() -> tuple[str, ...]:
    """Lines about the network of the last RECENT_S seconds, as dmesg(1) prints them.

    Raises:
        OSError: the log is not this user's to read (kernel.dmesg_restrict), or there
            is none.
    """
    since = time.monotonic() - RECENT_S
    fd = os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with closing(os.fdopen(fd, "rb", buffering=0)) as log:
        return tuple(
            f"[{seconds:12.6f}] {text.decode(errors='backslashreplace')}"
            for seconds, text in _records(log.fileno())
            if seconds >= since and _WANTED.search(text)
        )


def _records(fd: int) -> Iterator[tuple[float, bytes]]:
    while True:
        with suppress(BrokenPipeError):  # overwritten before it was read: the next one
            try:
                record = os.read(fd, _LONGEST)
            except BlockingIOError:
                return
            if (told := parsed(record)) is not None:
                yield told


def parsed(record: bytes) -> tuple[float, bytes] | None:
    """Seconds since boot and the text of one record; None of what is none."""
    found = _RECORD.match(record)
    return None if found is None else (int(found[1]) / 1e6, found[2])
