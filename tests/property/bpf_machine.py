"""A machine for classic BPF: what the kernel does with a program on a netlink
socket, bpf_check_classic() and net/core/filter.c, one instruction at a time."""

from __future__ import annotations

import struct

_SKF_AD_OFF = 0x1_0000_0000 - 0x1000
_NLATTR, _NLATTR_NEST = _SKF_AD_OFF + 12, _SKF_AD_OFF + 16
_LOADS = {"W": 4, "H": 2, "B": 1}
_HEADER = struct.Struct("=HH")


class Refused(Exception):
    """bpf_check_classic() would not take the program."""


def accepts(program: bytes, packet: bytes) -> bool:
    """Whether a packet passes; a load beyond its end rejects it."""
    lines: list[tuple[int, ...]] = list(struct.iter_unpack("=HBBI", program))
    _check(lines)
    memory: dict[int, int] = {}
    a = x = at = 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        match code:
            case 0x06:  # ret
                return k != 0
            case 0x05:  # ja
                at += k
            case 0x15 | 0x25 | 0x35 | 0x45:  # jeq, jgt, jge, jset
                tests = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: a & k != 0}
                at += yes if tests[code] else no
            case 0x1D:  # jeq x
                at += yes if a == x else no
            case 0x00:
                a = k
            case 0x01:
                x = k
            case 0x02:
                memory[k] = a
            case 0x60:
                a = memory[k]
            case 0x61:
                x = memory[k]
            case 0x07:
                x = a
            case 0x44:
                a |= k
            case 0x54:
                a &= k
            case 0x20 if k == _NLATTR:
                a = _find(packet, a, len(packet), x)
            case 0x20 if k == _NLATTR_NEST:
                a = _find_nested(packet, a, x)
            case 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50:  # ld, ldh, ldb, [k] or [x+k]
                size = {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
                start = k + (x if code & 0x40 else 0)
                if start + size > len(packet):
                    return False
                a = int.from_bytes(packet[start : start + size], "big")
            case _:
                raise Refused(f"instruction {code:#x}")


def _check(lines: list[tuple[int, ...]]) -> None:
    """Jumps stay inside, the end is a return, memory is read after a write."""
    if not 0 < len(lines) <= 4096 or lines[-1][0] != 0x06:
        raise Refused("length or end")
    written: dict[int, set[int]] = {0: set()}
    for at, (code, yes, no, k) in enumerate(lines):
        here = written.pop(at, set(range(16)))
        if code in (0x60, 0x61) and k not in here:
            raise Refused(f"{at}: slot {k} may be empty")
        if code == 0x02:
            if not 0 <= k < 16:
                raise Refused(f"{at}: no slot {k}")
            here = here | {k}
        if code == 0x06:
            continue
        steps = (k,) if code == 0x05 else (yes, no) if code & 7 == 5 else (0,)
        for step in steps:
            if at + 1 + step >= len(lines):
                raise Refused(f"{at}: jumps out")
            written[at + 1 + step] = written.get(at + 1 + step, here) & here


def _find(packet: bytes, start: int, end: int, kind: int) -> int:
    """nla_find(): where an attribute is, or 0."""
    while end - start >= 4:
        length, told = _HEADER.unpack_from(packet, start)
        if length < 4 or start + length > end:
            return 0
        if told & 0x3FFF == kind:
            return start
        start += length + 3 & ~3
    return 0


def _find_nested(packet: bytes, start: int, kind: int) -> int:
    if start > len(packet) - 4:
        return 0
    (length, _) = _HEADER.unpack_from(packet, start)
    if length > len(packet) - start:
        return 0
    return _find(packet, start + 4, start + length, kind)
