"""BTF, the kernel's own description of its types: where a member of a struct is.

The file is 5 MB with 130,000 types, of which a dozen are asked for.  Types are of
several sizes and stand one after the other, so that finding them all is a walk;
NumPy computes every step beforehand, and names are compared as numbers.  Format:
Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from natscope.errors import DecodeError, MissingTool
from natscope.trace.bpf.loader import KERNEL_BTF

_HEADER = struct.Struct("<HBBIIIII")
_MAGIC = 0xEB9F
_COMMON_WORDS = 3  # struct btf_type: name, info, size or type


class Kind(IntEnum):
    """BTF_KIND_* that are asked for by name, or looked through."""

    INT = 1
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_TRANSPARENT = frozenset(
    {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
)
_KINDS = 32


def _words_after(table: dict[Kind, int]) -> NDArray[np.uint8]:
    words = np.zeros(_KINDS, np.uint8)
    for kind, count in table.items():
        words[kind] = count
    return words


_ALWAYS = _words_after({Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1})
_EACH = _words_after(
    {
        Kind.STRUCT: 3,
        Kind.UNION: 3,
        Kind.ENUM: 2,
        Kind.FUNC_PROTO: 2,
        Kind.DATASEC: 3,
        Kind.ENUM64: 3,
    }
)
"""32-bit words after struct btf_type: at all, and for each of its vlen."""


class Btf:
    """The types of a BTF file; of a module's, with the kernel's before them.

    Args:
        *sections: whole files; a module's BTF counts types and characters on
            from where the kernel's ends.

    Raises:
        DecodeError: not BTF.
    """

    def __init__(self, *sections: bytes) -> None:
        pairs = [_split(data) for data in sections]
        self._words = np.concatenate([words for words, _ in pairs])
        self._strings = b"".join(strings for _, strings in pairs)
        self._starts = _starts(self._words)
        """Where type 1 and those after it begin, in words."""

    def struct(self, name: str) -> Struct:
        """A struct by its name.

        Raises:
            MissingTool: this kernel has none of that name.
        """
        return Struct(self, self._find(name, Kind.STRUCT))

    def enum(self, name: str) -> dict[int, str]:
        """An enum's values, each with its name; see :meth:`struct`."""
        at = self._find(name, Kind.ENUM)
        start = int(self._starts[at - 1]) + _COMMON_WORDS
        pairs = self._words[start : start + 2 * self.count(at)].reshape(-1, 2)
        return {value: self._text(name_at) for name_at, value in pairs.tolist()}

    def has(self, name: str, kind: Kind) -> bool:
        """Whether there is a type of this name and kind."""
        return self._search(name, kind) is not None

    def resolved(self, type_id: int) -> int:
        """The type behind typedefs and qualifiers."""
        while self.kind(type_id) in _TRANSPARENT:
            type_id = self._word(type_id, 2)
        return type_id

    def kind(self, type_id: int) -> int:
        """BTF_KIND_*; 0 is void."""
        return self._word(type_id, 1) >> 24 & 0x1F if type_id else 0

    def count(self, type_id: int) -> int:
        """How many members or values a type has (vlen)."""
        return self._word(type_id, 1) & 0xFFFF

    def size(self, type_id: int) -> int:
        """Bytes a struct or union takes."""
        return self._word(type_id, 2)

    def element(self, type_id: int) -> int:
        """The type of an array's elements."""
        return self._word(type_id, _COMMON_WORDS)

    def members(self, type_id: int) -> list[tuple[str, int, int]]:
        """Name, type and offset in bits of each member; "" is anonymous."""
        start = int(self._starts[type_id - 1]) + _COMMON_WORDS
        rows = self._words[start : start + 3 * self.count(type_id)].reshape(-1, 3)
        bits = 0xFF_FFFF if self._word(type_id, 1) >> 31 else 0xFFFF_FFFF
        return [(self._text(name), kind, at & bits) for name, kind, at in rows.tolist()]

    def _find(self, name: str, kind: Kind) -> int:
        found = self._search(name, kind)
        if found is None:
            raise MissingTool(
                f"the kernel's BTF has no {kind.name.lower()} {name}",
                hint="a kernel with CONFIG_DEBUG_INFO_BTF tells its types",
            )
        return found

    def _search(self, name: str, kind: Kind) -> int | None:
        at = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        if not at:
            return None
        for index in np.flatnonzero(self._words[self._starts] == at).tolist():
            if self.kind(index + 1) == kind:
                return int(index) + 1
        return None

    def _word(self, type_id: int, word: int) -> int:
        return int(self._words[self._starts[type_id - 1] + word])

    def _text(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()


class Struct:
    """A struct of the kernel."""

    def __init__(self, btf: Btf, type_id: int) -> None:
        self._btf = btf
        self._type = type_id

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return self._btf.size(self._type)

    def offset(self, path: str) -> int:
        """Where a member begins, in bytes.

        Args:
            path: members joined by dots, array elements in brackets; members of
                anonymous structs and unions stand for themselves:
                ``tuplehash[1].tuple``.

        Raises:
            MissingTool: no such member in this kernel.
        """
        found = self.get(path)
        if found is None:
            raise MissingTool(f"this kernel's struct has no member {path}")
        return found

    def get(self, path: str) -> int | None:
        """The same, None where the kernel was built without the member."""
        bits, here = 0, self._type
        for step in path.split("."):
            name, _, index = step.removesuffix("]").partition("[")
            found = self._member(here, name)
            if found is None:
                return None
            bits, here = bits + found[0], found[1]
            if index:
                here = self._btf.resolved(self._btf.element(here))
                bits += 8 * int(index) * self._btf.size(here)
        return bits // 8

    def _member(self, type_id: int, wanted: str) -> tuple[int, int] | None:
        """Offset in bits and type of a member, looking into anonymous ones."""
        for name, kind, at in self._btf.members(type_id):
            inner = self._btf.resolved(kind)
            if name == wanted:
                return at, inner
            if not name and self._btf.kind(inner) in (Kind.STRUCT, Kind.UNION):
                found = self._member(inner, wanted)
                if found is not None:
                    return at + found[0], found[1]
        return None


def kernel_btf(module: str, struct: str) -> Btf:
    """The running kernel's types, with a module's if a struct is in it alone.

    Raises:
        MissingTool: this kernel tells no types, or the module is not loaded.
    """
    base = _read("vmlinux", "needs a kernel with CONFIG_DEBUG_INFO_BTF")
    found = Btf(base)
    if not found.has(struct, Kind.STRUCT):
        found = Btf(base, _read(module, f"modprobe {module}"))
    return found


def _read(name: str, hint: str) -> bytes:
    path = KERNEL_BTF / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingTool(f"{path}: {error.strerror}", hint=hint) from error


def _split(data: bytes) -> tuple[NDArray[np.uint32], bytes]:
    """The words of the types, and the strings."""
    if len(data) < _HEADER.size:
        raise DecodeError("too short for a header", path=("BTF",), offset=len(data))
    magic, _, _, header, types, types_size, strings, strings_size = _HEADER.unpack_from(
        data
    )
    if magic != _MAGIC:
        raise DecodeError(f"magic {magic:#x} is not BTF's", path=("BTF",), offset=0)
    start = header + strings
    if len(data) < max(header + types + types_size, start + strings_size):
        raise DecodeError("sections are cut off", path=("BTF",), offset=len(data))
    words = np.frombuffer(data, "<u4", types_size // 4, header + types)
    return words.astype(np.uint32, copy=False), data[start : start + strings_size]


def _starts(words: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Where each type begins, in words."""
    info = words[1:]
    kind = info >> 24 & 0x1F
    lengths = (_COMMON_WORDS + _ALWAYS[kind] + _EACH[kind] * (info & 0xFFFF)).astype(
        np.int32
    )
    step = memoryview(lengths)
    starts, at, end = [], 0, len(step)
    while at < end:
        starts.append(at)
        at += step[at]
    return np.array(starts, np.intp)
