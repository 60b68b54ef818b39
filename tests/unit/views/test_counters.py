"""Totals and changes of the kernel's counters."""

from __future__ import annotations

from natscope.views.counters import Fill, counters


def test_counters_are_summed_over_the_cpus() -> None:
    (drop, invalid) = counters(
        {0: {"drop": 1, "invalid": 5}, 1: {"drop": 2, "invalid": 0}}
    )
    assert (drop.total, invalid.total, drop.delta) == (3, 5, None)
    assert "full" in drop.meaning


def test_a_change_survives_the_wrap_of_32_bits() -> None:
    (drop,) = counters({0: {"drop": 1}}, {0: {"drop": 2**32 - 2}})
    assert drop.delta == 3


def test_a_counter_of_a_newer_kernel_is_shown_as_unknown() -> None:
    (new,) = counters({0: {"unknown16": 4}})
    assert (new.total, new.meaning) == (4, "not known to this version of natscope")


def test_the_fill_is_known_only_with_a_limit() -> None:
    assert Fill(50, 200, None).share == 0.25
    assert Fill(50, None, None).share is None


def test_a_cpu_that_went_offline_makes_no_change() -> None:
    (drop,) = counters({0: {"drop": 5}}, {0: {"drop": 4}, 1: {"drop": 7}})
    assert drop.delta == 1
