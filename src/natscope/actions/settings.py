"""What an update sets, and which entries it would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from natscope.codec import requests
from natscope.errors import NatscopeError
from natscope.table.columns import BY_NAME
from natscope.table.flowtable import FlowTable


@dataclass(frozen=True, slots=True)
class Settings:
    """What an update sets: columns and their values.

    ``mark_mask`` and ``labels_mask`` name the bits that change; without them
    all do.  Status bits can only be set, never cleared.

    Raises:
        NatscopeError: a column the kernel does not let change, or a value that
            does not fit it.
    """

    values: Mapping[str, Any]
    mark_mask: int | None = None
    labels_mask: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if name not in requests.SETTABLE:
                raise NatscopeError(
                    f"{name} cannot be changed",
                    hint=f"what can: {', '.join(requests.SETTABLE)}",
                )
            if not _fits(name, value):
                msg = f"{name}: {value!r} does not fit"
                raise NatscopeError(msg)


def _fits(name: str, value: int | str) -> bool:
    if isinstance(value, str):  # NF_CT_HELPER_NAME_LEN, with its NUL
        return value.isascii() and value.isprintable() and len(value) < 16
    if name == "labels":
        return 0 <= value < 1 << 128
    dtype = BY_NAME[name].dtype
    bits = 8 * int(dtype[1:])
    signed = dtype[0] == "i"
    return -(signed << bits - 1) <= value < 1 << bits - signed


def differing(table: FlowTable, settings: Settings) -> FlowTable:
    """The entries that the settings would change."""
    differs = np.zeros(len(table), np.bool_)
    for name, value in settings.values.items():
        column = table[name]
        if name == "status":
            differs |= column & np.uint32(value) != np.uint32(value)
        elif name == "mark" and settings.mark_mask is not None:
            mask = settings.mark_mask
            after = column & np.uint32(~mask & 0xFFFF_FFFF) ^ np.uint32(value)
            differs |= after != column
        elif name == "labels":
            differs |= _labels_differ(table, value, settings.labels_mask)
        elif isinstance(value, str):
            differs |= column != value.encode()
        else:
            differs |= column != value
    return table.mask(differs)


def _labels_differ(table: FlowTable, value: int, mask: int | None) -> NDArray[np.bool_]:
    told = words((1 << 128) - 1 if mask is None else mask)
    wanted = words(value) & told
    differ: NDArray[np.bool_] = ((table["labels"] & told) != wanted).any(axis=1)
    return differ


def words(bits: int) -> NDArray[np.uint64]:
    """128 bits as the columns hold them: the high half first."""
    return np.array((bits >> 64, bits & (1 << 64) - 1), np.uint64)
