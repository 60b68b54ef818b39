"""BTF, from a file made by hand as Documentation/bpf/btf.rst describes it."""

from __future__ import annotations

import struct

import pytest

from natscope.errors import DecodeError, MissingTool
from natscope.trace.bpf.btf import Btf, Kind

_INT = 0x0100_0020  # signed, 32 bits


class Writer:
    """Types and strings of one file; ids count on from another's."""

    def __init__(self, strings_before: int = 0) -> None:
        self.types = b""
        self.strings = b"" if strings_before else b"\0"
        self._before = strings_before

    def name(self, text: str) -> int:
        if not text:
            return 0
        known = self.strings.find(b"\0" + text.encode() + b"\0")
        if known >= 0:  # each string stands in a file once
            return self._before + known + 1
        at = self._before + len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(
        self, name: str, kind: int, size: int, *words: int, vlen: int = 0, flag: int = 0
    ) -> None:
        info = flag << 31 | kind << 24 | vlen
        self.types += struct.pack(
            f"<III{len(words)}I", self.name(name), info, size, *words
        )

    def members(self, *members: tuple[str, int, int]) -> list[int]:
        return [
            word for name, kind, at in members for word in (self.name(name), kind, at)
        ]

    def file(self) -> bytes:
        return (
            struct.pack(
                "<HBBIIIII",
                0xEB9F,
                1,
                0,
                24,
                0,
                len(self.types),
                len(self.types),
                len(self.strings),
            )
            + self.types
            + self.strings
        )


def kernel() -> Writer:
    """struct pair { int a; union { int b; }; struct inner in[2]; } and more."""
    written = Writer()
    written.add("int", Kind.INT, 4, _INT)  # 1
    inner = written.members(("x", 1, 0), ("y", 1, 32))
    written.add("inner", Kind.STRUCT, 8, *inner, vlen=2)  # 2
    written.add("inner_t", Kind.TYPEDEF, 2)  # 3
    written.add("", Kind.ARRAY, 0, 3, 1, 2)  # 4
    union = written.members(("b", 1, 0))
    written.add("", Kind.UNION, 4, *union, vlen=1)  # 5
    outer = written.members(("a", 1, 0), ("", 5, 32), ("in", 4, 64))
    written.add("pair", Kind.STRUCT, 24, *outer, vlen=3, flag=1)  # 6
    values = [written.name("ZERO"), 0, written.name("SEVEN"), 7]
    written.add("numbers", Kind.ENUM, 4, *values, vlen=2)  # 7
    written.add("pair", Kind.TYPEDEF, 6)  # 8: a typedef of the same name
    return written


@pytest.mark.parametrize(
    ("path", "offset"),
    [("a", 0), ("b", 4), ("in[0]", 8), ("in[1].y", 20), ("nothing", None)],
)
def test_a_member_is_found_through_anonymous_unions_arrays_and_typedefs(
    path: str, offset: int | None
) -> None:
    assert Btf(kernel().file()).struct("pair").get(path) == offset


def test_an_enum_names_its_values() -> None:
    assert Btf(kernel().file()).enum("numbers") == {0: "ZERO", 7: "SEVEN"}


def test_a_name_is_looked_up_with_its_kind() -> None:
    btf = Btf(kernel().file())
    assert btf.has("pair", Kind.STRUCT)
    assert btf.has("pair", Kind.TYPEDEF)
    assert not btf.has("pair", Kind.ENUM)
    with pytest.raises(MissingTool, match="struct nf_conn"):
        btf.struct("nf_conn")
    with pytest.raises(MissingTool, match="no member z"):
        btf.struct("inner").offset("z")


def test_a_module_counts_types_and_strings_on_from_the_kernels() -> None:
    base = kernel()
    module = Writer(strings_before=len(base.strings))
    members = module.members(("first", 2, 0), ("second", 2, 64))
    module.add("nf_conn", Kind.STRUCT, 16, *members, vlen=2)
    found = Btf(base.file(), module.file()).struct("nf_conn")
    assert found.offset("second.y") == 12


@pytest.mark.parametrize("data", [b"", b"\0" * 24, kernel().file()[:60]])
def test_what_is_no_btf_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Btf(data)
