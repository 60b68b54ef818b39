"""How large the table and its hash should be, with the arithmetic shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ENTRY_BYTES = 256
"""struct nf_conn on 64 bits, where the slab cannot be asked (248, aligned to 256)."""
EXTENSION_BYTES = 128
"""What an entry's NAT, counters and timestamps take: NF_CT_EXT_PREALLOC, one object of
kmalloc-128, beside the entry itself (nf_ct_ext_add)."""
BUCKET_BYTES = 8
"""struct hlist_nulls_head."""
HASHES = 2
"""Each entry is in the hash twice: by its original tuple, and by the reply's."""
HEADROOM = 2
"""A burst may double the busiest hour."""
MEMORY_SHARE = 0.25
"""Of the memory for a full table: the rest is for buffers, and what else runs."""
_GIB = 1 << 30
_FEWEST, _MOST = 1024, 262_144
_PER_BUCKET = 16_384 * BUCKET_BYTES


@dataclass(frozen=True, slots=True)
class Present:
    """A box as it is; None is what is not known."""

    entries: int | None
    """Of this namespace."""
    limit: int | None
    buckets: int | None
    memory: int | None
    """Bytes."""
    entry_bytes: int | None = None
    """Measured; without it ENTRY_BYTES is taken."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the box is to bear."""

    peak: int
    """Entries in the busiest hour."""
    how: str
    """Where that number is from."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What should be set."""

    present: Present
    demand: Demand | None
    """None: nothing is known of the traffic."""
    share: float
    """Of the memory, for a full table."""

    @property
    def bytes_per_entry(self) -> int:
        """With its extensions."""
        return (self.present.entry_bytes or ENTRY_BYTES) + EXTENSION_BYTES

    @property
    def floor(self) -> int | None:
        """What the kernel itself chooses for this memory; not to go below."""
        memory = self.present.memory
        return None if memory is None else default_buckets(memory)

    @property
    def ceiling(self) -> int | None:
        """The largest power of two whose full table fits its share of the memory."""
        memory = self.present.memory
        if memory is None:
            return None
        fits = int(memory * self.share) // (self.bytes_per_entry + BUCKET_BYTES)
        return power_below(max(fits, 1))

    @property
    def limit(self) -> int | None:
        """nf_conntrack_max as it should be; None: not to be told."""
        if self.demand is None:
            return None
        wanted = max(power_above(HEADROOM * self.demand.peak), self.floor or _FEWEST)
        if self.ceiling is not None:
            wanted = min(wanted, max(self.ceiling, _FEWEST))
        return max(wanted, self._kept())

    @property
    def buckets(self) -> int | None:
        """nf_conntrack_buckets as it should be: as many as entries, so that a full
        table has two hashes a bucket, as the kernel's own default."""
        return None if self.limit is None else power_above(self.limit)

    @property
    def is_enough(self) -> bool:
        """Whether what is set need not be changed."""
        limit, buckets = self.present.limit, self.present.buckets
        if self.limit is None or limit is None or buckets is None:
            return False
        return limit >= self.limit and buckets >= limit

    @property
    def is_short_of_memory(self) -> bool:
        """Whether the traffic wants more than the memory gives."""
        if self.demand is None or self.ceiling is None:
            return False
        return HEADROOM * self.demand.peak > max(self.ceiling, _FEWEST)

    @property
    def is_too_large(self) -> bool:
        """Whether a table filled to its present limit takes more than its share."""
        present = self.present
        if not present.limit or not present.buckets or present.memory is None:
            return False
        takes = self.full_bytes(present.limit, present.buckets)
        return takes > present.memory * self.share

    def full_bytes(self, limit: int, buckets: int) -> int:
        """What a full table takes."""
        return limit * self.bytes_per_entry + buckets * BUCKET_BYTES

    def _kept(self) -> int:
        """A limit that is larger already stays, where the memory bears it."""
        limit, ceiling = self.present.limit or 0, self.ceiling
        return limit if ceiling is None or limit <= ceiling else 0


def default_buckets(memory: int) -> int:
    """nf_conntrack_buckets, and nf_conntrack_max, as the kernel chooses them.

    See nf_conntrack_init_start(), since 5.15.

    Args:
        memory: bytes.
    """
    if memory > 4 * _GIB:
        return _MOST
    if memory > _GIB:
        return 65_536
    return max(memory // _PER_BUCKET, _FEWEST)


def load_factor(entries: int, buckets: int) -> float:
    """Hashes a bucket, on average: the length of a chain."""
    return HASHES * entries / buckets


def power_above(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(number - 1, 0).bit_length()


def power_below(number: int) -> int:
    """The largest power of two that is not more."""
    return 1 << (number.bit_length() - 1)


COLUMNS = (
    *("entries", "limit", "buckets", "memory_bytes", "bytes_per_entry"),
    *("load_factor", "load_factor_full", "full_bytes", "default_limit"),
    *("largest_limit", "peak", "recommended_limit", "recommended_buckets"),
    *("recommended_full_bytes", "enough"),
)
"""In the order CSV has them."""


def record(sizing: Sizing) -> dict[str, Any]:
    """All of it for programs; what is not known is left out."""
    present, limit, buckets = sizing.present, sizing.limit, sizing.buckets
    known: dict[str, Any] = {
        "entries": present.entries,
        "limit": present.limit,
        "buckets": present.buckets,
        "memory_bytes": present.memory,
        "bytes_per_entry": sizing.bytes_per_entry,
        "entry_bytes_measured": present.entry_bytes is not None,
        "default_limit": sizing.floor,
        "largest_limit": sizing.ceiling,
        "recommended_limit": limit,
        "recommended_buckets": buckets,
        "enough": None if limit is None else sizing.is_enough,
    }
    if sizing.demand is not None:
        known |= {"peak": sizing.demand.peak, "peak_from": sizing.demand.how}
    if present.limit and present.buckets:
        known["load_factor_full"] = round(
            load_factor(present.limit, present.buckets), 3
        )
        known["full_bytes"] = sizing.full_bytes(present.limit, present.buckets)
        if present.entries is not None:
            now = load_factor(present.entries, present.buckets)
            known["load_factor"] = round(now, 3)
    if limit is not None and buckets is not None:
        known["recommended_full_bytes"] = sizing.full_bytes(limit, buckets)
    return {name: value for name, value in known.items() if value is not None}
