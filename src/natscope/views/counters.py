"""The kernel's conntrack counters: totals, changes, and what each means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PerCpu = Mapping[int, Mapping[str, int]]
"""The counters of each CPU, by its number."""

MEANINGS: Mapping[str, str] = {
    "found": "look-ups that found an entry for a new packet's tuple; stays 0 on "
    "current kernels in ordinary use",
    "invalid": "packets conntrack could not make sense of: no entry and not a "
    "beginning, out of window, bad checksum; they are not translated",
    "insert": "entries inserted by the user-space path only; ordinary new flows are "
    "not counted here",
    "insert_failed": "new flows that could not enter the table: their reply tuple is "
    "taken (SNAT ports used up, or two flows raced for one port; drop rises too), or "
    "their hash chain is too long (chaintoolong rises too)",
    "drop": "packets dropped: the table is full, or there is no memory for an entry; "
    "or insertion failed, and insert_failed rises too",
    "early_drop": "entries that are not assured, thrown out to make room: the table "
    "is at its limit",
    "error": "ICMP messages with a bad checksum or type, or about a flow not in "
    "the table (before Linux 4.20: packets of any protocol with a bad header)",
    "search_restart": "look-ups begun again because an entry moved; harmless",
    "clash_resolve": "two first packets of one flow raced and both went on; "
    "harmless (the old DNS race, mended)",
    "chaintoolong": "new flows refused because their hash chain was too long: "
    "raise nf_conntrack_buckets",
    "searched": "look-ups; no longer counted by current kernels, whose column of that "
    "place is clash_resolve: old dashboards show it under this name",
    "new": "new entries; no longer counted by current kernels",
    "ignore": "packets not tracked on purpose; no longer counted by current kernels",
    "delete": "entries removed; no longer counted by current kernels",
    "delete_list": "entries put on the dying list; no longer counted by current "
    "kernels, whose column of that place is chaintoolong",
}
"""Each counter in a line, from nf_conntrack_core.c and experience with 6.18."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter summed over the CPUs; ``delta`` is its change, if measured."""

    name: str
    total: int
    delta: int | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the table is; ``None`` where the kernel does not say."""

    entries: int
    limit: int | None
    buckets: int | None

    @property
    def share(self) -> float | None:
        """Entries over limit, 1.0 is full."""
        return self.entries / self.limit if self.limit else None


def totals(cpus: PerCpu) -> dict[str, int]:
    """Each counter summed over the CPUs, in the kernel's order."""
    summed: dict[str, int] = {}
    for counters in cpus.values():
        for name, value in counters.items():
            summed[name] = summed.get(name, 0) + value
    return summed


def changes(now: PerCpu, before: PerCpu) -> dict[str, int]:
    """What each counter grew by, CPU by CPU.

    The kernel counts in 32 bits a CPU and wraps; a CPU that was not there
    before, or is no more, has no change to tell.
    """
    grown = dict.fromkeys(totals(now), 0)
    for cpu in now.keys() & before.keys():
        for name, value in now[cpu].items():
            grown[name] += (value - before[cpu].get(name, 0)) % (1 << 32)
    return grown


def counters(now: PerCpu, before: PerCpu | None = None) -> list[Counter]:
    """The counters with their meaning, and their change since ``before``."""
    grown = changes(now, before) if before is not None else None
    found = []
    for name, total in totals(now).items():
        delta = None if grown is None else grown[name]
        meaning = MEANINGS.get(name, "not known to this version of natscope")
        found.append(Counter(name, total, delta, meaning))
    return found
