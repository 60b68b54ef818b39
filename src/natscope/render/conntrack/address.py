"""Addresses as inet_ntop(3) prints them, without loading ipaddress."""

from __future__ import annotations


def text(packed: bytes) -> str:
    """The text of an address of 4 or 16 bytes."""
    if len(packed) == 4:
        return _ipv4(packed)
    # glibc: ::a.b.c.d, but not ::1 or ::1.2, and ::ffff:a.b.c.d
    if packed.startswith(_COMPATIBLE) and packed[12:14] != b"\0\0":
        return "::" + _ipv4(packed[12:])
    if packed.startswith(_MAPPED):
        return "::ffff:" + _ipv4(packed[12:])
    groups = [f"{packed[at] << 8 | packed[at + 1]:x}" for at in range(0, 16, 2)]
    start, stop = _longest_run(groups)
    if start == stop:
        return ":".join(groups)
    return ":".join(groups[:start]) + "::" + ":".join(groups[stop:])


_COMPATIBLE = bytes(12)
_MAPPED = bytes(10) + b"\xff\xff"


def _ipv4(packed: bytes) -> str:
    return ".".join(map(str, packed))


def _longest_run(groups: list[str]) -> tuple[int, int]:
    """RFC 5952: the first longest run of at least two zero groups, or none."""
    best, start = (0, 0), 0
    while start < 8:
        stop = start
        while stop < 8 and groups[stop] == "0":
            stop += 1
        if stop - start >= 2 and stop - start > best[1] - best[0]:
            best = (start, stop)
        start = stop + 1
    return best
