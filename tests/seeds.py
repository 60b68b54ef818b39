"""The seed of what tests draw by chance."""

from __future__ import annotations

import os

_OF_THE_GATE = 20_260_101


def fresh() -> int:
    """One no run had before, which a failure prints; NATSCOPE_SEED says another.

    The gate draws the same whoever runs it.
    """
    said = os.environ.get("NATSCOPE_SEED")
    if said is not None:
        return int(said)
    if os.environ.get("HYPOTHESIS_PROFILE") == "ci":
        return _OF_THE_GATE
    return int.from_bytes(os.urandom(4), "big")
