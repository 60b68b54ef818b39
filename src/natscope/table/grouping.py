"""Which rows of parallel arrays agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.intp]


def group_rows(words: Sequence[Array], n: int) -> tuple[Rows, Rows]:
    """Number the distinct rows of parallel arrays in order of appearance.

    Returns:
        ``first`` row of each group and the group ``of_row``, as
        :meth:`FlowTable.group`.
    """
    order = np.lexsort(list(words)) if words else np.arange(n)
    new = np.zeros(n, np.bool_)
    new[:1] = True
    for word in words:
        ordered = word[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    # lexsort is stable, so the first of each run is the first to appear.
    starts = order[new]
    rank = np.empty(len(starts), np.intp)
    rank[np.argsort(starts, kind="stable")] = np.arange(len(starts))
    of_row = np.empty(n, np.intp)
    of_row[order] = rank[np.cumsum(new) - 1]
    return np.sort(starts), of_row
