"""The words of a block of text, all of them at once.

A word ends at a blank or a newline.  It is read from its end, eight bytes at a
time, as one little-endian integer with the bytes before it set to zero: so a
hundred thousand words are compared, or made numbers, by a few array operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

_CHUNK = 8
_BEFORE, _AFTER = bytes(6 * _CHUNK), bytes(_CHUNK)
"""Around the text, so that reading from any word stays inside."""
_KEEP = np.array([(1 << 64) - (1 << 64 - 8 * n) for n in range(_CHUNK + 1)], np.uint64)
"""The last n bytes of eight."""
_ZEROS = np.uint64(0x3030_3030_3030_3030)
_TO_NINE = np.uint64(0x7676_7676_7676_7676)
_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_ZEROS_4, _TO_NINE_4, _HIGH_BITS_4 = (
    np.uint32(int(word) >> 32) for word in (_ZEROS, _TO_NINE, _HIGH_BITS)
)
_KEEP_4 = (_KEEP[:5] >> np.uint64(32)).astype(np.uint32)
_NEVER = 1000
_LEAST_4 = np.array([_NEVER, 0, 10, 100, _NEVER], np.uint32)
"""The least octet of so many digits: none is empty, none has a leading zero."""
_FACTOR = np.uint64(0x9E37_79B9_7F4A_7C15)
_HEXTETS, _HEXTET_DIGITS = 8, 4
_NO_DIGIT = 0xFF
_DIGIT = np.full(256, _NO_DIGIT, np.uint8)
_DIGIT[list(b"0123456789abcdef")] = range(16)
MOST_DIGITS = 16


class Words:
    """Words by their position in the text.

    Attributes:
        line: of each word, the line it stands in, counted from 0.
        first: of each line, its first word.
        length: bytes of each word.
    """

    __slots__ = (
        *("_colons", "_dots", "_ends", "_fours", "_octets", "_text"),
        *("first", "length", "line"),
    )

    def __init__(self, text: bytes) -> None:
        self._text = b"".join((_BEFORE, text, b"\n", _AFTER))
        characters = np.frombuffer(self._text, np.uint8, len(text) + 1, len(_BEFORE))
        ends = np.flatnonzero((characters == ord(" ")) | (characters == ord("\n")))
        newline = characters[ends] == ord("\n")
        self.length: Index = np.diff(ends, prepend=-1) - 1
        self.line: Index = np.cumsum(newline) - newline
        self.first: Index = np.append(0, np.flatnonzero(newline)[:-1] + 1)
        self._ends: Index = ends + len(_BEFORE)
        self._dots = self._all(characters, ".")
        self._colons = self._all(characters, ":")
        size = len(self._text) - _CHUNK + 1
        self._octets: Array = np.ndarray((size,), "<u8", self._text, 0, (1,))
        self._fours: Array = np.ndarray((size,), "<u4", self._text, 0, (1,))

    def _all(self, characters: NDArray[np.uint8], mark: str) -> Index:
        """Where a mark stands; after them places no mark can have."""
        places = np.flatnonzero(characters == ord(mark)) + len(_BEFORE)
        return np.append(places, np.full(_HEXTETS + 1, len(self._text)))

    def text(self, word: int) -> bytes:
        """One word."""
        end = int(self._ends[word])
        return self._text[end - int(self.length[word]) : end]

    def chunk(self, words: Index, number: int = 0) -> NDArray[np.uint64]:
        """Eight bytes of each word, those before it zero; the last is chunk 0."""
        kept = np.clip(self.length[words] - _CHUNK * number, 0, _CHUNK)
        return self._last_bytes(self._ends[words] - _CHUNK * number, kept)

    def _last_bytes(self, ends: Index, kept: Index) -> NDArray[np.uint64]:
        found: NDArray[np.uint64] = self._octets[ends - _CHUNK] & _KEEP[kept]
        return found

    def decimals(self, words: Index) -> tuple[NDArray[np.uint64], Mask]:
        """The words as numbers, and which are some: digits, no leading zero.

        What has more than ``MOST_DIGITS`` digits is taken for none.
        """
        length = self.length[words]
        values, sound = _numbers(self.chunk(words), np.minimum(length, _CHUNK))
        sound &= (length >= 1) & (length <= MOST_DIGITS)
        leading = self._octets[self._ends[words] - length] & np.uint64(0xFF)
        sound &= (length == 1) | (leading != ord("0"))
        long = np.flatnonzero(length > _CHUNK)
        if len(long):
            rest = np.clip(length[long] - _CHUNK, 0, _CHUNK)
            high, high_sound = _numbers(self.chunk(words[long], 1), rest)
            values[long] += high * np.uint64(10**_CHUNK)
            sound[long] &= high_sound
        return values, sound

    def quads(self, words: Index) -> tuple[NDArray[np.uint64], Mask]:
        """The words as IPv4 addresses, and which are one, as inet_ntop(3) writes it."""
        values = np.zeros(len(words), np.uint64)
        end = self._ends[words]
        start = end - self.length[words]
        dot = np.searchsorted(self._dots, start)
        sound = (self._dots[dot + 2] < end) & (self._dots[dot + 3] >= end)
        some = np.flatnonzero(sound)
        dot, end, start = dot[some], end[some], start[some]
        ends = np.stack(
            [self._dots[dot], self._dots[dot + 1], self._dots[dot + 2], end]
        )
        lengths = ends.copy()
        lengths[0] -= start
        lengths[1:] -= ends[:-1] + 1
        octets, right = _octets(self._fours[ends - 4], lengths)
        values[some] = octets[0] << 24 | octets[1] << 16 | octets[2] << 8 | octets[3]
        sound[some] = right[0] & right[1] & right[2] & right[3]
        return values, sound

    def hextets(self, words: Index) -> tuple[NDArray[np.uint64], Mask]:
        """The words as IPv6 addresses, high and low half, and which are one.

        Those with capitals or a dotted end are taken for none.
        """
        end = self._ends[words]
        start = end - self.length[words]
        colon = np.searchsorted(self._colons, start)
        colons = np.searchsorted(self._colons, end) - colon
        part = np.arange(_HEXTETS + 1)[:, None]
        ends = np.where(part < colons, self._colons[colon + part], end)
        lengths = ends.copy()
        lengths[0] -= start
        lengths[1:] -= ends[:-1] + 1
        lengths[part > colons] = 0
        values, digits = _hexadecimals(self._octets[ends - _CHUNK], lengths)
        place, sound = _places_of_hextets(lengths, colons)
        sound &= digits.all(0) & (colons <= _HEXTETS)
        groups = np.zeros((_HEXTETS, len(words)), np.uint64)
        for number in range(_HEXTETS + 1):
            told = np.flatnonzero((lengths[number] > 0) & sound)
            groups[place[number, told], told] = values[number, told]
        halves = np.zeros((len(words), 2), np.uint64)
        for number, group in enumerate(groups):
            halves[:, number >> 2] |= group << np.uint64(48 - 16 * (number & 3))
        return halves, sound

    def same(self, words: Index) -> tuple[Index, Index]:
        """Equal words found: of each group one, and the group of each word."""
        length = self.length[words]
        mixed = length.astype(np.uint64)
        chunks = [
            self.chunk(words, number)
            for number in range(-(-int(length.max(initial=1)) // _CHUNK))
        ]
        for chunk in chunks:
            mixed = (mixed ^ chunk ^ mixed >> np.uint64(29)) * _FACTOR
        _, first, group = np.unique(mixed, return_index=True, return_inverse=True)
        alike = length == length[first][group]
        for chunk in chunks:
            alike &= chunk == chunk[first][group]
        if alike.all():
            return words[first], group
        return words, np.arange(len(words))


def _numbers(chunks: Array, lengths: Index) -> tuple[NDArray[np.uint64], Mask]:
    """Up to eight digits a chunk as numbers, and which are nothing but digits."""
    digits = (chunks ^ _ZEROS) & _KEEP[lengths]
    sound = ((digits + _TO_NINE) | digits) & _HIGH_BITS == 0
    # two digits become one number, two of those another, and once more
    pairs = (digits * np.uint64(10 << 8 | 1) >> np.uint64(8)) & np.uint64(
        0x00FF_00FF_00FF_00FF
    )
    fours = (pairs * np.uint64(100 << 16 | 1) >> np.uint64(16)) & np.uint64(
        0x0000_FFFF_0000_FFFF
    )
    values: NDArray[np.uint64] = fours * np.uint64(10_000 << 32 | 1) >> np.uint64(32)
    return values, np.asarray(sound, np.bool_)


def _octets(fours: Array, lengths: Index) -> tuple[NDArray[np.uint32], Mask]:
    """Up to three digits at the end of four bytes, and which are an octet."""
    kept = np.minimum(lengths, 4)
    digits = (fours ^ _ZEROS_4) & _KEEP_4[kept]
    sound = ((digits + _TO_NINE_4) | digits) & _HIGH_BITS_4 == 0
    values = digits >> np.uint32(24)
    values += (digits >> np.uint32(16) & np.uint32(0xF)) * np.uint32(10)
    values += (digits >> np.uint32(8) & np.uint32(0xF)) * np.uint32(100)
    sound &= values >= _LEAST_4[kept]
    sound &= values <= np.uint32(255)
    return values, sound


def _hexadecimals(chunks: Array, lengths: Index) -> tuple[NDArray[np.uint64], Mask]:
    """Up to four lower-case digits a chunk as numbers, and which are nothing else."""
    kept = np.clip(lengths, 0, _HEXTET_DIGITS)
    text = (chunks & _KEEP[kept] | _ZEROS & ~_KEEP[kept]) >> np.uint64(32)
    digits = _DIGIT[text.astype("<u4")[..., None].view(np.uint8)].view("<u4")[..., 0]
    sound = (digits & np.uint32(0x8080_8080) == 0) & (kept == lengths)
    pairs = (digits << np.uint32(4) | digits >> np.uint32(8)) & np.uint32(0x00FF_00FF)
    values = (pairs & np.uint32(0xFF)) << np.uint32(8) | pairs >> np.uint32(16)
    return values.astype(np.uint64), sound


def _places_of_hextets(lengths: Index, colons: Index) -> tuple[Index, Mask]:
    """Which of the eight each part is, and of which addresses all eight are told.

    Args:
        lengths: digits of each part (rows) of each address; 0 behind the last.
        colons: of each address, one less than its parts.
    """
    part = np.arange(len(lengths))[:, None]
    empty = (lengths == 0) & (part <= colons)
    # "::" leaves one part empty, and at either end of the address one more
    inner = empty & (part > 0) & (part < colons)
    gaps = inner.sum(0)
    gap = np.where(gaps > 0, inner.argmax(0), len(lengths))
    last = np.take_along_axis(empty, np.clip(colons, 0, len(empty) - 1)[None], 0)[0]
    sound = np.where(gaps > 0, (gaps == 1) & (empty.sum(0) > colons - 7), colons == 7)
    sound &= (~empty[0] | (gap == 1)) & (~last | (gap == colons - 1))
    place = np.where(part < gap, part, part - colons + 7)
    return place, np.asarray(sound, np.bool_)


class Vocabulary:
    """Known words, found among others without looking at them one by one.

    Args:
        words: the known ones, up to 48 bytes each.
    """

    __slots__ = ("_codes", "_factor", "_known", "_lengths", "words")

    _BITS = 12

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        joined = Words(" ".join(self.words).encode())
        every = np.arange(len(self.words))
        chunks = range(-(-int(joined.length.max()) // _CHUNK))
        self._lengths = joined.length
        self._known = [joined.chunk(every, number) for number in chunks]
        self._factor, places = self._without_collision(self._chunks(joined, every))
        self._codes = np.full(1 << self._BITS, -1, np.intp)
        self._codes[places] = every

    def find(self, words: Words, which: Index) -> Index:
        """The place of each word in the vocabulary, -1 where it is not there."""
        length, chunks = words.length[which], self._chunks(words, which)
        codes = self._codes[self._places(length, chunks, self._factor)]
        same = (codes >= 0) & (self._lengths[codes] == length)
        for known, (at, chunk) in zip(self._known, chunks, strict=True):
            same[at] &= known[codes[at]] == chunk
        return np.where(same, codes, -1)

    def _chunks(self, words: Words, which: Index) -> list[tuple[Index | slice, Array]]:
        """The words' chunks, each with the positions of those long enough."""
        length = words.length[which]
        found: list[tuple[Index | slice, Array]] = [(slice(None), words.chunk(which))]
        for number in range(1, len(self._known)):
            at = np.flatnonzero(length > _CHUNK * number)
            found.append((at, words.chunk(which[at], number)))
        return found

    def _without_collision(
        self, chunks: list[tuple[Index | slice, Array]]
    ) -> tuple[np.uint64, Index]:
        """A factor that puts every known word at a place of its own."""
        factor = int(_FACTOR)
        while True:
            places = self._places(self._lengths, chunks, np.uint64(factor))
            if len(np.unique(places)) == len(places):
                return np.uint64(factor), places
            factor = (factor + 2) % (1 << 64)

    def _places(
        self,
        length: Index,
        chunks: list[tuple[Index | slice, Array]],
        factor: np.uint64,
    ) -> Index:
        mixed = length.astype(np.uint64)
        for at, chunk in chunks:
            mixed[at] = (mixed[at] ^ chunk) * factor
        return (mixed >> np.uint64(64 - self._BITS)).astype(np.intp)
