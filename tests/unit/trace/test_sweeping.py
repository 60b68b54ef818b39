"""Whose table is whose: by process id, start and namespace of process ids."""

from __future__ import annotations

import os
from pathlib import Path

from natscope.trace.sweeping import abandoned, own_name, started

START = started(Path(f"/proc/{os.getpid()}"))
NAMESPACE = Path("/proc/self/ns/pid").stat().st_ino
NOBODY = 1 << 22
"""Larger than any process id (PID_MAX_LIMIT)."""


def test_the_name_tells_process_start_and_namespace() -> None:
    assert own_name() == f"natscope_trace_{os.getpid()}_{START}_{NAMESPACE}"


def test_a_table_is_abandoned_when_its_process_is_gone() -> None:
    gone = f"natscope_trace_{NOBODY}_5_{NAMESPACE}"
    again = f"natscope_trace_{os.getpid()}_{(START or 0) + 1}_{NAMESPACE}"
    elsewhere = f"natscope_trace_{NOBODY}_5_{NAMESPACE + 1}"
    names = ("filter", own_name(), gone, again, elsewhere, "natscope_trace_x")
    listing = "".join(f"table inet {name}\n" for name in names)
    assert abandoned(listing) == [gone, again]


def test_a_table_of_another_family_is_nobody_of_ours() -> None:
    assert abandoned(f"table ip natscope_trace_{NOBODY}_5_{NAMESPACE}\n") == []
