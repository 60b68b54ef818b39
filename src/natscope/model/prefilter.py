"""What a ctnetlink dump can leave out by itself: the kernel pre-filter.

Always a superset of what the filter means; every message is checked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from natscope import uapi


@dataclass(frozen=True, slots=True)
class KernelTuple:
    """Parts of one tuple the kernel compares; IPv4 addresses as numbers."""

    src: int | None = None
    dst: int | None = None
    proto: int | None = None
    sport: int | None = None
    dport: int | None = None


@dataclass(frozen=True, slots=True)
class KernelFilter:
    """A dump filter: (mark & mark_mask) == mark, status likewise, zone, tuples."""

    family: int = uapi.AF_UNSPEC
    mark: int | None = None
    mark_mask: int = 0xFFFF_FFFF
    status: int | None = None
    status_mask: int = 0
    zone: int | None = None
    orig: KernelTuple = field(default_factory=KernelTuple)
    reply: KernelTuple = field(default_factory=KernelTuple)
