"""The addresses a page shows, for looking their names up."""

from __future__ import annotations

import numpy as np

from natscope.table.records import address_at
from natscope.views.listing import Page
from natscope.views.values import Addresses, Endpoints


def distinct(page: Page) -> dict[tuple[int, int, int], str]:
    """Every distinct address by family and words, as text."""
    found = {}
    for values in page.columns:
        if not isinstance(values, (Addresses, Endpoints)):
            continue
        shown = np.column_stack([values.family, values.words])[values.valid]
        for family, high, low in np.unique(shown, axis=0).tolist():
            found[family, high, low] = str(address_at(family, high, low))
    return found
