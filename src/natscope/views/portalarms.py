"""Ports over time: growth, time to trouble, alarms raised and cleared, the peak."""

from __future__ import annotations

from dataclasses import dataclass

from natscope.model.finding import Severity
from natscope.views.pools import Destination, DestinationKey, PortUse

MOST_ALARMS = 100
"""Destinations looked at for alarms; more in trouble at once are one trouble."""
MOST_PEAKS = 10_000
"""Destinations whose peak is kept, those looked at last: one may watch for months."""


@dataclass(frozen=True, slots=True)
class PortLimits:
    """From where on a destination is near trouble; shares of 1."""

    warning: float = 0.70
    """Time left to act: growth is seldom slow."""
    high: float = 0.87
    """The kernel's search begins to fail (first drop measured at 86.6 %)."""
    critical: float = 0.95
    """One new flow in twenty is lost (measured: 4.9 %)."""
    lost_high: float = 0.001
    lost_critical: float = 0.01
    """Chance of loss: what counts, where used ports stand in clumps."""
    fewest: int = 8
    """A range of fewer ports is meant for something fixed; full it is trouble still."""
    clear: float = 0.05
    """So far below its limit an alarm is cleared, not to flap at it; of the chance of
    loss below half of it."""

    def severity(self, of: Destination, *, slack: float = 0.0) -> Severity | None:
        """How near to trouble it is; None: far.

        Args:
            of: a destination.
            slack: by so much the limits are lower; those of loss by half, if any.
        """
        if of.range.size < self.fewest and of.loss < 1:
            return None
        found = None
        for severity, limit, lost in (
            (Severity.WARNING, self.warning, 0.0),
            (Severity.HIGH, self.high, self.lost_high),
            (Severity.CRITICAL, self.critical, self.lost_critical),
        ):
            lost = lost / 2 if slack else lost
            if of.occupancy >= limit - slack or (lost and of.loss >= lost):
                found = severity
        return found


@dataclass(frozen=True, slots=True)
class Trend:
    """How the use of a destination's ports changes."""

    growth_per_s: float
    trouble_in_s: float | None
    """Until new flows are lost, if it goes on so; None: it does not grow."""


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that was raised, raised higher, or cleared."""

    key: DestinationKey
    severity: Severity | None
    """None: cleared."""
    destination: Destination | None
    """As it is now; None: there is no flow to it any more, or few."""


def trend(before: PortUse, now: Destination, seconds: float) -> Trend:
    """The growth between two readings.

    Args:
        before: the earlier reading.
        now: a destination of the later one.
        seconds: between them.
    """
    growth = (now.hard - before.hard_of(now.key)) / seconds
    left = now.trouble - now.hard
    if growth <= 0:
        return Trend(growth, None)
    return Trend(growth, max(left, 0) / growth)


class Alarms:
    """What is raised, and the peaks, as readings come in."""

    def __init__(self, limits: PortLimits) -> None:
        self._limits = limits
        self._raised: dict[DestinationKey, Severity] = {}
        self._peaks: dict[DestinationKey, int] = {}

    def peak(self, of: Destination) -> int:
        """The most ports in use since it was first looked at; counts it too."""
        most = max(of.used, self._peaks.pop(of.key, 0))
        self._peaks[of.key] = most
        if len(self._peaks) > MOST_PEAKS:
            del self._peaks[next(iter(self._peaks))]
        return most

    def update(self, use: PortUse) -> list[Change]:
        """What a reading raises and clears."""
        limits = self._limits
        least = limits.warning - limits.clear
        near = {of.key: of for of in use.busiest(MOST_ALARMS, occupancy=least)}
        changes = []
        for key in [*near, *(self._raised.keys() - near.keys())]:
            of, held = near.get(key), self._raised.get(key)
            now = None if of is None else self._severity(of, held)
            if now is None and held is not None:
                del self._raised[key]
                changes.append(Change(key, None, of))
            elif now is not None:
                self._raised[key] = now
                if held is None or now > held:
                    changes.append(Change(key, now, of))
        return changes

    def _severity(self, of: Destination, held: Severity | None) -> Severity | None:
        now = self._limits.severity(of)
        if held is None:
            return now
        kept = self._limits.severity(of, slack=self._limits.clear)
        if kept is None:
            return None
        return max(now or kept, min(kept, held))
