"""The memory of the host, and what an entry of conntrack takes of it.

/proc/meminfo and /proc/slabinfo (slabinfo(5)); the second is root's alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_SLABINFO = Path("/proc/slabinfo")
_CACHE = "nf_conntrack"
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """None is what could not be read."""

    total: int | None = None
    """Bytes the kernel may use."""
    entry_bytes: int | None = None
    """What one struct nf_conn takes in its slab, padding and all."""


def read_memory(meminfo: Path = _MEMINFO, slabinfo: Path = _SLABINFO) -> Memory:
    """What this host has.

    Args:
        meminfo: see proc_meminfo(5).
        slabinfo: see slabinfo(5).
    """
    total = None
    for line in _lines(meminfo):
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * _KIB
    for line in _lines(slabinfo):
        name, *numbers = line.split()
        if name == _CACHE:
            return Memory(total, int(numbers[2]))
    return Memory(total)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # not this user's to read, or no such file in a container
