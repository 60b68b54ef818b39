"""Signals that ask for an end: noted, so that what is under way ends whole."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SAME_S = 0.5
"""Within so long a second signal is the first once more: timeout(1) sends two."""

GRACE_S = 1.0
"""So long after an end was asked for, a reader may still take what there is."""


class Stop:
    """What signals asked for."""

    def __init__(self, *, rotates: bool) -> None:
        self._rotates = rotates
        self.asked: signal.Signals | None = None
        self.at = math.inf
        """When, on the monotonic clock."""
        self.hung_up = False
        """SIGHUP came; whoever heeds it sets this back."""

    def __bool__(self) -> bool:
        return self.asked is not None

    def heed(self, number: int, _: FrameType | None) -> None:
        """The handler: the work ends where it can; when asked again, at once."""
        if number == signal.SIGHUP and self._rotates:
            self.hung_up = True
        elif self.asked is None:
            self.asked, self.at = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self.at > SAME_S:
            raise KeyboardInterrupt


def is_overdue(stop: Stop) -> bool:
    """Whether an end was asked for so long ago that what is stuck is given up."""
    return time.monotonic() - stop.at > GRACE_S


@contextmanager
def heeded(
    *, rotates: bool = False, hang_up: bool = True, closed_pipe: bool = False
) -> Iterator[Stop]:
    """SIGINT, SIGTERM and SIGHUP are noted while the body runs.

    Args:
        rotates: SIGHUP asks for another file, not for an end.
        hang_up: SIGHUP is noted at all.
        closed_pipe: a pipe closed early is an error to catch, not the end: for
            who has something to put back.
    """
    stop = Stop(rotates=rotates)
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop.heed) for number in numbers}
    if closed_pipe:
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
