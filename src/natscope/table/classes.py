"""Numbers and addresses in classes: what no constant of a ruleset tells apart.

Rules compare with constants: addresses, prefixes, ranges, ports.  Between two
neighbouring constants nothing distinguishes one value from another, so that one
packet may stand for all flows whose values lie in the same gaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope import uapi

Array = NDArray[Any]
Codes = NDArray[np.intp]

_V4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?(?![\w.])")
_V6 = re.compile(r"(?<![\w.])[0-9a-fA-F]*:[0-9a-fA-F:.]*(?:/\d{1,3})?")
_NUMBER = re.compile(r"(?<![\w.])\d{1,5}(?![\w.])")
_COUNTERS = re.compile(r"packets \d+ bytes \d+|\[\d+:\d+\]")
_WORD = (1 << 64) - 1


class Classes:
    """The classes the constants of some texts make.

    Args:
        texts: of rules, sets and routes; every address and number counts, whatever
            it means: too many constants only make smaller classes.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        bounds: dict[int, set[int]] = {4: set(), 6: set()}
        ports: set[int] = set()
        for text in texts:
            plain = _COUNTERS.sub("", text)
            for version, first, end in _networks(plain):
                bounds[version].update((first, end))
            for number in set(_NUMBER.findall(plain)):
                ports.update((int(number), int(number) + 1))
        self._ports = np.array(sorted(ports), np.uint32)
        self._v4 = np.array(sorted(b for b in bounds[4] if b <= _WORD), np.uint64)
        self._v6 = sorted(b for b in bounds[6] if not b >> 128)

    def numbers(self, values: Array) -> Codes:
        """The class of each port."""
        found: Codes = np.searchsorted(self._ports, values, side="right")
        return found

    def addresses(self, family: Array, words: Array) -> Codes:
        """The class of each address.

        Args:
            family: (n,) AF_INET or AF_INET6.
            words: (n, 2) high and low word.
        """
        codes: Codes = np.searchsorted(self._v4, words[:, 1], side="right")
        v6 = np.flatnonzero(family == uapi.AF_INET6)
        if len(v6):
            codes = codes.copy()
            codes[v6] = self._wide(words[v6])
        return codes

    def _wide(self, words: Array) -> Codes:
        """How many bounds lie at or below each 128-bit address."""
        shifts = [[b >> 64, b & _WORD] for b in self._v6]
        bounds = np.array(shifts, np.uint64).reshape(-1, 2)
        both = np.concatenate([bounds, words])
        is_address = np.arange(len(both)) >= len(bounds)
        order = np.lexsort((is_address, both[:, 1], both[:, 0]))
        below = np.cumsum(~is_address[order])
        codes = np.empty(len(both), np.intp)
        codes[order] = below
        return codes[len(bounds) :]


def _networks(text: str) -> Iterator[tuple[int, int, int]]:
    """Version, first address and the one after the last, of all a text names."""
    for word in {*_V4.findall(text), *_V6.findall(text)}:
        try:
            network = ip_network(word, strict=False)
        except ValueError:
            continue  # a port, a MAC address, a time
        first = int(network.network_address)
        yield network.version, first, int(network.broadcast_address) + 1
