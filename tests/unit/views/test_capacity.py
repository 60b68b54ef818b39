"""How large the table should be, by memory and by traffic."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.render import capacity as rendered
from natscope.views.capacity import (
    COLUMNS,
    Demand,
    Present,
    Sizing,
    default_buckets,
    load_factor,
    power_above,
    power_below,
    record,
)

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Case:
    id: str
    memory: int | None
    limit: int
    peak: int
    recommended: int
    says: str


CASES = [
    Case("idle", 16 * GIB, 262_144, 100, 262_144, "nothing to change"),
    Case("busy", 16 * GIB, 262_144, 400_000, 1_048_576, "nf_conntrack_max = 1048576"),
    Case("small memory", 256 * MIB, 2048, 1500, 4096, "nf_conntrack_buckets = 4096"),
    Case("too much for it", 256 * MIB, 2048, 900_000, 131_072, "does not bear"),
    Case("larger already", 16 * GIB, 4_194_304, 1000, 4_194_304, "nothing to change"),
    Case("larger than its memory", GIB, 4_194_304, 1000, 8192, "may run out first"),
    Case("memory not known", None, 65_536, 100_000, 262_144, "max = 262144"),
]


def sizing(case: Case) -> Sizing:
    present = Present(case.peak, case.limit, case.limit, case.memory, 256)
    return Sizing(present, Demand(case.peak, "--peak"), 0.25)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_table_bears_twice_the_peak_within_its_share_of_memory(case: Case) -> None:
    found = sizing(case)
    assert (found.limit, found.buckets) == (case.recommended, case.recommended)
    assert case.says in "\n".join(rendered.text(found))
    assert record(found).keys() - {"entry_bytes_measured", "peak_from"} <= set(COLUMNS)


def test_the_arithmetic_is_shown() -> None:
    text = "\n".join(rendered.text(sizing(CASES[1])))
    assert "256 bytes (nf_conn, measured) + 128 (extensions) = 384 bytes" in text
    assert "262144 x 384 + 262144 x 8 = 98 MiB, 0.60 % of the memory" in text
    assert "2 x 400000 = 800000, as a power of two 1048576" in text
    assert "2 x 1048576 / 1048576 = 2.0 hashes a bucket" in text


def test_without_traffic_nothing_is_recommended() -> None:
    found = Sizing(Present(None, 262_144, 262_144, None), None, 0.25)
    assert (found.limit, found.buckets, found.is_enough) == (None, None, False)
    assert "recommended_limit" not in record(found)
    assert "not measured" in "\n".join(rendered.text(found))


def test_too_few_buckets_are_not_enough() -> None:
    crowded = Present(1000, 262_144, 16_384, 16 * GIB)
    found = Sizing(crowded, Demand(1000, "--peak"), 0.25)
    assert not found.is_enough
    assert "chains are long" in "\n".join(rendered.text(found))
    assert load_factor(262_144, 16_384) == 32


def test_the_kernels_own_choice_follows_the_memory() -> None:
    sizes = (64 * MIB, 512 * MIB, 2 * GIB, 8 * GIB)
    assert [default_buckets(size) for size in sizes] == [1024, 4096, 65_536, 262_144]


def test_powers_of_two() -> None:
    assert [power_above(n) for n in (1, 2, 3, 1024, 1025)] == [1, 2, 4, 1024, 2048]
    assert [power_below(n) for n in (1, 2, 3, 1024, 2047)] == [1, 2, 2, 1024, 1024]
