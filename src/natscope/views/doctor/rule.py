"""One rule of the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from natscope.model.finding import Finding
from natscope.views.doctor.snapshot import Snapshot
from natscope.views.doctor.thresholds import Thresholds

Check = Callable[[Snapshot, Thresholds], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A question about a snapshot.

    ``check`` is pure, and gives no finding of a healthy box.  A part of the snapshot
    that was not read raises NotRead when it is reached for: then the rule is "not
    checked", and that is said.
    """

    id: str
    """R03."""
    slug: str
    """The name of its page: ``snat-ports``."""
    title: str
    """What it looks for, in a few words."""
    needs: tuple[str, ...]
    """Parts of the snapshot without which nothing can be said: ``flows``, ``rose``."""
    check: Check
    source: str
    """Where the facts come from: a kernel function, an RFC, an issue."""
