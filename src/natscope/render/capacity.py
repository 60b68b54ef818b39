"""The size of the table in words, with the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

from natscope.render.columns import aligned, size
from natscope.views.capacity import (
    BUCKET_BYTES,
    EXTENSION_BYTES,
    HASHES,
    HEADROOM,
    Sizing,
    load_factor,
    power_above,
)
from natscope.views.shares import percent

_CROWDED = 4.0
"""Hashes a bucket, from which on a look-up is felt."""


def text(sizing: Sizing) -> list[str]:
    """What is, what it takes, what it should be, and the lines that set it."""
    steps = [*_present(sizing), *_wanted(sizing)]
    lines = aligned(steps)
    return [*lines, "", *_settings(sizing)]


def _present(sizing: Sizing) -> Iterator[tuple[str, str]]:
    present = sizing.present
    if present.entries is not None:
        line = f"{present.entries} in this namespace"
        if present.limit:
            line += f": {percent(present.entries / present.limit)} of the limit"
        yield "entries", line
    if present.limit is not None:
        yield "limit", f"{present.limit} (nf_conntrack_max, for each namespace)"
    yield "entry", _entry(sizing)
    limit, buckets = present.limit, present.buckets
    if limit and buckets:
        yield "full table", _full(sizing, limit, buckets)
        line = f"{buckets} buckets; when full {_load(limit, buckets)}"
        if load_factor(limit, buckets) > _CROWDED:
            line += ": chains are long, look-ups slow"
        yield "hash", line
    if present.memory is not None:
        line = f"{size(present.memory)}: the kernel itself would choose {sizing.floor}"
        yield "memory", f"{line} entries and buckets"


def _entry(sizing: Sizing) -> str:
    own = sizing.bytes_per_entry - EXTENSION_BYTES
    how = "measured" if sizing.present.entry_bytes is not None else "not measured"
    return (
        f"{own} bytes (nf_conn, {how}) + {EXTENSION_BYTES} (extensions) = "
        f"{sizing.bytes_per_entry} bytes"
    )


def _full(sizing: Sizing, limit: int, buckets: int) -> str:
    takes = sizing.full_bytes(limit, buckets)
    line = (
        f"{limit} x {sizing.bytes_per_entry} + {buckets} x {BUCKET_BYTES} = "
        f"{size(takes)}"
    )
    if sizing.present.memory:
        line += f", {percent(takes / sizing.present.memory)} of the memory"
    return line


def _load(entries: int, buckets: int) -> str:
    factor = load_factor(entries, buckets)
    return f"{HASHES} x {entries} / {buckets} = {factor:.1f} hashes a bucket"


def _wanted(sizing: Sizing) -> Iterator[tuple[str, str]]:
    demand, limit, buckets = sizing.demand, sizing.limit, sizing.buckets
    if demand is None or limit is None or buckets is None:
        return
    yield "peak", f"{demand.peak} entries ({demand.how})"
    doubled = HEADROOM * demand.peak
    line = f"{HEADROOM} x {demand.peak} = {doubled}, as a power of two "
    line += str(power_above(doubled))
    if sizing.floor is not None:
        line += f"; no less than the kernel's own {sizing.floor}"
    if sizing.ceiling is not None:
        line += f", no more than the {sizing.ceiling} that {percent(sizing.share)} of "
        line += "the memory bears"
    yield "wanted", line
    yield "then", f"{_full(sizing, limit, buckets)}; {_load(limit, buckets)}"


def _settings(sizing: Sizing) -> Iterator[str]:
    limit, buckets = sizing.limit, sizing.buckets
    if limit is None or buckets is None:
        yield "How large it should be depends on the traffic: --peak N tells it."
        return
    if sizing.is_short_of_memory:
        yield (
            "The memory does not bear this traffic: shorten timeouts (natscope "
            "timeouts), keep floods out of the table, or add memory."
        )
    if sizing.is_too_large:
        yield (
            f"Filled to its limit the table takes more than {percent(sizing.share)} of "
            "the memory, which may run out first."
        )
    if sizing.is_enough:
        yield "Large enough: nothing to change."
        return
    yield "# /etc/sysctl.d/90-conntrack.conf; of the host, not of a namespace"
    yield f"net.netfilter.nf_conntrack_max = {limit}"
    yield f"net.netfilter.nf_conntrack_buckets = {buckets}"
    yield "# /etc/modprobe.d/conntrack.conf, where the module comes after the sysctls"
    yield f"options nf_conntrack hashsize={buckets}"
