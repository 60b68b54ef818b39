"""Instructions against the bytes of the kernel's documentation."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from natscope.trace.bpf.assembler import (
    R0,
    R1,
    R2,
    R3,
    R6,
    R9,
    R10,
    Assembly,
    Helper,
    If,
    Label,
)


@dataclass(frozen=True)
class Case:
    id: str
    write: Callable[[Assembly], None]
    hexes: str
    """Documentation/bpf/standardization/instruction-set.rst: opcode, src|dst,
    offset, immediate."""


CASES = [
    Case("mov64 reg", lambda a: a.move(R6, R1), "bf 16 0000 00000000"),
    Case("mov64 imm", lambda a: a.move(R0, 1), "b7 00 0000 01000000"),
    Case("add64 imm, negative", lambda a: a.add(R2, -8), "07 02 0000 f8ffffff"),
    Case("add64 reg", lambda a: a.add(R3, R2), "0f 23 0000 00000000"),
    Case("sub64 reg", lambda a: a.subtract(R1, R2), "1f 21 0000 00000000"),
    Case("mul64 imm", lambda a: a.multiply(R1, 392), "27 01 0000 88010000"),
    Case("and64 imm", lambda a: a.mask(R3, ~7), "57 03 0000 f8ffffff"),
    Case("lsh64 imm", lambda a: a.shift_left(R1, 8), "67 01 0000 08000000"),
    Case("ldxdw", lambda a: a.load(8, R1, R6, 16), "79 61 1000 00000000"),
    Case("ldxw", lambda a: a.load(4, R1, R6, 16), "61 61 1000 00000000"),
    Case("ldxh", lambda a: a.load(2, R1, R6, 16), "69 61 1000 00000000"),
    Case("ldxb", lambda a: a.load(1, R1, R6, 16), "71 61 1000 00000000"),
    Case("stxdw", lambda a: a.store(8, R10, -8, R9), "7b 9a f8ff 00000000"),
    Case("stdw imm", lambda a: a.store(8, R10, -8, 5), "7a 0a f8ff 05000000"),
    Case("stw imm", lambda a: a.store(4, R10, -4, 5), "62 0a fcff 05000000"),
    Case("fetch and add", lambda a: a.fetch_add(R1, 8, R2), "db 21 0800 01000000"),
    Case("call", lambda a: a.call(Helper.PROBE_READ_KERNEL), "85 00 0000 71000000"),
    Case("exit", lambda a: a.exit(), "95 00 0000 00000000"),
    Case(
        "a map takes two",
        lambda a: a.map_fd(R1, 7),
        "18 11 0000 07000000 00 00 0000 00000000",
    ),
    Case(
        "a map's value takes two",
        lambda a: a.map_value(R1, 7),
        "18 21 0000 07000000 00 00 0000 00000000",
    ),
    Case(
        "an immediate above 2^31",
        lambda a: a.mask(R1, 0xFFFFFF00),
        "57 01 0000 00ffffff",
    ),
]


def assembled(write: Callable[[Assembly], None]) -> bytes:
    program = Assembly()
    write(program)
    return program.code()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_instruction_is_encoded_as_documented(case: Case) -> None:
    assert assembled(case.write) == bytes.fromhex(case.hexes)


def test_jumps_count_instructions_from_the_next_one_in_both_directions() -> None:
    program, back, ahead = Assembly(), Label(), Label()
    program.place(back)
    program.branch(If.EQUAL, R1, 0, ahead)
    program.map_fd(R1, 3)
    program.goto(back)
    program.place(ahead)
    program.branch(If.NOT_EQUAL, R1, R2, back, bits=32)
    code = program.code()
    offsets = [struct.unpack_from("<h", code, 8 * at + 2)[0] for at in (0, 3, 4)]
    assert offsets == [3, -4, -5]
    assert [code[0], code[24], code[32]] == [0x15, 0x05, 0x5E]


def test_a_label_without_a_place_is_an_error() -> None:
    program = Assembly()
    program.goto(Label())
    with pytest.raises(ValueError, match="instruction 0"):
        program.code()


@pytest.mark.skipif(
    shutil.which("llvm-objdump") is None, reason="llvm-objdump is not installed"
)
def test_llvm_reads_what_was_meant(tmp_path: Path) -> None:
    program, out = Assembly(), Label()
    program.load(2, R2, R6, 180)
    program.branch(If.NOT_LESS, R3, R2, out)
    program.fetch_add(R1, 8, R2)
    program.place(out)
    program.call(Helper.RINGBUF_OUTPUT)
    program.exit()
    path = tmp_path / "program.o"
    path.write_bytes(_elf(program.code()))
    done = subprocess.run(
        ["llvm-objdump", "-d", "--no-show-raw-insn", os.fspath(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.split(":", 1)[1].strip() for line in done.stdout.splitlines()[-5:]]
    assert said[0] == "r2 = *(u16 *)(r6 + 180)"
    assert said[1].startswith("if r3 >= r2 goto +1")
    assert said[2] == "r2 = atomic_fetch_add((u64 *)(r1 + 8), r2)"
    assert said[3:] == ["call 130", "exit"]


def _elf(code: bytes) -> bytes:
    """A relocatable object of machine EM_BPF with one section of code."""
    names = b"\0.text\0.shstrtab\0"
    head = struct.Struct("<16sHHIQQQIHHHHHH")
    section = struct.Struct("<IIQQQQIIQQ")
    text_at = head.size
    names_at = text_at + len(code)
    table_at = names_at + len(names)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = head.pack(
        ident, 1, 247, 1, 0, 0, table_at, 0, head.size, 0, 0, section.size, 3, 2
    )
    sections = bytes(section.size)
    sections += section.pack(1, 1, 6, 0, text_at, len(code), 0, 0, 8, 0)
    sections += section.pack(7, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    return header + code + names + sections
