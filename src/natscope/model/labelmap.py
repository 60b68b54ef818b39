"""The names of connection labels, as connlabel.conf gives them.

Read as libnetfilter_conntrack reads it (src/conntrack/labels.c): one label a
line, a bit number and a name; whatever is no such line is passed over.
"""

from __future__ import annotations

BITS = 128
"""Labels an entry can have: XT_CONNLABEL_MAXBIT + 1."""
_BLANKS = " \t\r\f\v"
_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdefABCDEF"}


class LabelMap:
    """Bits of CTA_LABELS and their names, one to one."""

    __slots__ = ("_bits", "_names")

    def __init__(self, names: dict[int, str]) -> None:
        self._names = dict(sorted(names.items()))
        self._bits = {name: bit for bit, name in names.items()}

    def __len__(self) -> int:
        return len(self._names)

    @classmethod
    def parse(cls, text: str) -> LabelMap:
        """The labels of a file's text.

        A name is of ASCII letters, digits, ``-`` and blanks.  Of two lines with
        one bit, or one name, the first counts.
        """
        names: dict[int, str] = {}
        for line in text.split("\n"):
            bit, name = _entry(line)
            if name and bit not in names and name not in names.values():
                names[bit] = name
        return cls(names)

    def names(self, bits: int) -> list[str]:
        """The names of the set bits, lowest first; a bit without one is left out."""
        return [name for bit, name in self._names.items() if bits >> bit & 1]

    def bit(self, name: str) -> int | None:
        """The bit of a name, None if no line gives it one."""
        return self._bits.get(name)


def _entry(line: str) -> tuple[int, str]:
    """The bit and the name on a line; no name where it has none to give."""
    if line.startswith("#"):
        return 0, ""
    rest = line.lstrip(_BLANKS).removeprefix("+")
    base = 8 if rest[:1] == "0" else 10
    if rest[:2] in ("0x", "0X") and rest[2:3] and rest[2] in _DIGITS[16]:
        base, rest = 16, rest[2:]
    name = rest.lstrip(_DIGITS[base])
    digits = rest[: len(rest) - len(name)]
    name = name.strip(_BLANKS)
    if not digits or int(digits, base) >= BITS or not _is_sane(name):
        return 0, ""
    return int(digits, base), name


def _is_sane(name: str) -> bool:
    return name.isascii() and name.replace(" ", "").replace("-", "").isalnum()
