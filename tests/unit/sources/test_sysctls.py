"""What nf_conntrack_events hides, in words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from natscope.sources.sysctls import hidden_events


@dataclass(frozen=True)
class Case:
    id: str
    value: int | None
    says: str


CASES = [
    Case("off", 0, "is 0: flows born from now on tell nothing"),
    Case("automatic", 2, "is 2: flows born while nobody listened tell nothing"),
    Case("missing", None, "there is no nf_conntrack_events"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_hidden_is_said(case: Case) -> None:
    assert case.says in (hidden_events(case.value) or "")


def test_nothing_is_said_where_nothing_is_hidden() -> None:
    assert hidden_events(1) is None
    assert hidden_events(3) is None  # of a newer kernel: not ours to explain
