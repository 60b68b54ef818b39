"""An assembler of classic BPF: instructions and labels to struct sock_filter.

Only what a socket filter for netlink needs (linux/filter.h, bpf_common.h,
net/core/filter.c).  It stands here and not in ``codec``, which is above, because
``Filter.socket_program`` is what uses it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
SCRATCH_SLOTS = 16  # BPF_MEMWORDS

LOAD_IMMEDIATE = 0x00  # BPF_LD | BPF_IMM
LOAD_SLOT = 0x60  # BPF_LD | BPF_MEM
LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
LOAD_AT_X = {4: 0x40, 2: 0x48, 1: 0x50}  # BPF_LD | BPF_{W,H,B} | BPF_IND
LOAD_X_IMMEDIATE = 0x01  # BPF_LDX | BPF_IMM
LOAD_X_SLOT = 0x61  # BPF_LDX | BPF_MEM
STORE = 0x02  # BPF_ST
OR = 0x44  # BPF_ALU | BPF_OR | BPF_K
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
A_TO_X = 0x07  # BPF_MISC | BPF_TAX
RETURN = 0x06  # BPF_RET | BPF_K
_GOTO = 0x05  # BPF_JMP | BPF_JA
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
IF_EQUAL_X = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X

_ANCILLARY = 0x20  # BPF_LD | BPF_W | BPF_ABS
_SKF_AD_OFF = -0x1000 & 0xFFFF_FFFF
FIND_ATTRIBUTE = (_ANCILLARY, _SKF_AD_OFF + 12)  # SKF_AD_NLATTR
"""A is where to begin, X the type: A becomes where it is, or 0."""
FIND_NESTED = (_ANCILLARY, _SKF_AD_OFF + 16)  # SKF_AD_NLATTR_NEST
"""The same among the children of the attribute at A."""

_SOCK_FILTER = struct.Struct("=HBBI")
_FARTHEST = 0xFF  # jt and jf are bytes


class Label:
    """A place to jump to, always ahead: classic BPF has no way back."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Jump:
    """``code`` 0 is a jump without a condition, to ``yes``."""

    code: int
    k: int
    yes: Label
    no: Label


class Assembly:
    """A program as it is written, from its first instruction to its last."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int] | _Jump | Label] = []
        self._leads_to: dict[Label, Label] = {}

    def add(self, code: int, k: int = 0) -> None:
        """Append an instruction that does not jump."""
        self._lines.append((code, k))

    def branch(self, code: int, k: int, *, yes: Label, no: Label) -> None:
        """Append a conditional jump."""
        self._lines.append(_Jump(code, k, yes, no))

    def goto(self, label: Label) -> None:
        """Append a jump."""
        while self._lines and isinstance(here := self._lines[-1], Label):
            self._leads_to[here] = label  # what leads here leads there
            self._lines.pop()
        if not (self._lines and isinstance(self._lines[-1], _Jump)):
            self._lines.append(_Jump(0, 0, label, label))

    def place(self, label: Label) -> None:
        """The next instruction is where this label leads."""
        self._lines.append(label)

    def assemble(self) -> bytes | None:
        """The program as an array of struct sock_filter, in the host's order.

        None if it is longer than the kernel takes.
        """
        # from the end, every target is known, and so is how far away it is
        backwards = _Backwards()
        places: dict[Label, int] = {}
        for line in reversed(self._lines):
            match line:
                case Label():
                    places[line] = len(backwards.packed)
                case _Jump(code, k, yes, no):
                    ends = places[self._end(yes)], places[self._end(no)]
                    backwards.jump(code, k, *ends)
                case (code, k):
                    backwards.add(code, 0, 0, k)
        if len(backwards.packed) > MAX_INSTRUCTIONS:
            return None
        return b"".join(reversed(backwards.packed))

    def _end(self, label: Label) -> Label:
        """Where a chain of jumps ends."""
        while label in self._leads_to:
            label = self._leads_to[label]
        return label


class _Backwards:
    """Instructions from the last to the first; a place is how many follow it."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []
        self._stones: dict[int, int] = {}
        """The nearest jump without a condition to a place."""

    def add(self, code: int, yes: int, no: int, k: int) -> None:
        """Put an instruction before those there are."""
        self.packed.append(_SOCK_FILTER.pack(code, yes, no, k))

    def jump(self, code: int, k: int, yes: int, no: int) -> None:
        """Put a jump before them, and stepping stones where a target is too far."""
        if code == 0:
            self._goto(yes)
            return
        # a stone for the one may push the other out of reach
        yes = self._near(yes, _FARTHEST - 1)
        no = self._near(no, _FARTHEST)
        here = len(self.packed)
        self.add(code, here - yes, here - no, k)

    def _near(self, place: int, reach: int) -> int:
        """A place within reach from which one gets to a place."""
        for near in (place, self._stones.get(place, place)):
            if len(self.packed) - near <= reach:
                return near
        self._goto(place)
        return len(self.packed)

    def _goto(self, place: int) -> None:
        if len(self.packed) > place:  # else it follows
            self.add(_GOTO, 0, 0, len(self.packed) - place)
            self._stones[place] = len(self.packed)
