"""Signals that ask for an end: noted, so that what is under way ends whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """What signals asked for."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def heed(self, number: int, _: FrameType | None) -> None:
        """The handler: the work goes on to where it can stop."""
        self.asked = signal.Signals(number)

    def __bool__(self) -> bool:
        return self.asked is not None


@contextmanager
def heeded() -> Iterator[Stop]:
    """SIGINT and SIGTERM are noted while the body runs."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop.heed) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
