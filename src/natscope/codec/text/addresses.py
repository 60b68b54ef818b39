"""Many addresses read at once, each as inet_pton(3) and ``cells.address`` read it."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from natscope import uapi
from natscope.codec.text.cells import Unreadable, address

_HEXTETS = re.compile(r"[\da-f]{1,4}(?:::?[\da-f]{1,4}){1,7}", re.ASCII)
_VALUE = np.zeros(256, np.uint64)
_VALUE[[ord(digit) for digit in "0123456789abcdef"]] = range(16)
_LOW = 0xFFFF_FFFF_FFFF_FFFF

Flags = NDArray[np.bool_]


def parse_addresses(
    texts: list[str],
) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Words and family of each address; family 0 is none."""
    words = np.zeros((len(texts), 2), np.uint64)
    families = np.zeros(len(texts), np.uint8)
    v6 = np.array([":" in text for text in texts])
    if v6.any():
        words[v6], families[v6] = parse_colons([text for text in texts if ":" in text])
        texts = [text for text in texts if ":" not in text]
    if texts:
        words[~v6, 1], sound = _dots(texts)
        families[~v6] = np.where(sound, uapi.AF_INET, 0)
    return words, families


def _dots(texts: list[str]) -> tuple[NDArray[np.uint64], Flags]:
    """Dotted quads as numbers, and whether each is as inet_ntop(3) writes it."""
    octets, lengths = _digits(".".join(texts), ".", 3, base=10)
    least = np.array([0, 0, 10, 100])[lengths]  # a leading zero may mean octal
    sound = ((octets >= least) & (octets <= 255)).reshape(-1, 4).all(1)
    shifts = np.array([24, 16, 8, 0], np.uint64)
    quads: NDArray[np.uint64] = octets.reshape(-1, 4) << shifts
    return quads.sum(1, dtype=np.uint64), np.asarray(sound, np.bool_)


def parse_colons(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Words and family of each address with a colon."""
    # the library's own reading of one costs more than all the rest of its line
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    words = np.zeros((len(place), 2), np.uint64)
    families = np.full(len(place), uapi.AF_INET6, np.uint8)
    whole = {at: _written_out(text) for text, at in place.items()}
    simple = [at for at, text in whole.items() if text]
    if simple:
        hextets, _ = _digits(":".join(filter(None, whole.values())), ":", 4, base=16)
        shifts = np.array([48, 32, 16, 0], np.uint64)
        words[simple] = (hextets.reshape(-1, 2, 4) << shifts).sum(2, dtype=np.uint64)
    for text, at in place.items():
        if not whole[at]:
            families[at], words[at] = _one_address(text)
    rows = np.fromiter(map(place.__getitem__, texts), np.intp)
    return words[rows], families[rows]


def _written_out(text: str) -> str:
    """All eight hextets of an IPv6 address; nothing where it takes more to tell."""
    if _HEXTETS.fullmatch(text) is None:
        return ""
    colons, gaps = text.count(":"), text.count("::")
    if gaps == 0:
        return text if colons == 7 else ""
    if gaps > 1 or colons > 7:
        return ""
    return text.replace("::", ":" + "0:" * (8 - colons))


def _one_address(text: str) -> tuple[int, tuple[int, int]]:
    try:
        family, value = address(text)
    except Unreadable:
        return 0, (0, 0)
    return family, (value >> 64, value & _LOW)


def _digits(
    text: str, separator: str, most: int, *, base: int
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The numbers of a text, and the digits of each (at least one).

    Args:
        text: numbers with one separator between them.
        most: digits the longest has.
        base: 10 or 16.
    """
    characters = np.frombuffer(text.encode(), np.uint8)
    ends = np.flatnonzero(characters == ord(separator))
    ends = np.append(ends, len(characters))
    lengths = np.diff(ends, prepend=-1) - 1
    digits = _VALUE[characters]
    numbers = np.zeros(len(ends), np.uint64)
    for place in range(most):
        # short ones read before their start here, and do not count it
        digit = np.where(lengths > place, digits[ends - 1 - place], np.uint64(0))
        numbers += digit * np.uint64(base**place)
    return numbers, lengths
