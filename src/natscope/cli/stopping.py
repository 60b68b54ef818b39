"""Signals that ask for an end: noted, so that what is under way ends whole."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """What signals asked for."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self.at = math.inf
        """When, on the monotonic clock."""
        self.hung_up = False
        """SIGHUP came; whoever heeds it sets this back."""

    def __bool__(self) -> bool:
        return self.asked is not None

    def heed(self, number: int, _: FrameType | None) -> None:
        """The handler: the work ends where it can; when asked again, at once."""
        if number == signal.SIGHUP:
            self.hung_up = True
        elif self.asked:
            raise KeyboardInterrupt
        else:
            self.asked, self.at = signal.Signals(number), time.monotonic()


@contextmanager
def heeded(*more: signal.Signals, closed_pipe: bool = False) -> Iterator[Stop]:
    """SIGINT, SIGTERM and ``more`` are noted while the body runs.

    With ``closed_pipe``, a pipe closed early is an error to catch, not the end:
    for who has something to put back.
    """
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, *more)
    before = {number: signal.signal(number, stop.heed) for number in numbers}
    if closed_pipe:
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
