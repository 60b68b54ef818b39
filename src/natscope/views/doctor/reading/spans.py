"""Addresses and ports within ranges, as a rule's text names them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from natscope.codec.text.natrule import Span
from natscope.model.bundle import Network
from natscope.views.doctor.reading.rows import Mask

_WORD = (1 << 64) - 1


def addresses_within(words: NDArray[np.uint64], spans: tuple[Span, ...]) -> Mask:
    """Which addresses of one family lie in one of some ranges.

    Args:
        words: (n, 2) high and low word of each.
        spans: of the same family.
    """
    high, low = words[:, 0], words[:, 1]
    found = np.zeros(len(words), np.bool_)
    for first, last in spans:
        (first_high, first_low), (last_high, last_low) = _words(first), _words(last)
        after = (high > first_high) | (high == first_high) & (low >= first_low)
        before = (high < last_high) | (high == last_high) & (low <= last_low)
        found |= after & before
    return found


def ports_within(ports: NDArray[np.uint16], spans: tuple[Span, ...]) -> Mask:
    """Which ports lie in one of some ranges."""
    found = np.zeros(len(ports), np.bool_)
    for first, last in spans:
        found |= (ports >= first) & (ports <= last)
    return found


def span_of(network: Network) -> Span:
    """The first and the last address of a network."""
    return int(network.network_address), int(network.broadcast_address)


def is_of(span: Span, version: int) -> bool:
    """Whether a range of addresses is of IPv4 or of IPv6, as ``version`` says."""
    return (6 if span[1] >> 32 else 4) == version


def _words(address: int) -> tuple[np.uint64, np.uint64]:
    return np.uint64(address >> 64), np.uint64(address & _WORD)
