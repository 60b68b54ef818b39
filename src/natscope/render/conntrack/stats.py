"""Counters of one CPU, as ``-S`` and ``-S expect`` print them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def cpu_line(cpu: int, counters: Mapping[str, int]) -> bytes:
    """The line of a CPU: its number, then every counter and its value.

    Like conntrack(8)'s it ends in a blank.
    """
    values = "".join(f"{name}={value} " for name, value in counters.items())
    return f"cpu={cpu:<4}\t{values}\n".encode()
