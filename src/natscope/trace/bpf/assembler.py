"""An assembler of eBPF: instructions and labels to bytes.

Encodings are those of Documentation/bpf/standardization/instruction-set.rst, for
little-endian machines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

_INSTRUCTION = struct.Struct("<BBhi")
BYTES = _INSTRUCTION.size


class Register(IntEnum):
    """R0 returns, R1 to R5 are arguments and lost in a call, R10 is the frame."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register


class Helper(IntEnum):
    """BPF_FUNC_* of linux/bpf.h."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    KTIME_GET_NS = 5
    PROBE_READ_KERNEL = 113
    RINGBUF_OUTPUT = 130


class If(IntEnum):
    """Conditions of jumps, unsigned (BPF_J*)."""

    EQUAL = 0x10
    GREATER = 0x20
    NOT_LESS = 0x30
    NOT_EQUAL = 0x50
    LESS = 0xA0
    NOT_GREATER = 0xB0


_SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}  # BPF_B, BPF_H, BPF_W, BPF_DW
_LD, _LDX, _ST, _STX = 0x00, 0x01, 0x02, 0x03
_JMP, _JMP32, _ALU64 = 0x05, 0x06, 0x07
_MEM, _ATOMIC = 0x60, 0xC0
_FROM_REGISTER = 0x08  # BPF_X
_ADD, _SUB, _MUL, _AND, _LSH, _MOV = 0x00, 0x10, 0x20, 0x50, 0x60, 0xB0
_CALL, _EXIT = 0x85, 0x95
_LOAD_64 = _LD | _SIZE[8]
_PSEUDO_MAP_FD, _PSEUDO_MAP_VALUE = 1, 2
_ADD_AND_FETCH = 0x01  # BPF_ADD | BPF_FETCH


class Label:
    """A place to jump to."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class _Instruction:
    opcode: int
    dst: int = 0
    src: int = 0
    offset: int | Label = 0
    immediate: int = 0


class Assembly:
    """A program as it is written, from its first instruction to its last."""

    def __init__(self) -> None:
        self._lines: list[_Instruction] = []
        self._places: dict[Label, int] = {}

    def place(self, label: Label) -> None:
        """What jumps to the label goes on here."""
        self._places[label] = len(self._lines)

    def move(self, dst: Register, value: Register | int) -> None:
        """dst = value."""
        self._arithmetic(_MOV, dst, value)

    def add(self, dst: Register, value: Register | int) -> None:
        """dst += value."""
        self._arithmetic(_ADD, dst, value)

    def subtract(self, dst: Register, value: Register | int) -> None:
        """dst -= value."""
        self._arithmetic(_SUB, dst, value)

    def multiply(self, dst: Register, value: Register | int) -> None:
        """dst *= value."""
        self._arithmetic(_MUL, dst, value)

    def shift_left(self, dst: Register, value: Register | int) -> None:
        """dst <<= value."""
        self._arithmetic(_LSH, dst, value)

    def mask(self, dst: Register, value: Register | int) -> None:
        """dst &= value; an immediate is extended with its sign."""
        self._arithmetic(_AND, dst, value)

    def load(self, size: int, dst: Register, base: Register, offset: int) -> None:
        """dst = the unsigned number of ``size`` bytes at base + offset."""
        self._add(_LDX | _MEM | _SIZE[size], dst, base, offset)

    def store(
        self, size: int, base: Register, offset: int, value: Register | int
    ) -> None:
        """The number of ``size`` bytes at base + offset = value."""
        if isinstance(value, Register):
            self._add(_STX | _MEM | _SIZE[size], base, value, offset)
        else:
            self._add(_ST | _MEM | _SIZE[size], base, 0, offset, value)

    def fetch_add(self, base: Register, offset: int, value: Register) -> None:
        """Add to the 64-bit number at base + offset, atomically.

        ``value`` becomes what was there before.
        """
        opcode = _STX | _ATOMIC | _SIZE[8]
        self._add(opcode, base, value, offset, _ADD_AND_FETCH)

    def goto(self, label: Label) -> None:
        """Jump."""
        self._add(_JMP, offset=label)

    def branch(
        self,
        condition: If,
        dst: Register,
        value: Register | int,
        label: Label,
        *,
        bits: int = 64,
    ) -> None:
        """Jump if dst compares so with value, over 64 or the lower 32 bits."""
        opcode = condition | (_JMP if bits == 64 else _JMP32)
        if isinstance(value, Register):
            self._add(opcode | _FROM_REGISTER, dst, value, label)
        else:
            self._add(opcode, dst, 0, label, value)

    def map_fd(self, dst: Register, fd: int) -> None:
        """dst = the map of a descriptor."""
        self._add(_LOAD_64, dst, _PSEUDO_MAP_FD, 0, fd)
        self._add(0)

    def map_value(self, dst: Register, fd: int) -> None:
        """dst = the address of an array map's first element."""
        self._add(_LOAD_64, dst, _PSEUDO_MAP_VALUE, 0, fd)
        self._add(0)

    def call(self, helper: Helper) -> None:
        """R0 = a helper of the kernel, of R1 to R5."""
        self._add(_CALL, immediate=helper)

    def exit(self) -> None:
        """Return R0."""
        self._add(_EXIT)

    def code(self) -> bytes:
        """The program, labels resolved.

        Raises:
            ValueError: a label that was never placed.
        """
        return b"".join(self._encoded(at, line) for at, line in enumerate(self._lines))

    def _arithmetic(self, operation: int, dst: Register, value: Register | int) -> None:
        if isinstance(value, Register):
            self._add(_ALU64 | operation | _FROM_REGISTER, dst, value)
        else:
            self._add(_ALU64 | operation, dst, 0, 0, value)

    def _add(
        self,
        opcode: int,
        dst: int = 0,
        src: int = 0,
        offset: int | Label = 0,
        immediate: int = 0,
    ) -> None:
        self._lines.append(_Instruction(opcode, dst, src, offset, immediate))

    def _encoded(self, at: int, line: _Instruction) -> bytes:
        offset = line.offset
        if isinstance(offset, Label):
            if offset not in self._places:
                raise ValueError(f"instruction {at} jumps to a label without a place")
            offset = self._places[offset] - at - 1
        signed = line.immediate - (1 << 32 if line.immediate >= 1 << 31 else 0)
        return _INSTRUCTION.pack(line.opcode, line.dst | line.src << 4, offset, signed)
